"""Attacks on an image along the gradient of what its mask misses, through all steps of the sampler or through one.

FGSM (Goodfellow et al. 2015, arXiv 1412.6572) takes one step of epsilon from the image. PGD (Madry et al. 2018, arXiv
1706.06083) takes `PGD_STEPS` steps of 2.5 epsilon / `PGD_STEPS` from a random start, each time back into the cube of
epsilon around the image, `PGD_RESTARTS` times, and keeps the worst. Both know the weights, the truth, the mirror
images and the noise that the samples start from, and attack the mean probability of all samples. They work on the
levels 0 to 255 at the size of the network and end on whole levels: what they make is an image that a file could hold.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ddim_jax.diffusion.mask_losses.bce_dice import cross_entropy_dice
from ddim_jax.inference.loading import LoadedNetwork
from ddim_jax.inference.segmentation import sample_image
from ddim_jax.labels import Labels
from ddim_jax.models import Network, create_process
from ddim_jax.preprocessing import Prepared, normalise_mask, resize_mask
from ddim_jax.sampling_options import SamplingOptions

PGD_STEPS, PGD_RESTARTS = 10, 2
EPSILONS = (1, 2, 4)
"""Levels of 255."""
_SURE = 1e-6

Attack = Callable[[Prepared, np.ndarray, int], np.ndarray]
"""(image, its true mask [H, W], epsilon in levels) -> uint8 [h, w, 3]."""
Gradient = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""float32 levels [h, w, 3] -> (loss [], its gradient [h, w, 3])."""


def attacks(network: LoadedNetwork, options: SamplingOptions, *, one_step: bool = False) -> dict[str, Attack]:
    """The attacks by name; arguments as `loss_gradient`."""
    gradient_of = loss_gradient(network, options, one_step=one_step)
    return {
        "fgsm": lambda prepared, truth, epsilon: fgsm(gradient_of(prepared, truth), prepared.pixels, epsilon),
        "pgd": lambda prepared, truth, epsilon: pgd(gradient_of(prepared, truth), prepared.pixels, epsilon),
    }


def loss_gradient(
    network: LoadedNetwork, options: SamplingOptions, *, one_step: bool = False
) -> Callable[[Prepared, np.ndarray], Gradient]:
    """A function of an image and its true mask [H, W] to the gradient there, compiled once.

    Args:
      network: its weights are known to the attack.
      options: with which the image will be segmented; of size "model".
      one_step: the gradient is that of one evaluation at the last timestep, and not that of all steps.
    """
    labels = Labels.from_config(network.config["data"])
    process = create_process(network.model, network.config["diffusion"], labels)
    through = dataclasses.replace(options, steps=1) if one_step else options
    sample = functools.partial(sample_image, process, Network(network.model), options=through.program())

    def loss(pixels: jax.Array, params: Any, x0: jax.Array, identity: jax.Array) -> jax.Array:
        return missed(sample(params, pixels, jnp.uint32(options.seed), identity), x0, labels)

    params, compiled = jax.device_put(network.params), jax.jit(jax.value_and_grad(loss))

    def gradient_of(prepared: Prepared, truth: np.ndarray) -> Gradient:
        x0 = normalise_mask(resize_mask(truth, prepared.pixels.shape[:2]), labels)
        return lambda pixels: jax.tree.map(np.asarray, compiled(pixels, params, x0, prepared.identity))

    return gradient_of


def missed(samples: jax.Array, x0: jax.Array, labels: Labels = Labels()) -> jax.Array:
    """Cross-entropy plus 1 - soft Dice of the mean probability of samples against the truth, float32 [].

    Args:
      samples: [S, h, w], of several classes [S, h, w, K], as `sample_image` makes them.
      x0: [h, w, C], the truth as `normalise_mask` makes it.
      labels: the classes.
    """
    probability = jnp.mean(((samples + 1.0) / 2.0).clip(0.0, 1.0), axis=0)
    probability = probability if labels.several else probability[..., None]
    if labels.exclusive:
        rest = 1.0 - jnp.sum(probability, axis=-1, keepdims=True)
        logits = jnp.log(jnp.concatenate([rest, probability], axis=-1).clip(_SURE))
    else:
        inside = probability.clip(_SURE, 1.0 - _SURE)
        logits = jnp.log(inside) - jnp.log1p(-inside)
    return cross_entropy_dice(logits[None], x0[None], labels)[0]


def fgsm(gradient: Gradient, pixels: np.ndarray, epsilon: int) -> np.ndarray:
    """One step of epsilon from the image, uint8 [h, w, 3]; the arguments are those of `pgd`."""
    start = pixels.astype(np.float32)
    return (start + epsilon * np.sign(gradient(start)[1])).clip(0, 255).astype(np.uint8)


def pgd(
    gradient: Gradient, pixels: np.ndarray, epsilon: int, *, steps: int = PGD_STEPS, restarts: int = PGD_RESTARTS
) -> np.ndarray:
    """The image of the largest loss that any of the restarts ended on, uint8 [h, w, 3].

    Args:
      gradient: of the loss, at float32 levels.
      pixels: uint8 [h, w, 3].
      epsilon: the largest change of a level.
      steps: of each restart.
      restarts: from other points, drawn from a fixed seed.
    """
    rng, most, worst = np.random.default_rng(0), -np.inf, pixels
    low, high = (np.clip(pixels.astype(np.float32) + side * epsilon, 0, 255) for side in (-1, 1))
    for _ in range(restarts):
        seen = rng.uniform(low, high).astype(np.float32)
        for _ in range(steps):
            seen = (seen + 2.5 * epsilon / steps * np.sign(gradient(seen)[1])).clip(low, high)
        found = seen.round()
        reached = float(gradient(found)[0])
        if reached > most:
            most, worst = reached, found
    return worst.astype(np.uint8)
