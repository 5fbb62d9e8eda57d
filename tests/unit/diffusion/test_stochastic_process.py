"""The Gaussian of a stochastic segmentation network: its covariance, its loss by hand, its samples."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddim_jax.diffusion.stochastic import StochasticProcess, _draw, _key_in
from ddim_jax.labels import Labels
from ddim_jax.models import create_model, create_process
from ddim_jax.runtime.errors import ConfigError
from ddim_jax.sampling_options import SamplingOptions

SURE = -40.0  # softplus of it is nothing: the variance is the smallest there is


def output(mean, variance, factors):
    """The output of a network for one image: [1, H, W, C (2 + R)] of maps [H, W] and R maps."""
    return jnp.stack([mean, variance, *factors], axis=-1)[None].astype(jnp.float32)


def answer(given):
    return lambda params, image: jnp.broadcast_to(given, (len(image), *given.shape[1:]))


def losses(process, given, mask, noise):
    """Returns the losses of images for which the network answers `given`; compiled, since one by one takes longer."""

    @jax.jit
    def computed(given, mask, noise):
        return process.losses(answer(given), {}, mask, jnp.zeros((*mask.shape[:3], 3)), noise, None)

    return computed(given, mask, noise)


def samples(process, given, noise):
    """The same of what is drawn with this noise."""
    options, images = SamplingOptions(steps=1, clip_x0=None), jnp.zeros((*noise.shape[:3], 3))
    return jax.jit(lambda given, noise: process.sample(answer(given), {}, images, noise, options))(given, noise)


def maps(*values):
    return jnp.asarray(values, jnp.float32).reshape(2, 2)


def test_draws_have_the_mean_and_the_covariance_of_the_model():
    mean, factors = maps(1, -2, 0, 3), (maps(1, 1, 0, -1), maps(0, 0.5, 0, 0))
    gaussian = StochasticProcess._gaussian(output(mean, maps(0, 0, 0, 0), factors), 1)
    keys = jax.random.split(jax.random.key(0), 20_000)
    drawn = np.asarray(jax.vmap(lambda key: _draw(key, *(one[0] for one in gaussian)))(keys)).reshape(-1, 4)
    rows = np.stack([np.ravel(one) for one in factors], axis=1)
    covariance = rows @ rows.T + np.diag([np.log(2) + 1e-5] * 4)  # softplus(0) = log 2
    np.testing.assert_allclose(drawn.mean(axis=0), np.ravel(mean), atol=0.05)
    np.testing.assert_allclose(np.cov(drawn.T), covariance, atol=0.08)


def test_without_variance_the_loss_is_the_cross_entropy():
    logits, truth = maps(2, -1, 0.5, 0), maps(1, 1, 0, 0)
    given = output(logits, maps(*[SURE] * 4), (maps(0, 0, 0, 0),))
    noise = jax.random.normal(jax.random.key(1), (1, 2, 2, 1))
    (loss,) = losses(StochasticProcess(), given, (2 * truth - 1)[None, ..., None], noise)
    p = 1 / (1 + np.exp(-np.asarray(logits)))
    expected = -np.mean(np.where(np.asarray(truth) == 1, np.log(p), np.log(1 - p)))
    assert loss == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("labels", [Labels(), Labels.create({"a": 1}, ignore=[9])])
def test_the_loss_is_minus_the_logarithm_of_the_mean_likelihood_of_the_draws(labels):
    process = StochasticProcess(labels, draws=7)
    given = output(maps(1, 0, -1, 2), maps(0, 1, -1, 0), (maps(2, 2, -2, 0),))
    noise = jax.random.normal(jax.random.key(2), (1, 2, 2, 1))
    mask = maps(1, -1, 1, 0 if labels.ignore else 1)[None, ..., None]
    (loss,) = losses(process, given, mask, noise)
    gaussian = [one[0] for one in process._gaussian(given, 1)]
    likelihoods = []
    draw = jax.jit(lambda number: _draw(jax.random.fold_in(_key_in(noise[0]), number), *gaussian))
    for number in range(7):
        logits = np.asarray(draw(number), np.float64)
        p = 1 / (1 + np.exp(-logits))
        each = np.where(np.asarray(mask[0]) > 0, p, 1 - p)
        likelihoods.append(np.prod(each[np.asarray(mask[0]) != 0]))
    assert loss == pytest.approx(-np.log(np.mean(likelihoods)) / (3 if labels.ignore else 4), rel=1e-4)


def test_a_common_factor_explains_two_masks_that_a_mean_cannot():
    noise = jax.random.normal(jax.random.key(3), (2, 2, 2, 1))
    masks = jnp.stack([jnp.ones((2, 2, 1)), -jnp.ones((2, 2, 1))])
    nothing, sure = maps(0, 0, 0, 0), maps(*[SURE] * 4)
    process = StochasticProcess()
    undecided = losses(process, output(nothing, sure, (nothing,)), masks, noise)
    both = losses(process, output(nothing, sure, (maps(9, 9, 9, 9),)), masks, noise)
    np.testing.assert_allclose(undecided, np.log(2), atol=0.01)  # of each pixel
    assert (both < 0.35).all()  # log(2) of the whole mask, a quarter for a pixel, and what is near the border
    noise = jax.random.normal(jax.random.key(4), (64, 2, 2, 1))
    logits = samples(process, output(nothing, sure, (maps(9, 9, 9, 9),)), noise)
    whole = (np.asarray(logits) > 0).reshape(64, 4)
    assert (whole.all(axis=1) | ~whole.any(axis=1)).all()
    assert 16 < whole[:, 0].sum() < 48


def test_a_sample_is_a_function_of_its_noise():
    model = create_model("stochastic_unet", preset="small", base_channels=8, channel_multipliers=(1,), rank=3)
    process = create_process(model, {})
    assert isinstance(process, StochasticProcess) and process.loss is None  # none of LOSSES
    image = jnp.ones((2, 4, 4, 3)) * 0.1
    given, variables = jax.jit(model.init_with_output)(jax.random.key(0), image)
    params = variables["params"]
    assert given.shape == (2, 4, 4, 5)

    @functools.partial(jax.jit, static_argnames="steps")
    def sample(noise, steps=1):
        options = SamplingOptions(steps=steps, clip_x0=None)
        return process.sample(lambda params, x: model.apply({"params": params}, x), params, image, noise, options)

    noise = jax.random.normal(jax.random.key(1), (2, 4, 4, 1))
    first = sample(noise)
    assert first.shape == (2, 4, 4, 1)
    assert np.abs(first).max() <= 1
    np.testing.assert_array_equal(first, sample(noise))
    np.testing.assert_array_equal(first[::-1], sample(noise[::-1]))
    assert not np.array_equal(first[0], first[1])
    with pytest.raises(ConfigError, match=r"sample.steps is 2; expected 1"):
        sample(noise, steps=2)


def test_exclusive_classes_by_softmax():
    labels = Labels.create({"a": 1, "b": 2})
    process = StochasticProcess(labels)
    logits = np.array([[0.0, 1.0, 2.0], [1.0, -1.0, 0.0]])  # two pixels, three channels
    given = jnp.concatenate([logits, np.full((2, 3), SURE), np.zeros((2, 3))], axis=-1)[None, None]
    mask = jnp.asarray([[-1, 1, -1], [1, -1, -1]], jnp.float32)[None, None]
    noise = jax.random.normal(jax.random.key(5), (1, 1, 2, 3))
    (loss,) = losses(process, given, mask, noise)
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert loss == pytest.approx(-np.log(softmax[0, 1] * softmax[1, 0]) / 2, abs=0.01)
    drawn = samples(process, given, noise)
    np.testing.assert_allclose((drawn[0, 0] + 1) / 2, softmax, atol=0.01)
