"""The metrics of an evaluation: those of other packages, ones that give no number, distances in millimetres."""

import csv
import io
import math

import pytest
from evaluation_fakes import MemorySource, hand_case
from rich.console import Console

from ddim_jax.evaluation import evaluate, summary_table
from ddim_jax.registry import METRICS, register
from ddim_jax.runtime.errors import ConfigError


def test_a_metric_of_another_package_appears_wherever_metrics_do(tmp_path, monkeypatch):
    monkeypatch.setattr(METRICS, "_entries", dict(METRICS.items()))

    @register.metric("own_area_error")
    def own_area_error(prediction, truth):
        """Pixels too many or too few; empty masks count as 0 pixels."""
        return abs(int(prediction.sum()) - int(truth.sum()))

    @register.metric("own_accuracy")
    def own_accuracy(counts):
        """Share of the pixels that are right."""
        return (counts.true_positive + counts.true_negative) / sum(counts)

    @register.metric("own_f_beta")
    def own_f_beta(counts, beta=2.0):
        """F_2, 1 of empty masks."""
        right = (1 + beta**2) * counts.true_positive
        whole = right + beta**2 * counts.false_negative + counts.false_positive
        return right / whole if whole else 1.0

    segmenter, source = hand_case()
    metrics = evaluate(segmenter, source, tmp_path, split="test", figures=False)
    with open(tmp_path / "per_image.csv", newline="") as file:
        table = list(csv.DictReader(file))
    # 4 of 8 pixels; all; one that is not there.
    assert [float(row["paper_own_f_beta"]) for row in table] == pytest.approx([5 * 4 / (5 * 4 + 4 * 4), 1, 0])
    assert "hd95" in metrics["metrics"] and "hd95_mm" not in metrics["metrics"]  # no file says the size of a pixel
    # The paper's mask of image a misses four pixels, that of image c has one too many.
    assert [float(row["paper_own_area_error"]) for row in table] == [4, 0, 1]
    assert [float(row["own_area_error"]) for row in table] == [0, 0, 0]
    assert [float(row["paper_own_accuracy"]) for row in table] == [12 / 16, 1, 15 / 16]
    paper = metrics["protocols"]["paper"]
    assert paper["per_image"]["own_area_error"]["mean"] == pytest.approx(5 / 3)
    assert paper["pooled"]["own_accuracy"] == 43 / 48 and "own_area_error" not in paper["pooled"]
    assert metrics["metrics"]["own_accuracy"] == "Share of the pixels that are right."
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(summary_table(metrics))
    printed = [line.split() for line in console.export_text().splitlines()]
    (line,) = [line for line in printed if "own_area_error" in line]
    assert "1.67" in line and "0.00" in line


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None, [0.5]])
def test_a_metric_that_gives_no_number_is_named_at_the_first_picture(tmp_path, monkeypatch, value):
    monkeypatch.setattr(METRICS, "_entries", dict(METRICS.items()))
    seen = []

    @register.metric("ratio")
    def ratio(prediction, truth):
        seen.append(truth)
        return value

    segmenter, source = hand_case()
    with pytest.raises(ConfigError, match=r"^a: the metric 'ratio' gives .*; expected a finite number"):
        evaluate(segmenter, source, tmp_path / "out", split="test", figures=False)
    assert len(seen) == 1 and not list(tmp_path.rglob("*.*"))


def test_distances_in_millimetres_where_every_file_says_the_size_of_a_pixel(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(METRICS, "_entries", dict(METRICS.items()))

    @register.metric("area_mm2")
    def area_mm2(prediction, truth, pixel_mm):
        """The area in mm^2 of what was drawn."""
        return int(prediction.sum()) * pixel_mm[0] * pixel_mm[1]

    @register.metric("counted_mm2")
    def counted_mm2(counts, pixel_mm):
        return (counts.true_positive + counts.false_positive) * pixel_mm[0] * pixel_mm[1]

    segmenter, source = hand_case()
    spaced = MemorySource([example._replace(pixel_mm=(0.5, 3.0)) for example in source.examples])
    metrics = evaluate(segmenter, spaced, tmp_path / "mm", split="test", figures=False)
    found = metrics["protocols"]["paper"]["per_image"]
    assert found["area_mm2"]["mean"] == found["counted_mm2"]["mean"] == pytest.approx((4 + 0 + 1) * 1.5 / 3)
    assert "counted_mm2" not in metrics["protocols"]["paper"]["pooled"]
    assert metrics["metrics"]["area_mm2"] == "The area in mm^2 of what was drawn."
    # One row between the outlines of image a, none in b, the diagonal of 4 x 4 pixels in c.
    assert found["hd95"]["mean"] == pytest.approx((1 + math.sqrt(32)) / 3)
    assert found["hd95_mm"]["mean"] == pytest.approx((0.5 + math.hypot(2, 12)) / 3)
    assert "hd95_mm" in (tmp_path / "mm/per_image.csv").read_text().splitlines()[0]
    at_model = evaluate(segmenter, spaced, tmp_path / "model", split="test", figures=False, resolution="model")
    mixed = MemorySource([*spaced.examples[:2], source.examples[2]])
    in_part = evaluate(segmenter, mixed, tmp_path / "mixed", split="test", figures=False)
    for metrics in (at_model, in_part):
        assert not {"hd95_mm", "area_mm2", "counted_mm2"} & metrics["protocols"]["mean"]["per_image"].keys()
    assert "1 of 3 files do not say the size of a pixel" in caplog.text
