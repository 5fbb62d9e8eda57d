"""Images unlike those of the calibration, in memory, in the index, in a file of weights and in an evaluation."""

import argparse
import csv
import json
import logging
from pathlib import Path

import numpy as np
import pytest
from dicom_files import ct_series, ct_slice
from PIL import Image
from segmenters import ReadsRed, config

from ddim_jax.cli.sample import describe
from ddim_jax.data import Example
from ddim_jax.data.datasets.phantom import draw_phantom
from ddim_jax.evaluation import evaluate
from ddim_jax.evaluation.tables import summary_table
from ddim_jax.inference import Segmenter, segment_files
from ddim_jax.inference.calibration import load_reference
from ddim_jax.inference.files import Summary
from ddim_jax.inference.processes import Process
from ddim_jax.inference.unlikeness import describe_image, fit_reference
from ddim_jax.preprocessing import resize_mask
from ddim_jax.runtime.errors import InputError

NOISE = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)


def phantom(index):
    return draw_phantom("val", 0, index, 32)


class Phantoms:
    name, note, facts = "phantoms", "", ()

    def __init__(self, count, *others):
        self.examples = [Example(f"{k}", *phantom(k)) for k in range(count)]
        self.examples += [
            Example(f"other{k}", image, resize_mask(phantom(k)[1], image.shape[:2])) for k, image in enumerate(others)
        ]

    def __len__(self):
        return len(self.examples)

    def __getitem__(self, index):
        return self.examples[index]

    @property
    def ids(self):
        return [example.id for example in self.examples]


def fresh(folder, made=[]):  # noqa: B006
    """A segmenter of the run in `folder`; all of them share one compiled program."""
    params = {"gain": np.float32(1), "bias": np.float32(0)}
    checkpoint = str(folder / "run/checkpoints/7")
    segmenter = Segmenter(ReadsRed(), params, config=config(), step=7, checkpoint=checkpoint)
    made.append(segmenter)
    segmenter._compiled = made[0]._compiled
    return segmenter


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory):
    """A folder with a calibrated run, of which nothing is changed."""
    folder = tmp_path_factory.mktemp("calibrated")
    calibrate(folder)
    return folder


def calibrate(folder, count=24):
    (folder / "run").mkdir(exist_ok=True)
    given = {"split": "val", "calibrate": 0.9, "figures": False}
    metrics = evaluate(fresh(folder), Phantoms(count), folder / "val", **given)
    return fresh(folder), metrics


def changed(calibrated, folder, edit):
    path = folder / "run/calibration.json"
    path.parent.mkdir()
    record = json.loads((calibrated / "run/calibration.json").read_text())
    edit(record)
    path.write_text(json.dumps(record))
    return fresh(folder)


def last_lines(summary):
    return describe(summary, argparse.Namespace(output="out"), Process.create(0, 1))


def test_a_calibrated_run_tells_noise_from_its_own_kind(tmp_path):
    segmenter, metrics = calibrate(tmp_path)
    reference = fit_reference([describe_image(phantom(k)[0]) for k in range(24)])
    expected = reference.unlikeness(describe_image(NOISE))
    noise, own = segmenter.segment([NOISE, phantom(50)[0]])
    assert noise.unlikeness == pytest.approx(expected) and expected > 1.5 and 0 < own.unlikeness <= 1
    assert noise.bounds["foreground"].unlike is True and own.bounds["foreground"].unlike is False
    # The reference is of images, so it holds with other options, for which no bound does.
    other = segmenter.segment(NOISE, steps=3)
    assert other.unlikeness == noise.unlikeness and other.bounds == {} != noise.bounds
    assert metrics["unlikeness"]["images"] == 24 and metrics["unlikeness"]["why_not_judged"] is None


def test_the_index_the_last_lines_and_the_list_name_them(calibrated, tmp_path):
    segmenter = fresh(calibrated)
    (tmp_path / "in").mkdir()
    for name, image in {"a": phantom(50)[0], "b": NOISE, "c": np.zeros((9, 9), np.uint8)}.items():
        Image.fromarray(image).save(tmp_path / "in" / f"{name}.png")
    summary = segment_files(segmenter, tmp_path / "in", tmp_path / "out", flag_uncertain=0.01)
    found, marked = {}, {}
    for line in (tmp_path / "out/index.jsonl").read_text().splitlines():
        record = json.loads(line)
        found[record["name"]] = record["unlikeness"]
        marked[record["name"]] = record["bounds"]["foreground"]["unlike"]
    assert marked == {"a": False, "b": True, "c": True}
    assert found["b"] == pytest.approx(segmenter.unlikeness(NOISE), rel=1e-3)
    assert found["a"] < 1 < min(found["b"], found["c"]) and summary.not_judged == ""
    assert dict(summary.unlike) == {str(tmp_path / f"in/{name}.png"): found[name] for name in ("b", "c")}
    told = last_lines(summary)
    assert "2 of 3 images are unlike the images that the model was calibrated on: intervals do not hold" in told
    assert f"b.png ({found['b']:.3g})" in told and "a.png" not in told
    with open(tmp_path / "out/flagged.csv", newline="") as file:
        flagged = {row["name"]: row["unlike"] for row in csv.DictReader(file)}
    assert flagged["b"] == flagged["c"] == "True" and flagged.get("a", "False") == "False"
    # The second run segments nothing and says the same.
    again = segment_files(segmenter, tmp_path / "in", tmp_path / "out")
    assert (again.done, dict(again.unlike)) == (0, dict(summary.unlike))


def test_slices_are_judged_one_by_one_and_the_source_by_their_median(calibrated, tmp_path):
    segmenter = fresh(calibrated)
    ct_series(tmp_path / "series", count=3, shape=(16, 16))
    segment_files(segmenter, tmp_path / "series", tmp_path / "out")
    record = json.loads((tmp_path / "out/index.jsonl").read_text())
    assert len(record["unlikeness_of_slices"]) == 3
    of_each = [one["foreground"]["unlike"] for one in record["bounds_of_slices"]]
    assert of_each == [value > 1 for value in record["unlikeness_of_slices"]]
    assert record["unlikeness"] == sorted(record["unlikeness_of_slices"])[1] > 1


def cine_without_places(path):
    values = np.random.default_rng(0).integers(-1000, 1000, (3 * 16, 16))
    return ct_slice(path, values, NumberOfFrames=3, Rows=16, ImagePositionPatient=None)


def image_with_a_long_name(path):
    """Its mask is written, its probability has too long a name."""
    Image.fromarray(NOISE).save(path)
    return path


@pytest.mark.parametrize(
    ("make", "name", "kinds"),
    [
        (cine_without_places, "x.dcm", ("mask", "nifti")),
        (image_with_a_long_name, 240 * "x" + ".png", ("mask", "probability")),
    ],
)
def test_a_mask_beside_a_kind_that_cannot_be_made_has_its_warning(calibrated, tmp_path, monkeypatch, make, name, kinds):
    segmenter = fresh(calibrated)
    path = make(tmp_path / name)
    out = tmp_path / "out"

    def check(summary):
        ((file, value),) = summary.unlike
        assert (file, len(summary.failed), summary.done, summary.in_part) == (str(path), 1, 0, 1)
        (record,) = (json.loads(line) for line in (out / "index.jsonl").read_text().splitlines())
        assert (record["status"], record["outputs"]) == ("failed", ["mask"])
        assert value == record["unlikeness"] > 1
        with open(out / "flagged.csv", newline="") as table:
            (row,) = csv.DictReader(table)
        assert (row["file"], float(row["doubt"])) == (str(path), record["doubt"]) and summary.flagged == 1
        told = last_lines(summary)
        assert "\n1 of 1 image is unlike the images that" in told and "\nbounds in index.jsonl" in told

    for _ in range(2):  # what failed is done again
        check(segment_files(segmenter, path, out, save=kinds, flag_uncertain=0.9))

    def away(self):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("ddim_jax.inference.jobs.Job.state", away)  # the line of the earlier run stays
    check(segment_files(segmenter, path, out, save=kinds, flag_uncertain=0.9))


def test_results_that_were_judged_and_others_do_not_mix(calibrated, tmp_path):
    Image.fromarray(NOISE).save(tmp_path / "a.png")
    old = changed(calibrated, tmp_path, lambda record: record.pop("unlikeness"))
    summary = segment_files(old, tmp_path / "a.png", tmp_path / "out")
    assert summary.unlike == [] and summary.bounds
    assert last_lines(summary).endswith("unlike images are not flagged: the calibration was made by an earlier version")
    assert json.loads((tmp_path / "out/index.jsonl").read_text())["unlikeness"] is None
    with pytest.raises(InputError, match="unlikeness is not made there and made now"):
        segment_files(fresh(calibrated), tmp_path / "a.png", tmp_path / "out")


def test_without_a_reference_nothing_is_judged_and_the_reason_is_said(tmp_path, caplog):
    assert load_reference(fresh(tmp_path)) == (None, "not calibrated")
    assert fresh(tmp_path).segment(NOISE).unlikeness is None
    with caplog.at_level(logging.WARNING):
        segmenter, metrics = calibrate(tmp_path, 18)
    assert "calibrated on 18 images; it takes 19 to judge if others are unlike them" in caplog.text
    why = caplog.messages[-1].removeprefix("calibrated on ")
    assert metrics["unlikeness"] == {"within": 0.95, "why_not_judged": why}
    assert load_reference(segmenter) == (None, f"the calibration was made of {why}")
    assert segmenter.segment(NOISE).bounds and segmenter.segment(NOISE).unlikeness is None
    assert segmenter.segment(NOISE).bounds["foreground"].unlike is None


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda record: record["unlikeness"].update(limit=-1), "the calibration is damaged"),
        (lambda record: record["unlikeness"].update(mean=[0.0]), "the calibration is damaged"),
        (lambda record: record.update(unlikeness=3), "the calibration is damaged"),
        (lambda record: record.update(unlikeness=None, about=None), "the calibration is damaged"),
        (lambda record: record.update(weights="0"), "the calibration was made with other weights (step 7)"),
    ],
)
def test_a_reference_that_is_not_whole_or_of_others_is_not_used(calibrated, tmp_path, edit, reason):
    segmenter = changed(calibrated, tmp_path, edit)
    assert load_reference(segmenter) == (None, reason)
    assert segmenter.unlikeness(NOISE) is None
    Path(tmp_path / "run/calibration.json").write_text("[")
    assert load_reference(fresh(tmp_path)) == (None, "calibration.json cannot be read")


def test_an_evaluation_counts_them(calibrated, tmp_path):
    segmenter = fresh(calibrated)
    about = {"split": "test", "figures": False}
    metrics = evaluate(segmenter, Phantoms(2, NOISE, np.zeros((9, 9, 3), np.uint8)), tmp_path / "test", **about)
    found = metrics["unlikeness"]
    assert (found["flagged"], found["images"], found["share"]) == (2, 4, 0.5)
    # Clopper and Pearson for 2 of 4.
    assert (found["low"], found["high"]) == pytest.approx((0.0675859, 0.9324141), abs=1e-6)
    with open(tmp_path / "test/per_image.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    values = [float(row["unlikeness"]) for row in rows]
    assert [row["unlike"] for row in rows] == [str(value > 1) for value in values]
    assert values[2] == segmenter.unlikeness(NOISE) and found["median"] == np.median(values)
    labels = [str(cell) for cell in summary_table(metrics).columns[0].cells]
    assert "unlike images" in labels


def test_files_of_weights_judge_as_their_run(calibrated, tmp_path):
    segmenter = fresh(calibrated)
    record = json.loads((calibrated / "run/calibration.json").read_text())
    file = tmp_path / "weights.safetensors"
    file.touch()
    del record["weights"]  # as it is packed
    packed = Segmenter(ReadsRed(), segmenter._params, config=config(), step=7, checkpoint=str(file), calibration=record)
    assert packed.unlikeness(NOISE) == segmenter.unlikeness(NOISE) > 1


def test_more_than_half_unlike_says_that_the_model_is_for_others():
    def told(unlike, done):
        return last_lines(Summary(done, 0, [], 1.0, 0.0, None, {}, {}, "", [(f"{k}.png", 2.0) for k in range(unlike)]))

    assert told(3, 5).endswith("more than half are unlike: check the masks before using this model here")
    assert "more than half" not in told(3, 6) and "more than half" not in told(4, 4)
