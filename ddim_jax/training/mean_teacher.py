"""Masks of unlabelled images by the average of the weights: a mean teacher (Tarvainen & Valpola 2017, 1703.01780).

The teacher sees the image as it is. Where it is sure its mask is a truth like any other: the student is trained on
it with the image augmented, and so learns to give one mask however the image is turned and coloured. Pixels of
which the teacher is not sure are ignored (FixMatch, Sohn et al. 2020, 2001.07685).
"""

import dataclasses
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp

from ddim_jax.diffusion import DiffusionProcess, DirectProcess
from ddim_jax.labels import IGNORED, Labels
from ddim_jax.models import Network
from ddim_jax.preprocessing import normalise
from ddim_jax.sampling_options import SamplingOptions

CONFIDENCE = 0.9
"""A pixel counts where the probability of what the teacher says there is at least this."""
RAMP = 1000
"""Steps until the unlabelled images have their whole weight: before, the teacher knows little."""
Process = TypeVar("Process", DiffusionProcess, DirectProcess)


class MeanTeacher(NamedTuple):
    """The part of unlabelled images in a training.

    Attributes:
      weight: of their loss beside that of the labelled ones, after the ramp.
      options: how the teacher samples a mask: as a validation does, in `train.validation_steps` passes of the network.
    """

    weight: float
    options: SamplingOptions


def with_ignored_pixels(process: Process) -> Process:
    """The process with a loss in which ignored pixels do not count, whether the data set has such or not."""
    labels = process.labels
    return dataclasses.replace(process, labels=dataclasses.replace(labels, ignore=labels.ignore or (IGNORED,)))


def pseudo_labels(
    teacher: MeanTeacher, process: Process, network: Network, params: Any, images: jax.Array, noise: jax.Array
) -> jax.Array:
    """The masks that the teacher gives images: one sample each.

    Args:
      teacher: its options.
      process, network, params: of the training, the average of the weights.
      images: uint8 [B, S, S, 3].
      noise: standard normal, float32 [B, S, S, C], that the samples begin with.

    Returns:
      uint8 [B, S, S] as `ddim_jax.labels` has them; ignored where the teacher is not sure.
    """
    x0 = process.sample(network, params, normalise(images), noise, teacher.options)
    return confident_pseudo_labels(jax.lax.stop_gradient(x0), process.labels)


def confident_pseudo_labels(x0: jax.Array, labels: Labels) -> jax.Array:
    """Estimates of x_0, float32 [..., H, W, C], as masks uint8 [..., H, W], ignored below `CONFIDENCE`.

    Of classes that may overlap, a pixel is ignored where the teacher is not sure of one of them.
    """
    probability = (jnp.clip(x0, -1.0, 1.0) + 1.0) / 2.0
    if labels.exclusive:
        sure, mask = probability.max(axis=-1), probability.argmax(axis=-1)
    else:
        sure = jnp.maximum(probability, 1.0 - probability).min(axis=-1)
        mask = jnp.sum((probability > 0.5) << jnp.arange(x0.shape[-1]), axis=-1)
    return jnp.where(sure >= CONFIDENCE, mask, IGNORED).astype(jnp.uint8)


def weights(teacher: MeanTeacher, step: jax.Array, masks: jax.Array) -> jax.Array:
    """The weight of the loss of each unlabelled image: `teacher.weight`, ramped up, times the share of sure pixels.

    Args:
      teacher: its weight.
      step: int32 scalar, steps done. The ramp is exp(-5 (1 - step / RAMP)^2), as the paper has it.
      masks: uint8 [B, S, S], as `pseudo_labels` gives them.

    Returns:
      float32 [B].
    """
    ramp = jnp.exp(-5.0 * (1.0 - jnp.minimum(step / RAMP, 1.0)) ** 2)
    return teacher.weight * ramp * jnp.mean(masks != IGNORED, axis=(1, 2))
