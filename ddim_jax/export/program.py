"""The program that is exported: from a normalised image and noise to probability, uncertainty and mask.

The samplers and ensembles are the registered ones: a sampler is given the noise of its steps in the place of a key, an
ensemble JAX arrays in the place of NumPy's.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ddim_jax.aggregation import PROTOCOLS, Protocol, ensemble_threshold
from ddim_jax.aggregation.protocols import FLAT
from ddim_jax.diffusion import DiffusionProcess, encode
from ddim_jax.inference.loading import LoadedNetwork
from ddim_jax.labels import Labels
from ddim_jax.models import Network, create_process
from ddim_jax.ops import portable_operations
from ddim_jax.preprocessing import ORIENTATIONS, class_estimates, mirrored
from ddim_jax.registry import ENSEMBLES
from ddim_jax.runtime.errors import InputError
from ddim_jax.sampling_options import SamplingOptions

OUTPUTS = ("probability", "uncertainty", "mask")


class Program(NamedTuple):
    """A program and what it is called with.

    Attributes:
      function: (image, noise[, step_noise]) -> (probability, uncertainty, mask), of the shapes in `inputs`.
      inputs: the shape of each input without the batch in front, by name and in order; all are float32.
    """

    function: Callable[..., tuple[jax.Array, jax.Array, jax.Array]]
    inputs: dict[str, tuple[int, ...]]


def create_program(network: LoadedNetwork, options: SamplingOptions) -> Program:
    """Makes the program of a network with checked options.

    The image is float32 [batch, h, w, 3] in [-1, 1], the noise standard normal, [batch, samples, h, w, C]; with a
    sampler that draws noise in its steps step_noise is [batch, samples, steps, h, w, C]. A network whose samples do not
    depend on the noise takes the image alone. The probability is float32 [batch, h, w] or, of several classes,
    [batch, h, w, K], the uncertainty float32 [batch, h, w], the mask uint8 [batch, h, w]: as
    `ddim_jax.inference.Segmentation` has them.

    Raises:
      InputError: the size is not that of the training, the sampler draws noise otherwise than with
        `ddim_jax.diffusion.reverse.draw`, or the ensemble is no function of JAX arrays.
    """
    if options.size != "model":
        raise InputError(
            f"size is {options.size!r}, which cannot be exported (an exported program takes images of the size the "
            "network was trained at); expected model"
        )
    labels = Labels.from_config(network.config["data"])
    process = create_process(network.model, network.config["diffusion"], labels)
    size, samples = int(network.config["data"]["image_size"]), options.samples
    inputs: dict[str, tuple[int, ...]] = {"image": (size, size, 3)}
    diffusion = options.sampler is not None
    if diffusion or process.uses_noise:
        inputs["noise"] = (samples, size, size, labels.channels)
        if diffusion and _draws_noise(process, options):
            inputs["step_noise"] = (samples, options.steps, size, size, labels.channels)
    _check_ensemble(options, labels)
    orientation = np.arange(samples) % ORIENTATIONS if options.flips else np.zeros(samples, int)
    distinct, apply = np.unique(orientation), Network(network.model)

    def turned(pictures: jax.Array, orientation: np.ndarray) -> jax.Array:
        """Each of [batch, n, h, w, ..] in its orientation; twice is as it was."""
        parts = [jax.vmap(lambda one, o=o: mirrored(one, o))(pictures[:, k]) for k, o in enumerate(orientation)]
        return jnp.stack(parts, axis=1)

    def function(image: jax.Array, noise: jax.Array | None = None, step_noise: jax.Array | None = None):
        batch = image.shape[0]

        def flat(values: jax.Array) -> jax.Array:
            return values.reshape(batch * values.shape[1], *values.shape[2:])

        def of_samples(part: jax.Array) -> jax.Array:
            return flat(part.reshape(batch, len(distinct), *part.shape[1:])[:, orientation])

        # A network whose samples do not depend on it has none, and does not look at it.
        noise = jnp.zeros(()) if noise is None else flat(noise)
        key = None if step_noise is None else jnp.moveaxis(flat(step_noise), 1, 0)
        images = flat(turned(jnp.stack([image] * len(distinct), axis=1), distinct))
        with portable_operations():
            images = jax.tree.map(of_samples, encode(apply, network.params, images))
            drawn = process.sample(apply, network.params, images, noise, options, key=key)
        masks = class_estimates(drawn, labels)
        return summarise(turned(masks.reshape(batch, samples, *masks.shape[1:]), orientation), options, labels)

    return Program(function, inputs)


def _draws_noise(process: DiffusionProcess, options: SamplingOptions) -> bool:
    """Returns True if the steps of the sampler depend on the noise that they are given.

    Raises:
      InputError: the sampler takes it for a key.
    """
    noise = jnp.zeros((1, 1, 1, process.labels.channels))

    def sample(step_noise: jax.Array) -> jax.Array:
        def network(params: None, x: jax.Array, image: None, t: jax.Array) -> jax.Array:
            return x

        return process.sample(network, None, None, noise, options, key=step_noise)

    try:
        traced = jax.make_jaxpr(sample)(jnp.zeros((options.steps, *noise.shape)))
    except InputError:
        raise
    except (TypeError, ValueError) as error:
        raise InputError(
            f"sampler is {options.sampler!r}, which cannot be exported: it does not draw its noise with "
            f"ddim_jax.diffusion.reverse.draw ({_first_line(error)})"
        ) from error
    (given,) = traced.jaxpr.invars
    return any(value is given for equation in traced.jaxpr.eqns for value in equation.invars)


def _check_ensemble(options: SamplingOptions, labels: Labels) -> None:
    shape = (1, options.samples, 2, 2, *([labels.count] if labels.several else []))
    try:
        jax.eval_shape(lambda samples: summarise(samples, options, labels), jax.ShapeDtypeStruct(shape, jnp.float32))
    except (AttributeError, IndexError, TypeError) as error:
        raise InputError(
            f"ensemble is {options.ensemble!r}, which cannot be exported: it is no function of JAX arrays "
            f"({_first_line(error)})"
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def summarise(samples: jax.Array, options: SamplingOptions, labels: Labels) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Turns samples into probability, uncertainty and mask, as `ddim_jax.inference.segmentation.fuse` does in NumPy.

    Args:
      samples: float32 [batch, S, h, w], of several classes [batch, S, h, w, K]: estimates of x_0.
      options: checked; of these, protocol, ensemble and threshold.
      labels: the classes.
    """
    protocol = PROTOCOLS[options.protocol]
    protocol, fuse = dataclasses.replace(protocol, probability=protocol.in_jax), ENSEMBLES.get(options.ensemble)
    if hasattr(fuse, "of_masks"):
        each = [_of_each(protocol.probability, samples[:, k : k + 1]) for k in range(samples.shape[1])]
        probability = _of_each(fuse.of_masks, _votes(jnp.stack(each, axis=1), protocol, labels))
        if labels.exclusive:
            probability /= jnp.maximum(1.0, jnp.sum(probability, axis=-1, keepdims=True))
    else:
        probability = _of_each(lambda one: fuse(one, protocol), samples)
    unit = (jnp.clip(samples, -1.0, 1.0) + 1.0) / 2.0
    spread = jnp.sqrt(jnp.mean(jnp.square(unit - jnp.mean(unit, axis=1, keepdims=True)), axis=1))
    spread = jnp.max(spread, axis=-1) if labels.several else spread
    return probability, spread, _mask(probability, options.threshold, labels).astype(jnp.uint8)


def _of_each(function: Callable[[jax.Array], jax.Array], samples: jax.Array) -> jax.Array:
    """Applies a function of [S, h, w] to each image of [batch, S, h, w], and each class of [batch, S, h, w, K]."""
    if samples.ndim == 5:
        function = jax.vmap(function, in_axes=-1, out_axes=-1)
    return jax.vmap(function)(samples).astype(jnp.float32)


def _votes(each: jax.Array, protocol: Protocol, labels: Labels) -> jax.Array:
    """The masks int32 of the samples' own probabilities, of exclusive classes as `ensemble_probability` has them."""
    if not labels.exclusive:
        return (each > protocol.threshold).astype(jnp.int32)
    masks = _mask(each, ensemble_threshold(protocol, labels=labels), labels)
    return (masks[..., None] == jnp.arange(1, labels.count + 1, dtype=jnp.int32)).astype(jnp.int32)


def _mask(probability: jax.Array, threshold: float | None, labels: Labels) -> jax.Array:
    """`ddim_jax.aggregation.threshold_mask` as int32."""
    if not labels.several:
        return (probability > threshold).astype(jnp.int32)
    if labels.multilabel:
        bits = jnp.asarray(2 ** np.arange(labels.count), jnp.int32)
        return jnp.sum((probability > threshold).astype(jnp.int32) * bits, axis=-1)
    likeliest = jnp.max(probability, axis=-1)
    above = 1.0 - jnp.sum(probability, axis=-1) + FLAT if threshold is None else threshold
    return jnp.where(likeliest > above, jnp.argmax(probability, axis=-1).astype(jnp.int32) + 1, 0)
