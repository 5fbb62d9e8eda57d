"""The pairs that an evaluation reads: broken ones, ones that were trained on, masks that its size loses."""

import io
import json

import numpy as np
import pytest
from evaluation_fakes import TOP_HALF, MemorySource, hand_case, picture
from rich.console import Console

from ddim_jax.data import Example
from ddim_jax.data.facts import image_digest
from ddim_jax.data.pixels import write_pixels
from ddim_jax.evaluation import evaluate, summary_table
from ddim_jax.runtime.errors import DataError, InputError


class BrokenSource(MemorySource):
    def __getitem__(self, i):
        if i % 2:
            raise DataError(f"pair {i:02d} is truncated")
        return super().__getitem__(i)


def test_broken_pairs_are_all_found_and_nothing_is_written(tmp_path):
    source = BrokenSource([Example(str(i), picture(1), TOP_HALF) for i in range(24)])
    segmenter, _ = hand_case()
    with pytest.raises(DataError) as caught:
        evaluate(segmenter, source, tmp_path / "out", split="test")
    message = str(caught.value)
    assert message.startswith("12 of 24 pairs of memory cannot be used:\n  pair 01 is truncated\n  pair 03")
    assert "pair 19" in message and "pair 21" not in message and message.endswith("... and 2 more")
    assert segmenter.calls == [] and not (tmp_path / "out").exists()


class CountingSource(MemorySource):
    """Counts how often each pair is read; its split is not the official one."""

    name, note = "counting", "the split is not the official one"

    def __init__(self, examples):
        super().__init__(examples)
        self.reads = []

    def __getitem__(self, i):
        self.reads.append(i)
        return super().__getitem__(i)


@pytest.mark.parametrize(("room", "most"), [(2**29, 1), (64, 4)])
def test_each_pair_is_read_once_and_the_note_is_said_and_kept(tmp_path, monkeypatch, caplog, room, most):
    """Images that do not fit into memory (64 bytes hold one) are read again, and those of the figures once more."""
    segmenter, source = hand_case()
    source = CountingSource(source.examples)
    monkeypatch.setattr("ddim_jax.evaluation.reading._KEPT_BYTES", room)
    metrics = evaluate(segmenter, source, tmp_path, split="test")
    assert source.reads.count(0) == 1 and max(map(source.reads.count, range(3))) == most
    assert metrics["note"] == json.loads((tmp_path / "metrics.json").read_text())["note"] == source.note
    assert "counting: the split is not the official one" in caplog.text


def test_masks_that_are_lost_at_the_working_size_are_told(tmp_path):
    segmenter, _ = hand_case()
    truth = np.zeros((8, 8), np.uint8)
    truth[2, 2] = 1  # which the 4 rows of the network do not sample
    source = MemorySource([Example("a", picture(1, (8, 8)), truth), Example("b", picture(2, (8, 8)), 0 * truth)])
    metrics = evaluate(segmenter, source, tmp_path, split="test", figures=False)
    assert metrics["working_size"] == {"masks": 1, "lost": 1, "resized_dice": 0.4}
    console = Console(width=400, record=True, file=io.StringIO())
    console.print(summary_table(metrics))
    said = " ".join(console.export_text().split())
    assert "1 of 1 mask loses a class at 4 x 4, where the network works: the true masks of that size, " in said
    assert "enlarged, have a Dice of 0.40" in said


def test_an_empty_data_set_and_a_file_in_the_way_are_named(tmp_path):
    segmenter, source = hand_case()
    with pytest.raises(DataError, match="the split 'val' of memory holds no image"):
        evaluate(segmenter, MemorySource([]), tmp_path, split="val")
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(InputError, match="taken: the folder for the results cannot be made"):
        evaluate(segmenter, source, tmp_path / "taken", split="test")
    assert segmenter.calls == []


def test_pictures_that_were_trained_on_are_counted_and_not_calibrated_on(tmp_path, caplog):
    segmenter, source = hand_case()
    assert evaluate(segmenter, source, tmp_path / "unknown", split="test", figures=False)["trained_on"] is None
    segmenter.checkpoint = str(tmp_path / "run/checkpoints/800")
    digests = [image_digest(source[row].image).hexdigest() for row in range(len(source))]
    write_pixels(tmp_path / "run", {"a": "1", "b": "2"}, {"a": digests[1]})
    with caplog.at_level("WARNING", logger="absl"):
        metrics = evaluate(segmenter, source, tmp_path / "out", split="test", figures=False)
    told = f"1 of {len(source)} images were trained on, such as {source.ids[1]}"
    assert metrics["place"] is None  # of no folder
    assert metrics["trained_on"] == 1 and f"{told}: the scores are too good" in caplog.text
    assert evaluate(segmenter, source, tmp_path / "train", split="train", figures=False)["trained_on"] is None
    segmenter.calls.clear()
    with pytest.raises(InputError, match=f"calibrate: {told}; of those the network is too sure"):
        evaluate(segmenter, source, tmp_path / "new", split="all", figures=False, calibrate=0.5)
    assert segmenter.calls == [] and not (tmp_path / "new").exists()
    write_pixels(tmp_path / "run", {"a": "1", "b": "2"}, {"a": "of another"})
    source.place = "0123"
    assert evaluate(segmenter, source, tmp_path / "out", split="test", figures=False)["trained_on"] == 0
    assert json.loads((tmp_path / "out/metrics.json").read_text())["place"] == "0123"
