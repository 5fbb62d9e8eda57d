"""The folder of a run: what it must not lose, and what a refusal must not touch."""

import errno
import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from tiny_runs import unet_config

from ddim_jax.runtime.errors import CheckpointError, ConfigError, InputError
from ddim_jax.training import loop, run_parts, train
from ddim_jax.training.logging import Reporter
from ddim_jax.training.one_training import LOCK, OneTraining, check_files


def tree(folder: Path):
    """Everything below a folder, links as links: content and time of change."""
    found = {}
    for path in sorted(folder.rglob("*")):
        about = path.lstat()
        content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        found[str(path.relative_to(folder))] = (content, about.st_mtime_ns, about.st_mode)
    return found


@pytest.fixture
def run(plain, tmp_path):
    """A finished run of 12 steps, of the test's own."""
    return Path(shutil.copytree(plain, tmp_path / "run", symlinks=True))


@pytest.mark.parametrize("name", ["run[seed=1]", "a*/run", "what?"])
def test_a_workdir_that_would_be_taken_for_a_pattern_is_refused_at_the_start(name, tmp_path):
    with pytest.raises(InputError, match=r"checkpoints: checkpoints cannot be kept in a path with .*--workdir"):
        train(unet_config(), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_away_begins_nothing_and_wipes_nothing(run, tmp_path):
    disk = (run / "checkpoints").rename(tmp_path / "disk")
    (run / "checkpoints").symlink_to(disk)
    disk.rename(tmp_path / "away")
    before = tree(run)
    with pytest.raises(CheckpointError, match=rf"checkpoints: a link to {disk}, cannot be opened"):
        train(unet_config(steps=20), run)
    (run / "checkpoints").unlink()
    for empty in (lambda: None, (run / "checkpoints").mkdir):  # and the empty place where a disk belongs
        empty()
        with pytest.raises(CheckpointError, match=r"there is no checkpoint, but the run had saved step 12\. Is a disk"):
            train(unet_config(steps=20), run)
    (run / "checkpoints").rmdir()
    (run / "checkpoints").symlink_to(disk)
    assert {name: about[0] for name, about in tree(run).items()} == {name: about[0] for name, about in before.items()}


def damaged(run):
    for manifest in run.glob("checkpoints/*/manifest.json"):
        manifest.write_text("{}")


def pipe(name):
    def make(run):
        (run / name).unlink()
        os.mkfifo(run / name)

    return make


def dangling(name):
    def make(run):
        (run / name).rename(run.parent / "gone")
        (run / name).symlink_to(run.parent / "elsewhere")

    return make


REFUSED = {
    "another seed": (None, {"seed": 4}, "seed: 3 there, 4 now"),
    "another rate": (None, {"learning_rate": 0.5}, "train.learning_rate"),
    "other images": (None, {"counts": {"train": 13, "val": 5, "test": 1}}, "data.counts.train: 12 there, 13 now"),
    "a shorter warm-up": (None, {"warmup_steps": 1}, "train.warmup_steps"),
    "a field that cannot work": (None, {"batch_size": 0}, "train.batch_size is 0"),
    "damage": (damaged, {}, "No intact checkpoint is left"),
    "a pipe for numbers": (pipe("metrics.jsonl"), {}, "metrics.jsonl: expected a file; remove what is there"),
    "a pipe for the digests": (pipe("pixels.csv"), {}, "pixels.csv: expected a file"),
    "a pipe for the config": (pipe("config.json"), {}, "config.json: expected a file"),
    "a file for events": (
        lambda run: (shutil.rmtree(run / "tensorboard"), (run / "tensorboard").touch()),
        {},
        "folder",
    ),
    "numbers on a disk that is away": (dangling("metrics.jsonl"), {}, "metrics.jsonl: a link to .*elsewhere, which is"),
    "events on a disk that is away": (dangling("tensorboard"), {}, "tensorboard: a link to .*elsewhere, which is not"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_resume_that_is_refused_writes_nothing(kind, run):
    prepare, fields, message = REFUSED[kind]
    if prepare:
        prepare(run)
    before = tree(run)
    with pytest.raises(InputError, match=message):
        train(unet_config(**{"steps": 20, **fields}), run)
    assert tree(run) == before


def test_other_pictures_of_the_same_number_write_nothing(run, monkeypatch):
    monkeypatch.setattr(run_parts, "ids_digest", lambda source: "of others")
    before = tree(run)
    with pytest.raises(ConfigError, match="the names of training or validation images differ"):
        train(unet_config(steps=20), run)
    assert tree(run) == before


def test_lines_that_cannot_be_read_are_left_out_counted_and_kept_aside(tmp_path, capsys):
    good = [b'{"step": 1}\n', b'{"step": 2}\n']
    odd = (b"\xff\xfe", b"[1]", b'{"step": "4"}', b'{"step": null}', b"null", b'{"loss": 1}', b"[" * 9999, b"\0" * 99)
    content = b"".join([good[0], *(line + b"\n" for line in odd), b"\n", good[1], b'{"step": 9}\n{"step": 1'])
    (tmp_path / "metrics.jsonl").write_bytes(content)
    with Reporter(tmp_path, steps=9, start_step=2, batch_size=1):
        assert (tmp_path / "metrics.jsonl").read_bytes() == b"".join(good)
    assert (tmp_path / "metrics.jsonl.damaged").read_bytes() == content
    expected = "metrics.jsonl: 8 lines cannot be read and are left out, line 2, 3, 4, 5, 6 and others; the file as"
    assert expected in capsys.readouterr().err


class Unread:
    """A stream whose reader has left, or whose disk is full."""

    def __init__(self, number):
        self.number = number

    def write(self, text):
        raise OSError(self.number, os.strerror(self.number))

    def flush(self):
        self.write("")

    def isatty(self):
        return False


@pytest.mark.parametrize("number", [errno.EPIPE, errno.ENOSPC, errno.EIO, errno.EBADF])
def test_a_reader_that_left_is_no_end_of_a_run(number, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.stderr", Unread(number))
    with Reporter(tmp_path, steps=9, start_step=0, batch_size=1) as report:
        for step in (1, 2):
            report.training(step, {"loss": 1.0})
            report.message("said to nobody")
    assert [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == [1, 2]


def test_the_folder_remembers_what_was_saved_last(tmp_path):
    with OneTraining(tmp_path) as one:
        assert one.last_saved == 0
        one.hold()
        assert one.last_saved == 0
        one.saved(10**9)
        one.saved(12)
        assert one.last_saved == 12
    assert (tmp_path / LOCK).read_bytes() == b"                 12\n"
    (tmp_path / LOCK).write_bytes(b"\xff")
    with OneTraining(tmp_path) as one:
        one.hold_if_known()
        assert one.last_saved == 0
        one.check_place()
        (tmp_path / LOCK).unlink()
        with pytest.raises(InputError, match="the folder was moved, replaced or taken away"):
            one.check_place()
        (tmp_path / LOCK).touch()
    with OneTraining(tmp_path) as one:
        one.hold()
        (tmp_path / "checkpoints").symlink_to(tmp_path / "disk")
        with pytest.raises(CheckpointError, match=f"a link to {tmp_path}/disk, cannot be opened"):
            one.check_place()


def test_a_folder_of_checkpoints_that_may_not_be_written_to_is_refused_at_the_start(tmp_path, monkeypatch):
    (tmp_path / LOCK).touch()
    (tmp_path / "checkpoints").mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "checkpoints")
    with pytest.raises(InputError, match=r"checkpoints: the folder .*: .*/checkpoints may not be written to; c"):
        train(unet_config(), tmp_path)


def test_a_disk_without_room_for_a_checkpoint_is_told_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=1000))
    monkeypatch.setattr(loop, "prepare", None)
    with pytest.raises(OSError, match=r"No space left on device: a checkpoint takes [\d,]{6,} bytes, 1,000 are free"):
        train(unet_config(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["config.json", "pixels.csv", "folds.csv", "metrics.jsonl", "checkpoints/100/params"])
def test_files_that_no_training_wrote_are_refused(name, tmp_path):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text('{"mine": 1}')
    before = tree(tmp_path)
    with pytest.raises(
        InputError, match=rf"{tmp_path / name.partition('/')[0]} would be replaced or joined, and no tr"
    ):
        train(unet_config(), tmp_path)
    assert tree(tmp_path) == before


def test_a_run_that_was_killed_before_its_first_checkpoint_or_copied_goes_on(run):
    (run / LOCK).unlink()
    check_files(run)  # a copy without hidden files
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(InputError, match=r"config\.json would be replaced"):
        check_files(run)
    (run / LOCK).touch()
    check_files(run)


def test_links_to_what_is_there_are_files_of_a_run(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / LOCK).touch()
    for name in ("metrics.jsonl", "config.json"):
        (tmp_path / name).write_text("")
        (tmp_path / "run" / name).symlink_to(tmp_path / name)
    check_files(tmp_path / "run")
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"step": 3}\n')
    with Reporter(tmp_path / "run", steps=9, start_step=2, batch_size=1) as report:
        report.training(4, {"loss": 1.0})
    assert (tmp_path / "run/metrics.jsonl").is_symlink()
    assert [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == [1, 4]
