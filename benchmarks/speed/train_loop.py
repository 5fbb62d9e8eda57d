"""The whole training run against its own step: what data, reporting and the loop around it cost; lives in a worker."""

import json
import tempfile
import time
from pathlib import Path

import jax
import optax

from benchmarks.speed.cases import Case
from benchmarks.speed.inputs import SEED, Setting
from configs import base
from ddim_jax.config import resolve_config
from ddim_jax.data import Augmentation, Order, load_dataset
from ddim_jax.diffusion import DiffusionProcess
from ddim_jax.models import create_model
from ddim_jax.training import train
from ddim_jax.training.input_pipeline import batches, read_pictures
from ddim_jax.training.optimiser import create_optimiser
from ddim_jax.training.sharding import data_mesh, replicated
from ddim_jax.training.state import create_state
from ddim_jax.training.step import make_train_step
from ddim_jax.training.step_options import StepOptions

_INTERVALS = 5
_PAPER = Setting()


class TrainLoop:
    """Trains on generated phantoms as `train.py` would, with augmentation; everything else as in `train_step`."""

    def __init__(self, case: Case, steps_per_interval: int):
        self._case, self._interval = case, steps_per_interval
        config = base.get_config()
        config.seed = SEED
        config.model.name = case.model
        config.model.overrides.update(case.overrides)
        config.model.overrides.dtype = "bfloat16" if case.dtype == "bfloat16" else "float32"
        config.data.name, config.data.image_size = "phantom", case.size
        config.data.counts = {"train": 4 * case.batch, "val": 1, "test": 1}
        config.train.steps, config.train.epochs = _INTERVALS * steps_per_interval + 1, 0.0
        config.train.batch_size, config.train.learning_rate = case.batch, _PAPER.learning_rate
        config.train.log_every, config.train.checkpoint_every = steps_per_interval, config.train.steps
        config.train.validation_images, config.train.validation_steps = 1, 1
        self._config = config

    def loop(self) -> list[float]:
        """Seconds a step, in each interval between two reports; compiling, validating and saving lie outside."""
        with tempfile.TemporaryDirectory() as folder:
            train(self._config, folder)
            lines = [json.loads(line) for line in (Path(folder) / "metrics.jsonl").read_text().splitlines()]
        speeds = [line["images_per_second"] for line in lines if line.get("images_per_second")]
        return [self._case.batch / speed for speed in speeds[:_INTERVALS]]

    def bare_step(self) -> list[float]:
        """Seconds a step where the same compiled step is called with the same batch on the device again and again."""
        data, fields = self._config.data, self._config.train
        model = create_model(self._case.model, **self._case.overrides, dtype=self._config.model.overrides.dtype)
        optimiser = create_optimiser(optax.constant_schedule(_PAPER.learning_rate))
        mesh = data_mesh(self._case.batch)
        size, counts = data.image_size, dict(data.counts)
        source = load_dataset("phantom", "train", seed=0, image_size=size, counts=counts)
        resident = read_pictures(
            source, source, [0], mesh, image_size=size, resident_bytes=data.resident_bytes
        ).resident
        feed = batches(source, resident, mesh, Order(fields.batch_size, SEED), image_size=size)
        state = jax.device_put(create_state(model, optimiser, data.image_size, SEED), replicated(mesh))
        augmentation = Augmentation.from_config(resolve_config(self._config)["data"])
        options = StepOptions(seed=SEED, ema_decay=_PAPER.ema_decay, augmentation=augmentation)
        step = make_train_step(model, DiffusionProcess.create(), optimiser, mesh, options)
        batch = next(feed)
        state, metrics = step(state, batch)
        jax.block_until_ready(metrics)
        times = []
        for _ in range(_INTERVALS):
            began = time.perf_counter()
            for _ in range(self._interval):
                state, metrics = step(state, batch)
            jax.block_until_ready(metrics)
            times.append((time.perf_counter() - began) / self._interval)
        return times
