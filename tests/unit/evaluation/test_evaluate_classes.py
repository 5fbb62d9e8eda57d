"""An evaluation of two classes whose scores are computed by hand."""

import csv
import io
import json

import numpy as np
import pytest
from evaluation_fakes import FakeSegmenter, MemorySource, picture
from PIL import Image
from rich.console import Console

from ddim_jax.data import Example
from ddim_jax.evaluation import evaluate, summary_table
from ddim_jax.evaluation.scoring import Scoring, score_image
from ddim_jax.labels import Labels
from ddim_jax.registry import ENSEMBLES, METRICS, register
from ddim_jax.runtime.errors import ConfigError, DataError

LABELS = Labels.create({"lung": 1, "heart": 2}, ignore=9)
TRUTH = np.repeat(np.array([[1], [2], [0], [255]], np.uint8), 4, axis=1)


def estimates(*classes):
    """A sample of 4 x 4 whose rows are sure of these classes: [h, w, K]."""
    rows = np.array([[1.0 if number == k else -1.0 for k in (1, 2)] for number in classes], np.float32)
    return np.repeat(rows[:, None], 4, axis=1)


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """a is right where it counts; of b the heart's row is taken for lung."""
    folder = tmp_path_factory.mktemp("classes")
    segmenter = FakeSegmenter(
        {1: [estimates(1, 2, 0, 1), estimates(1, 2, 0, 2)], 2: [estimates(1, 1, 0, 0)] * 2}, labels=LABELS
    )
    source = MemorySource([Example("a", picture(1), TRUTH), Example("b", picture(2), TRUTH)])
    return evaluate(segmenter, source, folder, split="test"), folder


def test_measures_are_of_each_class_and_their_mean(scored):
    metrics, folder = scored
    mean = metrics["protocols"]["mean"]
    assert metrics["classes"] == ["lung", "heart"] and mean["threshold"] is None
    lung, heart = (mean["classes"][name]["per_image"]["dice"]["mean"] for name in ("lung", "heart"))
    assert lung == pytest.approx((1 + 8 / 12) / 2)  # of b 4 right, 4 too many
    assert heart == pytest.approx((1 + 0) / 2)
    assert mean["per_image"]["dice"]["mean"] == pytest.approx((lung + heart) / 2)
    assert set(mean["per_image"]["dice"]) == {"mean", "low", "high"}
    pooled = [mean["classes"][name]["pooled"]["dice"] for name in ("lung", "heart")]
    assert pooled == [pytest.approx(16 / 20), pytest.approx(8 / 12)]
    assert mean["pooled"]["dice"] == pytest.approx(np.mean(pooled))
    counts = mean["classes"]["lung"]["pooled"]
    assert sum(counts[name] for name in ("true_positive", "false_positive", "false_negative", "true_negative")) == 24
    assert json.loads((folder / "metrics.json").read_text()) == metrics


def test_empty_masks_are_counted_for_each_class_by_hand(tmp_path):
    """c holds a lung, which is drawn as heart; d holds nothing, and nothing is drawn; e a lung that is not found."""
    truths = [np.repeat(np.array([[number], [0], [0], [0]], np.uint8), 4, axis=1) for number in (1, 0, 1)]
    drawn = {1: [estimates(2, 0, 0, 0)] * 2, 2: [estimates(0, 0, 0, 0)] * 2}
    examples = [Example(name, picture(key), truth) for name, key, truth in zip("cde", (1, 2, 2), truths, strict=True)]
    metrics = evaluate(FakeSegmenter(drawn, labels=LABELS), MemorySource(examples), tmp_path, split="test")
    mean = metrics["protocols"]["mean"]
    names = ("empty_predictions", "empty_truths", "both_empty", "hd95_with_one_empty")
    assert [mean["classes"]["lung"][name] for name in names] == [3, 1, 1, 2]
    assert [mean["classes"]["heart"][name] for name in names] == [2, 3, 2, 1]
    assert [mean[name] for name in names] == [5, 4, 3, 3]  # of six pairs of an image and a class
    assert metrics["empty_truths"] == 1 and "pairs of an image and a class" in metrics["rules"]["empty"]
    told = "4 true masks of an image and a class are empty: 3 predicted empty, Dice 1; 1 not, Dice 0"
    assert told in summary_table(metrics | {"protocol": "mean"}).caption.splitlines()


def test_calibration_is_of_all_classes_and_of_each(scored):
    calibration = scored[0]["calibration"]
    assert set(calibration["classes"]) == {"lung", "heart"}
    assert sum(one["pixels"] for one in calibration["bins"]) == 2 * 2 * 12
    assert calibration["classes"]["lung"]["ece"] == pytest.approx(4 / 24)


def test_the_table_of_images_has_columns_of_each_class(scored):
    rows = list(csv.DictReader((scored[1] / "per_image.csv").open()))
    assert [float(row["lung_dice"]) for row in rows] == [1.0, pytest.approx(8 / 12)]
    assert [float(row["heart_dice"]) for row in rows] == [1.0, 0.0]
    assert float(rows[1]["dice"]) == pytest.approx(4 / 12)
    assert "paper_heart_hd95" in rows[0]


def test_the_screen_names_the_classes(scored):
    console = Console(width=120, file=io.StringIO())
    console.print(summary_table(scored[0]))
    text = console.file.getvalue()
    assert "dice, lung" in text and "dice, heart" in text and "likeliest" in text


def test_figures_are_drawn_in_colours(scored):
    for name in ("grid", "worst", "calibration", "scores"):
        with Image.open(scored[1] / "figures" / f"{name}.png") as figure:
            colours = np.unique(np.asarray(figure.convert("RGB")) @ [2**16, 2**8, 1])
        if name in ("grid", "worst"):
            assert {0x56B4E9, 0xE69F00} <= set(colours.tolist())  # lung and heart


def test_images_that_are_ignored_everywhere_are_named_and_refused(tmp_path):
    segmenter, ignored = FakeSegmenter({1: [estimates(1, 2, 0, 1)]}, labels=LABELS), np.full((4, 4), 255, np.uint8)
    source = MemorySource([Example(name, picture(1), TRUTH if name == "c" else ignored) for name in "abcdefghijkl"])
    with pytest.raises(DataError) as error:
        evaluate(segmenter, source, tmp_path, split="test", figures=False)
    first, *named = str(error.value).splitlines()
    assert first.startswith("memory: 11 masks are ignored everywhere (data.ignore), so there is nothing to score; ")
    assert "leave these images out of the folder or the split" in first
    assert [line.strip() for line in named] == [*"abdefghijk", "... and 1 more"] and segmenter.calls == []


def test_masks_that_are_ignored_once_they_are_resized_are_refused_before_the_network_runs(tmp_path):
    segmenter, thin = FakeSegmenter({1: [estimates(1, 2, 0, 1)]}, labels=LABELS), np.full((64, 64), 255, np.uint8)
    thin[33, 20:30] = 0  # between the places that 4 x 4 takes
    source = MemorySource([Example("thin", np.zeros((64, 64, 3), np.uint8), thin)])
    with pytest.raises(DataError, match="1 mask is ignored everywhere"):
        evaluate(segmenter, source, tmp_path, split="test", figures=False, resolution="model")
    assert segmenter.calls == []


def test_an_image_without_a_pixel_that_counts_has_no_score():
    ignored = Example("a", picture(1), np.full((4, 4), 255, np.uint8))
    with pytest.raises(DataError, match="a: no pixel of its true mask counts, so there is nothing to score"):
        score_image(ignored, estimates(1, 2, 0, 1)[None], Scoring(labels=LABELS))


@pytest.mark.parametrize(
    ("truth", "found"),
    [
        (TRUTH == 1, r"its mask is bool \[4, 4\]; expected uint8 \[4, 4\]"),
        (TRUTH // 2 * 2 + 1, "its mask holds 3; expected 0 to 2, or 255"),
    ],
)
def test_a_data_set_that_gives_no_masks_of_these_classes_is_refused(truth, found, tmp_path):
    segmenter = FakeSegmenter({1: [estimates(1, 2, 0, 1)]}, labels=LABELS)
    with pytest.raises(DataError, match=rf"1 of 2 pairs of memory cannot be used:\n  b: {found}"):
        evaluate(
            segmenter,
            MemorySource([Example("a", picture(1), TRUTH), Example("b", picture(1), truth)]),
            tmp_path,
            split="test",
            figures=False,
        )
    assert segmenter.calls == []


def test_a_metric_that_fails_is_named_with_its_place_the_picture_and_the_class(tmp_path, monkeypatch):
    monkeypatch.setattr(METRICS, "_entries", dict(METRICS.items()))

    @register.metric("boom")
    def boom(prediction, truth):
        """Fails where nothing is drawn."""
        return 1 / int(prediction.any())

    segmenter = FakeSegmenter({1: [estimates(1, 2, 0, 1)], 2: [estimates(1, 1, 0, 0)]}, labels=LABELS)
    source = MemorySource([Example("a", picture(1), TRUTH), Example("b", picture(2), TRUTH)])
    place = r"test_evaluate_classes\.py, line \d+: ZeroDivisionError: division by zero$"
    with pytest.raises(ConfigError, match=rf"^b: heart: the metric 'boom' fails at .*{place}") as error:
        evaluate(segmenter, source, tmp_path, split="test", figures=False)
    assert isinstance(error.value.__cause__.__cause__.__cause__, ZeroDivisionError)


def test_an_ensemble_that_fails_is_named_with_the_picture(tmp_path, monkeypatch):
    monkeypatch.setitem(ENSEMBLES._entries, "sum", lambda samples, protocol: samples.sum(axis=0))
    segmenter = FakeSegmenter({1: [estimates(1, 2, 0, 1)]}, labels=LABELS)
    source = MemorySource([Example("a", picture(1), TRUTH)])
    with pytest.raises(ConfigError, match=r"^a: the ensemble 'sum' gives values from -1 to 1; expected 0 to 1"):
        evaluate(segmenter, source, tmp_path, split="test", figures=False, ensemble="sum")
