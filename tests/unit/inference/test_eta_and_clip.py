"""The noise of DDIM's steps and the bound on its estimates, other than a checkpoint was trained with."""

import json
import runpy
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image
from segmenters import SIZE, MixesNoise, config, picture

from ddim_jax.inference import Segmenter, segment_files
from ddim_jax.preprocessing import image_id
from ddim_jax.runtime.errors import InputError

numpy_ddim = runpy.run_path(str(Path(__file__).parents[1] / "diffusion/numpy_ddim.py"))
STEPS, SAMPLES, SCALE = 5, 2, 0.5


@pytest.fixture(scope="module")
def segmenter():
    about = config(eta=0.3, clip_x0=0.2, steps=STEPS, samples=SAMPLES)
    assert about["diffusion"]["mask_scale"] == SCALE
    return Segmenter(MixesNoise(), {}, config=about, step=1, checkpoint="x")


def expected_sample(image, seed, number, eta, clip):
    """In NumPy, but for the random numbers, which are those of the keys in the docstring of `Segmenter`."""
    own = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), image_id(image)), number)
    start, steps = jax.random.split(own)
    noise = np.asarray(jax.random.normal(start, (SIZE, SIZE, 1)), np.float64)
    z = [np.asarray(jax.random.normal(jax.random.fold_in(steps, k), (SIZE, SIZE, 1))) for k in range(STEPS)]
    bars = numpy_ddim["alpha_bars"](100)
    red = image[..., :1] / 127.5 - 1.0

    def denoise(x_t, t):
        deviation = np.sqrt(bars[t] * SCALE**2 + 1 - bars[t])
        return SCALE * np.tanh(x_t / deviation + red + 0.01 * t)

    bound = None if clip is None else clip * SCALE
    x_t, _ = numpy_ddim["sample"](denoise, noise, STEPS, prediction="x0", eta=eta, z=z, clip=bound, bars=bars)
    return x_t[-1, ..., 0] / SCALE


@pytest.mark.parametrize(
    ("given", "eta", "clip"),
    [
        ({}, 0.3, 0.2),
        ({"eta": 1.0, "clip_x0": "off"}, 1.0, None),
    ],
)
def test_samples_are_those_of_the_independent_version(segmenter, given, eta, clip):
    image = picture(4, SIZE, SIZE)
    expected = np.stack([expected_sample(image, 5, number, eta, clip) for number in range(SAMPLES)])
    np.testing.assert_allclose(segmenter.sample(image, seed=5, **given), expected, rtol=1e-4, atol=1e-5)
    _, x_t, _ = segmenter.trajectory(image, seed=5, **given)
    np.testing.assert_allclose(x_t[-1] / SCALE, expected[0], rtol=1e-4, atol=1e-5)
    probability = (np.clip(expected, -1, 1) + 1).mean(axis=0) / 2
    np.testing.assert_allclose(segmenter.segment(image, seed=5, **given).probability, probability, atol=1e-5)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in").mkdir()
    Image.fromarray(picture(3)).save(tmp_path / "in/a.png")
    return tmp_path / "in"


def said(out):
    settings = json.loads((out / "settings.json").read_text())
    return settings["eta"], settings["clip_x0"]


def test_files_are_made_with_them_and_say_so(segmenter, folder, tmp_path):
    out, given = tmp_path / "out", {"eta": 1.0, "clip_x0": "off"}
    assert segment_files(segmenter, folder, out, save=("probability",), **given).done == 1
    assert said(out) == (1.0, None)
    saved = np.asarray(Image.open(out / "a_probability.png")) / 65535
    np.testing.assert_allclose(saved, segmenter.segment(picture(3), **given).probability, atol=1e-5)
    assert np.abs(saved - segmenter.segment(picture(3)).probability).max() > 0.1
    assert segment_files(segmenter, folder, out, save=("probability",), **given).kept == 1
    with pytest.raises(InputError, match=r"clip_x0 is None there and 0.2 now; eta is 1.0 there and 0.3 now"):
        segment_files(segmenter, folder, out, save=("probability",))


def test_folders_of_another_eta_or_bound_are_refused(segmenter, folder, tmp_path):
    out = tmp_path / "out"
    segment_files(segmenter, folder, out)
    assert said(out) == (0.3, 0.2)
    assert segment_files(segmenter, folder, out, eta=0.3, clip_x0=0.2).kept == 1
    with pytest.raises(InputError, match=r"other settings: eta is 0.3 there and 0.0 now\. Use another"):
        segment_files(segmenter, folder, out, eta=0.0)
    with pytest.raises(InputError, match=r"other settings: clip_x0 is 0.2 there and None now\. Use another"):
        segment_files(segmenter, folder, out, clip_x0="off")


def test_the_last_step_lands_on_the_estimate_whatever_eta(segmenter):
    image = picture(6, SIZE, SIZE)
    one = segmenter.sample(image, steps=1, eta=1.0)
    np.testing.assert_array_equal(one, segmenter.sample(image, steps=1, eta=0.0))
    assert np.abs(one).max() <= 0.2
