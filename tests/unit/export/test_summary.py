"""The fusion of an exported program gives what the package's own, in NumPy and float64, gives."""

import jax
import numpy as np
import pytest
from segmenters import SIZE, MixesNoise, config, loaded_network

from ddim_jax.aggregation import of_masks
from ddim_jax.diffusion.reverse import draw
from ddim_jax.export.program import create_program, summarise
from ddim_jax.inference.segmentation import fuse
from ddim_jax.labels import Labels
from ddim_jax.registry import ENSEMBLES, SAMPLERS, register
from ddim_jax.runtime.errors import InputError
from ddim_jax.sampling_options import SamplingOptions

ORGANS = Labels.create({"lung": 1, "heart": 2, "spine": 3})
OVERLAPPING = Labels.create({"lung": 1, "heart": [1, 2], "spine": 3}, multilabel=True)
LABELS = {"one": Labels(), "exclusive": ORGANS, "multilabel": OVERLAPPING}


def samples(labels, seed=0):
    """[2, 5, h, w(, K)], beyond [-1, 1] too; of exclusive classes probabilities that leave something over."""
    shape = (2, 5, 12, 9, labels.count) if labels.several else (2, 5, 12, 9)
    rng = np.random.default_rng(seed)
    alike = rng.normal(0.0, 1.0, (shape[0], 1, *shape[2:]))  # samples of one image agree more or less
    drawn = (alike + rng.normal(0.0, 0.4, shape)).astype(np.float32)
    if labels.exclusive:
        share = np.exp(3 * drawn)
        drawn = (2 * share / (share.sum(-1, keepdims=True) + 5.0) - 1).astype(np.float32)
    return drawn


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("protocol", ["mean", "paper"])
@pytest.mark.parametrize("ensemble", ["mean", "mean_of_each", "majority"])
def test_as_the_package_fuses(labels, protocol, ensemble):
    labels = LABELS[labels]
    config = {"data": labels.as_config(), "sample": {}, "diffusion": {"num_train_timesteps": 10}}
    options = SamplingOptions.create(config, protocol=protocol, ensemble=ensemble, samples=5, steps=1)
    given = samples(labels)
    found = jax.jit(lambda values: summarise(values, options, labels))(given)
    for place, one in enumerate(given):
        expected = fuse(one, one.shape[1:3], options, labels)
        np.testing.assert_allclose(found[0][place], expected.probability, atol=1e-6)
        np.testing.assert_allclose(found[1][place], expected.uncertainty, atol=1e-6)
        np.testing.assert_array_equal(found[2][place], expected.mask)
        assert len(np.unique(expected.mask)) > 1


def test_a_flat_mean_is_not_stretched():
    options = SamplingOptions(protocol="paper", threshold=0.9, samples=2)
    given = np.full((1, 2, 4, 4), 0.25, np.float32)
    probability, uncertainty, mask = summarise(given, options, Labels())
    np.testing.assert_allclose(probability, 0.625)
    assert not uncertainty.any() and not mask.any()


def program(**given):
    network = loaded_network(MixesNoise(), {}, config(steps=3, samples=2))
    return create_program(network, SamplingOptions.create(network.config, **{"size": "model"} | given))


@pytest.mark.parametrize("field", [{"ensemble": "staple"}, {"size": "tiles"}, {"size": "native"}])
def test_what_cannot_be_exported_is_refused_by_name(field):
    ((name, value),) = field.items()
    with pytest.raises(InputError, match=f"{name} is '{value}', which cannot be exported"):
        program(**field)


@pytest.fixture
def registered(monkeypatch):
    """Registers for the time of a test."""
    for registry in (ENSEMBLES, SAMPLERS):
        monkeypatch.setattr(registry, "_entries", dict(registry.items()))
    return register


def test_an_ensemble_of_a_plugin_is_exported_if_it_takes_jax_arrays(registered):
    registered.ensemble("all of them")(of_masks(lambda masks: masks.min(axis=0)))
    options = SamplingOptions(protocol="mean", ensemble="all of them", threshold=0.5, samples=2)
    given = np.array([[[[0.2, 0.4, -0.1]], [[0.9, -0.3, -0.6]]]], np.float32)
    probability, _, mask = summarise(given, options, Labels())
    np.testing.assert_array_equal(probability, [[[1, 0, 0]]])
    np.testing.assert_array_equal(mask, [[[1, 0, 0]]])

    registered.ensemble("middle")(of_masks(lambda masks: np.median(masks, axis=0)))
    with pytest.raises(InputError, match="ensemble is 'middle', which cannot be exported: it is no function of JAX"):
        program(ensemble="middle")


def test_exclusive_classes_that_an_ensemble_gives_more_than_one_are_divided_as_the_package_does(registered):
    registered.ensemble("any of them")(of_masks(lambda masks: masks.max(axis=0)))
    config = {"data": ORGANS.as_config(), "sample": {}, "diffusion": {"num_train_timesteps": 10}}
    options = SamplingOptions.create(config, ensemble="any of them", samples=5, steps=1)
    given = samples(ORGANS)
    found = jax.jit(lambda values: summarise(values, options, ORGANS))(given)[0]
    assert np.isclose(found, 1 / 2).any() and np.isclose(found, 1 / 3).any()
    for place, one in enumerate(given):
        np.testing.assert_allclose(found[place], fuse(one, one.shape[1:3], options, ORGANS).probability, atol=1e-6)


def test_a_sampler_of_a_plugin_is_given_the_noise_that_it_draws(registered):
    def sampler(noise_of_step):
        def sample(denoise, noise, schedule, options, *, prediction="noise", key=None, return_trajectory=False):
            return sum((noise_of_step(key, index, noise) for index in range(options.steps)), noise)

        return sample

    registered.sampler("draws")(sampler(lambda key, index, noise: draw(key, index, noise)))
    registered.sampler("does not")(sampler(lambda key, index, noise: noise))
    registered.sampler("by itself")(sampler(lambda key, index, noise: jax.random.normal(key, noise.shape)))
    assert program(sampler="draws").inputs["step_noise"] == (2, 3, SIZE, SIZE, 1)
    assert "step_noise" not in program(sampler="does not").inputs
    with pytest.raises(InputError, match="sampler is 'by itself', which cannot be exported: it does not draw"):
        program(sampler="by itself")
