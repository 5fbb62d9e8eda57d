"""The program that is exported: from a normalised image and noise to probability, uncertainty and mask."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ddim_jax.aggregation import PROTOCOLS
from ddim_jax.aggregation.protocols import FLAT
from ddim_jax.diffusion import encode
from ddim_jax.inference.loading import LoadedNetwork
from ddim_jax.labels import Labels
from ddim_jax.models import Network, create_process
from ddim_jax.ops import portable_operations
from ddim_jax.preprocessing import ORIENTATIONS, class_estimates, mirrored
from ddim_jax.runtime.errors import InputError
from ddim_jax.sampling_options import SamplingOptions

ENSEMBLES = ("mean", "mean_of_each", "majority")
"""The ensembles that are sums and comparisons; others, such as STAPLE, are loops in NumPy."""
SAMPLERS = ("ddim", "ddpm", "dpm++", None)
"""Those whose noise in the steps, if any, comes from `ddim_jax.diffusion.reverse.draw`."""
OUTPUTS = ("probability", "uncertainty", "mask")


class Program(NamedTuple):
    """A program and what it is called with.

    Attributes:
      function: (image, noise[, step_noise]) -> (probability, uncertainty, mask), of the shapes in `inputs`.
      inputs: the shape of each input without the batch in front, by name and in order; all are float32.
    """

    function: Callable[..., tuple[jax.Array, jax.Array, jax.Array]]
    inputs: dict[str, tuple[int, ...]]


def check_exportable(options: SamplingOptions) -> None:
    """Refuses what no exported program can do.

    Raises:
      InputError: names it.
    """
    for name, value, known in (
        ("ensemble", options.ensemble, ENSEMBLES),
        ("sampler", options.sampler, SAMPLERS),
        ("size", options.size, ("model",)),
    ):
        if value not in known:
            expected = ", ".join(str(one) for one in known if one)
            why = {
                "ensemble": "it is computed outside of the network's program",
                "sampler": "nothing is known of its noise",
                "size": "an exported program takes images of the size the network was trained at",
            }[name]
            raise InputError(f"{name} is {value!r}, which cannot be exported ({why}); expected {expected}")


def create_program(network: LoadedNetwork, options: SamplingOptions) -> Program:
    """Makes the program of a network with checked options.

    The image is float32 [batch, h, w, 3] in [-1, 1], the noise standard normal, [batch, samples, h, w, C]; with a
    sampler that draws noise in its steps step_noise is [batch, samples, steps, h, w, C]. A network without diffusion
    takes the image alone. The probability is float32 [batch, h, w] or, of several classes, [batch, h, w, K], the
    uncertainty float32 [batch, h, w], the mask uint8 [batch, h, w]: as `ddim_jax.inference.Segmentation` has them.

    Raises:
      InputError: as `check_exportable`.
    """
    check_exportable(options)
    labels = Labels.from_config(network.config["data"])
    process = create_process(network.model, network.config["diffusion"], labels)
    size, samples = int(network.config["data"]["image_size"]), options.samples
    inputs: dict[str, tuple[int, ...]] = {"image": (size, size, 3)}
    if options.sampler is not None:
        inputs["noise"] = (samples, size, size, labels.channels)
        if options.sampler == "ddpm" or (options.sampler == "ddim" and options.eta > 0.0):
            inputs["step_noise"] = (samples, options.steps, size, size, labels.channels)
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

        # A network without diffusion has none, and does not look at it.
        noise = jnp.zeros(()) if noise is None else flat(noise)
        key = None if step_noise is None else jnp.moveaxis(flat(step_noise), 1, 0)
        images = flat(turned(jnp.stack([image] * len(distinct), axis=1), distinct))
        with portable_operations():
            images = jax.tree.map(of_samples, encode(apply, network.params, images))
            drawn = process.sample(apply, network.params, images, noise, options, key=key)
        masks = class_estimates(drawn, labels)
        return summarise(turned(masks.reshape(batch, samples, *masks.shape[1:]), orientation), options, labels)

    return Program(function, inputs)


def summarise(samples: jax.Array, options: SamplingOptions, labels: Labels) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Turns samples into probability, uncertainty and mask, as `ddim_jax.inference.segmentation.fuse` does in NumPy.

    Args:
      samples: float32 [batch, S, h, w], of several classes [batch, S, h, w, K]: estimates of x_0.
      options: checked; of these, protocol, ensemble and threshold.
      labels: the classes.
    """
    if options.ensemble == "mean":
        probability = _probability(samples, options.protocol)
    else:
        each = jnp.stack(
            [_probability(samples[:, k : k + 1], options.protocol) for k in range(samples.shape[1])], axis=1
        )
        probability = jnp.mean(each, axis=1)
    if options.ensemble == "majority":
        threshold = PROTOCOLS[options.protocol].threshold
        if labels.exclusive:
            threshold = None if threshold == 0.5 else threshold
            votes = _mask(each, threshold, labels)[..., None] == jnp.arange(1, labels.count + 1, dtype=jnp.int32)
        else:
            votes = each > threshold
        probability = jnp.mean(votes.astype(jnp.float32), axis=1)
    unit = _unit(samples)
    spread = jnp.sqrt(jnp.mean(jnp.square(unit - jnp.mean(unit, axis=1, keepdims=True)), axis=1))
    spread = jnp.max(spread, axis=-1) if labels.several else spread
    return probability, spread, _mask(probability, options.threshold, labels).astype(jnp.uint8)


def _unit(samples: jax.Array) -> jax.Array:
    return (jnp.clip(samples, -1.0, 1.0) + 1.0) / 2.0


def _probability(samples: jax.Array, protocol: str) -> jax.Array:
    """The protocol's probability of samples [batch, S, h, w] or [batch, S, h, w, K], each class by itself."""
    clipped = jnp.mean(_unit(samples), axis=1)
    if protocol == "mean":
        return clipped
    mean = jnp.mean(samples, axis=1)
    low, high = jnp.min(mean, axis=(1, 2), keepdims=True), jnp.max(mean, axis=(1, 2), keepdims=True)
    flat = high - low < FLAT
    return jnp.where(flat, clipped, (mean - low) / jnp.where(flat, 1.0, high - low))


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
