"""Run by test_devices.py in a process of its own, which has eight simulated devices."""

import sys
from pathlib import Path

import jax
import numpy as np
from jax.sharding import PartitionSpec
from revealed import collectives, drawn, pictures
from tiny_runs import tiny_config, without_dropout

from ddim_jax.training import train
from ddim_jax.training.sharding import data_mesh, mean_over_devices


def means(count):
    """What each of `count` devices gets of the rows 0 .. count - 1 of `share`, float32 [count, 5]."""
    mesh = data_mesh(count, jax.devices()[:count])
    axis = PartitionSpec("data")
    mean = jax.shard_map(
        lambda values: mean_over_devices(mesh, values), mesh=mesh, in_specs=axis, out_specs=axis, check_vma=False
    )
    return np.asarray(jax.jit(mean)(share(count)))


def share(count):
    return np.random.default_rng(count).normal(size=(count, 5)).astype(np.float32)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    assert len(jax.devices()) == 8
    np.savez(folder / "drawn.npz", **drawn(*pictures(), devices=jax.devices(), seed=5, step=7))
    (folder / "collectives").write_text(" ".join(collectives(*pictures(), devices=jax.devices(), seed=5, step=7)))
    np.savez(folder / "means.npz", **{str(count): means(count) for count in (1, 2, 6, 8)})
    train(tiny_config(steps=12, checkpoint_every=100), folder / "run")
    train(without_dropout(accumulate=2), folder / "shares")
