"""The colours of the augmentation, against their formulas in NumPy and a filter of scipy."""

import jax.numpy as jnp
import numpy as np
import pytest
from augmented import move, pair, recolour
from scipy import ndimage

CHANGES = {
    "contrast": (1.3, lambda v: v.mean() + 1.3 * (v - v.mean())),
    "brightness": (-0.2, lambda v: v - 0.2),
    "saturation": (0.6, lambda v: v.mean(-1, keepdims=True) + 0.6 * (v - v.mean(-1, keepdims=True))),
    "tint": ((0.1, 0.0, -0.05), lambda v: v + np.array([0.1, 0.0, -0.05])),
    "gamma": (1.5, lambda v: v**1.5),
    "blur": (0.05, lambda v: gaussian(v, 0.05 * 32)),
}


def gaussian(v, sigma):
    def of(array):
        return ndimage.gaussian_filter(array, (sigma, sigma, 0), mode="constant", truncate=20)

    return of(v) / of(np.ones_like(v))


@pytest.mark.parametrize("name", CHANGES)
def test_each_change_of_colour_is_its_formula(name):
    image, _ = pair(24, 32)
    value, formula = CHANGES[name]
    expected = 2 * np.clip(formula((image.astype(float) + 1) / 2), 0, 1) - 1
    np.testing.assert_allclose(recolour(image, **{name: jnp.asarray(value)}), expected, atol=2e-5)


def test_black_and_white_stay_what_they_are_at_any_gamma():
    image = np.stack([np.full((2, 3), -1.0), np.ones((2, 3))]).astype(np.float32)
    for gamma in (0.8, 1.25):
        np.testing.assert_array_equal(recolour(image, gamma=jnp.asarray(gamma)), image)


def test_changes_of_colour_follow_their_order():
    image, _ = pair(24, 32)
    v = (image.astype(float) + 1) / 2
    for name, (_, formula) in CHANGES.items():
        v = formula(v)
        if name == "tint":
            v = np.clip(v, 0, 1)
    values = {name: jnp.asarray(value) for name, (value, _) in CHANGES.items()}
    np.testing.assert_allclose(recolour(image, **values), 2 * v - 1, atol=2e-5)


def test_what_does_nothing_gives_the_picture_back():
    image, mask = pair(16, 17)
    still = {
        "contrast": 1.0,
        "brightness": 0.0,
        "saturation": 1.0,
        "tint": 0.0,
        "gamma": 1.0,
        "blur": 0.0,
    }
    np.testing.assert_allclose(recolour(image, **still), image, atol=1e-6)
    moved, moved_mask = move(image, mask, 0.0, False, False, scale=(1.0, 1.0), shear=0.0, shift=jnp.zeros(2))
    np.testing.assert_array_equal(moved, image)
    np.testing.assert_array_equal(moved_mask, mask)
