"""The times of a training step and of an image of a config's network beside another's."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.machine import network_of
from ddim_jax.data import Augmentation
from ddim_jax.inference.segmentation import sample_image
from ddim_jax.labels import Labels
from ddim_jax.models import Network, create_process
from ddim_jax.sampling_options import SamplingOptions
from ddim_jax.training.adversarial import Adversary
from ddim_jax.training.optimiser import configured_optimiser, create_optimiser
from ddim_jax.training.sharding import data_mesh, global_batch
from ddim_jax.training.state import create_state
from ddim_jax.training.step import make_train_step

_CALLS = 5


def training_step(config: Mapping[str, Any]) -> Callable[[], None] | None:
    """A function that takes one training step of a resolved config on drawn images.

    None where a step takes more than whole labelled images: `data.crop`, `data.unlabelled`.
    """
    if config["data"]["crop"] or config["data"]["unlabelled"]:
        return None
    model, process = _network(config)
    fields, size = config["train"], int(config["data"]["image_size"])
    optimiser = configured_optimiser(fields, fields["warmup_steps"] + 10_000)
    mesh = data_mesh(fields["batch_size"], jax.devices()[:1], accumulate=fields["accumulate"])
    step = make_train_step(
        model,
        process,
        optimiser,
        mesh,
        seed=0,
        ema_decay=fields["ema_decay"],
        augmentation=Augmentation.from_config(config["data"]),
        accumulate=fields["accumulate"],
        adversary=Adversary.from_config(fields),
    )
    draw, shape = np.random.default_rng(0), (fields["batch_size"], size, size)
    batch = global_batch(
        mesh,
        {
            "image": draw.integers(0, 256, (*shape, 3), np.uint8),
            "mask": draw.integers(0, 2, shape, np.uint8),
        },
    )
    state = create_state(model, optimiser, size, 0)

    def once() -> None:
        nonlocal state
        state, metrics = step(state, batch)
        jax.block_until_ready(metrics)

    return once


def evaluation(config: Mapping[str, Any]) -> Callable[[], None] | None:
    """A function that samples one drawn image as a resolved config says; None with `data.crop`, which makes tiles."""
    if config["data"]["crop"]:
        return None
    model, process = _network(config)
    size, options = int(config["data"]["image_size"]), SamplingOptions.create(config)
    params = create_state(model, create_optimiser(lambda _: 0.0), size, 0).params
    image = jnp.asarray(np.random.default_rng(0).integers(0, 256, (size, size, 3), np.uint8))

    @jax.jit
    def sample(params: Any, image: jax.Array) -> jax.Array:
        return sample_image(process, Network(model), params, image, jnp.uint32(0), jnp.uint32(0), options=options)

    return lambda: jax.block_until_ready(sample(params, image))


def ratio(mine: Callable[[], None] | None, other: Callable[[], None] | None, repeats: int) -> float | None:
    """Median time of `mine` over that of `other`, `_CALLS` calls of each in turns; compiled before.

    Each is the first of every second turn: what runs first came out a few percent faster. None where one of them is.
    """
    if mine is None or other is None:
        return None
    mine(), other()
    sides: list[tuple[Callable[[], None], list[float]]] = [(mine, []), (other, [])]
    for turn in range(repeats):
        for call, taken in sides if turn % 2 == 0 else reversed(sides):
            began = time.perf_counter()
            for _ in range(_CALLS):
                call()
            taken.append(time.perf_counter() - began)
    of_mine, of_other = (statistics.median(taken) for _, taken in sides)
    return of_mine / of_other


def _network(config: Mapping[str, Any]) -> tuple[Any, Any]:
    """The network of a resolved config, and its process."""
    model = network_of(config)
    return model, create_process(model, config["diffusion"], Labels.from_config(config["data"]))
