"""The results of an evaluation are those of one evaluation, whatever comes in between."""

import csv
import json
import os
import shutil
import tempfile
import threading
import time
from pathlib import Path

import pytest
from evaluation_fakes import MemorySource, hand_case

from ddim_jax.data import Example
from ddim_jax.evaluation import evaluate
from ddim_jax.evaluation import run as run_module
from ddim_jax.evaluation.staging import staged
from ddim_jax.runtime.errors import DataError, InputError

NAMES = ("a", "figures/b", "c")


def write(stage, text, names=NAMES):
    for name in names:
        (stage / name).parent.mkdir(exist_ok=True)
        (stage / name).write_text(text)


def there(folder):
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".lock"))
    return {path.relative_to(folder).as_posix(): path.read_text() for path in files}


def test_all_replace_those_of_before_and_others_stay(tmp_path):
    write(tmp_path, "old")
    write(tmp_path, "mine", ["figures/mine", "notes"])
    with staged(tmp_path, NAMES) as stage:
        write(stage, "new", NAMES[1:])
    assert there(tmp_path) == {"figures/b": "new", "c": "new", "figures/mine": "mine", "notes": "mine"}


@pytest.mark.parametrize("place", range(6))
def test_a_move_that_fails_leaves_all_as_it_was(tmp_path, monkeypatch, place):
    """Wherever it fails: three old files go and three new ones come."""
    write(tmp_path, "old")
    rename, done = os.rename, []

    def refusing(source, target):
        done.append(target)
        if len(done) == place + 1:
            raise PermissionError(1, "Operation not permitted", str(source))
        rename(source, target)

    monkeypatch.setattr(os, "rename", refusing)
    with pytest.raises(PermissionError), staged(tmp_path, NAMES) as stage:
        write(stage, "new")
    assert there(tmp_path) == dict.fromkeys(NAMES, "old")


def test_the_last_name_vouches_for_the_others_where_a_kill_comes_in_between(tmp_path, monkeypatch):
    write(tmp_path, "old")
    rename, seen = os.rename, []

    def watching(source, target):
        rename(source, target)
        now = {name: (tmp_path / name).read_text() for name in NAMES if (tmp_path / name).exists()}
        seen.append(now)
        if "c" in now:
            assert len(set(now.values())) == 1 and len(now) == 3

    monkeypatch.setattr(os, "rename", watching)
    with staged(tmp_path, NAMES) as stage:
        write(stage, "new")
    assert len(seen) == 6 and seen[-1] == dict.fromkeys(NAMES, "new")


def test_what_a_killed_evaluation_left_goes_after_a_day(tmp_path):
    for name, age in (("old", 25), ("young", 1)):
        (tmp_path / f".evaluation-{name}").mkdir()
        then = time.time() - 3600 * age
        os.utime(tmp_path / f".evaluation-{name}", (then, then))
    with staged(tmp_path, NAMES) as stage:
        write(stage, "new")
    assert sorted(path.name for path in tmp_path.glob(".evaluation-*")) == [".evaluation-young"]


def numbers(folder):
    metrics = json.loads((folder / "metrics.json").read_text())
    with open(folder / "per_image.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return metrics["split"], len(rows), metrics["images"], sorted(path.name for path in (folder / "figures").iterdir())


def test_two_evaluations_that_end_at_once_leave_one_of_both(tmp_path, monkeypatch):
    """Both have sampled; then they write at the same moment, many times."""
    barrier, write_json = threading.Barrier(2), run_module.write_json

    def together(*arguments):
        write_json(*arguments)
        barrier.wait(60)

    monkeypatch.setattr(run_module, "write_json", together)
    monkeypatch.setattr(run_module, "draw_figures", lambda *_: None)
    errors = []

    def one(split, count):
        segmenter, source = hand_case()
        try:
            evaluate(segmenter, MemorySource(source.examples[:count]), tmp_path, split=split)
        except Exception as error:
            errors.append(error)

    for _ in range(5):
        threads = [threading.Thread(target=one, args=given) for given in (("val", 2), ("test", 3))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        (tmp_path / "figures").mkdir(exist_ok=True)
        assert errors == [] and numbers(tmp_path) in [("val", 2, 2, []), ("test", 3, 3, [])]


def test_numbers_that_cannot_be_written_leave_those_of_before_with_their_figures(tmp_path, monkeypatch):
    segmenter, source = hand_case()
    evaluate(segmenter, source, tmp_path, split="val")
    before, rename = numbers(tmp_path), os.rename
    figures = {path.name: path.read_bytes() for path in (tmp_path / "figures").iterdir()}

    refused = []

    def rolling_back(old, new):
        if str(new) == str(tmp_path / "metrics.json") and not refused:
            refused.append(new)
            raise PermissionError(1, "Operation not permitted", str(new))
        rename(old, new)

    monkeypatch.setattr(os, "rename", rolling_back)
    with pytest.raises(PermissionError):
        evaluate(segmenter, MemorySource(source.examples[:2]), tmp_path, split="test")
    assert numbers(tmp_path) == before
    assert figures == {path.name: path.read_bytes() for path in (tmp_path / "figures").iterdir()}


def test_a_folder_in_the_place_of_a_file_is_found_before_anything_is_sampled(tmp_path):
    segmenter, source = hand_case()
    (tmp_path / "metrics.json").mkdir()
    (tmp_path / "metrics.json" / "mine").touch()
    with pytest.raises(InputError, match=r"metrics\.json is a folder; expected a file of an evaluation"):
        evaluate(segmenter, source, tmp_path, split="test")
    assert segmenter.calls == [] and (tmp_path / "metrics.json" / "mine").exists()


@pytest.mark.parametrize(
    "files",
    [
        {"metrics.json": '{"package": "other"}'},
        {"metrics.json": "[1]", "per_image.csv": "mine"},
        {"metrics.json": "no JSON", "figures/grid.png": "mine"},
        {"per_image.csv": "mine"},
        {"figures/worst.png": "mine"},
    ],
)
def test_files_that_no_evaluation_wrote_are_refused_before_anything_is_sampled(tmp_path, files):
    segmenter, source = hand_case()
    (tmp_path / "figures").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=r"(metrics.json|per_image.csv|worst.png).* would be replaced"):
        evaluate(segmenter, source, tmp_path, split="test", figures=False)
    assert segmenter.calls == [] and there(tmp_path) == files


def test_an_evaluation_killed_while_it_replaced_another_is_replaced(tmp_path):
    segmenter, source = hand_case()
    evaluate(segmenter, source, tmp_path, split="first", figures=False)
    (tmp_path / "metrics.json").unlink()  # goes first and comes last
    evaluate(segmenter, source, tmp_path, split="second", figures=False)
    assert json.loads((tmp_path / "metrics.json").read_text())["split"] == "second"


def test_figures_on_another_disk_are_found_before_anything_is_sampled(tmp_path):
    other = Path(tempfile.mkdtemp(dir="/dev/shm")) if Path("/dev/shm").is_dir() else tmp_path
    try:
        if other.stat().st_dev == tmp_path.stat().st_dev:
            pytest.skip("there is no other disk")
        segmenter, source = hand_case()
        (tmp_path / "figures").symlink_to(other)
        with pytest.raises(InputError, match=r"figures is on another disk than "):
            evaluate(segmenter, source, tmp_path, split="test")
        assert segmenter.calls == []
    finally:
        shutil.rmtree(other, ignore_errors=True)


def test_figures_that_cannot_be_drawn_do_not_cost_the_numbers(tmp_path, monkeypatch):
    segmenter, source = hand_case()
    evaluate(segmenter, source, tmp_path, split="val")

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(run_module, "draw_figures", interrupted)
    with pytest.raises(KeyboardInterrupt):
        evaluate(segmenter, MemorySource(source.examples[:2]), tmp_path, split="test")
    assert numbers(tmp_path) == ("test", 2, 2, [])


def test_a_pair_that_breaks_after_it_was_read_is_named(tmp_path, monkeypatch):
    """A data set that does not fit into memory; nothing is written."""
    segmenter, source = hand_case()
    monkeypatch.setattr("ddim_jax.evaluation.reading._KEPT_BYTES", 0)

    class Breaks(MemorySource):
        reads = 0

        def __getitem__(self, i):
            self.reads += 1
            if self.reads > 4:
                raise DataError("c.png: cut short")
            return super().__getitem__(i)

    with pytest.raises(DataError, match=r"c\.png: cut short"):
        evaluate(segmenter, Breaks(source.examples), tmp_path / "out", split="test")
    assert not (tmp_path / "out").exists()


def test_ids_that_a_spreadsheet_would_compute_are_shown_as_texts(tmp_path):
    segmenter, source = hand_case()
    names = ["=cmd|'/c calc'!A1", "a;=1+1", "\x1b[2Jx\n+1"]
    examples = [Example(name, *pair[1:]) for name, pair in zip(names, source.examples, strict=True)]
    evaluate(segmenter, MemorySource(examples), tmp_path, split="test", figures=False)
    with open(tmp_path / "per_image.csv", newline="") as file:
        found = [row["id"] for row in csv.DictReader(file)]
    assert found == ["'=cmd|'/c calc'!A1", r"a\x3b=1+1", r"\x1b[2Jx\n+1"]
    assert len((tmp_path / "per_image.csv").read_text().splitlines()) == 4
