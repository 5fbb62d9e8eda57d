import csv
import io
import json
import math

import numpy as np
import pytest
from evaluation_fakes import FIGURES, TOP_HALF, MemorySource, hand_case, picture
from PIL import Image
from rich.console import Console

from ddim_jax.data import Example
from ddim_jax.data.facts import image_digest
from ddim_jax.data.pixels import write_pixels
from ddim_jax.evaluation import evaluate, summary_table
from ddim_jax.metrics import bootstrap_interval
from ddim_jax.registry import METRICS, register
from ddim_jax.runtime.errors import ConfigError, DataError, InputError


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


def test_an_empty_data_set_and_a_file_in_the_way_are_named(tmp_path):
    segmenter, source = hand_case()
    with pytest.raises(DataError, match="the split 'val' of memory holds no image"):
        evaluate(segmenter, MemorySource([]), tmp_path, split="val")
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(InputError, match="taken: the folder for the results cannot be made"):
        evaluate(segmenter, source, tmp_path / "taken", split="test")
    assert segmenter.calls == []


def test_batches_change_no_number(hand_run, tmp_path):
    """Three images in batches of two: the last is a batch of one."""
    segmenter, source = hand_case()
    metrics = evaluate(segmenter, source, tmp_path, split="test", seed=5, batch_size=2, figures=False)
    assert metrics["batch_size"] == 2 and hand_run[0]["batch_size"] == 1
    times = metrics.pop("seconds_per_image")
    assert times["first_with_compilation"] > 0 and times["mean_of_the_rest"] == times["median_of_the_rest"] > 0
    assert all(value == hand_run[0][name] for name, value in metrics.items() if name != "batch_size")


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
