"""Every network as a program of every format, and the program of docs/how-to/export.md that runs them."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from exported_files import read_about
from PIL import ExifTags, Image
from segmenters import SIZE, MixesNoise, ReadsRed, config, loaded_network, picture

from ddim_jax.export import export_checkpoint
from ddim_jax.export.formats import FORMATS
from ddim_jax.imageio.images import ReadOptions, read_image
from ddim_jax.inference import Segmenter
from ddim_jax.labels import Labels
from ddim_jax.models import create_model, model_spec, param_shapes
from ddim_jax.runtime.errors import InputError
from ddim_jax.sampling_options import SamplingOptions

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "export.md"
CLASSES = {"one": {}, "exclusive": {"labels": {"lung": 1, "heart": 2}},
           "multilabel": {"labels": {"lung": 1, "heart": 2, "spine": 3}, "multilabel": True}}  # fmt: skip


ALONE = """
import os, runpy, socket, sys

def refused(*_):
    raise SystemExit("it calls out")

os.fork = socket.socket.connect = refused
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
assert not [name for name in sys.modules if name.partition(".")[0] == "ddim_jax"]
"""
"""Runs a program that may import nothing of this package, start no process and connect to nothing."""


def need(kind):
    """Skips the test where a library of the format is missing."""
    for module in {"onnx": ["jax2onnx", "onnxruntime"], "openvino": ["jax2onnx", "openvino"]}.get(kind, []):
        if importlib.util.find_spec(module) is None:  # not imported here: OpenVINO is to be imported as users have it
            pytest.skip(f"{module} is not installed; the extra {kind if module == 'openvino' else 'export'} brings it")


def loaded(name, classes="one", size=64, **sample):
    """A tiny network with weights that are drawn, so that nothing in it is zero; its probabilities vary."""
    about, spec = config(), model_spec(name)
    sizes = {"base_channels": 8, "channel_multipliers": (1, 2), "blocks_per_level": 1, "norm_groups": 4}
    sizes |= {"attention_levels": (), "fusion_levels": (1,), "frequency_bins": 4}
    if name == "medsegdiff":  # of one level: the others have what is between two
        sizes |= {"channel_multipliers": (1,), "fusion_levels": (0,)}
    sizes = {field: value for field, value in sizes.items() if field in spec.fields}
    about["model"] = {"name": name, "preset": "small", "overrides": sizes}
    about["data"] |= {"image_size": size, **CLASSES[classes]}
    diffusion = spec.defaults.get("diffusion")
    about["diffusion"] = diffusion | {"prediction": "x0"} if diffusion else dict.fromkeys(about["diffusion"])
    about["sample"] |= {"clip_x0": 1.0, "samples": 2, **sample}
    if not diffusion:
        about["sample"] |= {"sampler": None, "steps": 1, "clip_x0": None}
    labels = Labels.from_config(about["data"])
    model = create_model(name, preset="small", mask_channels=labels.channels, **sizes)
    rng = np.random.default_rng(0)

    def drawn(path, leaf):
        last = path[-1].key
        if last == "kernel":
            return rng.normal(0.0, np.prod(leaf.shape[:-1]) ** -0.5, leaf.shape).astype(np.float32)
        return (rng.normal(0.0, 0.1, leaf.shape) + (last == "scale")).astype(np.float32)

    params = jax.tree_util.tree_map_with_path(drawn, param_shapes(model, size))
    return loaded_network(model, params, about, {"terms": "none"})


def pictures(size, count=2):
    return list(np.random.default_rng(1).integers(0, 256, (count, size, size, 3), np.uint8))


@pytest.mark.parametrize(
    ("kind", "name", "classes", "size", "batch", "sample"),
    [
        ("openvino", "lightweight_ddim", "exclusive", 32, 1, {"steps": 1, "samples": 4, "flips": True}),
        ("onnx", "medsegdiff", "multilabel", 32, 1, {"steps": 2, "sampler": "ddpm"}),
        ("onnx", "trunk_ddim", "exclusive", 32, None, {"steps": 2, "samples": 5, "flips": True}),
        ("onnx", "unet", "multilabel", 96, None, {"flips": True, "ensemble": "majority"}),
        ("stablehlo", "ddim", "one", 64, None, {"steps": 2, "eta": 0.5, "protocol": "paper"}),
        ("stablehlo", "stochastic_unet", "exclusive", 32, None, {"samples": 5}),
    ],
)
def test_a_network(kind, name, classes, size, batch, sample, tmp_path):
    need(kind)
    network = loaded(name, classes, size, **sample)
    options = SamplingOptions.create(network.config, size="model")
    path = tmp_path / f"a{FORMATS[kind].suffix}"
    done = export_checkpoint(network, options, kind, path, batch=batch, pictures=pictures(size))
    assert done.differences["probability"] < 1e-4 and done.differences["mask"] == 0
    about = read_about(path)
    assert about["classes"] == list(Labels.from_config(network.config["data"]).class_names)
    assert about["inputs"]["image"] == [batch, size, size, 3] and about["training_data"] == {"terms": "none"}
    assert {one.suffix for one in tmp_path.iterdir()} == {path.suffix, *FORMATS[kind].beside}
    assert "equinox" not in sys.modules  # whose converters take longer than all else
    if kind == "openvino":
        assert sys.modules["openvino_telemetry"] is None  # which would call out


def test_draws_from_a_key_are_for_stablehlo_alone(tmp_path):
    need("onnx")
    network = loaded("stochastic_unet", size=32)
    options = SamplingOptions.create(network.config, size="model")
    with pytest.raises(InputError, match=r"jax2onnx cannot convert this network .*; --format stablehlo takes any"):
        export_checkpoint(network, options, "onnx", tmp_path / "a.onnx", pictures=pictures(32))


def script():
    (text,) = re.findall(r"```python\n(# run_exported\.py\n.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return text


def run_alone(folder, program):
    """Runs run.py in `folder` on its x.png, to make its mask.png."""
    command = [sys.executable, "-I", "-c", ALONE, "run.py", program.name, "x.png", "mask.png"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


@pytest.mark.parametrize("kind", FORMATS)
def test_the_program_of_the_page(kind, tmp_path):
    need(kind)
    (tmp_path / "run.py").write_text(script())
    network = loaded_network(MixesNoise(), {}, config(steps=2, samples=3), {})
    options = SamplingOptions.create(network.config, size="model")
    path = tmp_path / f"a{FORMATS[kind].suffix}"
    export_checkpoint(network, options, kind, path, batch=None, pictures=[picture(0)])
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = 6
    Image.fromarray(picture(1, 53, 37)).save(tmp_path / "x.png", exif=turned)
    ran = run_alone(tmp_path, path)
    assert ran.returncode == 0, ran.stderr
    assert re.fullmatch(r"\d+\.\d% of the image, uncertainty up to 0\.\d{3}\n", ran.stdout)
    assert "Warning" not in ran.stderr and "[W:" not in ran.stderr
    mask = np.asarray(Image.open(tmp_path / "mask.png"))
    assert mask.shape == (37, 53) and set(np.unique(mask)) == {0, 255}
    (tmp_path / "mask.png").unlink()
    Image.fromarray(np.arange(4096, dtype=np.uint16).reshape(64, 64)).save(tmp_path / "x.png")
    ran = run_alone(tmp_path, path)
    assert ran.returncode and "the image has the mode I;16; expected 8 bits" in ran.stderr
    assert not (tmp_path / "mask.png").exists()


@pytest.mark.parametrize("kind", FORMATS)
def test_the_program_of_the_page_turns_pictures_round_if_those_of_the_training_were(kind, tmp_path):
    need(kind)
    (tmp_path / "run.py").write_text(script())
    about = config(steps=1, samples=2)
    about["data"]["invert"] = True
    network = loaded_network(ReadsRed(), {"gain": np.float32(1), "bias": np.float32(0)}, about, {})
    options = SamplingOptions.create(network.config, size="model")
    path = tmp_path / f"a{FORMATS[kind].suffix}"
    export_checkpoint(network, options, kind, path, pictures=[picture(0)])
    Image.fromarray(picture(1, SIZE, SIZE)).save(tmp_path / "x.png")
    ran = run_alone(tmp_path, path)
    assert ran.returncode == 0, ran.stderr
    mask = np.asarray(Image.open(tmp_path / "mask.png")) > 0
    turned = read_image(tmp_path / "x.png", ReadOptions(invert=options.invert))
    np.testing.assert_array_equal(mask, Segmenter(**network._asdict()).segment(turned, options).mask)
    np.testing.assert_array_equal(
        mask, picture(1, SIZE, SIZE)[..., 0] < 127.5
    )  # the network takes what is red for the mask


@pytest.mark.parametrize("classes", CLASSES)
def test_the_program_of_the_page_enlarges_the_probability_as_sample_does(classes, tmp_path):
    (tmp_path / "run.py").write_text(script())
    network = loaded("unet", classes, 32, flips=False)
    options = SamplingOptions.create(network.config, size="model")
    export_checkpoint(network, options, "stablehlo", tmp_path / "a.zip", pictures=pictures(32))
    Image.fromarray(picture(1, 70, 90)).save(tmp_path / "x.png")
    ran = run_alone(tmp_path, tmp_path / "a.zip")
    assert ran.returncode == 0, ran.stderr
    mask = np.asarray(Image.open(tmp_path / "mask.png")) // (255 if classes == "one" else 1)
    expected = Segmenter(**network._asdict()).segment(picture(1, 70, 90), options).mask
    assert 0 < (expected > 0).mean() < 1 and (mask != expected).mean() < 0.002  # rounding
