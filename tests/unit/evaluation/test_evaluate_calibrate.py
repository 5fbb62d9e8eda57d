"""Bounds calibrated on one split and measured on another, with scores computed by hand."""

import csv
import io
import json

import numpy as np
import pytest
from evaluation_fakes import EMPTY, TOP_HALF, FakeSegmenter, MemorySource, picture, rows
from rich.console import Console
from scipy import stats
from segmenters import ReadsRed, config

from ddim_jax.data import Example
from ddim_jax.evaluation import evaluate, summary_table
from ddim_jax.inference import Segmenter
from ddim_jax.labels import Labels
from ddim_jax.runtime.errors import InputError

RIGHT, ONE_ROW = 1, 2
SAMPLES = {RIGHT: [rows(1, 1, -1, -1)] * 2, ONE_ROW: [rows(1, -1, -1, -1)] * 2}


@pytest.fixture
def segmenter(tmp_path):
    return FakeSegmenter(SAMPLES, checkpoint=str(tmp_path / "RUN/checkpoints/800"))


def source(*pairs):
    return MemorySource([Example(f"{i}", picture(key), truth) for i, (key, truth) in enumerate(pairs)])


VALIDATION = source(*[(RIGHT, TOP_HALF)] * 8, (ONE_ROW, TOP_HALF))
TEST = source((RIGHT, TOP_HALF), (RIGHT, EMPTY), (ONE_ROW, TOP_HALF))


def scored(segmenter, data, folder, split="test", **given):
    return evaluate(segmenter, data, folder, split=split, figures=False, **given)


def screen(metrics):
    console = Console(width=120, file=io.StringIO())
    console.print(summary_table(metrics))
    return console.file.getvalue()


def calibrated(segmenter, tmp_path, **given):
    return scored(segmenter, VALIDATION, tmp_path / "val", "val", calibrate=0.9, **given)


def test_the_hand_case(segmenter, tmp_path):
    """All are sure, so that the scale is 0.002 * 16 pixels; of nine scores the largest counts: 4 pixels, Dice 2/3."""
    metrics = calibrated(segmenter, tmp_path)
    assert "area interval holds (calibrated on these)" in screen(metrics)
    assert metrics["bounds"]["same_pictures"] and metrics["bounds"]["classes"]["foreground"]["area"]["held"] == 9
    written = json.loads((tmp_path / "RUN/calibration.json").read_text())
    found = written["quantiles"]["foreground"]
    assert found == {"area": pytest.approx(4 / 0.032), "dice": pytest.approx(1 / 3 / 0.02)}
    about = {name: value for name, value in written["about"].items() if not name.endswith("sha256")}
    assert about == {"dataset": "memory", "split": "val", "images": 9}
    metrics = scored(segmenter, TEST, tmp_path / "test")
    bounds = metrics["bounds"]
    assert (bounds["nominal"], bounds["same_pictures"], bounds["why_not_calibrated"]) == (0.9, False, None)
    # The intervals are 8 +- 4, 8 +- 4 and 4 +- 4, the true areas 8, 0 and 8.
    area = bounds["classes"]["foreground"]["area"]
    assert (area["held"], area["images"], area["mean_width"], area["mean_width_share"]) == (2, 3, 8, 0.5)
    # Clopper and Pearson: P(X >= 2) = 3 p^2 - 2 p^3 = 0.025 and P(X <= 2) = 1 - p^3 = 0.025.
    low, high = area["low"], area["high"]
    assert 3 * low**2 - 2 * low**3 == pytest.approx(0.025) and 1 - high**3 == pytest.approx(0.025)
    dice = bounds["classes"]["foreground"]["dice_low"]
    assert (dice["held"], dice["mean"]) == (2, pytest.approx(2 / 3))
    alone = bounds["classes"]["foreground"]["area_uncalibrated"]
    assert (alone["held"], alone["mean_width"]) == (1, 0)
    with open(tmp_path / "test/per_image.csv", newline="") as file:
        table = list(csv.DictReader(file))
    names = ("area", "true_area", "area_inner", "area_outer", "area_low", "area_high")
    assert [[round(float(row[name]), 9) for name in names] for row in table] == [
        [8, 8, 8, 8, 4, 12],
        [8, 0, 8, 8, 4, 12],
        [4, 8, 4, 4, 0, 8],
    ]
    assert [float(row["dice_low"]) for row in table] == pytest.approx([2 / 3] * 3)
    assert "area interval holds " in screen(metrics) and "these" not in screen(metrics)
    assert "0.6667 [0.0943, 0.9916]" in screen(metrics)


def test_the_doubt_is_what_the_calibrated_pictures_miss(tmp_path):
    """Probabilities of 0.9 and 0.1, and two of ten images whose truth is empty."""
    estimates = {RIGHT: [rows(0.8, 0.8, -0.8, -0.8)] * 2}
    segmenter = FakeSegmenter(estimates, checkpoint=str(tmp_path / "RUN/checkpoints/800"))
    data = source(*[(RIGHT, TOP_HALF)] * 8, *[(RIGHT, EMPTY)] * 2)
    metrics = scored(segmenter, data, tmp_path / "val", "val", calibrate=0.9)
    assert metrics["doubt"]["mean"] == pytest.approx(1 - (2 * 7.2 + 1) / (7.2 + 0.8 + 8 + 1), abs=1e-6)
    found = metrics["bounds"]["calibration"]["doubt"]
    assert found == json.loads((tmp_path / "RUN/calibration.json").read_text())["doubt"]
    assert found["of_empty"] == {"foreground": 0.5}  # no mask was empty
    after = scored(segmenter, data, tmp_path / "again", "val")
    # Two of the ten masks miss all of their Dice.
    assert after["doubt"]["mean"] == pytest.approx(0.2, abs=2e-3)
    assert after["bounds"]["classes"] == metrics["bounds"]["classes"]


def test_a_segmenter_uses_the_calibration_that_it_is_given(tmp_path):
    """Its masks have 64 pixels; the truths 48, and then 32."""
    params, checkpoint = {"gain": np.float32(1), "bias": np.float32(0)}, str(tmp_path / "RUN/checkpoints/7")
    segmenter = Segmenter(ReadsRed(), params, config=config(), step=7, checkpoint=checkpoint)
    (tmp_path / "RUN").mkdir()
    image = np.zeros((16, 16, 3), np.uint8)
    image[:4, :, 0] = 255
    result = segmenter.segment(image)
    assert (result.bounds, result.unlikeness) == ({}, None)
    for height in (3, 2):
        truth = (np.arange(16) < height)[:, None] * np.ones((16, 16), np.uint8)
        data = MemorySource([Example(str(number), image, truth) for number in range(19)])
        scored(segmenter, data, tmp_path / "val", "val", calibrate=0.9)
        result = segmenter.segment(image)
        assert result.bounds["foreground"].area_low == pytest.approx(16 * height) and result.unlikeness is not None


@pytest.mark.parametrize(
    ("wrong", "temperature", "errors"), [(0, 0.05, (0.2, 0.0)), (5, np.log(4) / np.log(7), (0.125, 0.125))]
)
def test_a_temperature_at_an_end_of_its_range_is_warned_of(tmp_path, caplog, wrong, temperature, errors):
    """Probabilities of 0.8 and 0.2, with odds of 4; all pixels are right, or seven in eight: .75 and none of either."""
    segmenter = FakeSegmenter({RIGHT: [rows(0.6, 0.6, -0.6, -0.6)] * 2}, str(tmp_path / "RUN/checkpoints/8"))
    truths = [rows(1, 0, 0, 0).astype(np.uint8)] * wrong + [TOP_HALF] * (10 - wrong)
    metrics = scored(segmenter, source(*[(RIGHT, truth) for truth in truths]), tmp_path / "out", "val", calibrate=0.9)
    assert metrics["bounds"]["calibration"]["temperature"] == pytest.approx(temperature, rel=0.02)
    assert ("the temperature of memory val is 0.05, an end of the range" in caplog.text) == (wrong == 0)
    found = metrics["calibration"]["ece"], metrics["bounds"]["ece_at_temperature"]
    assert found == pytest.approx(errors, abs=0.003)


def test_without_a_calibration_nothing_is_called_calibrated(segmenter, tmp_path):
    metrics = scored(segmenter, TEST, tmp_path)
    assert metrics["bounds"]["calibration"] is None and "no calibration.json" in metrics["bounds"]["why_not_calibrated"]
    assert set(metrics["bounds"]["classes"]["foreground"]) == {"area_uncalibrated"}
    header = (tmp_path / "per_image.csv").read_text().splitlines()[0]
    assert header.endswith(",area,true_area,area_inner,area_outer")


@pytest.mark.parametrize(
    ("given", "split", "message"),
    [
        ({"calibrate": 0.95}, "val", "on 9 images; bounds that hold for 0.95 of images need 19 or more"),
        ({"calibrate": 0.9, "limit": 8}, "val", "on 8 images; bounds that hold for 0.9 of images need 9"),
        ({"calibrate": 0.9}, "train", "expected val"),
        ({"calibrate": 1.0}, "val", "coverage is 1.0; expected a number above 0 and below 1"),
        ({"calibrate": 0.9, "resolution": "model"}, "val", "expected native"),
    ],
)
def test_what_cannot_be_calibrated_is_refused_before_any_work(segmenter, tmp_path, given, split, message):
    with pytest.raises(InputError, match=message):
        scored(segmenter, VALIDATION, tmp_path / "out", split, **given)
    assert not (tmp_path / "RUN").exists() and not (tmp_path / "out").exists() and segmenter.calls == []


def test_each_class_has_bounds_of_its_own_and_ignored_pixels_are_in_none(tmp_path):
    labels = Labels.create({"lung": 1, "heart": 2}, ignore=9)
    truth = np.repeat(np.array([[1], [2], [0], [255]], np.uint8), 4, axis=1)

    def sample(*classes):
        drawn = np.array([[1.0 if number == k else -1.0 for k in (1, 2)] for number in classes], np.float32)
        return [np.repeat(drawn[:, None], 4, axis=1)] * 2

    # Right where it counts; and of the second the heart's row is taken for lung.
    fake = FakeSegmenter({1: sample(1, 2, 0, 1), 2: sample(1, 1, 0, 2)}, str(tmp_path / "RUN/checkpoints/800"), labels)
    data = source(*[(1, truth)] * 8, (2, truth))
    found = scored(fake, data, tmp_path / "out", "val", calibrate=0.9)["bounds"]["classes"]
    quantiles = json.loads((tmp_path / "RUN/calibration.json").read_text())["quantiles"]
    assert quantiles["lung"]["area"] == pytest.approx(4 / 0.024) == quantiles["heart"]["area"]  # of 12 that count
    assert quantiles["lung"]["dice"] == pytest.approx((1 - 8 / 12) / 0.02)
    assert quantiles["heart"]["dice"] == pytest.approx(1 / 0.02)
    assert (found["lung"]["area"]["held"], found["heart"]["dice_low"]["mean"]) == (9, pytest.approx(0))
    with open(tmp_path / "out/per_image.csv", newline="") as file:
        last = list(csv.DictReader(file))[-1]
    assert [float(last[f"heart_{name}"]) for name in ("area", "true_area", "area_low", "area_high")] == [0, 4, 0, 4]
    assert [float(last[f"lung_{name}"]) for name in ("area", "true_area", "area_low", "area_high")] == [8, 4, 4, 12]


def test_empty_truths_and_masks_are_pictures_like_others(tmp_path):
    fake = FakeSegmenter({1: [rows(-1, -1, -1, -1)] * 2}, str(tmp_path / "RUN/checkpoints/800"))
    found = scored(fake, source(*[(1, EMPTY)] * 9), tmp_path / "out", "val", calibrate=0.9)["bounds"]
    assert found["classes"]["foreground"]["area"] | {"low": 0} == {
        "held": 9, "images": 9, "coverage": 1.0, "low": 0, "high": 1.0, "mean_width": 0.0, "mean_width_share": 0.0
    }  # fmt: skip
    assert found["classes"]["foreground"]["dice_low"]["mean"] == 1.0


def same_pictures(segmenter, data, folder):
    return scored(segmenter, data, folder)["bounds"]["same_pictures"]


def test_images_are_those_of_the_calibration_by_their_pixels(segmenter, tmp_path, caplog):
    calibrated(segmenter, tmp_path)
    pairs = [(RIGHT, TOP_HALF)] * 8 + [(ONE_ROW, TOP_HALF)]
    renamed = MemorySource([one._replace(id=f"new {one.id}") for one in reversed(VALIDATION.examples)])
    others = source(*[(ONE_ROW, mask) for _, mask in pairs])  # under the same names
    caplog.clear()
    assert same_pictures(segmenter, renamed, tmp_path / "a") and not caplog.text
    assert not same_pictures(segmenter, others, tmp_path / "b")
    assert "have the names of those of the calibration, and other pixels: not the same" in caplog.text
    # A calibration that an earlier version made knows names alone, which is said.
    path = tmp_path / "RUN/calibration.json"
    record = json.loads(path.read_text())
    del record["about"]["pixels_sha256"]
    path.write_text(json.dumps(record))
    with caplog.at_level("INFO", logger="absl"):
        found = [same_pictures(segmenter, data, tmp_path / "c") for data in (others, renamed)]
    assert found == [True, False]
    assert "by their names alone these are the images of the calibration" in caplog.text
    assert "by their names alone these are not the images of the calibration" in caplog.text


def of_patients(data, *patients):
    data.groups = patients
    return data


def test_pictures_of_patients_are_drawn_together(segmenter, tmp_path):
    """Patient a has a Dice of 1 three times, patient b 2/3 once; of 4 images one area does not hold, of b."""
    data = of_patients(source(*[(RIGHT, TOP_HALF)] * 3, (ONE_ROW, TOP_HALF)), *"aaab")
    metrics = scored(segmenter, data, tmp_path / "test")
    assert (metrics["images"], metrics["groups"]) == (4, 2)
    dice = metrics["protocols"]["mean"]["per_image"]["dice"]
    assert dice == pytest.approx({"mean": (3 + 2 / 3) / 4, "low": 2 / 3, "high": 1})
    area = metrics["bounds"]["classes"]["foreground"]["area_uncalibrated"]
    assert (area["held"], area["low"], area["high"]) == (3, 0, 1)
    assert "95% interval of 2 groups" in " ".join(screen(metrics).split())


def test_a_calibration_is_of_patients(segmenter, tmp_path):
    """Nine patients; of one of them eleven images, all with the larger error, have a tenth of the weight."""
    pairs = [(RIGHT, TOP_HALF)] * 9 + [(ONE_ROW, TOP_HALF)] * 10
    scored(segmenter, of_patients(source(*pairs), *"abcdefgh", *"i" * 11), tmp_path / "val", "val", calibrate=0.8)
    written = json.loads((tmp_path / "RUN/calibration.json").read_text())
    assert written["quantiles"]["foreground"]["area"] == 0 and written["about"]["groups"] == 9
    calibration, _ = segmenter.calibration(segmenter.options())
    of_groups = "one drawn from each new group (patient, folder, volume) like the 9 there"
    assert calibration.in_words().endswith(f"for 0.8 of images like the 19 of memory val, {of_groups}")
    assert written["unlikeness"] is None  # 19 images, but not of 19 patients
    assert segmenter.reference()[1].endswith(
        "made of 19 images of 9 groups (patients, folders, volumes); it takes 19 "
        "groups to judge if others are unlike them"
    )
    with pytest.raises(InputError, match=r"calibrate on 8 groups of images .*need 9 or more"):
        scored(segmenter, of_patients(source(*pairs), *"abcdefg", *"i" * 12), tmp_path / "v", "val", calibrate=0.9)
    one = r"calibrate on 1 group of images \(patients, folders, volumes\); .* 9 or more\. Take more, new .* --split all"
    with pytest.raises(InputError, match=one):
        scored(segmenter, of_patients(source(*pairs), *"i" * 19), tmp_path / "v", "val", calibrate=0.9)


def interval(segmenter, folder, held, groups):
    """The 95% interval of the share of areas in the interval that the probability gives: none that lack a row."""
    data = source(*[(RIGHT if one else ONE_ROW, TOP_HALF) for one in held])
    data.groups = groups
    found = scored(segmenter, data, folder)["bounds"]["classes"]["foreground"]["area_uncalibrated"]
    assert found["coverage"] == pytest.approx(np.mean(held))
    return found["low"], found["high"]


def test_groups_that_agree_count_as_one_image_each(segmenter, tmp_path):
    patients = [f"p{number // 3}" for number in range(30)]
    # P(X >= 10) = p^10 = 0.025 of ten, P(X >= 30) = p^30 = 0.025 of thirty.
    assert interval(segmenter, tmp_path, [True] * 30, patients) == pytest.approx((0.025 ** (1 / 10), 1))
    assert interval(segmenter, tmp_path, [False] * 30, patients) == pytest.approx((0, 1 - 0.025 ** (1 / 10)))
    alone = [str(number) for number in range(30)]
    assert interval(segmenter, tmp_path, [True] * 30, alone) == pytest.approx((0.025 ** (1 / 30), 1))
    exact = stats.binomtest(8, 10).proportion_ci(0.95, method="exact")
    low, high = interval(segmenter, tmp_path, [True] * 24 + [False] * 6, patients)
    assert low == pytest.approx(exact.low) and exact.high <= high <= 1


def test_groups_never_make_the_interval_narrower(segmenter, tmp_path):
    patients = [f"p{number // 3}" for number in range(30)]
    exact = stats.binomtest(20, 30).proportion_ci(0.95, method="exact")
    low, high = interval(segmenter, tmp_path, [True, True, False] * 10, patients)
    assert low < exact.low and high > exact.high
    # 20/3 of ten patients, between 6 and 7 of ten.
    six, seven = (stats.binomtest(k, 10).proportion_ci(0.95, method="exact") for k in (6, 7))
    assert six.low < low < seven.low and six.high < high < seven.high
    low, high = interval(segmenter, tmp_path, [True] * 29 + [False], patients)
    assert low < stats.binomtest(29, 30).proportion_ci(0.95, method="exact").low and high == 1
    # One patient of 21 images that do not hold, nine of one that do: 9 of 30, of which ten groups are 3 of 10.
    low, high = interval(segmenter, tmp_path, [False] * 21 + [True] * 9, ["p"] * 21 + patients[:27:3])
    exact = stats.binomtest(3, 10).proportion_ci(0.95, method="exact")
    assert low <= exact.low and high >= exact.high
