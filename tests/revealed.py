"""Makes a training step show what it drew.

The "parameters" are one array for each thing drawn, and the "loss" of example i is the sum of the products of row i of
each with what was drawn for example i: its gradient is what was drawn, and a step of gradient descent leaves just that.
"""

import functools
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from ddim_jax.data import Augmentation
from ddim_jax.labels import Labels
from ddim_jax.training.sharding import data_mesh, global_batch, replicated
from ddim_jax.training.state import TrainState
from ddim_jax.training.step import make_train_step
from ddim_jax.training.step_options import StepOptions

SIZE = 8
PAPER = Augmentation(rotation_degrees=15.0, flips=True)


class Nothing(nn.Module):
    def __call__(self, noisy_mask, image, t, train=False):
        return noisy_mask


class Reveals:
    """Stands in for the diffusion process; draws timesteps of 0 .. 999."""

    def __init__(self, labels):
        self.labels = labels

    def draw_timesteps(self, key, shape):
        return jax.random.randint(key, shape, 0, 1000)

    def losses(self, apply, params, mask, image, noise, t):
        share, whole = len(t), len(params["t"])
        first = jax.lax.axis_index("data") * share if share < whole else 0  # of several devices each has its share

        def inner(name, drawn):
            rows = jax.lax.dynamic_slice_in_dim(params[name], first, share)
            return jnp.sum(rows * drawn, axis=tuple(range(1, drawn.ndim)))

        return inner("mask", mask) + inner("image", image) + inner("noise", noise) + inner("t", t)


@functools.cache  # traced once for all steps
def training_step(batch, devices, seed, augmentation, labels=Labels(), **more):
    """(the training step, its optimiser, its mesh)"""
    mesh = data_mesh(batch, devices)
    optimiser = optax.sgd(-float(batch))  # undoes the mean over the batch; exact where that is a power of two
    options = StepOptions(seed=seed, ema_decay=0.0, augmentation=augmentation, **more)
    train_step = make_train_step(Nothing(), Reveals(labels), optimiser, mesh, options)
    return train_step, optimiser, mesh


def prepared(images, masks, *, devices, seed, step, augmentation=PAPER, **more):
    """(the training step, its state, its batch) for uint8 images."""
    batch, size = images.shape[:2]
    shapes = {"mask": (size, size, 1), "image": (size, size, 3), "noise": (size, size, 1), "t": ()}
    zeros = {name: jnp.zeros((batch, *shape)) for name, shape in shapes.items()}
    train_step, optimiser, mesh = training_step(batch, tuple(devices), seed, augmentation, **more)
    state = TrainState(jnp.int32(step), zeros, jax.tree.map(jnp.copy, zeros), optimiser.init(zeros))
    return train_step, jax.device_put(state, replicated(mesh)), global_batch(mesh, {"image": images, "mask": masks})


def drawn(images, masks, **how):
    """The draws of a step for a batch of uint8 images, one row an example: {"mask", "image", "noise", "t"}."""
    train_step, state, batch = prepared(images, masks, **how)
    return jax.tree.map(np.asarray, train_step(state, batch)[0].params)


def collectives(images, masks, **how):
    """The exchanges of devices in a step: the names of the operations of the compiled program."""
    train_step, state, batch = prepared(images, masks, **how)
    text = train_step.lower(state, batch).compile().as_text()
    return re.findall(r" (all-\w+|reduce-scatter|collective-\w+)(?:-start)?\(", text)


def pictures(batch=8, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (batch, SIZE, SIZE, 3), np.uint8), rng.integers(0, 2, (batch, SIZE, SIZE), np.uint8)
