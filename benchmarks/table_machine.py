"""What Table 1 has to know from JAX before its first run; lives in a worker, so that the GPU is free for the runs."""

from collections.abc import Mapping
from importlib import metadata
from typing import Any

import jax

from benchmarks.ceilings import describe_host
from ddim_jax.models import create_model, example_inputs
from ddim_jax.ops import cpu_kernels
from ddim_jax.training.state import parameter_count


def device_in_words(device: jax.Device, threads: int) -> str:
    """The GPU, or the processor and how many of its threads are used."""
    return f"{describe_host(threads)['cpu']}, {threads} threads" if device.platform == "cpu" else device.device_kind


class Machine:
    """The device, and the networks by their numbers of parameters."""

    def about(self, threads: int) -> dict[str, Any]:
        """The device in words, its kind ("cpu", "gpu"), whether the CPU kernels are built, the version of JAX."""
        device = jax.devices()[0]
        return {
            "device": device_in_words(device, threads),
            "platform": device.platform,
            "compiled_cpu_kernels": cpu_kernels.available(),
            "jax": metadata.version("jax"),
        }

    def parameters(self, about: Mapping[str, Any], size: int) -> int:
        """Weights of the network that a config's `model` section describes."""
        model = create_model(about["name"], preset=about["preset"], **about["overrides"])
        shapes = jax.eval_shape(model.init, jax.random.key(0), *example_inputs(model, size))
        return parameter_count(shapes["params"])
