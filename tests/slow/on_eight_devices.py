"""Run by test_devices.py in a process of its own, which has eight simulated devices."""

import sys
from pathlib import Path

import jax
import numpy as np
from revealed import collectives, drawn, pictures
from tiny_runs import tiny_config, without_dropout

from ddim_jax.training import train

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    assert len(jax.devices()) == 8
    np.savez(folder / "drawn.npz", **drawn(*pictures(), devices=jax.devices(), seed=5, step=7))
    (folder / "collectives").write_text(" ".join(collectives(*pictures(), devices=jax.devices(), seed=5, step=7)))
    train(tiny_config(steps=12, checkpoint_every=100), folder / "run")
    train(without_dropout(accumulate=2), folder / "shares")
