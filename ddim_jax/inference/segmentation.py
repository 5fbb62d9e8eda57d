"""Images: their samples, compiled as one program, and the result that is made of those of one."""

import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ddim_jax.aggregation import PROTOCOLS, ensemble_probability, mean_probability, threshold_mask, uncertainty
from ddim_jax.diffusion import encode
from ddim_jax.inference.calibration import Calibrated
from ddim_jax.inference.hypotheses import Hypothesis, hypotheses_of
from ddim_jax.inference.unlikeness import with_unlikeness
from ddim_jax.labels import Labels
from ddim_jax.metrics import Bounds, class_doubts, drawn_classes
from ddim_jax.ops.by_platform import has_cpu_alone
from ddim_jax.ops.portable import is_portable
from ddim_jax.ops.random_keys import compiled_draws
from ddim_jax.preprocessing import ORIENTATIONS, class_estimates, mirrored, normalise, resize_unit_map
from ddim_jax.runtime.pinned import key as key_of
from ddim_jax.sampling_options import SamplingOptions


class Segmentation(NamedTuple):
    """The result for one image, at the image's own size [H, W].

    Attributes:
      mask: uint8 [H, W], 1 where the probability is above the threshold, else 0; of several classes their numbers,
        k = 1 .. K, and where they may overlap bit k - 1 for class k.
      probability: float32 [H, W] in [0, 1], as the protocol and the ensemble define it; of several classes
        [H, W, K], class k at k - 1.
      uncertainty: float32 [H, W] in [0, 0.5], the standard deviation of the samples' probabilities, of several classes
        the largest; 0 with one sample.
      doubt: in [0, 1), the part of Dice that the mask is expected to miss (`ddim_jax.metrics.soft_dice_uncertainty`):
        the larger, the more a person should look at it. It is about the mask of this protocol, ensemble and threshold,
        by the mean of the samples' probabilities as the protocol 'mean' has them, both at the size the network worked
        at: the stretched probability of "paper" and the votes of few samples say nothing of how sure the network is.
        With a calibrated checkpoint it is scaled so that it is right on average on the calibration's images
        (`ddim_jax.metrics.DoubtScale`).
      bounds: with a calibrated checkpoint, for each class by its name the interval of its area in pixels and the lowest
        Dice (`ddim_jax.metrics.Bounds`), each made to hold for the calibrated share of images; else empty. Their
        `unlike` is True where they are not made to hold for this image.
      hypotheses: the whole masks that the samples fall into, the heaviest first; empty where nobody asked for them.
      unlikeness: the distance of the image from those that the checkpoint was calibrated on, as a multiple of the
        limit (`ddim_jax.inference.unlikeness`): above 1 the image is flagged as out of distribution, and the bounds
        do not hold for it; None: not judged, for there is no calibration, or it has no reference of its images.
    """

    mask: np.ndarray
    probability: np.ndarray
    uncertainty: np.ndarray
    doubt: float
    bounds: Mapping[str, Bounds] = MappingProxyType({})
    hypotheses: tuple[Hypothesis, ...] = ()
    unlikeness: float | None = None

    def judged(self, unlikeness: float | None) -> "Segmentation":
        """This result with an unlikeness, and bounds that say if they are not made to hold for it."""
        bounds = {name: with_unlikeness(one, unlikeness) for name, one in self.bounds.items()}
        return self._replace(unlikeness=unlikeness, bounds=bounds)


def sample_images(
    process: Any,
    apply: Callable[..., jax.Array],
    params: Any,
    images: jax.Array,
    seed: jax.Array,
    identities: jax.Array,
    *,
    options: SamplingOptions,
    in_turn: bool = False,
    return_trajectory: bool = False,
) -> Any:
    """Samples masks of several images: together, which keeps a GPU busy, or one after the other.

    Only one after the other is the arithmetic of an image the same whatever the others are, and however many, to the
    bit: compilers for CPUs do not grant that for the rows of one batch.

    Args:
      process: as `ddim_jax.models.create_process` makes it.
      apply: the network, (params, noisy_mask, image, t) -> prediction, or (params, image) -> mask without diffusion; if
        it `encodes` (`ddim_jax.models.Network`), the image is encoded once for each orientation.
      params: its weights.
      images: uint8 [B, h, w, 3].
      seed: uint32 [], of the noise.
      identities: uint32 [B], of the images; with the seed they decide the noise.
      options: how to sample; its seed is not read.
      in_turn: one image after the other, not all samples as one batch of the network.
      return_trajectory: for the first sample of each image alone, what was visited on the way.

    Returns:
      float32 [B, samples, h, w], estimates of x_0; of several classes [B, samples, h, w, K], as `class_estimates` makes
      them. With the trajectory the pair (x_t [B, steps + 1, h, w], x0 [B, steps, h, w]), x0 again with K classes, and
      x_t then [B, steps + 1, h, w, C] with the channels of the mask.
    """
    if in_turn:
        sample = functools.partial(sample_image, process, apply, params, options=options)
        return jax.lax.map(lambda one: sample(one[0], seed, one[1]), (images, identities))
    total, samples, shape = len(images), options.samples, (*images.shape[1:3], process.labels.channels)
    draw = functools.partial(starting_noise, seed, samples=samples, shape=shape)
    noise, step_keys = (part.reshape(-1, *part.shape[2:]) for part in jax.vmap(draw)(identities))
    orientation = np.arange(samples) % ORIENTATIONS if options.flips else np.zeros(samples, int)
    seen = np.unique(orientation)
    images = normalise(images)
    turned = jnp.stack([jax.vmap(lambda image, k=k: mirrored(image, k))(images) for k in seen], axis=1)
    pictures = encode(apply, params, turned.reshape(-1, *images.shape[1:]))
    rows = (np.arange(total)[:, None] * len(seen) + orientation).ravel()
    # Each sample has a key of its own, so that it is the same whatever their number.
    drawn = process.sample(
        apply,
        params,
        jax.tree.map(lambda part: part[rows], pictures),
        noise,
        options,
        key=step_keys,
        return_trajectory=return_trajectory,
    )
    if return_trajectory:
        _, visited = drawn
        x_t, x0 = (jnp.moveaxis(part[:, ::samples], 1, 0) for part in visited)
        return x_t if process.labels.several else x_t[..., 0], class_estimates(x0, process.labels)
    masks = class_estimates(drawn, process.labels)
    masks = masks.reshape(total, samples, *masks.shape[1:])
    if not options.flips:
        return masks
    # Sample by sample: XLA on a CPU would gather each number by itself.
    back = [jax.vmap(lambda mask, k=k: mirrored(mask, k))(masks[:, sample]) for sample, k in enumerate(orientation)]
    return jnp.stack(back, axis=1)


def sample_image(
    process: Any,
    apply: Callable[..., jax.Array],
    params: Any,
    image: jax.Array,
    seed: jax.Array,
    identity: jax.Array,
    **given: Any,
) -> Any:
    """`sample_images` of one image [h, w, 3] with its identity []; the results have no axis for the images."""
    result = sample_images(process, apply, params, image[None], seed, identity[None], **given)
    return jax.tree.map(lambda part: part[0], result)


def starting_noise(
    seed: jax.Array, identity: jax.Array, samples: int, shape: tuple[int, int, int]
) -> tuple[jax.Array, jax.Array]:
    """Draws the noise that the samples of one image start from.

    Args:
      seed, identity: of `sample_images`.
      samples: their number.
      shape: (h, w, C) of one.

    Returns:
      noise: float32 [samples, h, w, C].
      step_keys: [samples], the keys of the noise in the steps (`ddim_jax.diffusion.reverse.draw`).
    """
    own = jax.random.fold_in(key_of(seed), identity)
    draws = compiled_draws(own, "cpu" if has_cpu_alone() and not is_portable() else "any")
    keys = jax.vmap(jax.random.fold_in, (None, 0))(draws, jnp.arange(samples, dtype=jnp.uint32))
    start_keys, step_keys = jnp.unstack(jax.vmap(jax.random.split)(keys), axis=1)
    noise = jax.vmap(lambda key: jax.random.normal(key, shape, jnp.float32))(start_keys)
    return noise, jax.random.wrap_key_data(jax.random.key_data(step_keys), impl=jax.random.key_impl(own))


def fuse(
    samples: np.ndarray,
    shape: tuple[int, int],
    options: SamplingOptions,
    labels: Labels = Labels(),
    calibration: Calibrated | None = None,
    hypotheses: bool = False,
) -> Segmentation:
    """Turns the samples of one image into its result, but for its unlikeness.

    Args:
      samples: float32 [S, h, w], of several classes [S, h, w, K]: estimates of x_0 at the size the network worked at.
      shape: (H, W) of the image; where it differs, probability and uncertainty are resized to it (bilinear) before the
        threshold is applied.
      options: checked; of these, protocol, ensemble and threshold.
      labels: the classes.
      calibration: of these options; None for no bounds, and a doubt as the network has it.
      hypotheses: whether the result has them.
    """
    fused = ensemble_probability(samples, PROTOCOLS[options.protocol], options.ensemble, labels)
    probability = resize_unit_map(fused, shape)
    mask = threshold_mask(probability, options.threshold, labels)
    working = threshold_mask(fused, options.threshold, labels)  # the doubt is about the mask before it is resized
    doubts = class_doubts(mean_probability(samples), working, labels)
    scale = None if calibration is None else calibration.doubt
    doubt = float(np.mean(doubts)) if scale is None else scale.of_image(doubts, drawn_classes(working, labels))
    return Segmentation(
        mask=mask,
        probability=probability,
        uncertainty=resize_unit_map(uncertainty(samples), shape),
        doubt=doubt,
        bounds={} if calibration is None else calibration.bounds(probability, mask, doubts, labels),
        hypotheses=hypotheses_of(samples, shape, options, labels) if hypotheses else (),
    )
