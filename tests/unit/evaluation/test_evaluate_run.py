import csv
import io
import json
import math

import numpy as np
import pytest
from evaluation_fakes import FIGURES, hand_case
from PIL import Image
from rich.console import Console

from ddim_jax.evaluation import evaluate, summary_table
from ddim_jax.metrics import bootstrap_interval
from ddim_jax.registry import METRICS
from ddim_jax.runtime.errors import InputError


@pytest.fixture(scope="module")
def hand_run(tmp_path_factory):
    segmenter, source = hand_case()
    output = tmp_path_factory.mktemp("evaluation") / "new" / "test"
    return evaluate(segmenter, source, output, split="test", seed=5), output, segmenter


def test_per_image_means_done_by_hand(hand_run):
    paper, mean = (hand_run[0]["protocols"][name]["per_image"] for name in ("paper", "mean"))
    # Image a, paper: first row alone, 4 of 8 pixels: Dice 2/3, recall and IoU 1/2, the second row 1 pixel away.
    # Image b: 1 everywhere. Image c: one pixel where nothing is: 0 everywhere, HD95 the diagonal of 4 x 4.
    expected = {
        "dice": (2 / 3, 1, 0),
        "dice_single": ((1 + 2 / 3) / 2, 1, 0),
        "recall": (1 / 2, 1, 0),
        "precision": (1, 1, 0),
        "iou": (1 / 2, 1, 0),
        "hd95": (1, 0, math.sqrt(32)),
    }
    for measure, values in expected.items():
        low, high = bootstrap_interval(values)
        assert paper[measure] == pytest.approx({"mean": np.mean(values), "low": low, "high": high}), measure
    for measure in ("dice", "recall", "precision", "iou"):
        assert mean[measure] == {"mean": 1.0, "low": 1.0, "high": 1.0}
    assert mean["hd95"]["mean"] == 0.0
    # One sample of image a alone loses its second row.
    assert mean["dice_single"]["mean"] == pytest.approx(((1 + 2 / 3) / 2 + 1 + 1) / 3)


def test_pooled_counts_and_empty_masks_done_by_hand(hand_run):
    metrics = hand_run[0]
    paper, mean = metrics["protocols"]["paper"], metrics["protocols"]["mean"]
    counts = {"true_positive": 4, "false_positive": 1, "false_negative": 4, "true_negative": 39}
    ratios = {"dice": 8 / 13, "recall": 4 / 8, "precision": 4 / 5, "iou": 4 / 9}
    assert paper["pooled"] == pytest.approx(counts | ratios)
    assert mean["pooled"]["dice"] == 1.0 and mean["pooled"]["true_negative"] == 40
    assert metrics["empty_truths"] == 2
    assert (paper["empty_predictions"], mean["empty_predictions"]) == (1, 2)
    assert (paper["hd95_with_one_empty"], mean["hd95_with_one_empty"]) == (1, 0)
    assert [(one["empty_truths"], one["both_empty"]) for one in (paper, mean)] == [(2, 1), (2, 2)]
    # Image a: four of 16 pixels with probabilities 1 and 0.4.
    assert metrics["uncertainty"]["mean"] == pytest.approx(0.3 * 4 / 16 / 3)
    assert metrics["uncertainty"]["rank_correlation_with_dice"] is None


@pytest.mark.parametrize(
    ("own", "told"),
    [
        ("mean", "2 true masks are empty: 2 predicted empty, Dice 1; 0 not, Dice 0"),
        ("paper", "2 true masks are empty: 1 predicted empty, Dice 1; 1 not, Dice 0"),
    ],
)
def test_empty_truths_are_told_below_the_table(hand_run, own, told):
    assert told in summary_table(hand_run[0] | {"protocol": own}).caption.splitlines()


def test_metrics_file_says_what_was_done(hand_run):
    metrics, output, _ = hand_run
    assert json.loads((output / "metrics.json").read_text()) == metrics
    said = {
        "dataset": "memory",
        "split": "test",
        "images": 3,
        "images_in_split": 3,
        "checkpoint": "RUN/checkpoints/800",
        "step": 800,
        "steps": 3,
        "samples": 2,
        "network_evaluations_per_image": 6,
        "sampler": "ddim",
        "ensemble": "mean",
        "seed": 5,
        "image_size": 4,
        "resolution": "native",
        "package": "ddim_jax",
    }
    assert {key: metrics[key] for key in said} == said
    assert metrics["protocols"]["paper"]["threshold"] == 0.9
    assert metrics["protocols"]["mean"]["threshold"] == 0.5
    own = {"dice", "hd95", "iou", "precision", "recall"}
    assert own <= set(metrics["metrics"]) <= {*METRICS} - {"hd95_mm"}  # no file says the size of a pixel
    assert all("oth masks empty" in metrics["metrics"][name] for name in own) and metrics["note"] == ""
    times = metrics["seconds_per_image"]
    assert times["device"] and times["first_with_compilation"] > 0 and times["median_of_the_rest"] > 0


def test_per_image_file_gives_back_the_means(hand_run):
    metrics, output, _ = hand_run
    with open(output / "per_image.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["id"] for row in table] == ["a", "b", "c"]
    assert [float(row["paper_dice"]) for row in table] == pytest.approx([2 / 3, 1, 0])
    assert [int(row["paper_false_positive"]) for row in table] == [0, 0, 1]
    assert (table[0]["height"], table[0]["width"]) == ("4", "4")
    for name, protocol in metrics["protocols"].items():
        for measure, summary in protocol["per_image"].items():
            column = {"mean": measure, "paper": f"paper_{measure}"}[name]
            assert np.mean([float(row[column]) for row in table]) == summary["mean"]


def test_figures_are_whole_and_nothing_else_is_left(hand_run):
    _, output, _ = hand_run
    assert {file.name for file in (output / "figures").iterdir()} == FIGURES
    names = {file.name for file in output.iterdir()}
    assert names == {".evaluation.lock", "figures", "metrics.json", "per_image.csv"}
    for file in (output / "figures").iterdir():
        with Image.open(file) as figure:
            pixels = np.asarray(figure.convert("L"))
        assert pixels.shape[1] > 700 and len(np.unique(pixels)) > 20


def test_figures_of_an_earlier_evaluation_do_not_stay_beside_new_numbers(tmp_path):
    segmenter, source = hand_case()
    evaluate(segmenter, source, tmp_path, split="test", figures=False)
    (tmp_path / "figures").mkdir(exist_ok=True)
    for name in ("grid.png", "mine.png"):
        (tmp_path / "figures" / name).write_bytes(b"old")
    evaluate(segmenter, source, tmp_path, split="test", figures=False)
    assert [file.name for file in (tmp_path / "figures").iterdir()] == ["mine.png"]


def test_a_folder_that_cannot_be_written_to_is_found_before_anything_is_sampled(tmp_path, monkeypatch):
    """Root may write everywhere, so the refusal of the system is played."""
    segmenter, source = hand_case()
    monkeypatch.setattr("ddim_jax.runtime.atomic.os.access", lambda *_: False)
    with pytest.raises(InputError, match=r"cannot be made or used: .* may not be written to; choose another"):
        evaluate(segmenter, source, tmp_path, split="test")
    assert segmenter.calls == []


def test_one_picture_has_no_interval_and_the_own_protocol_stands_first(tmp_path):
    segmenter, source = hand_case()
    metrics = evaluate(segmenter, source, tmp_path, split="test", figures=False, limit=1)
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(summary_table(metrics))
    printed = console.export_text()
    (line,) = [line for line in printed.splitlines() if "dice " in line and "dice_" not in line and "kept" not in line]
    assert "empty" not in printed and line.count("[-]") == 2 and "1 image: too few for the means to say much" in printed
    for own, other in (("mean", "paper"), ("paper", "mean")):
        metrics["protocol"] = own
        columns = [str(column.header).partition(" ")[0] for column in summary_table(metrics).columns]
        assert columns == ["measure", own, other]


def test_batches_change_no_number(hand_run, tmp_path):
    """Three images in batches of two: the last is a batch of one."""
    segmenter, source = hand_case()
    metrics = evaluate(segmenter, source, tmp_path, split="test", seed=5, batch_size=2, figures=False)
    assert metrics["batch_size"] == 2 and hand_run[0]["batch_size"] == 1
    times = metrics.pop("seconds_per_image")
    assert times["first_with_compilation"] > 0 and times["mean_of_the_rest"] == times["median_of_the_rest"] > 0
    assert all(value == hand_run[0][name] for name, value in metrics.items() if name != "batch_size")
