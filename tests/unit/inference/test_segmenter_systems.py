"""A network without diffusion, another sampler and another fusion, behind the same Segmenter."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy.special import expit
from segmenters import SIZE, MixesNoise, config, picture, red_segmenter

from ddim_jax import models
from ddim_jax.aggregation import PROTOCOLS, ensemble_probability
from ddim_jax.checkpoints import CheckpointStore
from ddim_jax.diffusion import DiffusionProcess
from ddim_jax.inference import Segmenter, segment_files
from ddim_jax.preprocessing import image_id, mirrored
from ddim_jax.runtime.errors import InputError
from ddim_jax.sampling_options import SamplingOptions


def unet_config():
    about = config(steps=1, samples=4, flips=True, sampler=None)
    overrides = {"base_channels": 8, "channel_multipliers": [1, 2], "norm_groups": 4, "stem_stride": 1}
    about["model"] = {"name": "unet", "preset": "small", "overrides": overrides}
    about["diffusion"] = dict.fromkeys(about["diffusion"])
    return about


@pytest.fixture(scope="module")
def unet(tmp_path_factory):
    """A plain U-Net with drawn weights, saved and loaded: (segmenter, its answer to an image: logits)."""
    about = unet_config()["model"]
    model = models.create_model(about["name"], preset=about["preset"], **about["overrides"])
    shapes = models.param_shapes(model, SIZE)
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: rng.normal(0.0, 0.5, leaf.shape).astype(np.float32), shapes)
    run = tmp_path_factory.mktemp("unet")
    metadata = {"config": unet_config(), "package_version": "0"}
    CheckpointStore(run / "checkpoints").save(3, state={"step": 3}, ema_params=params, metadata=metadata)
    call = jax.jit(lambda image: model.apply({"params": params}, image))

    def logits(image):
        return np.asarray(call(jnp.asarray(image, jnp.float32)[None] / 127.5 - 1.0))[0, :, :, 0].astype(float)

    return Segmenter.load(run), logits


def test_the_probability_of_one_pass_is_the_sigmoid(unet):
    segmenter, logits = unet
    image = picture(0, SIZE, SIZE)
    result = segmenter.segment(image, samples=1)
    np.testing.assert_allclose(result.probability, expit(logits(image)), atol=1e-5)
    np.testing.assert_array_equal(result.mask, result.probability > 0.5)
    np.testing.assert_array_equal(result.uncertainty, 0.0)
    assert 0.1 < result.mask.mean() < 0.9
    assert segmenter.one_pass


def test_the_uncertainty_is_the_spread_over_the_four_mirror_images(unet):
    segmenter, logits = unet
    image = picture(1, SIZE, SIZE)
    answers = np.stack([mirrored(expit(logits(mirrored(image, k))), k) for k in range(4)])
    result = segmenter.segment(image)  # samples and flips as in the config
    np.testing.assert_allclose(result.probability, answers.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(result.uncertainty, answers.std(axis=0), atol=1e-5)
    assert result.uncertainty.max() > 0.01
    other = segmenter.segment(image, seed=9)  # nothing is drawn
    np.testing.assert_array_equal(other.probability, result.probability)


def test_there_is_no_reverse_process_to_follow(unet):
    with pytest.raises(InputError, match="unet works in one pass; there is no reverse process"):
        unet[0].trajectory(picture(0))


def test_pictures_of_any_size_at_native_size(unet):
    segmenter, logits = unet
    image = picture(2, 20, 24)
    padded = np.pad(image, ((0, 44), (0, 40), (0, 0)), mode="edge")
    result = segmenter.segment(image, samples=1, size="native")
    np.testing.assert_allclose(result.probability, expit(logits(padded))[:20, :24], atol=1e-5)


def mixing(**sample):
    return Segmenter(MixesNoise(), {}, config=config(**sample), step=1, checkpoint="x")


def test_samples_of_ddpm_are_those_of_the_documented_keys():
    """Each sample made on its own, at batch size 1, from the chain of keys in the class's docstring."""
    image = picture(4, SIZE, SIZE)
    process = DiffusionProcess.create(**config()["diffusion"])
    own = jax.random.fold_in(jax.random.key(5), image_id(image))
    scaled = jnp.asarray(image, jnp.float32)[None] / 127.5 - 1.0

    @jax.jit
    def sample(start, steps):
        noise = jax.random.normal(start, (SIZE, SIZE, 1))[None]
        options = SamplingOptions(10, sampler="ddpm")
        return process.sample(lambda _, *x: MixesNoise().apply({}, *x), {}, scaled, noise, options, key=steps)

    expected = [sample(*jax.random.split(jax.random.fold_in(own, i)))[0, :, :, 0] for i in range(3)]
    segmenter = mixing(sampler="ddpm", steps=10)
    actual = segmenter.sample(image, seed=5)
    np.testing.assert_allclose(actual, np.stack(expected), rtol=1e-4, atol=1e-5)
    assert np.abs(segmenter.sample(image, seed=5, sampler="ddim") - actual).max() > 0.01
    _, x_t, _ = segmenter.trajectory(image, seed=5)
    np.testing.assert_allclose(x_t[-1] / 0.5, actual[0], rtol=1e-4, atol=1e-5)  # times mask_scale


def test_staple_fuses_the_samples():
    segmenter, image = mixing(), picture(5, SIZE, SIZE)
    samples = segmenter.sample(image)
    for protocol in PROTOCOLS.values():
        expected = ensemble_probability(samples, protocol, "staple")
        result = segmenter.segment(image, ensemble="staple", protocol=protocol.name)
        np.testing.assert_array_equal(result.probability, expected)
        np.testing.assert_array_equal(result.mask, expected > 0.5)
        mean = segmenter.segment(image, protocol=protocol.name)
        assert np.abs(mean.probability - result.probability).max() > 0.05
        np.testing.assert_array_equal(mean.uncertainty, result.uncertainty)  # of the samples, however fused


def test_files_are_not_mixed_with_those_of_another_ensemble_or_sampler(tmp_path):
    (tmp_path / "in").mkdir()
    Image.fromarray(picture(0)).save(tmp_path / "in/a.png")
    segmenter = red_segmenter()
    segment_files(segmenter, tmp_path / "in", tmp_path / "out")
    with pytest.raises(InputError, match="ensemble is mean there and staple now"):
        segment_files(segmenter, tmp_path / "in", tmp_path / "out", ensemble="staple")
    with pytest.raises(InputError, match="sampler is ddim there and ddpm now"):
        segment_files(segmenter, tmp_path / "in", tmp_path / "out", sampler="ddpm")
