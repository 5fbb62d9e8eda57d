"""Adversarial training against arithmetic by hand, and what it leaves as it was."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import revealed
from test_step import ONE, Line, SameTimesteps

from ddim_jax.data import Augmentation
from ddim_jax.training.adversarial import Adversary
from ddim_jax.training.sharding import data_mesh, global_batch, replicated
from ddim_jax.training.state import create_state
from ddim_jax.training.step import make_train_step
from ddim_jax.training.step_options import StepOptions


def test_one_step_by_hand():
    image = jnp.array([0.5, 0.5, 0.5, 0.5, 0.95, -1.0]).reshape(1, 1, 2, 3)
    start = jnp.array([0.0, -0.5, -0.5, 1.0, 0.0, 0.0]).reshape(image.shape)
    slopes = jnp.array([1.0, 1.0, -1.0, 0.0, 1.0, -1.0]).reshape(image.shape)
    # epsilon .1 is .2 here, the step .25: from .5, .4, .4, .7; at most .2 away, and within [-1, 1]
    expected = [0.7, 0.65, 0.3, 0.7, 1.0, -1.0]
    attack = lambda *attacked: Adversary(0.1).attack(  # noqa: E731
        lambda seen: jnp.sum(slopes * seen), image, start, jnp.array(attacked)
    )
    found = attack(True)
    np.testing.assert_allclose(found.ravel(), expected, atol=1e-6)
    np.testing.assert_array_equal(attack(False), image)


def test_a_training_step_by_hand():
    """eps = a x_t + b red: the loss of a pixel rises with red where b (eps' - eps) is above 0."""
    images, masks = revealed.pictures()
    epsilon, seed, a, b = 0.02, 11, 0.5, -0.25
    optimiser, mesh = optax.sgd(0.1), data_mesh(8, ONE)
    train_step = make_train_step(
        Line(),
        SameTimesteps.create(prediction="noise", loss="mse"),
        optimiser,
        mesh,
        StepOptions(
            seed=seed,
            ema_decay=0.9,
            augmentation=Augmentation(),
            accumulate=4,  # the parts together are the batch
            adversary=Adversary(epsilon),
        ),
    )
    state = jax.device_put(create_state(Line(), optimiser, 8, 0), replicated(mesh))
    state, metrics = train_step(state, global_batch(mesh, {"image": images, "mask": masks}))

    random = revealed.drawn(images, masks, devices=ONE, seed=seed, step=0, augmentation=Augmentation())
    key = jax.random.fold_in(jax.random.key(seed), 0)
    starts = [
        Adversary(epsilon).draw(jax.random.fold_in(jax.random.fold_in(key, place), 3), np.zeros((8, 8, 3)))[0]
        for place in range(8)
    ]
    alpha_bar = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))[random["t"].astype(int)].reshape(-1, 1, 1, 1)
    noise = random["noise"].astype(float)
    x_t = np.sqrt(alpha_bar) * (2.0 * masks[..., None] - 1) + np.sqrt(1 - alpha_bar) * noise
    clean = images[..., :1] / 127.5 - 1
    red = np.clip(clean + 2 * epsilon * np.stack(starts)[..., :1], -1, 1)
    red = red + 2.5 * epsilon * np.sign(b * (a * x_t + b * red - noise))
    red = np.clip(np.clip(red, clean - 2 * epsilon, clean + 2 * epsilon), -1, 1)
    wrong = a * x_t + b * red - noise
    gradient = [np.mean(2 * wrong * x_t), np.mean(2 * wrong * red)]
    np.testing.assert_allclose(metrics["loss"], np.mean(wrong**2), rtol=1e-5)
    np.testing.assert_allclose(
        [state.params["a"], state.params["b"]], np.array([a, b]) - 0.1 * np.array(gradient), 1e-5
    )
    assert np.mean(wrong**2) > np.mean((a * x_t + b * clean - noise) ** 2)


def test_all_else_is_drawn_as_without():
    images, masks = revealed.pictures()
    same = {"devices": ONE, "seed": 5, "step": 7, "augmentation": Augmentation(flips=True)}
    plain = revealed.drawn(images, masks, **same)
    changed = revealed.drawn(images, masks, **same, adversary=Adversary(0.05))
    for name in ("mask", "noise", "t"):
        np.testing.assert_array_equal(changed[name], plain[name])
    # No gradient leads away there, so that the start is seen, uniform in [-.1, .1].
    moved = (changed["image"] - plain["image"])[np.abs(plain["image"]) < 0.9]
    assert np.abs(moved).max() <= 0.1 + 1e-6
    assert abs(moved.mean()) < 0.005 and moved.std() == pytest.approx(0.1 / np.sqrt(3), rel=0.05)


def test_a_share_is_attacked_and_the_rest_is_as_without():
    images, masks = revealed.pictures()
    same = {"devices": ONE, "seed": 5, "step": 7, "augmentation": Augmentation(flips=True)}
    plain, all_of_them, some = (
        revealed.drawn(images, masks, **same, adversary=adversary)
        for adversary in (None, Adversary(0.05), Adversary(0.05, 0.5))
    )
    is_of = lambda other: (some["image"] == other["image"]).all(axis=(1, 2, 3))  # noqa: E731
    clean, attacked = is_of(plain), is_of(all_of_them)
    assert (clean ^ attacked).all() and 0 < clean.sum() < len(clean)
    for name in ("mask", "noise", "t"):
        np.testing.assert_array_equal(some[name], plain[name])


def test_the_share_is_that_of_the_config():
    field = {"adversarial_epsilon": 0.1, "adversarial_share": 0.25}
    adversary = Adversary.from_config(field)
    drawn = [adversary.draw(key, jnp.zeros((1, 1, 3)))[1] for key in jax.random.split(jax.random.key(0), 400)]
    assert np.mean(drawn) == pytest.approx(0.25, abs=0.07)
    assert Adversary.from_config(field | {"adversarial_epsilon": 0.0}) is None
    assert Adversary.from_config(field | {"adversarial_share": 0.0}) is None
