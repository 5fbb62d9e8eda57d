"""What Table 1 has to know from JAX before its first run; lives in a worker, so that the GPU is free for the runs."""

from collections.abc import Mapping
from typing import Any

import jax

from benchmarks.ceilings import describe_host
from ddim_jax.models import create_model, example_inputs
from ddim_jax.training.state import parameter_count


def device_in_words(device: jax.Device, threads: int) -> str:
    """The GPU, or the processor and how many of its threads are used."""
    return f"{describe_host(threads)['cpu']}, {threads} threads" if device.platform == "cpu" else device.device_kind


class Machine:
    """The device, and the networks by their numbers of parameters."""

    def device(self, threads: int) -> str:
        """The GPU, or the processor and how many of its threads are used."""
        return device_in_words(jax.devices()[0], threads)

    def parameters(self, about: Mapping[str, Any], size: int) -> int:
        """Weights of the network that a config's `model` section describes."""
        model = create_model(about["name"], preset=about["preset"], **about["overrides"])
        shapes = jax.eval_shape(model.init, jax.random.key(0), *example_inputs(model, size))
        return parameter_count(shapes["params"])
