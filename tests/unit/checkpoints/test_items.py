"""A step that declares far more than it holds."""

import json

import numpy as np
import pytest
import tensorstore

from ddim_jax.checkpoints import CheckpointStore, items
from ddim_jax.checkpoints.manifest import write_manifest
from ddim_jax.runtime.errors import CheckpointError


@pytest.fixture
def store(tmp_path):
    store = CheckpointStore(tmp_path)
    weights = {"w": np.ones((8, 8), np.float32), "b": np.float32(2.0), "n": 3.0}
    store.save(1, state={"step": np.int32(1)}, ema_params=weights, metadata={})
    return store


def declare(store, **fields):
    """Changes what the array "w" says of itself, with a manifest that agrees."""
    folder = store.directory / "1/ema_params"
    files = tensorstore.KvStore.open({"driver": "ocdbt", "base": f"file://{folder}/"}).result()
    about = json.loads(files.read("w/.zarray").result().value)
    files.write("w/.zarray", json.dumps(about | fields).encode()).result()
    write_manifest(folder.parent)


@pytest.mark.parametrize("fields", [{"shape": [2**20, 2**19]}, {"chunks": [2**20, 2**19]}])
def test_terabytes_that_a_few_bytes_declare_are_not_allocated(store, fields):
    declare(store, **fields)
    expected = rf"1/ema_params: its [0-9,]+ bytes say .* hold {2**41 + 12:,} bytes of weights, most of them in w; "
    with pytest.raises(CheckpointError, match=expected):
        store.restore_params("latest")
    with pytest.raises(CheckpointError, match=expected):
        store.restore({"step": np.int32(0)})


def test_weights_may_be_a_hundred_times_as_large_as_their_files(tmp_path, monkeypatch):
    """4 MB of zeros lie in a few hundred bytes; of random numbers, in hardly less than 4 MB."""
    monkeypatch.setattr(items, "SMALL", 0)
    store = CheckpointStore(tmp_path)
    rng = np.random.default_rng(0)
    for step, weights in enumerate((np.zeros((1000, 1000)), rng.normal(size=(1000, 1000)))):
        params = {"w": weights.astype(np.float32)}
        store.save(step, state={"step": np.int32(step)}, ema_params=params, metadata={})
    with pytest.raises(CheckpointError, match="hold 4,000,000 bytes of weights, most of them in w"):
        store.restore_params(0)
    np.testing.assert_array_equal(store.restore_params(1)[1]["w"], weights.astype(np.float32))
    monkeypatch.setattr(items, "SMALL", 2**22)
    np.testing.assert_array_equal(store.restore_params(0)[1]["w"], np.zeros((1000, 1000), np.float32))
