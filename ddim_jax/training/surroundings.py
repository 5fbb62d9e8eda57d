"""What the bits of a run depend on besides its config and its data: recorded with it, compared when it goes on."""

import os
import platform
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import jax
from absl import logging

from ddim_jax import __version__
from ddim_jax.ops.cpu_kernels import available, library
from ddim_jax.runtime.cache_folder import processor_digest

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")
_TOLD = 120  # characters of a value in a message
_SETTINGS = (
    "jax_default_prng_impl",
    "jax_threefry_partitionable",
    "jax_enable_x64",
    "jax_default_matmul_precision",
    "jax_disable_most_optimizations",
)


def surroundings() -> dict[str, str]:
    """Versions, devices, the processor, compiled kernels, flags of XLA and settings of JAX, each as a text."""
    devices = jax.devices()
    on_cpu = devices[0].platform == "cpu"
    return {
        "ddim_jax": __version__,
        **{name: metadata.version(name) for name in _PACKAGES},
        "devices": f"{len(devices)} x {devices[0].device_kind}",
        "processor": f"{platform.machine()} {processor_digest()}" if on_cpu else "",
        "compiled kernels": library.name() if on_cpu and available() else "none",
        "XLA_FLAGS": " ".join(sorted(os.environ.get("XLA_FLAGS", "").split())),
        **{name: str(getattr(jax.config, name, "")) for name in _SETTINGS},
    }


def warn_of_changes(saved: Any, now: Mapping[str, str], step: int) -> None:
    """Names in a warning what differs from what a checkpoint says of the surroundings in which it was saved."""
    names = [name for name in now if isinstance(saved, Mapping) and saved.get(name, now[name]) != now[name]]
    told = [f"{name}: {str(saved[name])[:_TOLD] or 'none'} there, {now[name][:_TOLD] or 'none'} now" for name in names]
    if told and jax.process_index() == 0:
        logging.warning(
            "goes on in other surroundings than those in which step %d was saved (%s): the weights will not be equal "
            "to the bit to those of a run that was never stopped",
            step,
            "; ".join(told),
        )
