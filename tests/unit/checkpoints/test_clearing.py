"""Step folders that cannot be taken away, as over NFS while another machine reads them: `.nfs...` stays in them."""

import errno
import os
import shutil

import pytest
from checkpoint_state import fill

from ddim_jax.checkpoints import CheckpointStore

remove_tree = shutil.rmtree


@pytest.fixture
def read_elsewhere(monkeypatch):
    """A function after which a folder loses its contents, and cannot be removed."""

    def begin(step, number=errno.ENOTEMPTY):
        def busy(folder, **options):
            if folder.name != str(step):
                return remove_tree(folder, **options)
            remove_tree(folder / "state", ignore_errors=True)
            (folder / ".nfs0001").touch()
            raise OSError(number, os.strerror(number), str(folder))

        monkeypatch.setattr("ddim_jax.checkpoints.folders.shutil.rmtree", busy)

    return begin


@pytest.mark.parametrize("number", [errno.ENOTEMPTY, errno.EBUSY, errno.ESTALE, errno.EACCES])
def test_an_old_step_that_stays_does_not_end_the_run(store, read_elsewhere, number, monkeypatch, caplog):
    read_elsewhere(20, number)
    fill(store, {40: 0.1})
    assert store.steps() == [10, 30, 40] and (store.directory / "20/.nfs0001").exists()
    left = f"{store.directory / '20'}: cannot be taken away ({os.strerror(number)}); the next save tries again"
    assert left in caplog.text
    caplog.clear()
    fill(CheckpointStore(store.directory), {50: 0.1})  # after a restart, still read
    assert left in caplog.text and store.steps() == [10, 40, 50]
    monkeypatch.undo()
    fill(store, {60: 0.1})
    assert {path.name for path in store.directory.iterdir()} == {"10", "50", "60"}


def test_a_manifest_that_cannot_be_removed_leaves_the_step(store, monkeypatch, caplog):
    def stale(path):
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(path))

    with monkeypatch.context() as patch:
        patch.setattr("ddim_jax.checkpoints.store.remove", stale)
        fill(store, {40: 0.1})
    assert store.steps() == [10, 20, 30, 40] and "Stale file handle" in caplog.text
    fill(store, {50: 0.1})
    assert store.steps() == [10, 40, 50]


def test_what_is_in_the_place_of_the_new_step_is_an_error(store, read_elsewhere):
    (store.directory / "30/manifest.json").unlink()
    read_elsewhere(30)
    with pytest.raises(OSError, match="not empty") as error:
        fill(CheckpointStore(store.directory), {30: 0.7})
    assert error.value.filename == str(store.directory / "30")
    assert store.steps() == [10, 20]
