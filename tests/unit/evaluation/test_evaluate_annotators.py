"""Samples scored against several annotators, by hand."""

import csv

import numpy as np
import pytest
from evaluation_fakes import FakeSegmenter, MemorySource, picture, rows

from ddim_jax.data.sources import annotated
from ddim_jax.evaluation import evaluate
from ddim_jax.evaluation.style import headline
from ddim_jax.evaluation.tables import summary_table

TOP, BOTTOM, NOTHING = (np.asarray(rows(*values) > 0, np.uint8) for values in ((1, 1, 0, 0), (0, 0, 1, 1), (0,) * 4))


@pytest.fixture
def evaluated(tmp_path):
    """Two samples, top and bottom, of an image on which two annotators differ so, and of one where they agree."""
    estimates = np.stack([rows(1, 1, -1, -1), rows(-1, -1, 1, 1)])
    source = MemorySource(
        [
            annotated("differ", picture(1), np.stack([TOP, BOTTOM])),
            annotated("agree", picture(2), np.stack([TOP, TOP])),
        ]
    )
    source.annotators = 2
    metrics = evaluate(FakeSegmenter({1: estimates, 2: estimates}), source, tmp_path, split="test", figures=False)
    return metrics, tmp_path


def test_the_numbers_are_those_of_the_samples_against_the_annotators(evaluated):
    metrics, folder = evaluated
    found = metrics["hypotheses"]
    assert (found["annotators"], found["consensus"]) == (2, "a pixel counts where both say so")
    # Against TOP twice: 2 * 1/2 - 1/2 of the GED; one of two samples matches; one of them is TOP.
    own = {"ged_2": (0 + 0.5) / 2, "matched_iou_2": (1 + 0.5) / 2, "d_max_2": 1.0, "best_dice_2": (0.5 + 1) / 2}
    assert {name: found["per_image"][name]["mean"] for name in own} == pytest.approx(own)
    assert found["metrics"]["ged"].startswith("The generalised energy distance")
    assert "consensus" in metrics["rules"]["annotators"]
    with open(folder / "per_image.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert [float(row["ged_2"]) for row in table] == pytest.approx([0, 0.5])
    assert [float(row["true_area"]) for row in table] == [0, 8]  # a tie is background


def test_they_stand_in_the_table_on_the_screen(evaluated):
    metrics, _ = evaluated
    labels = [str(cell) for cell in summary_table(metrics).columns[0].cells]
    assert "ged_2, 2 annotators" in labels
    said = "the truth is the consensus of 2 annotators"
    assert f"{said}: a pixel counts where both say so" in " ".join(summary_table(metrics).caption.split())
    del metrics["hypotheses"]["consensus"]  # as in the files of an earlier version
    assert f"{said}: " not in summary_table(metrics).caption and said in summary_table(metrics).caption


def test_at_the_working_size_the_annotators_are_resized_too(tmp_path):
    estimates = np.stack([rows(1, 1, -1, -1)] * 2)
    large = np.stack([np.repeat(np.repeat(mask, 2, axis=0), 2, axis=1) for mask in (TOP, NOTHING)])
    source = MemorySource([annotated("x", picture(1, (8, 8)), large)])
    source.annotators = 2
    for resolution in ("model", "native"):
        given = {"split": "test", "figures": False, "resolution": resolution}
        metrics = evaluate(FakeSegmenter({1: estimates}), source, tmp_path / resolution, **given)
        assert metrics["hypotheses"]["per_image"]["d_max_2"]["mean"] == pytest.approx(0.5, abs=0.01)


def test_the_samples_of_an_ensemble_are_told_by_the_checkpoint_and_counted_together(tmp_path):
    class Fused(FakeSegmenter):
        checkpoints = ("a/checkpoints/8", "b/checkpoints/9")

        def sample(self, image, options=None, **given):
            return np.repeat(super().sample(image, options, **given), 2, axis=0)

    source = MemorySource([annotated("x", picture(1), np.stack([TOP, NOTHING]))])
    source.annotators = 2
    metrics = evaluate(Fused({1: [rows(1, 1, -1, -1)] * 2}), source, tmp_path, split="test", figures=False)
    assert (metrics["samples"], metrics["checkpoints"]) == (2, 2) and "ged_4" in metrics["hypotheses"]["per_image"]
    assert ": 1 image, 2 x 2 samples x 3 steps, " in summary_table(metrics).title
    assert headline(metrics).startswith("memory, test: 1 image, 2 x 2 samples of 3 steps, ")


def test_of_one_truth_there_is_nothing_to_say(tmp_path):
    from ddim_jax.data import Example

    source = MemorySource([Example("x", picture(1), TOP)])
    metrics = evaluate(FakeSegmenter({1: [rows(1, 1, -1, -1)] * 2}), source, tmp_path, split="test", figures=False)
    assert metrics["hypotheses"] is None
    assert "ged_2" not in (tmp_path / "per_image.csv").read_text()
