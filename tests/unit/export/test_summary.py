"""The fusion of an exported program gives what the package's own, in NumPy and float64, gives."""

import jax
import numpy as np
import pytest

from ddim_jax.export.program import ENSEMBLES, check_exportable, summarise
from ddim_jax.inference.segmentation import fuse
from ddim_jax.labels import Labels
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
@pytest.mark.parametrize("ensemble", ENSEMBLES)
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


@pytest.mark.parametrize("field", [{"ensemble": "staple"}, {"sampler": "euler"}, {"size": "tiles"}, {"size": "native"}])
def test_what_cannot_be_exported_is_refused_by_name(field):
    ((name, value),) = field.items()
    with pytest.raises(InputError, match=f"{name} is '{value}', which cannot be exported"):
        check_exportable(SamplingOptions(**field))
