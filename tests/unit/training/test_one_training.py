"""A folder that a training is at work in is refused to another, and to nobody else."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import filelock
import pytest
from tiny_runs import unet_config

from ddim_jax.checkpoints import CheckpointStore
from ddim_jax.inference import Segmenter
from ddim_jax.runtime.errors import CheckpointError, InUseError
from ddim_jax.training import one_training, setup, train
from ddim_jax.training.one_training import LOCK, OneTraining

HOLDS = (
    "import filelock, sys; f = open(sys.argv[1], 'w'); filelock.lock_descriptor(f.fileno()); print(); sys.stdin.read()"
)


@pytest.fixture
def held(tmp_path):
    """A run's folder with the lock of another process, and that process."""
    command = [sys.executable, "-c", HOLDS, str(tmp_path / LOCK)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        yield tmp_path, other
        other.kill()


def listing(folder: Path):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_a_second_training_is_refused_and_changes_nothing(held):
    workdir, _ = held
    (workdir / "metrics.jsonl").write_text('{"step": 99}\n')
    before = listing(workdir)
    with pytest.raises(
        InUseError, match=rf"^{workdir}: another training is at work there \({LOCK} .*--workdir"
    ) as error:
        train(unet_config(), workdir)
    assert error.value.exit_status == 75
    assert listing(workdir) == before


def test_an_empty_place_of_the_checkpoints_is_no_place_to_save_the_next(tmp_path):
    with OneTraining(tmp_path) as one:
        one.hold()
        one.check_place()
        one.saved(10)
        (tmp_path / "checkpoints").mkdir()  # where a disk was mounted
        with pytest.raises(CheckpointError, match=r"checkpoints: .*step 10, which was saved, is not there"):
            one.check_place()
        (tmp_path / "checkpoints/10").mkdir()
        one.check_place()


def test_what_a_killed_training_held_is_free(held):
    workdir, other = held
    other.send_signal(signal.SIGKILL)
    other.wait()
    with OneTraining(workdir) as one:
        one.hold()
    with OneTraining(workdir) as again:
        again.hold()


def test_the_folder_is_held_from_the_first_file_to_the_last(tmp_path, monkeypatch):
    """Asked where config.json is written and where each checkpoint is: nobody else gets the folder then."""
    asked = []

    def refused():
        with OneTraining(tmp_path) as other, pytest.raises(InUseError):
            other.hold_if_known()
        asked.append(True)

    write, save = one_training.write_json, CheckpointStore.save
    monkeypatch.setattr(one_training, "write_json", lambda *arguments: (refused(), write(*arguments)))
    monkeypatch.setattr(CheckpointStore, "save", lambda *arguments, **all: (refused(), save(*arguments, **all))[1])
    assert train(unet_config(steps=4), tmp_path) == 4
    assert len(asked) == 2
    with OneTraining(tmp_path) as other:
        other.hold()
        assert Segmenter.load(tmp_path).step == 4  # who reads a run that is being trained


def test_one_that_began_and_ended_meanwhile_is_not_written_over(plain, tmp_path, monkeypatch):
    """Before the folder is there, nothing holds it: another training makes it while this one looks at its images."""
    workdir = tmp_path / "run"

    read = setup.read_pictures

    def look(*arguments, **options):
        workdir.mkdir()
        (workdir / "checkpoints").symlink_to(plain / "checkpoints")
        (workdir / "config.json").write_text("the other's")
        return read(*arguments, **options)

    monkeypatch.setattr(setup, "read_pictures", look)
    with pytest.raises(InUseError, match="another training was at work there; start the same command again"):
        train(unet_config(steps=12), workdir)
    assert (workdir / "config.json").read_text() == "the other's"


def test_a_file_system_without_locks_keeps_nobody_out(tmp_path, monkeypatch):
    def none(*arguments, **options):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(filelock, "lock_descriptor", none)
    with OneTraining(tmp_path) as one, OneTraining(tmp_path) as other:
        one.hold()
        other.hold()


def test_only_process_0_asks(held, monkeypatch):
    monkeypatch.setattr("jax.process_index", lambda: 1)
    with OneTraining(held[0]) as one:
        one.hold()
