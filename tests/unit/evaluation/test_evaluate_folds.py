"""The checkpoints of a cross-validation: each scores the images of its own fold, and the numbers are over all."""

import csv
from types import SimpleNamespace

import numpy as np
import pytest
from absl import logging
from evaluation_fakes import TOP_HALF, FakeSegmenter, MemorySource, picture, rows
from PIL import Image

from ddim_jax.data import Example, ids_digest, load_dataset
from ddim_jax.evaluation import checkpoint, evaluate, run, summary_table
from ddim_jax.runtime.errors import InputError

RIGHT, EMPTY = [rows(1, 1, -1, -1)] * 2, [rows(-1, -1, -1, -1)] * 2


def test_each_picture_is_scored_by_the_checkpoint_of_its_fold(tmp_path):
    """Both see the same image; the first finds its top half, the second nothing."""
    members = [FakeSegmenter({1: found}, f"fold{fold}/checkpoints/8") for fold, found in enumerate((RIGHT, EMPTY))]
    sources = [MemorySource([Example(name, picture(1), TOP_HALF) for name in names]) for names in ("ab", "c")]
    metrics = evaluate(members, sources, tmp_path, split="test")
    assert [len(member.calls) for member in members] == [2, 1]
    found = [metrics[name] for name in ("images", "images_in_split", "folds", "checkpoint")]
    assert found == [3, 3, 2, "fold0/checkpoints/8, fold1/checkpoints/8"]
    assert metrics["network_evaluations_per_image"] == 6
    assert metrics["protocols"]["mean"]["per_image"]["dice"]["mean"] == pytest.approx(2 / 3)
    table = list(csv.DictReader((tmp_path / "per_image.csv").open()))
    assert [(row["id"], float(row["dice"])) for row in table] == [("a", 1), ("b", 1), ("c", 0)]
    assert metrics["bounds"]["why_not_calibrated"] == "the checkpoints are those of a cross-validation"
    assert not (tmp_path / "figures").exists()
    assert summary_table(metrics).title.startswith("memory test: 3 images of 2 folds, ")

    assert metrics["scored"] == "the test part of memory in each of 2 folds, 3 images" and metrics["of_folds"] == 2
    for member in members:  # where the second of three folds is left out
        member.config = member.config | {"data": member.config["data"] | {"folds": 3}}
    metrics = evaluate(members, sources, tmp_path, split="test")
    assert summary_table(metrics).title.startswith("memory test: 3 images of 2 of 3 folds, ")
    assert metrics["scored"] == "the test part of memory in each of 2 of 3 folds, 3 images"
    assert (metrics["folds"], metrics["of_folds"]) == (2, 3)

    some = evaluate(members, sources, tmp_path, split="test", limit=2)  # the first and the last
    assert (some["images"], some["protocols"]["mean"]["per_image"]["dice"]["mean"]) == (2, 0.5)


@pytest.mark.parametrize(
    ("members", "sources", "said"),
    [
        (2, 1, "2 checkpoints and 1 data set; expected one for each. Several that are fused"),
        (1, 2, "1 checkpoint and 2 data sets; expected one for each"),
        (0, 0, "0 checkpoints and 0 data sets; expected one for each"),
    ],
)
def test_each_checkpoint_needs_a_data_set_of_its_own(tmp_path, members, sources, said):
    segmenters = [FakeSegmenter({1: RIGHT}) for _ in range(members)]
    data = [MemorySource([Example("a", picture(1), TOP_HALF)]) for _ in range(sources)]
    given = [(segmenters, data)]
    given += [(segmenters, data[0])] if sources == 1 else []  # not in a list
    given += [(segmenters[0], data)] if members == 1 else []
    for pair in given:
        with pytest.raises(InputError, match=said):
            evaluate(*pair, tmp_path / "out", split="test")
    assert not any(segmenter.calls for segmenter in segmenters) and not (tmp_path / "out").exists()


@pytest.mark.parametrize("together", [1, 2])
def test_the_first_batch_of_each_fold_holds_its_compilation(tmp_path, monkeypatch, together):
    """The seconds of both first batches, whole; of the others the share of each image."""
    clock = [0.0]

    class Compiling(FakeSegmenter):
        def sample_each(self, images, options, batch_size=None):
            clock[0] += 1 if self.calls else self.compiling
            return super().sample_each(images, options, batch_size)

    monkeypatch.setattr(run, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    members = [Compiling({1: RIGHT}, f"fold{fold}/checkpoints/8") for fold in range(2)]
    members[0].compiling, members[1].compiling, members[1].step = 10, 20, 900
    sources = [MemorySource([Example(name, picture(1), TOP_HALF) for name in names]) for names in ("abcd", "efgh")]
    metrics = evaluate(members, sources, tmp_path, split="test", batch_size=together)
    assert "the seconds of the whole first batch, of folds the sum" in metrics["rules"]["seconds_per_image"]
    times = metrics["seconds_per_image"]
    assert [times[name] for name in ("first_with_compilation", "mean_of_the_rest", "median_of_the_rest")] == [
        30,
        1 / together,
        1 / together,
    ]
    assert metrics["step"] == [800, 900]


@pytest.fixture
def folder(tmp_path):
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
        for number in range(9):
            Image.fromarray(np.full((4, 4), 255 * (number % 2), np.uint8)).save(tmp_path / kind / f"{number}.png")
    return {"name": "folder", "root": str(tmp_path), "image_size": 4, "folds": 3, "cache_dir": str(tmp_path / "cache")}


def of_fold(data, fold):
    about = {"root": data["root"], "folds": 3, "fold": fold, "read_only": True, "cache_dir": data["cache_dir"]}
    train = ids_digest(load_dataset("folder", "train", **about))
    return SimpleNamespace(
        config={"data": data | {"fold": fold}}, training_data={"train_ids_sha256": train}, checkpoint=f"fold{fold}/8",
        checkpoints=(f"fold{fold}/8",), others=(), is_packed=False,
    )  # fmt: skip


def test_the_folds_hold_every_picture_once(folder):
    sources = checkpoint.fold_sources([of_fold(folder, fold) for fold in (2, 0, 1)], "test", folder)
    assert sorted(name for source in sources for name in source.ids) == list("012345678")
    assert sources[1].ids == load_dataset("folder", "test", root=folder["root"], folds=3, fold=0, read_only=True).ids


def test_of_a_cross_validation_the_first_alone_is_read_again(folder, monkeypatch, tmp_path):
    """Fused it draws the samples of all; the others are themselves."""
    first, *others = (of_fold(folder, fold) for fold in range(3))
    fused, read = SimpleNamespace(**vars(first) | {"others": tuple(others)}), []
    monkeypatch.setattr(checkpoint, "load_checkpoints", lambda paths, **_: fused)
    monkeypatch.setattr(checkpoint, "Segmenter", SimpleNamespace(load=lambda path: read.append(path) or first))
    monkeypatch.setattr(checkpoint, "evaluate", lambda members, sources, *_, split: (members, sources))
    (members, sources), _ = checkpoint.evaluate_checkpoint(["a", "b", "c"], output_dir=tmp_path)
    assert read == ["fold0/8"] and members == [first, *others]
    assert sorted(name for source in sources for name in source.ids) == list("012345678")


def test_some_of_the_folds_are_scored_and_told(folder, monkeypatch):
    said = []
    monkeypatch.setattr(logging, "warning", said.append)
    sources = checkpoint.fold_sources([of_fold(folder, fold) for fold in (2, 0)], "test", folder)
    assert len({name for source in sources for name in source.ids}) == 6
    assert said == ["folds 0, 2 of 3: images of the others are not scored"]


def test_a_picture_of_two_folds_is_refused(folder, tmp_path):
    with pytest.raises(InputError, match=r"\(3 of 6 images\) are in the test split of several of the 3 checkpoints"):
        checkpoint.fold_sources([of_fold(folder, fold) for fold in (0, 1, 1)], "test", folder)
    (tmp_path / "splits.csv").write_text("stem,split\n0,test\n1,test\n" + "".join(f"{i},train\n" for i in range(2, 9)))
    members = [of_fold(folder, fold) for fold in range(3)]
    with pytest.raises(InputError, match=r"^0, 1 \(2 of 2 images\) are in the test split .*--split val has the folds"):
        checkpoint.fold_sources(members, "test", folder)
    ids = [name for source in checkpoint.fold_sources(members, "val", folder) for name in source.ids]
    assert sorted(ids) == list("2345678")
