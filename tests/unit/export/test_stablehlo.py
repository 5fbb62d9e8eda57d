"""Exported files, in the format that needs no extra: their check before they are written, inputs, metadata."""

import dataclasses
import json
import signal
import sys
import types

import numpy as np
import pytest
from exported_files import read_about
from PIL import Image
from segmenters import SIZE, MixesNoise, ReadsRed, config, loaded_network, picture, tiny_params

from ddim_jax.cli import export as command
from ddim_jax.export import export_checkpoint, file
from ddim_jax.export.file import in_float32, inputs_of
from ddim_jax.export.formats import FORMATS
from ddim_jax.export.program import create_program
from ddim_jax.imageio.images import read_image
from ddim_jax.inference import Segmenter
from ddim_jax.inference.calibration import Calibrated
from ddim_jax.labels import Labels
from ddim_jax.metrics import DoubtScale, Quantiles
from ddim_jax.models import create_model
from ddim_jax.runtime.errors import DataError, InputError
from ddim_jax.sampling_options import SamplingOptions

PICTURES = [picture(0), picture(1, 30, 16), picture(2)]


def network(model, params, **sample):
    about = config(**sample)
    about["data"] |= {"root": "/home/somebody/pictures"}
    return loaded_network(model, params, about, {"note": "drawn"})


def test_a_calibration_is_in_the_metadata_as_its_own_file_has_it(monkeypatch, tmp_path):
    """The doubt was a list without names, which nothing reads."""
    doubt = DoubtScale(0.5, (0.25,), (2.0,))
    calibrated = Calibrated(0.9, (Quantiles(0.125, 0.5),), 1.5, {"images": 9}, doubt)
    monkeypatch.setattr(Segmenter, "calibration", lambda self, options=None: (calibrated, ""))
    exported(tmp_path / "a.zip", network(MixesNoise(), {}, samples=4, steps=2, clip_x0=1.0))
    told = read_about(tmp_path / "a.zip")["calibration"]
    assert told["coverage"] == 0.9 and told["quantiles"] == {"foreground": {"area": 0.125, "dice": 0.5}}
    assert told["doubt"] == {"odds": 0.5, "of_empty": {"foreground": 0.25}, "odds_of_empty": {"foreground": 2.0}}
    assert DoubtScale.from_record(told["doubt"], Labels()) == doubt


def exported(path, loaded, batch=1, pictures=PICTURES, kind="stablehlo", **given):
    options = SamplingOptions.create(loaded.config, size="model", **given)
    return export_checkpoint(loaded, options, kind, path, batch=batch, pictures=pictures), options


def test_a_file_with_its_metadata(tmp_path):
    loaded = network(MixesNoise(), {}, samples=4, flips=True, steps=2, clip_x0=1.0)
    even = np.full((SIZE, SIZE, 3), 255, np.uint8)  # to which the package gives an empty mask, the program does not
    done, options = exported(tmp_path / "a.zip", loaded, pictures=[*PICTURES, even])
    assert done.pictures == 4 and done.bytes == (tmp_path / "a.zip").stat().st_size
    assert set(done.differences) == {"probability", "uncertainty", "mask"}
    assert done.differences["probability"] < 1e-5 and done.differences["mask"] == 0
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]

    about = read_about(tmp_path / "a.zip")
    assert about["inputs"] == {"image": [1, SIZE, SIZE, 3], "noise": [1, 4, SIZE, SIZE, 1]}
    assert about["config"]["data"]["root"] == "" and "somebody" not in json.dumps(about)
    assert about["training_data"] == {"note": "drawn"} and about["options"]["steps"] == 2
    assert about["calibration"] is None and about["not_calibrated"] == "not calibrated"

    # With the same noise it gives what the package gives.
    program, segmenter = create_program(loaded, options), Segmenter(**loaded._asdict())
    inputs = inputs_of(segmenter, program, options, PICTURES[0])
    probability, _, mask = FORMATS["stablehlo"].run(tmp_path / "a.zip")({k: v[None] for k, v in inputs.items()})
    expected = (np.clip(segmenter.sample(PICTURES[0], options), -1, 1).mean(0) + 1) / 2
    np.testing.assert_allclose(probability[0], expected, atol=1e-5)
    np.testing.assert_array_equal(mask[0], expected > 0.5)


@pytest.mark.parametrize(
    ("given", "shape"),
    [
        ({"sampler": "ddpm"}, (2, 3, SIZE, SIZE, 1)),
        ({"eta": 0.7}, (2, 3, SIZE, SIZE, 1)),
        ({"eta": 0.0}, None),
        ({"sampler": "dpm++"}, None),
    ],
)
def test_inputs_of_samplers(given, shape):
    loaded = network(MixesNoise(), {}, steps=3, samples=2)
    options = SamplingOptions.create(loaded.config, **given)
    assert create_program(loaded, options).inputs.get("step_noise") == shape


def test_noise_of_the_steps_is_an_input(tmp_path):
    done, _ = exported(tmp_path / "a.zip", network(MixesNoise(), {}, steps=3, samples=2), batch=None, sampler="ddpm")
    assert done.differences["probability"] < 1e-5
    assert read_about(tmp_path / "a.zip")["inputs"]["step_noise"] == [None, 2, 3, SIZE, SIZE, 1]


def test_any_number_of_pictures(tmp_path):
    loaded = network(ReadsRed(), {"gain": np.float32(1), "bias": np.float32(0)}, steps=1, samples=2)
    exported(tmp_path / "a.zip", loaded, batch=None)
    run = FORMATS["stablehlo"].run(tmp_path / "a.zip")
    images = np.random.default_rng(0).uniform(-1, 1, (5, SIZE, SIZE, 3)).astype(np.float32)
    probability, uncertainty, _ = run({"image": images, "noise": np.zeros((5, 2, SIZE, SIZE, 1), np.float32)})
    np.testing.assert_allclose(probability, (images[..., 0] + 1) / 2, atol=1e-5)  # x_0 = red, whatever the noise
    assert probability.shape == (5, SIZE, SIZE) and not uncertainty.any()


def test_more_pictures_in_a_call_than_there_are_to_check(tmp_path):
    loaded = network(MixesNoise(), {}, steps=1, samples=2)
    done, _ = exported(tmp_path / "a.zip", loaded, batch=2)
    assert done.differences["mask"] == 0


def test_what_differs_is_not_written(tmp_path, monkeypatch):
    def wrong(path):
        run = FORMATS["stablehlo"].run(path)

        def other(inputs):
            probability, uncertainty, mask = run(inputs)
            return [probability + np.float32(2e-4), uncertainty, 1 - mask]

        return other

    shifted = FORMATS["stablehlo"]._replace(run=wrong)
    monkeypatch.setattr(file, "FORMATS", {"stablehlo": shifted})
    message = r"a.zip is not written: on 3 images .*: probability 2.0e-04, mask 768 pixels; expected less than 0.0001"
    with pytest.raises(InputError, match=message):
        exported(tmp_path / "a.zip", network(MixesNoise(), {}, steps=1))
    assert not list(tmp_path.iterdir())


def test_nothing_is_written_over(tmp_path):
    (tmp_path / "a.zip").write_text("mine")
    with pytest.raises(InputError, match=r"a.zip is there already"):
        exported(tmp_path / "a.zip", network(MixesNoise(), {}))
    with pytest.raises(InputError, match=r"a.onnx: expected a name that ends in .zip for stablehlo"):
        exported(tmp_path / "a.onnx", network(MixesNoise(), {}))
    assert (tmp_path / "a.zip").read_text() == "mine" and len(list(tmp_path.iterdir())) == 1


def test_the_same_checkpoint_gives_the_same_bytes(tmp_path):
    for name in ("a.zip", "b.zip"):
        exported(tmp_path / name, network(MixesNoise(), {}, steps=1), pictures=PICTURES[:1])
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_bfloat16_becomes_float32():
    about = config()
    about["model"]["overrides"]["dtype"] = "bfloat16"
    model = create_model(about["model"]["name"], preset=about["model"]["preset"], **about["model"]["overrides"])
    loaded = loaded_network(model, {}, about)
    assert in_float32(loaded).model == dataclasses.replace(model, dtype=tiny_params()[0].dtype)
    assert about["model"]["overrides"]["dtype"] == "bfloat16"


def test_a_library_that_is_missing_and_a_network_that_it_cannot_convert(tmp_path, monkeypatch):
    def cannot(*_, **__):
        raise NotImplementedError("no plugin for 'erf_inv'\nand more")

    monkeypatch.setitem(sys.modules, "jax2onnx", None)
    with pytest.raises(InputError, match=r"jax2onnx cannot be imported .*; pip install '\.\[export\]' in a checkout"):
        exported(tmp_path / "a.onnx", network(MixesNoise(), {}), kind="onnx")
    monkeypatch.setitem(sys.modules, "jax2onnx", types.SimpleNamespace(to_onnx=cannot))
    with pytest.raises(
        InputError, match=r"cannot convert this network \(NotImplementedError: no plugin for 'erf_inv'\)"
    ):
        exported(tmp_path / "a.onnx", network(MixesNoise(), {}), kind="onnx")
    with pytest.raises(InputError, match="no image to check"):
        exported(tmp_path / "a.zip", network(MixesNoise(), {}), pictures=[])
    assert not list(tmp_path.iterdir())


def test_sigterm_leaves_nothing_behind_and_the_next_export_removes_what_a_kill_left(tmp_path, monkeypatch):
    loaded = network(ReadsRed(), {"gain": np.float32(1), "bias": np.float32(0)})
    monkeypatch.setattr(command, "begin", lambda: None)
    monkeypatch.setattr(command, "load_network", lambda *_: loaded)

    def writes(program, batch, about, path):
        path.write_bytes(b"half")
        signal.raise_signal(signal.SIGTERM)

    arguments = ["--ckpt", "x", "--format", "stablehlo", "--output", str(tmp_path / "a.zip")]
    with monkeypatch.context() as patched:
        patched.setitem(FORMATS, "stablehlo", FORMATS["stablehlo"]._replace(write=writes))
        before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
        try:
            with pytest.raises(SystemExit) as ended:
                command.run(command.parse_arguments(None, arguments))
        finally:
            signal.signal(signal.SIGTERM, before)
    assert ended.value.code == 75 and list(tmp_path.iterdir()) == []
    left = tmp_path / ".ddim-jax-export-killed"
    left.mkdir(mode=0o700)
    (left / ".lock").touch()
    assert command.run(command.parse_arguments(None, arguments)) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


@pytest.mark.parametrize(
    ("steps", "samples", "batch", "count"),
    [(1, 4, 1, 4), (8, 4, None, 4), (50, 5, 1, 1), (50, 5, 8, 1), (33, 1, None, 3)],
)
def test_a_program_of_many_evaluations_is_checked_on_fewer_phantoms(steps, samples, batch, count):
    loaded = network(ReadsRed(), {}, steps=steps, samples=samples)
    found = command._pictures([], loaded, SamplingOptions.create(loaded.config), batch)
    assert [picture.shape[:2] for picture in found] == [(SIZE, SIZE)] * count


def test_images_of_files_are_tried_before_the_work_and_read_one_by_one(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for number in range(3):
        Image.fromarray(picture(number)).save(tmp_path / f"{number}.png")
    loaded, reads = network(MixesNoise(), {}, steps=1, samples=2), []
    monkeypatch.setattr(command, "read_image", lambda path, options: reads.append(path.name) or read_image(path))
    options = SamplingOptions.create(loaded.config)
    found = iter(command._pictures(["~"], loaded, options, 1))
    assert reads == ["0.png", "1.png", "2.png"]
    np.testing.assert_array_equal(next(found), picture(0))
    assert reads[3:] == ["0.png"]
    with pytest.raises(DataError, match="no such file or folder"):
        command._pictures(["~/none"], loaded, options, 1)

    def counted():
        for number in range(5):
            held.append(number)
            yield picture(number)

    held, most = [], []
    prepare = Segmenter.prepare

    def prepares(self, *given):
        most.append(len(held))
        return prepare(self, *given)

    monkeypatch.setattr(Segmenter, "prepare", prepares)
    done, _ = exported(tmp_path / "a.zip", loaded, batch=2, pictures=counted())
    assert done.pictures == 5 and most == [2] * 4 + [4] * 4 + [5] * 2  # for the program, and for JAX


def test_one_checkpoint_is_exported(capsys):
    with pytest.raises(SystemExit):
        command.parse_arguments(None, ["--ckpt", "a", "b", "--format", "stablehlo", "--output", "a.zip"])
    assert "--ckpt: 2 given, expected one; export each" in capsys.readouterr().err
