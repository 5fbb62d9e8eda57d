import jax
import numpy as np
import pytest
from packed_parts import TERMS
from segmenters import config, tiny_params

from ddim_jax.checkpoints import CheckpointStore, packed
from ddim_jax.inference.packing import pack


def save_run(folder):
    about = config()
    about["data"] = about["data"] | {"root": "/home/somebody/patients", "cache_dir": "/home/somebody/.cache"}
    own = tiny_params(seed=10)[1]
    for step, dice, given in ((10, 0.9, own), (20, 0.8, jax.tree.map(np.zeros_like, own))):
        data = {"train_ids_sha256": "ab", "train_examples": 3, "trained_in": "/home/somebody"}
        metadata = {"config": about, "package_version": "0", "data": data}
        CheckpointStore(folder / "checkpoints").save(
            step, state={"step": step}, ema_params=given, metadata=metadata, metrics={"dice": dice}
        )
    return folder


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    return save_run(tmp_path_factory.mktemp("packed") / "run")


@pytest.fixture(scope="session")
def file(run):
    path = run.parent / "mine.safetensors"
    pack(run, path, note="twelve phantoms", terms=TERMS)
    return path


@pytest.fixture
def forged(file, tmp_path):
    """Makes a file anew, with its sums, from changed weights and metadata: somebody may mean to."""

    def make(params=None, **about):
        given = packed.read_packed(file)
        path = tmp_path / "bad.safetensors"
        metadata = given.metadata | {"config": given.metadata["config"] | about}
        packed.write_packed(path, params or given.params, step=10, metadata=metadata, note="", terms="")
        return path

    return make
