"""The machine and the state of the code that a measurement is of; every result file has both."""

import os
import platform
import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from ddim_jax.labels import Labels
from ddim_jax.models import create_model, param_shapes
from ddim_jax.ops import cpu_kernels
from ddim_jax.runtime.values import quantity
from ddim_jax.training.state import parameter_count

ROOT = Path(__file__).parents[1]
_WRITTEN = ("docs", "benchmarks/results")  # result files, and the pages with their tables


def describe_host(threads: int) -> dict[str, Any]:
    """Processor, threads, memory and system."""
    names = [value for name, value in _cpuinfo() if name == "model name"]
    memory = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal"))
    return {
        "cpu": names[0] if names else platform.machine(),
        "threads": threads,
        "memory_gib": round(int(memory.split()[1]) / 2**20, 1),
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
    }


def provenance() -> dict[str, str | None]:
    """The vectors of the processor and the commit of the code, for every result file.

    Returns:
      isa: "avx512", "avx2" or "other", since processors of one name in a cloud differ; commit: of the repository, with
      "+" where files differ from it that measuring does not write itself, None outside of a repository.
    """
    flags = next((value.split() for name, value in _cpuinfo() if name == "flags"), [])
    isa = "avx512" if "avx512f" in flags else "avx2" if "avx2" in flags else "other"
    return {"isa": isa, "commit": commit()}


def commit() -> str | None:
    """The abbreviated commit of the code, as `provenance` gives it."""
    try:
        head = _git("rev-parse", "--short", "HEAD")
        changed = _git("diff", "--name-only", "HEAD", "--", ".", *(f":(exclude){folder}" for folder in _WRITTEN))
    except FileNotFoundError:
        return None
    return f"{head}+" if head and changed else head or None


def _git(*arguments: str) -> str:
    """The output of a command of git in the repository, "" where it fails."""
    return subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True).stdout.strip()


def device_in_words(device: jax.Device, threads: int) -> str:
    """The GPU, or the processor and how many of its threads are used."""
    if device.platform != "cpu":
        return device.device_kind
    return f"{describe_host(threads)['cpu']}, {quantity(threads, 'thread')}"


def measured_on() -> dict[str, str | None]:
    """The device of this process in words, and `provenance`."""
    return {"device": device_in_words(jax.devices()[0], len(os.sched_getaffinity(0))), **provenance()}


def network_of(config: Mapping[str, Any]) -> Any:
    """The network of a resolved config."""
    about, channels = config["model"], Labels.from_config(config["data"]).channels
    return create_model(about["name"], preset=about["preset"], mask_channels=channels, **about["overrides"])


def parameters(config: Mapping[str, Any]) -> int:
    """The number of parameters of a resolved config's network."""
    return parameter_count(param_shapes(network_of(config), config["data"]["image_size"]))


class Machine:
    """The device, and the networks by their numbers of parameters; lives in a worker, so that a GPU stays free."""

    def about(self, threads: int) -> dict[str, Any]:
        """The device in words, its kind ("cpu", "gpu"), whether the CPU kernels are built, the version of JAX."""
        device = jax.devices()[0]
        return {
            "device": device_in_words(device, threads),
            "platform": device.platform,
            "compiled_cpu_kernels": cpu_kernels.available(),
            "jax": metadata.version("jax"),
        }

    def parameters(self, config: Mapping[str, Any]) -> int:
        """The answer of `parameters`."""
        return parameters(config)


def _cpuinfo() -> list[tuple[str, str]]:
    lines = (line.partition(":") for line in Path("/proc/cpuinfo").read_text().splitlines())
    return [(name.strip(), value.strip()) for name, _, value in lines]
