"""Losses of several classes and of ignored pixels, against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddim_jax.diffusion import DiffusionProcess, DirectProcess
from ddim_jax.diffusion.losses import mask_of_logits
from ddim_jax.diffusion.mask_losses.bce_dice import cross_entropy_dice
from ddim_jax.diffusion.stochastic import StochasticProcess
from ddim_jax.labels import Labels
from ddim_jax.preprocessing import normalise_mask
from ddim_jax.registry import LOSSES
from ddim_jax.runtime.errors import ConfigError
from ddim_jax.sampling_options import SamplingOptions

EXCLUSIVE = Labels.create({"lung": 1, "heart": 2})
OVERLAPPING = Labels.create({"lung": [1, 3], "heart": [2, 3]}, multilabel=True)
RNG = np.random.default_rng(0)
MASK = RNG.integers(0, 3, (2, 4, 6)).astype(np.uint8)


def test_a_registered_loss_is_that_of_networks_that_give_the_mask(monkeypatch):
    def difference(logits, x0, labels):
        return jnp.mean(jnp.abs(logits - x0), axis=(1, 2, 3))

    monkeypatch.setitem(LOSSES._entries, "difference", difference)
    rng = np.random.default_rng(0)
    mask, image, noise = (jnp.asarray(rng.normal(size=(2, 4, 4, c)), jnp.float32) for c in (1, 3, 1))
    t = jnp.array([3, 900])
    expected = np.abs(np.asarray(image[..., :1] - mask)).mean((1, 2, 3))
    found = DirectProcess.create(loss="difference").losses(lambda _, x: x[..., :1], None, mask, image, noise, t)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    process = DiffusionProcess.create(prediction="x0", loss="difference")
    np.testing.assert_allclose(
        process.losses(lambda _, noisy, x, t: x[..., :1], None, mask, image, noise, t), expected, rtol=1e-6
    )
    # Sampled in one step, the answer is read as logits.
    sample = process.sample(lambda _, noisy, x, t: x[..., :1], None, image, noise, SamplingOptions(steps=1))
    np.testing.assert_allclose(sample, np.tanh(np.asarray(image[..., :1]) / 2), atol=1e-5)
    with pytest.raises(ConfigError, match=f"diffusion.loss is 'mse'; expected one of {', '.join(LOSSES)}"):
        DirectProcess.create(loss="mse")
    with pytest.raises(ConfigError, match=r"diffusion\.loss is 'bce_dice'; expected none: this network has"):
        StochasticProcess.create(loss="bce_dice")
    with pytest.raises(ConfigError, match=r"compares masks .* not 'v': add --config\.diffusion\.prediction=x0$"):
        DiffusionProcess.create(prediction="v", loss="difference")


def logits_of(labels):
    return RNG.normal(0, 2, (*MASK.shape, labels.channels)).astype(np.float32)


def soft_dice(probability, truth):
    return (2 * (probability * truth).sum() + 1) / (probability.sum() + truth.sum() + 1)


def test_softmax_cross_entropy_and_the_mean_dice_of_the_classes():
    logits = logits_of(EXCLUSIVE)
    found = cross_entropy_dice(logits, normalise_mask(MASK, EXCLUSIVE), EXCLUSIVE)
    share = np.exp(logits.astype(np.float64))
    share /= share.sum(axis=-1, keepdims=True)
    for one, p, m in zip(found, share, MASK, strict=True):
        entropy = -np.log(np.take_along_axis(p, m[..., None].astype(int), axis=-1)).mean()
        dice = np.mean([soft_dice(p[..., k], m == k) for k in (1, 2)])
        assert one == pytest.approx(entropy + 1 - dice, rel=1e-5)
    np.testing.assert_allclose(mask_of_logits(logits, EXCLUSIVE), 2 * share - 1, atol=1e-6)


def test_classes_that_may_overlap_are_each_a_mask_of_its_own():
    logits, x0 = logits_of(OVERLAPPING), normalise_mask(MASK, OVERLAPPING)
    found = cross_entropy_dice(logits, x0, OVERLAPPING)
    each = [cross_entropy_dice(logits[..., k : k + 1], x0[..., k : k + 1]) for k in range(2)]
    np.testing.assert_allclose(found, np.mean(each, axis=0), rtol=1e-5)


def processes(labels):
    noise = {"num_train_timesteps": 50, "labels": labels}
    return {
        "noise": DiffusionProcess.create(**noise),
        "v": DiffusionProcess.create(prediction="v", mask_scale=0.5, **noise),
        "x0": DiffusionProcess.create(prediction="x0", loss="bce_dice", mask_scale=0.1, **noise),
        "direct": DirectProcess.create(labels=labels),
    }


@pytest.mark.parametrize("classes", [None, {"lung": 1, "heart": 2}])
@pytest.mark.parametrize("name", ["noise", "v", "x0", "direct"])
def test_ignored_pixels_have_no_gradient_and_the_loss_is_that_of_the_others(name, classes):
    labels = Labels.create(classes, ignore=9)
    process = processes(labels)[name]
    mask = MASK if classes else MASK % 2
    ignored = mask.copy()
    ignored[:, :, 3:] = 255
    noise = jnp.asarray(RNG.normal(size=(*mask.shape, labels.channels)), jnp.float32)
    image, t = jnp.zeros((*mask.shape, 3)), jnp.array([3, 40])
    output = jnp.asarray(logits_of(labels))

    def loss(output, mask, width):
        part = lambda a: a[:, :, :width]  # noqa: E731
        x0 = normalise_mask(jnp.asarray(mask), labels)
        return process.losses(lambda params, *_: part(params), output, part(x0), part(image), part(noise), t)

    gradient = jax.grad(lambda output: loss(output, ignored, 6).sum())(output)
    assert (gradient[:, :, 3:] == 0).all() and (gradient[:, :, :3] != 0).all()
    np.testing.assert_allclose(loss(output, ignored, 6), loss(output, mask, 3), rtol=1e-5)


def test_a_mask_that_is_ignored_everywhere_has_a_finite_loss_without_gradient():
    labels = Labels.create(ignore=9)
    x0 = normalise_mask(np.full((1, 4, 4), 255, np.uint8), labels)
    of_all = jax.value_and_grad(lambda logits: cross_entropy_dice(logits, x0, labels).sum())
    loss, gradient = of_all(jnp.ones((1, 4, 4, 1)))
    assert loss == 0.0 and (gradient == 0).all()
