"""Scores of whole volumes: the counts of all slices together, and what is left out of them."""

import csv
import json

import nibabel
import numpy as np
import pytest
from evaluation_fakes import EMPTY, TOP_HALF, MemorySource, hand_case, picture

from ddim_jax.data import Example, Subset, Volume, load_dataset, volumes_of
from ddim_jax.evaluation import evaluate
from ddim_jax.evaluation.scoring import Score
from ddim_jax.evaluation.tables import summary_table
from ddim_jax.evaluation.volumes import score_volumes, write_per_volume
from ddim_jax.metrics import Counts, bootstrap_interval
from ddim_jax.runtime.errors import InputError


def volumes_case():
    """v: the images a and b of `hand_case`; w: its c and a; x: one of three slices; p: an image by itself."""
    slices = [("v#001", 1, TOP_HALF), ("v#002", 2, EMPTY), ("w#001", 3, EMPTY), ("w#002", 1, TOP_HALF)]
    slices += [("x#002", 3, EMPTY), ("p", 2, EMPTY)]
    source = MemorySource([Example(name, picture(key), truth) for name, key, truth in slices])
    v, w, x = Volume("v", 2), Volume("w", 2), Volume("x", 3)
    source.volumes = (v, v, w, w, x, None)
    return hand_case()[0], source


def test_dice_of_whole_volumes_by_hand(tmp_path, caplog):
    segmenter, source = volumes_case()
    metrics = evaluate(segmenter, source, tmp_path, split="test", figures=False)
    assert "of 1 of 3 volumes, such as x, not all slices are scored" in caplog.text
    assert metrics["volumes"] == 2
    paper, mean = metrics["protocols"]["paper"], metrics["protocols"]["mean"]
    # Under "paper" a has 4 true pixels and misses 4, c has 1 where nothing is: v 8 / 12, w 8 / 13, slices 2/3, 1, 0.
    dice = [2 / 3, 8 / 13]
    low, high = bootstrap_interval(dice)
    assert paper["per_volume"]["dice"] == pytest.approx({"mean": sum(dice) / 2, "low": low, "high": high})
    assert paper["per_volume"]["precision"]["mean"] == pytest.approx((1 + 4 / 5) / 2)
    assert paper["per_volume"]["recall"]["mean"] == pytest.approx(1 / 2)
    assert paper["per_image"]["dice"]["mean"] == pytest.approx((2 / 3 + 1 + 0 + 2 / 3 + 0 + 1) / 6)
    assert mean["per_volume"]["dice"] == {"mean": 1, "low": 1, "high": 1} and "hd95" not in mean["per_volume"]
    with open(tmp_path / "per_volume.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert [(row["volume"], row["slices"]) for row in table] == [("v", "2"), ("w", "2")]
    assert [float(row["paper_dice"]) for row in table] == dice and table[1]["paper_false_positive"] == "1"
    labels, cells = (list(column.cells) for column in summary_table(metrics).columns[:2])
    assert cells[labels.index("dice, 2 volumes")] == "1.0000 \\[-]"


def test_the_screen_has_the_volumes_of_each_class(tmp_path):
    metrics = evaluate(*volumes_case(), tmp_path, split="test", figures=False)
    for number, protocol in enumerate(metrics["protocols"].values()):
        of_class = {"dice": {"mean": 0.25 + number / 2, "low": 0.25, "high": 1.0}}
        protocol["classes"] = {"lung": {"per_image": protocol["per_image"], "per_volume": of_class}}
    labels, *cells = (list(column.cells) for column in summary_table(metrics).columns)
    row = labels.index("dice, lung, 2 volumes")
    assert sorted(column[row] for column in cells[:2]) == ["0.2500 \\[0.2500, 1.0000]", "0.7500 \\[0.2500, 1.0000]"]


def test_the_interval_is_over_patients_where_these_are_fewer(tmp_path):
    segmenter, source = volumes_case()
    source.groups = ("ann",) * 4 + ("x", "p")
    dice = evaluate(segmenter, source, tmp_path, split="test", figures=False)["protocols"]["paper"]["per_volume"][
        "dice"
    ]
    assert dice["low"] == dice["high"] == pytest.approx((2 / 3 + 8 / 13) / 2)


def test_slices_that_are_in_no_group_are_of_their_volume(tmp_path):
    """The six images are of four groups, v, w, x and p, though the source has each by itself (data.groups=none)."""
    segmenter, source = volumes_case()
    source.groups = source.ids
    metrics = evaluate(segmenter, source, tmp_path, split="test", figures=False)
    assert (metrics["images"], metrics["groups"]) == (6, 4)
    dice = metrics["protocols"]["paper"]["per_image"]["dice"]
    low, high = bootstrap_interval([2 / 3, 1, 0, 2 / 3, 0, 1], ["v", "v", "w", "w", "x", "p"])
    assert (dice["low"], dice["high"]) == pytest.approx((low, high))
    with pytest.raises(InputError, match=r"calibrate on 4 groups of images .*need 9 or more"):
        evaluate(segmenter, source, tmp_path / "calibrated", split="val", calibrate=0.9)


def test_patients_of_photographs_are_no_volumes(tmp_path):
    segmenter, source = hand_case()
    source.groups = ("ann", "ann", "ann")
    evaluate(*volumes_case(), tmp_path, split="test", figures=False)
    metrics = evaluate(segmenter, source, tmp_path, split="test", figures=False)
    assert metrics["volumes"] == 0 and "per_volume" not in metrics["protocols"]["mean"]
    assert not (tmp_path / "per_volume.csv").exists()  # that of the evaluation before
    assert "volume" not in str(list(summary_table(metrics).columns[0].cells))
    assert "per_volume" not in json.loads((tmp_path / "metrics.json").read_text())["protocols"]["mean"]


def test_of_several_classes_each_is_counted_by_itself(tmp_path):
    class Result:
        group, volume = "", Volume("=v", 2)

        def __init__(self, **classes):
            each = {name: Score(Counts(*counts), {}) for name, counts in classes.items()}
            self.scores = dict.fromkeys(("paper", "mean"), Score(Counts(0, 0, 0, 0), {}, each))

    (found,) = score_volumes([Result(a=(3, 1, 0, 4), b=(0, 0, 0, 8)), Result(a=(1, 0, 1, 6), b=(0, 2, 0, 6))])
    score = found.scores["mean"]
    assert score.classes["a"].measures["dice"] == pytest.approx(8 / 10)  # 2 x 4 / (2 x 4 + 1 + 1)
    assert score.classes["b"].measures["dice"] == 0 and score.dice == pytest.approx(0.4)
    write_per_volume(tmp_path / "table.csv", [found])
    with open(tmp_path / "table.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["volume"] == "'=v" and float(row["a_dice"]) == pytest.approx(0.8) and row["b_false_positive"] == "2"


def test_the_slices_of_a_file_are_of_its_volume(tmp_path):
    for folder in ("images", "masks"):
        (tmp_path / folder / "ann").mkdir(parents=True)
        for name, depth in (("v", 3), ("one", 1)):
            values = np.ones((5, 6, depth), np.uint8) * (folder == "masks")
            nibabel.save(nibabel.Nifti1Image(values, np.diag([1, 1, 4, 1])), tmp_path / folder / f"ann/{name}.nii")
    source = load_dataset("folder", "all", root=tmp_path)
    volume = Volume("ann/v", 3)
    assert dict(zip(source.ids, volumes_of(source), strict=True)) == {
        "ann/one": None, "ann/v#001": volume, "ann/v#002": volume, "ann/v#003": volume
    }  # fmt: skip
    assert volumes_of(Subset(source, [0, 2])) == (None, volume)
