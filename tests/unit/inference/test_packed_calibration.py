"""The calibration of a run goes with its weights, and only with them."""

import dataclasses
import json
import logging
import shutil

import numpy as np
import pytest
from segmenters import config, picture, tiny_params

from ddim_jax.checkpoints import CheckpointStore
from ddim_jax.cli import doctor
from ddim_jax.inference import Segmenter
from ddim_jax.inference.calibration import Calibrated, calibrated_options, save_calibration
from ddim_jax.inference.packing import pack
from ddim_jax.metrics import Quantiles

ABOUT = {"dataset": "lungs", "split": "val", "images": 40, "ids_sha256": "0" * 64}
CALIBRATED = Calibrated(0.9, (Quantiles(area=2.0, dice=5.0),), 1.5, ABOUT)


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


def test_other_options_have_no_bounds_from_a_file_either(run, tmp_path, caplog):
    pack(run, tmp_path / "mine.safetensors")
    found, why_not = Segmenter.load(tmp_path / "mine.safetensors").calibration(
        dataclasses.replace(Segmenter.load(run).options(), steps=3)
    )
    assert found is None and "mine.safetensors is not used: steps is 3 now and was 2" in why_not
    assert why_not in caplog.text


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
