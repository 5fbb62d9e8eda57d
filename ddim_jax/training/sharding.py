"""Data parallelism: one mesh over all devices, the batch split along it, everything else on every device."""

from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from ddim_jax.runtime.errors import ConfigError

_FEWER = "show fewer devices to the program (on GPUs CUDA_VISIBLE_DEVICES)"


def data_mesh(batch_size: int, devices: list[jax.Device] | None = None, accumulate: int = 1) -> Mesh:
    """A mesh with the single axis `data` over `devices` (all of them by default).

    Raises:
      ConfigError: the batch, in `accumulate` parts, cannot be split evenly over the devices.
    """
    devices = jax.devices() if devices is None else devices
    if batch_size < 1 or batch_size % len(devices):
        raise ConfigError(
            f"train.batch_size is {batch_size}; expected a positive multiple of {len(devices)}, the number of devices; "
            f"{_FEWER}"
        )
    if batch_size % (len(devices) * accumulate):
        raise ConfigError(
            f"train.batch_size is {batch_size}; expected a multiple of {len(devices) * accumulate}, the number of "
            f"devices ({len(devices)}) times train.accumulate ({accumulate}): lower train.accumulate, or {_FEWER}"
        )
    # jax.make_mesh defaults to explicit axes, which want a sharding for every operation.
    return jax.make_mesh((len(devices),), ("data",), axis_types=(AxisType.Auto,), devices=devices)


def replicated(mesh: Mesh) -> NamedSharding:
    """The whole array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def split_batch(mesh: Mesh) -> NamedSharding:
    """The first axis split over the devices."""
    return NamedSharding(mesh, PartitionSpec("data"))


def place(mesh: Mesh, tree: Any) -> Any:
    """Puts arrays that every process holds alike on all devices of the mesh; what is there already stays."""
    everywhere = replicated(mesh)
    if everywhere.is_fully_addressable:
        return jax.device_put(tree, everywhere)

    def one(leaf: Any) -> jax.Array:
        if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
            return leaf
        # jax.device_put would send every array to the other processes to compare it.
        value = np.asarray(leaf)
        return jax.make_array_from_callback(value.shape, everywhere, lambda index: value[index])

    return jax.tree.map(one, tree)


def global_batch(mesh: Mesh, local: dict[str, np.ndarray]) -> dict[str, jax.Array]:
    """Puts this process's share of a batch on its devices, as part of the global batch."""
    sharding = split_batch(mesh)
    return {name: jax.make_array_from_process_local_data(sharding, array) for name, array in local.items()}
