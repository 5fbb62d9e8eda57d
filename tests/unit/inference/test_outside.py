"""A sampler and an ensemble from outside of the package, registered by decorator and chosen by name."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from segmenters import SIZE, picture, red_segmenter

from ddim_jax.aggregation import of_masks, sample_probabilities
from ddim_jax.inference import segment_files
from ddim_jax.registry import ENSEMBLES, SAMPLERS, register
from ddim_jax.runtime.errors import InputError


@pytest.fixture(autouse=True)
def outside(monkeypatch):
    """Registers both; other tests do not see them."""
    for registry in (SAMPLERS, ENSEMBLES):
        monkeypatch.setattr(registry, "_entries", dict(registry.items()))

    @register.sampler("one jump")
    def one_jump(denoise, noise, schedule, options, *, prediction, key, return_trajectory):
        """The estimate of x_0 at the last timestep, times the number of steps, to see that it arrives."""
        assert prediction == "x0" and not return_trajectory
        last = jnp.full(noise.shape[:1], schedule.num_train_timesteps - 1)
        return options.steps * denoise(noise, last)

    @register.ensemble("most")
    def most(samples, protocol):
        return sample_probabilities(samples).max(axis=0)

    @register.ensemble("all agree")
    @of_masks
    def all_agree(masks):
        return masks.min(axis=0)


def test_they_are_chosen_by_name():
    image = picture(2, SIZE, SIZE)
    segmenter = red_segmenter(bias=0.5)
    chosen = segmenter.options(sampler="one jump", ensemble="most", steps=2)
    x0 = 2 * (image[..., 0] / 127.5 - 1 + 0.5 * 99 / 100)
    np.testing.assert_allclose(segmenter.sample(image, chosen), np.stack([x0] * 3), atol=1e-5)
    result = segmenter.segment(image, chosen)
    np.testing.assert_allclose(result.probability, (np.clip(x0, -1, 1) + 1) / 2, atol=1e-5)
    np.testing.assert_array_equal(result.mask, result.probability > 0.5)  # the protocol's threshold
    assert segmenter.options(chosen, protocol="paper", threshold=None).threshold == 0.9
    assert segmenter.options(ensemble="most", protocol="paper").threshold == 0.9
    assert segmenter.options(ensemble="all agree", protocol="paper").threshold == 0.5


def test_an_ensemble_of_masks_gets_the_masks_of_the_protocol():
    samples = np.array([[[1.0, 1.0, -1.0]], [[0.1, -0.1, -1.0]]], np.float32)
    protocol = type("Protocol", (), {"threshold": 0.5, "probability": staticmethod(lambda one: (one[0] + 1) / 2)})
    np.testing.assert_array_equal(ENSEMBLES.get("all agree")(samples, protocol), [[1, 0, 0]])


def test_an_option_that_the_sampler_does_not_read_is_refused():
    with pytest.raises(InputError, match=r"eta is 0.5; expected 0.0: the sampler one jump has none"):
        red_segmenter().options(sampler="one jump", eta=0.5)
    with pytest.raises(InputError, match=r"sampler is 'two jumps'; expected one of ddim, ddpm, dpm\+\+, one jump"):
        red_segmenter().options(sampler="two jumps")


def test_result_files_say_which(tmp_path):
    (tmp_path / "in").mkdir()
    Image.fromarray(picture(0)).save(tmp_path / "in/a.png")
    segment_files(red_segmenter(), tmp_path / "in", tmp_path / "out", sampler="one jump", ensemble="all agree")
    settings = json.loads((tmp_path / "out/settings.json").read_text())
    assert (settings["sampler"], settings["ensemble"], settings["threshold"]) == ("one jump", "all agree", 0.5)
