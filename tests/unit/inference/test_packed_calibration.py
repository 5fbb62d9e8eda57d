"""The calibration of a run goes with its weights, and only with them."""

import dataclasses
import json
import logging
import shutil
import sys

import numpy as np
import pytest
from PIL import Image
from segmenters import config, picture, tiny_params

from ddim_jax.checkpoints import CheckpointStore, packed
from ddim_jax.cli import doctor, evaluate
from ddim_jax.evaluation import evaluate_checkpoint
from ddim_jax.inference import Segmenter
from ddim_jax.inference.calibration import (
    Calibrated,
    calibration_record,
    save_calibration,
)
from ddim_jax.inference.calibration_advice import calibrated_options
from ddim_jax.inference.packing import pack
from ddim_jax.metrics import DoubtScale, Quantiles
from ddim_jax.runtime.errors import CheckpointError, InputError

ABOUT = {"dataset": "lungs", "split": "val", "images": 40, "ids_sha256": "0" * 64}
CALIBRATED = Calibrated(0.9, (Quantiles(area=2.0, dice=5.0),), 1.5, ABOUT, DoubtScale(1.0, (0.0,), (1.0,)))


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory):
    """A calibrated run of two steps; the calibration is that of step 10."""
    folder = tmp_path_factory.mktemp("calibrated") / "run"
    for step in (10, 20):
        metadata = {"config": config(), "package_version": "0", "data": {}}
        CheckpointStore(folder / "checkpoints").save(
            step,
            state={"step": step},
            ema_params=tiny_params(seed=step)[1],
            metadata=metadata,
            metrics={"dice": 1 / step},
        )
    segmenter = Segmenter.load(folder)
    save_calibration(segmenter, calibrated_options(segmenter.options(), segmenter.labels), CALIBRATED)
    return folder


@pytest.fixture
def run(calibrated, tmp_path):
    return shutil.copytree(calibrated, tmp_path / "run")


def test_a_packed_run_gives_the_bounds_of_the_run(run, tmp_path, capsys):
    packed = pack(run, tmp_path / "mine.safetensors")
    assert "weights" not in packed.metadata["calibration"] and packed.metadata["calibration"]["about"] == ABOUT
    of_file, of_run = (Segmenter.load(path) for path in (tmp_path / "mine.safetensors", run))
    assert of_file.calibration() == of_run.calibration() == (CALIBRATED, "")
    bounds = of_file.segment(picture(4)).bounds
    assert bounds["foreground"] == of_run.segment(picture(4)).bounds["foreground"]
    # Packed again it stays, and doctor tells of it.
    again = pack(tmp_path / "mine.safetensors", tmp_path / "again.safetensors")
    assert again.metadata["calibration"] == packed.metadata["calibration"]
    doctor.run(["--ckpt", str(tmp_path / "again.safetensors")])
    assert "coverage 0.9" in capsys.readouterr().out


def test_weights_whose_file_is_gone_keep_their_bounds(run, tmp_path):
    """A server looks for them at the first request with these options."""
    pack(run, tmp_path / "mine.safetensors")
    of_file = Segmenter.load(tmp_path / "mine.safetensors")
    (tmp_path / "mine.safetensors").unlink()
    assert of_file.calibration() == (CALIBRATED, "")


def test_other_options_have_no_bounds_from_a_file_either(run, tmp_path, caplog):
    pack(run, tmp_path / "mine.safetensors")
    found, why_not = Segmenter.load(tmp_path / "mine.safetensors").calibration(
        dataclasses.replace(Segmenter.load(run).options(), steps=3)
    )
    assert found is None and "mine.safetensors is not used: steps is 3 now and was 2" in why_not
    assert why_not in caplog.text
    assert (
        "(of packed weights `--ckpt FILE --data-root DIR --split all --calibrate --output OUT`, with DIR of images that"
        in why_not
    )


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"step": 20}, "calibration.json is left out: it was made with other weights (step 10)"),
        ({"dtype": "float16"}, "is left out: it holds for weights not rounded to float16"),
    ],
)
def test_a_calibration_of_other_weights_is_left_out_and_told(run, tmp_path, caplog, given, reason):
    with caplog.at_level(logging.WARNING):
        assert pack(run, tmp_path / "other.safetensors", **given).metadata["calibration"] is None
    assert reason in caplog.text
    found, why_not = Segmenter.load(tmp_path / "other.safetensors").calibration()
    assert found is None and why_not.endswith("other.safetensors was packed without a calibration")


@pytest.mark.parametrize("content", ["", "[]", json.dumps({"weights": "x"})])
def test_a_damaged_calibration_is_left_out_and_told(run, tmp_path, caplog, content):
    (run / "calibration.json").write_text(content)
    with caplog.at_level(logging.WARNING):
        packed = pack(run, tmp_path / "mine.safetensors")
    assert packed.metadata["calibration"] is None and "calibration.json is" in caplog.text
    assert np.isfinite(Segmenter.load(tmp_path / "mine.safetensors").segment(picture(4)).doubt)


def folder_of_pairs(folder, count):
    """Images, with bars for masks."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for number in range(count):
        image = picture(number)
        mask = np.zeros(image.shape[:2], np.uint8)
        mask[4 : 8 + number] = 255
        Image.fromarray(image).save(folder / f"images/{number}.png")
        Image.fromarray(mask).save(folder / f"masks/{number}.png")
    return folder


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_packed_weights_are_calibrated_on_pictures_of_ones_own(dtype, run, tmp_path, capsys, monkeypatch):
    """A copy of the file has the new calibration, and the same weights, note and terms."""
    pack(run, tmp_path / "theirs.safetensors", note="films", terms="name the source", dtype=dtype)
    data, output = folder_of_pairs(tmp_path / "mine", 5), tmp_path / "out"
    given = {"data_root": data, "output_dir": output, "calibrate": 0.8, "figures": False}
    arguments = ["--ckpt", tmp_path / "theirs.safetensors", "--data-root", data, "--split", "all", "--no-figures"]
    arguments += ["--calibrate", 0.8, "--output", output]
    monkeypatch.setattr(sys, "argv", ["evaluate", *map(str, arguments)])
    evaluate.run(evaluate.parse_arguments(None))
    said = " ".join(capsys.readouterr().out.split())
    assert said.endswith(f"Written to {output}, the weights with their calibration as calibrated.safetensors")
    metrics = json.loads((output / "metrics.json").read_text())
    theirs, mine = (
        Segmenter.load(path) for path in (tmp_path / "theirs.safetensors", output / "calibrated.safetensors")
    )
    found, why_not = mine.calibration()
    assert not why_not and found.coverage == 0.8 and found.about["dataset"] == "mine" and found.about["images"] == 5
    assert metrics["bounds"]["same_pictures"] and theirs.calibration()[0] == (
        CALIBRATED if dtype == "float32" else None
    )
    assert mine.fingerprint() == theirs.fingerprint()
    assert packed.read_packed(output / "calibrated.safetensors").dtype == dtype
    assert [mine.training_data[name] for name in ("note", "terms")] == ["films", "name the source"]
    # Scored again with it, on the same images.
    again, _ = evaluate_checkpoint(
        output / "calibrated.safetensors", "all", data_root=data, output_dir=tmp_path / "again", figures=False
    )
    assert again["bounds"]["classes"] == metrics["bounds"]["classes"]
    with pytest.raises(InputError, match=r"calibrated.safetensors: is there already and is not written over"):
        evaluate_checkpoint(tmp_path / "theirs.safetensors", "all", **given)


def test_a_calibration_goes_with_the_weights_it_was_made_with_alone(run, tmp_path):
    """The file is replaced while its images are scored."""
    pack(run, tmp_path / "first.safetensors", step=10)
    pack(run, tmp_path / "second.safetensors", step=20)
    segmenter = Segmenter.load(tmp_path / "first.safetensors")
    record = calibration_record(segmenter, calibrated_options(segmenter.options(), segmenter.labels), CALIBRATED)
    with pytest.raises(CheckpointError, match=r"second.safetensors: changed since it was calibrated"):
        pack(tmp_path / "second.safetensors", tmp_path / "mine.safetensors", calibration=record)
    assert not (tmp_path / "mine.safetensors").exists()
    pack(tmp_path / "first.safetensors", tmp_path / "mine.safetensors", calibration=record)


def test_a_run_is_not_told_of_the_file_of_other_weights(run, tmp_path, capsys, monkeypatch):
    data = folder_of_pairs(tmp_path / "mine", 5)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/calibrated.safetensors").write_bytes(b"of another")
    arguments = ["--ckpt", run, "--data-root", data, "--split", "all", "--no-figures", "--calibrate", 0.8]
    monkeypatch.setattr(sys, "argv", ["evaluate", *map(str, arguments), "--output", str(tmp_path / "out")])
    evaluate.run(evaluate.parse_arguments(None))
    assert " ".join(capsys.readouterr().out.split()).endswith(f"Written to {tmp_path / 'out'}")
