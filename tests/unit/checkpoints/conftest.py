import shutil

import pytest
from checkpoint_state import fill

from ddim_jax.checkpoints import CheckpointStore


@pytest.fixture(scope="session")
def saved(tmp_path_factory):
    """Written once; tests get a copy."""
    directory = tmp_path_factory.mktemp("saved") / "checkpoints"
    fill(CheckpointStore(directory, keep_latest=2), {10: 0.9, 20: 0.5, 30: 0.6})
    return directory


@pytest.fixture
def store(saved, tmp_path):
    """Steps 10 (best), 20 and 30 in a folder of the test's own."""
    return CheckpointStore(shutil.copytree(saved, tmp_path / "checkpoints"))
