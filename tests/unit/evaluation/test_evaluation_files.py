"""The results of an evaluation are those of one evaluation, whatever comes in between."""

import csv
import json
import threading
import time
from pathlib import Path

import pytest
from evaluation_fakes import MemorySource, hand_case

from ddim_jax.data import Example
from ddim_jax.evaluation import evaluate
from ddim_jax.evaluation import run as run_module
from ddim_jax.runtime.errors import DataError, InputError


def there(folder):
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".lock"))
    return {path.relative_to(folder).as_posix(): path.read_text() for path in files}


def numbers(folder):
    metrics = json.loads((folder / "metrics.json").read_text())
    with open(folder / "per_image.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return metrics["split"], len(rows), metrics["images"], sorted(path.name for path in (folder / "figures").iterdir())


def test_two_evaluations_that_end_at_once_leave_one_of_both_and_tell_of_the_other(tmp_path, monkeypatch, caplog):
    """Both have sampled; then they write at the same moment, one of them slowly, several times."""
    barrier, metrics_of, write_json = threading.Barrier(2), run_module.metrics_of, run_module.write_json

    def together(*arguments):
        metrics = metrics_of(*arguments)
        barrier.wait(60)
        return metrics

    def slowly(path, metrics):
        time.sleep(0.2 if metrics["split"] == "val" else 0)
        write_json(path, metrics)

    monkeypatch.setattr(run_module, "metrics_of", together)
    monkeypatch.setattr(run_module, "write_json", slowly)
    monkeypatch.setattr(run_module, "draw_figures", lambda *_: None)
    errors = []

    def one(split, count):
        segmenter, source = hand_case()
        try:
            evaluate(segmenter, MemorySource(source.examples[:count]), tmp_path, split=split)
        except Exception as error:
            errors.append(error)

    (tmp_path / "figures").mkdir()
    for _ in range(5):
        caplog.clear()
        threads = [threading.Thread(target=one, args=given) for given in (("val", 2), ("test", 3))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        left = numbers(tmp_path)
        assert errors == [] and left in [("val", 2, 2, []), ("test", 3, 3, [])]
        other = {"val": "split test, images 3", "test": "split val, images 2"}[left[0]]
        assert f"replaced an earlier evaluation ({other}); next time" in caplog.records[-1].getMessage()


@pytest.mark.parametrize("stopped", ["write_per_image", "write_json"])
def test_a_full_disk_or_a_stop_while_tables_are_written_costs_no_earlier_evaluation(tmp_path, monkeypatch, stopped):
    segmenter, source = hand_case()
    evaluate(segmenter, source, tmp_path, split="val", figures=False)
    before = there(tmp_path)

    def fails(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(run_module, stopped, fails)
        with pytest.raises(OSError, match="No space"):
            evaluate(segmenter, source, tmp_path, split="test")
    assert there(tmp_path) == before and not (tmp_path / ".evaluation.new").exists()
    (tmp_path / ".evaluation.new").mkdir()  # as one that was killed leaves it
    (tmp_path / ".evaluation.new" / "per_volume.csv").touch()
    evaluate(segmenter, MemorySource(source.examples[:2]), tmp_path, split="test", figures=False)
    assert set(there(tmp_path)) == {"metrics.json", "per_image.csv"}
    assert json.loads((tmp_path / "metrics.json").read_text())["images"] == 2


def test_an_evaluation_that_is_stopped_while_it_replaces_another_is_replaced_by_the_next(tmp_path, monkeypatch):
    """It leaves no metrics.json and no figure that could be taken for those of its tables."""
    segmenter, source = hand_case()
    evaluate(segmenter, source, tmp_path, split="val")
    (tmp_path / "figures" / "mine.png").touch()
    replace = Path.replace

    def interrupted(path, target):
        if path.parent.name == ".evaluation.new" and path.name == "metrics.json":
            raise KeyboardInterrupt
        return replace(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            evaluate(segmenter, source, tmp_path, split="test")
    assert [path.name for path in (tmp_path / "figures").iterdir()] == ["mine.png"]
    assert {path.name for path in tmp_path.iterdir()} == {"per_image.csv", "figures", ".evaluation.lock"}
    evaluate(segmenter, MemorySource(source.examples[:2]), tmp_path, split="test", figures=False)
    assert numbers(tmp_path) == ("test", 2, 2, ["mine.png"])


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
