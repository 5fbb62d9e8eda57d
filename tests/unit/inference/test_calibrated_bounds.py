"""Bounds of a calibrated run in memory and in the index; of any other, none."""

import hashlib
import json
import logging
import shutil

import numpy as np
import pytest
from dicom_files import ct_series
from PIL import Image
from segmenters import ReadsRed, config

from ddim_jax.evaluation import evaluate_checkpoint
from ddim_jax.inference import Segmenter, segment_files
from ddim_jax.inference.calibration import Calibrated, load_calibration, save_calibration
from ddim_jax.inference.calibration_advice import calibrated_options
from ddim_jax.inference.records import record_fields
from ddim_jax.inference.segmentation import fuse
from ddim_jax.inference.sliced_image import summed
from ddim_jax.labels import Labels
from ddim_jax.metrics import DoubtScale, Quantiles
from ddim_jax.runtime.errors import InputError
from ddim_jax.sampling_options import SamplingOptions

ABOUT = {"dataset": "lungs", "split": "val", "images": 40, "ids_sha256": "0" * 64}
TWICE, DAMAGED = DoubtScale(2.0, (0.2,), (1.0,)), "it is damaged"
UNSCALED = DoubtScale(1.0, (0.0,), (1.0,))
CALIBRATED = Calibrated(0.9, (Quantiles(area=10.0, dice=5.0),), 1.5, ABOUT, UNSCALED)


@pytest.fixture
def segmenter(tmp_path):
    """Red is foreground; without options the result is sure of it."""
    params = {"gain": np.float32(1), "bias": np.float32(0)}
    checkpoint = str(tmp_path / "run/checkpoints/7")
    (tmp_path / "run").mkdir()
    return Segmenter(ReadsRed(), params, config=config(), step=7, checkpoint=checkpoint)


def save(segmenter, **given):
    return save_calibration(segmenter, calibrated_options(segmenter.options(**given), segmenter.labels), CALIBRATED)


def red_block(side=16, height=4):
    image = np.zeros((side, side, 3), np.uint8)
    image[:height, :, 0] = 255
    return image


def test_bounds_in_memory_by_hand(segmenter):
    assert segmenter.segment(red_block()).bounds == {}
    save(segmenter)
    result = segmenter.segment(red_block())
    assert int(result.mask.sum()) == 64 and result.doubt == 0
    # 64 +- 10 * 0.002 * 256, and 1 - 5 * 0.02.
    assert result.bounds["foreground"] == pytest.approx((64 - 5.12, 64 + 5.12, 0.9, None))


def test_bounds_of_classes_are_by_their_names():
    labels = Labels.create({"lung": 1, "heart": 2})
    samples = np.full((1, 10, 10, 2), -1.0, np.float32)
    samples[0, :5, :, 0] = 1
    samples[0, 5:, :2, 1] = 0.6  # a probability of 0.8
    found = Calibrated(0.9, (Quantiles(10, 1), Quantiles(2, 1)), 1.0, ABOUT, DoubtScale(1.0, (0.0, 0.0), (1.0, 1.0)))
    options = SamplingOptions(protocol="mean", ensemble="mean", threshold=None)
    bounds = fuse(samples, (10, 10), options, labels, found).bounds
    assert bounds["lung"][:3] == pytest.approx((48, 52, 0.98))  # 50 +- 10 * 0.002 * 100
    # 10 pixels of 0.8 lie between the levels 0.95 and 0.05; a doubt of 1 - (2 * 8 + 1) / (8 + 10 + 1).
    assert bounds["heart"][:3] == pytest.approx((0, 20.4, 1 - 2 / 19 - (2 / 19 + 0.02)), abs=1e-6)


def test_a_calibrated_doubt_leaves_the_bounds_as_they_are():
    samples = np.full((1, 10, 10), -0.8, np.float32)  # a probability of 0.1
    samples[0, :5] = 0.8
    options = SamplingOptions(protocol="mean", ensemble="mean", threshold=0.5)
    plain, calibrated = (
        fuse(samples, (10, 10), options, calibration=CALIBRATED._replace(doubt=one)) for one in (UNSCALED, TWICE)
    )
    assert calibrated.bounds == plain.bounds and (calibrated.mask == plain.mask).all()
    # 50 pixels of each kind: a doubt of 10/101, whose odds of 10 to 91 become 20 to 91.
    assert plain.doubt == pytest.approx(10 / 101, abs=1e-6)
    assert calibrated.doubt == pytest.approx(20 / 111, abs=1e-6)


@pytest.mark.parametrize("side", [10, 400])
def test_the_doubt_of_an_empty_mask_does_not_depend_on_its_size(side):
    """Without and with doubt of its own, of as many expected pixels at either size."""
    options = SamplingOptions(protocol="mean", ensemble="mean", threshold=0.5)
    for expected, doubt in ((0.0, 0.2), (1.0, 1 - 0.8 * 0.5)):
        samples = np.full((4, side, side), 2 * expected / side**2 - 1, np.float32)
        found = fuse(samples, (side, side), options, calibration=CALIBRATED._replace(doubt=TWICE))
        assert not found.mask.any() and found.doubt == pytest.approx(doubt, abs=2e-3)


@pytest.mark.parametrize("side", [32, 64, 128])
def test_the_doubt_is_of_the_mask_before_it_is_resized(side):
    """One pixel of 64 x 64 that no other size keeps is doubted as drawn, not as an empty mask."""
    samples = np.full((1, 64, 64), -1, np.float32)
    samples[0, 20, 20] = 0.5  # a probability of 0.75: a doubt of 1 - 2.5 / 2.75, 1 to 10
    options = SamplingOptions(protocol="mean", ensemble="mean", threshold=0.5)
    found = fuse(samples, (side, side), options, calibration=CALIBRATED._replace(doubt=TWICE))
    assert found.mask.any() == (side == 64) and found.doubt == pytest.approx(2 / 12, abs=1e-6)


def test_the_digest_of_a_calibration_is_that_of_its_bounds_and_doubt():
    # As packaged weights have it, which know no factor of empty masks.
    packaged = CALIBRATED._replace(doubt=DoubtScale(2.0, (0.5,), (1.0,)))
    assert packaged.digest() == hashlib.sha256(b"[0.9, [[10.0, 5.0]], [2.0, [0.5]]]").hexdigest()
    assert packaged.digest() != packaged._replace(doubt=DoubtScale(2.0, (0.5,), (0.9,))).digest()


def test_the_index_has_bounds_and_says_what_they_hold_for(segmenter, tmp_path):
    save(segmenter)
    Image.fromarray(red_block()).save(tmp_path / "a.png")
    summary = segment_files(segmenter, tmp_path / "a.png", tmp_path / "out", flag_uncertain=0.5)
    flagged = (tmp_path / "out/flagged.csv").read_text().splitlines()
    assert flagged[0].endswith(",area,area_low,area_high,dice_low,unlike") and ",64,58,70,0." in flagged[1]
    assert summary.bounds.endswith("hold for 0.9 of images like the 40 of lungs val")
    record = json.loads((tmp_path / "out/index.jsonl").read_text())
    assert record["area"] == 64
    # Rounded outwards: 58.88 and 69.12.
    lowest = pytest.approx(0.9, abs=2e-6)
    assert record["bounds"] == {
        "foreground": {"area": 64, "area_low": 58, "area_high": 70, "dice_low": lowest, "unlike": None}
    }
    assert json.loads((tmp_path / "out/settings.json").read_text())["calibration"] == CALIBRATED.digest()


def test_slices_have_bounds_of_their_own_in_square_millimetres(segmenter, tmp_path):
    save(segmenter)
    ct_series(tmp_path / "series", count=2, shape=(16, 16))  # pixels of 0.5 x 0.75 mm
    segment_files(segmenter, tmp_path / "series", tmp_path / "out")
    record = json.loads((tmp_path / "out/index.jsonl").read_text())
    first, second = (one["foreground"] for one in record["bounds_of_slices"])
    assert "bounds" not in record and first["area"] + second["area"] == record["area"]
    for one in (first, second):
        assert one["area_low"] <= one["area"] <= one["area_high"] and one["area"] > 0
        for name in ("area", "area_low", "area_high"):
            assert one[f"{name}_mm2"] == pytest.approx(one[name] * 0.375)


def test_bounds_in_square_millimetres_are_rounded_outwards(segmenter):
    save(segmenter)
    result = segmenter.segment(red_block())  # bounds of 58 and 70 pixels
    facts = record_fields(red_block(), result, Labels(), pixel_area=1.0000015)
    found = facts["bounds"]["foreground"]
    names = ("area_mm2", "area_low_mm2", "area_high_mm2")
    assert [found[name] for name in names] == [64.0001, 58.0, 70.0002]
    found = record_fields(red_block(), result, Labels(), pixel_area=1.25)["bounds"]["foreground"]
    assert [found[name] for name in names] == [80, 72.5, 87.5]


def test_areas_in_square_millimetres_need_no_calibration(segmenter, tmp_path):
    ct_series(tmp_path / "series", count=2, shape=(16, 16))  # pixels of 0.5 x 0.75 mm
    Image.fromarray(red_block()).save(tmp_path / "a.png")
    for source in ("series", "a.png"):
        segment_files(segmenter, tmp_path / source, tmp_path / f"out_{source}")
    record, plain = (json.loads((tmp_path / f"out_{one}/index.jsonl").read_text()) for one in ("series", "a.png"))
    assert record["area_mm2"] == pytest.approx(record["area"] * 0.375) and record["area"] > 0
    assert "area_mm2" not in plain
    result = segmenter.segment(red_block())
    several = Labels.create({"lung": 1, "heart": 2})
    halves = [
        record_fields(red_block(), result._replace(mask=result.mask * k), several, area) for k, area in ((1, 2), (2, 3))
    ]
    inside = int(result.mask.sum())
    assert summed([one | {"seconds": 0} for one in halves])["areas_mm2"] == {"lung": 2 * inside, "heart": 3 * inside}
    halves[1] = record_fields(red_block(), result, several)
    assert not {"area_mm2", "areas_mm2"} & summed([one | {"seconds": 0} for one in halves]).keys()


def test_results_with_and_without_bounds_do_not_mix(segmenter, tmp_path):
    Image.fromarray(red_block()).save(tmp_path / "a.png")
    assert segment_files(segmenter, tmp_path / "a.png", tmp_path / "out").bounds == ""
    assert "bounds" not in json.loads((tmp_path / "out/index.jsonl").read_text())
    save(segmenter)
    with pytest.raises(InputError, match="calibration is not made there and made now"):
        segment_files(segmenter, tmp_path / "a.png", tmp_path / "out")
    segment_files(segmenter, tmp_path / "a.png", tmp_path / "bounds")
    with pytest.raises(InputError, match=r"of other settings: threshold is 0\.5 there and 0\.4 now\. Use another"):
        segment_files(segmenter, tmp_path / "a.png", tmp_path / "bounds", threshold=0.4)
    other, options = CALIBRATED._replace(coverage=0.5), segmenter.options()
    save_calibration(segmenter, calibrated_options(options, segmenter.labels), other)
    with pytest.raises(InputError, match="of other settings: calibration was made anew"):
        segment_files(segmenter, tmp_path / "a.png", tmp_path / "bounds")


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"steps": 3}, "steps is 3 now and was 2"),
        ({"protocol": "paper"}, "protocol is paper now and was mean; threshold is 0.9 now and was 0.5"),
        ({"threshold": 0.4}, "threshold is 0.4 now and was 0.5"),
        ({"invert": True}, "invert is True now and was False"),
        ({"window": (40.0, 400.5)}, "window is 40,400.5 now and was that of each file"),
    ],
)
def test_other_options_have_no_bounds_and_say_why_once(segmenter, caplog, given, reason):
    save(segmenter)
    with caplog.at_level(logging.WARNING):
        assert segmenter.segment(red_block(), **given).bounds == {}
        assert segmenter.segment(red_block(), **given).bounds == {}
    told = [record.getMessage() for record in caplog.records if "calibration.json" in record.getMessage()]
    assert len(told) == 1 and f"is not used: {reason}. " in told[0]


def test_the_advice_is_how_a_calibration_is_made(segmenter):
    save(segmenter)
    for given in ({"steps": 3, "flips": True}, {"threshold": 0.4}, {"protocol": "paper"}):
        told = reason_now(segmenter, **given).partition(" now and was ")[2]
        assert ". `ddim-jax evaluate --ckpt RUN --split val --calibrate` with the same options makes one (of" in told
        assert told.endswith("for the protocol mean and its own threshold alone")


def reason_now(segmenter, **given):
    """The reason why the calibration is not used with these options; None if it is."""
    found, why_not = load_calibration(segmenter, segmenter.options(**given))
    assert (found is None) == bool(why_not)
    return why_not or None


def test_only_the_seed_may_differ_of_the_options(segmenter):
    save(segmenter)
    assert reason_now(segmenter, seed=5) is None
    for given in ({"samples": 2}, {"size": "native"}, {"ensemble": "majority"}, {"flips": True}, {"eta": 0.5}):
        (name, value), was = *given.items(), segmenter.options().as_dict()
        assert f"{name} is {value} now and was {was[name]}" in reason_now(segmenter, **given)


def test_other_weights_have_no_bounds(segmenter):
    save(segmenter)
    params = {"gain": np.float32(1), "bias": np.float32(0.1)}
    other = Segmenter(ReadsRed(), params, config=config(), step=8, checkpoint=segmenter.checkpoint)
    assert "made with other weights (step 7)" in reason_now(other)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda text: text[:-9], "it is damaged"),
        (lambda text: "", "it is damaged"),
        (lambda text: "[]", "holds no calibration"),
        (lambda text: text + " " * 2**20, "it is damaged"),
        (lambda text: text.replace('"area": ', '"area": 1e999, "x": '), "it is damaged"),
        (lambda text: text.replace('"area": ', '"area": true, "x": '), "it is damaged"),
        (lambda text: text.replace('"coverage": 0.9', '"coverage": 1.9'), "it is damaged"),
        (lambda text: text.replace('"odds": 1.0', '"odds": -1'), DAMAGED),
        (lambda text: text.replace('"foreground": 0.0', '"foreground": 2'), DAMAGED),
        (lambda text: text.replace('"of_empty"', '"of_none"'), DAMAGED),
        (lambda text: text.replace('"foreground": 1.0', '"foreground": 0'), DAMAGED),
        (lambda text: text.replace('"doubt": {', '"doubt": null, "x": {'), DAMAGED),
        (lambda text: text.replace('"temperature": ', '"temperature": -'), "it is damaged"),
        (lambda text: text.replace("foreground", "lung"), "it is damaged"),
        (lambda text: text.replace('"about": {', '"about": 1, "x": {'), "it is damaged"),
        (lambda text: text.replace('"image_size": 16', '"image_size": 8'), "image_size is 16 now and was 8"),
        (lambda text: text.replace('"options": {', '"options": 1, "x": {'), "steps is 2 now and was none"),
    ],
)
def test_a_file_that_is_not_whole_is_not_used(segmenter, damage, reason):
    path = save(segmenter)
    text = path.read_text()
    path.write_text(damage(text))
    assert path.read_text() != text and reason in reason_now(segmenter)


def test_a_run_is_calibrated_and_its_bounds_are_used(plain, tmp_path):
    """The whole: validation, calibration.json, the test split, an image in memory."""
    run = tmp_path / "run"
    shutil.copytree(plain, run)
    metrics, _ = evaluate_checkpoint(run, "val", calibrate=0.8, figures=False)
    assert metrics["bounds"]["same_pictures"] and metrics["bounds"]["calibration"]["images"] == 5
    # The rank is ceil(6 * 0.8) = 5 of 5: all are held.
    assert metrics["bounds"]["classes"]["foreground"]["area"]["held"] == 5
    metrics, _ = evaluate_checkpoint(run, "test", figures=False)
    assert not metrics["bounds"]["same_pictures"]
    found = metrics["bounds"]["classes"]["foreground"]
    assert (found["area"]["images"], found["dice_low"]["images"]) == (1, 1)
    segmenter = Segmenter.load(run)  # the manifest of the step is whole
    bounds = segmenter.segment(np.zeros((16, 16, 3), np.uint8)).bounds["foreground"]
    assert 0 <= bounds.area_low <= bounds.area_high <= 256 and 0 <= bounds.dice_low <= 1
    with pytest.raises(InputError, match="calibrate on the split test; expected val"):
        evaluate_checkpoint(run, "test", calibrate=0.8)


def test_a_calibration_that_is_replaced_is_named(segmenter, caplog):
    with caplog.at_level(logging.WARNING, logger="absl"):
        save(segmenter)
        assert caplog.text == ""
        save(segmenter)
    assert "calibration.json: replaces that of 40 images of lungs val" in caplog.text
