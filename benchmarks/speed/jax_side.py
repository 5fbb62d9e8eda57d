"""This package's side: the code a user runs, compiled ahead of time and timed; lives in a worker."""

import contextlib
import functools
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.memory import high_water_bytes, reset_high_water, resident_bytes
from benchmarks.speed.cases import Case
from benchmarks.speed.inputs import RECOMMENDED, SEED, Files, read_params, setting_of
from benchmarks.speed.plain import plain_convolutions
from ddim_jax.checkpoints.torch_weights import to_torch
from ddim_jax.data import Augmentation
from ddim_jax.diffusion import DiffusionProcess, encode
from ddim_jax.inference.batches import in_parts
from ddim_jax.inference.segmentation import sample_images
from ddim_jax.models import Network, create_model
from ddim_jax.runtime import allocator
from ddim_jax.sampling_options import SamplingOptions
from ddim_jax.training.optimiser import create_optimiser
from ddim_jax.training.sharding import data_mesh, global_batch, replicated
from ddim_jax.training.state import TrainState
from ddim_jax.training.step import make_train_step
from ddim_jax.training.step_options import StepOptions

_TRACED_WITH = {"ours": contextlib.nullcontext, "xla_plain": plain_convolutions}


class JaxSide:
    """One case on one of this package's sides, "ours" or "xla_plain".

    On a GPU "float32" is without TensorFloat-32 (precision "highest"), "tf32" is JAX's default. In bfloat16 the weights
    are float32 and the arithmetic is not, as the package does it.
    """

    def __init__(self, case: Case, files: Files, side: str):
        if case.dtype == "float32":
            jax.config.update("jax_default_matmul_precision", "highest")
        allocator.keep_freed_memory()  # as the commands do
        # A folder of compiled programs, if the environment names one, would make the compile times false.
        jax.config.update("jax_enable_compilation_cache", False)
        self._device = jax.devices()[0]
        self._setting = setting_of(case.model)
        self._process = DiffusionProcess.create(**self._setting.diffusion)
        jnp.zeros(1).block_until_ready()  # a first operation, as on PyTorch's side: it loads what compiles
        self._libraries = resident_bytes()
        self._case, self._side = case, side
        dtype = "bfloat16" if case.dtype == "bfloat16" else "float32"
        self._model = create_model(case.model, **case.overrides, dtype=dtype)
        self._params = read_params(self._model, files, self._setting.names)
        with np.load(files.inputs) as stored:
            self._inputs = dict(stored)
        self._once: Callable[[], Any] | None = None

    def compile(self) -> float:
        """Seconds from the Python functions to a compiled program, without any cache; the program is kept."""
        prepare = {"forward": self._forward, "train_step": self._train_step, "segment": self._segment}
        function, arguments, use = prepare[self._case.kind]()
        began = time.perf_counter()
        with _TRACED_WITH[self._side]():
            lowered = function.lower(*arguments)
        program = lowered.compile()
        seconds = time.perf_counter() - began
        self._once = use(program)
        return seconds

    def first(self) -> tuple[dict[str, np.ndarray], float]:
        """The output of the first call, to be compared with the other sides, channels last; and its seconds."""
        began = time.perf_counter()
        output = jax.block_until_ready(self._once())
        seconds = time.perf_counter() - began
        if self._case.kind != "train_step":
            return {"output": np.asarray(output)}, seconds
        return {**{name: np.asarray(value) for name, value in output.items()}, **self._changes()}, seconds

    def run(self, calls: int) -> float:
        """Mean seconds of a call, of `calls` started one after the other and waited for together."""
        began = time.perf_counter()
        for _ in range(calls):
            output = self._once()
        jax.block_until_ready(output)
        return (time.perf_counter() - began) / calls

    def watch_memory(self) -> None:
        """From here on counts what `peak_bytes` tells, where that can be set back."""
        reset_high_water()

    def peak_bytes(self) -> int:
        """CPU: most resident since `watch_memory`, less the libraries. GPU: most allocated since the start."""
        if self._device.platform == "cpu":
            return high_water_bytes() - self._libraries
        return self._device.memory_stats()["peak_bytes_in_use"]

    def _apply(self, params, *inputs):
        return self._model.apply({"params": params}, *inputs)

    def _forward(self):
        self._params = jax.device_put(self._params, self._device)
        inputs = jax.device_put([self._inputs[name] for name in ("noisy_mask", "image", "t")], self._device)
        arguments = (self._params, *inputs)
        return jax.jit(self._apply), arguments, lambda program: lambda: program(*arguments)

    def _segment(self):
        if self._case.model == RECOMMENDED:
            return self._segment_pictures()
        process, samples = self._process, self._case.batch
        options, network = SamplingOptions(self._case.steps, samples), Network(self._model)

        def segment(params, image, noise):
            encoded = encode(network, params, image)
            images = jax.tree.map(lambda part: jnp.repeat(part, samples, axis=0), encoded)
            return process.sample(network, params, images, noise, options)

        self._params = jax.device_put(self._params, self._device)
        inputs = jax.device_put([self._inputs[name] for name in ("image", "noise")], self._device)
        arguments = (self._params, *inputs)
        return jax.jit(segment), arguments, lambda program: lambda: program(*arguments)

    def _segment_pictures(self):
        """Segments as `ddim_jax.inference.Segmenter` does, noise included: on a CPU each processor its own images."""
        count, images = self._case.pictures, self._inputs["image"]
        options = SamplingOptions(self._case.steps, self._case.batch // count, flips=True).program()
        how = {"options": options, "in_turn": self._device.platform == "cpu"}
        sample = functools.partial(sample_images, self._process, Network(self._model), **how)
        params, seed = jax.device_put((self._params, np.uint32(SEED)), self._device)
        parts = [
            (params, jax.device_put(images[part], self._device), seed, np.array(part, np.uint32))
            for part in in_parts(range(count), count, self._device)
        ]
        threads = ThreadPoolExecutor(len(parts))

        def use(program):
            if len(parts) == 1:
                return lambda: program(*parts[0])
            each = functools.partial(threads.map, lambda part: jax.block_until_ready(program(*part)), parts)
            return lambda: np.concatenate(list(each()))[:count]

        return jax.jit(sample), parts[0], use

    def _train_step(self):
        mesh = data_mesh(self._case.batch, [self._device])
        setting = self._setting
        rate = optax.constant_schedule(setting.learning_rate)
        optimiser = create_optimiser(rate, gradient_clip=setting.gradient_clip)

        def begin(params):
            return TrainState(
                step=jnp.zeros((), jnp.int32),
                params=params,
                ema_params=jax.tree.map(jnp.copy, params),
                opt_state=optimiser.init(params),
            )

        # One program, as training makes its state: one for each shape of the arrays stays in memory, code and all.
        self._state = jax.jit(begin)(jax.device_put(self._params, replicated(mesh)))
        self._params = None  # the step overwrites the state it is given
        self._watched = self._watch(self._state.params)
        batch = global_batch(mesh, {name: self._inputs[name] for name in ("image", "mask")})
        options = StepOptions(seed=SEED, ema_decay=setting.ema_decay, augmentation=Augmentation())
        step = make_train_step(self._model, self._process, optimiser, mesh, options)

        def use(program):
            def once():
                self._state, metrics = program(self._state, batch)
                return metrics

            return once

        return step, (self._state, batch), use

    def _changes(self) -> dict[str, np.ndarray]:
        """By how much the step changed some of the weights, and of their averages."""
        changes = {}
        for kind, tree in (("update", self._state.params), ("ema_update", self._state.ema_params)):
            changes |= {f"{kind} {name}": array - self._watched[name] for name, array in self._watch(tree).items()}
        return changes

    def _watch(self, params) -> dict[str, np.ndarray]:
        named = to_torch(params, self._setting.names)
        return {name: named[name].copy() for name in self._setting.watched}
