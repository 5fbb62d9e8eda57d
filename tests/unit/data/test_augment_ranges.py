"""The ranges of the augmentation: reached, and not passed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddim_jax.data import Augmentation, augmentation

DRAWS = 300


def drawn(image, *hows):
    """For each augmentation the images [300, H, W, 3] that it gives, and the masks, which are 1 inside."""
    mask = jnp.ones((*image.shape[:2], 1))

    def of_key(key):
        return [augmentation.augment(key, jnp.asarray(image), mask, how) for how in hows]

    pairs = jax.jit(jax.vmap(of_key))(jax.random.split(jax.random.key(11), DRAWS))
    return [(np.asarray(images, float), np.asarray(masks)[..., 0]) for images, masks in pairs]


def assert_fills(values, low, high):
    """Uniform draws come within 3% of both ends, never pass them, and have the mean between."""
    width = high - low
    assert low - 1e-3 * width <= values.min() <= low + 0.03 * width, values.min()
    assert high - 0.03 * width <= values.max() <= high + 1e-3 * width, values.max()
    assert values.mean() == pytest.approx((low + high) / 2, abs=4 * width / np.sqrt(12 * values.size))


def test_ranges_of_moves_are_reached_and_not_passed():
    # Channel 0 rises with the rows, channel 1 with the columns: the centre shows where it comes from, and the slopes.
    y, x = np.mgrid[:33, :33] - 16.0
    ramps = np.stack([y, x, 0 * y], axis=-1).astype(np.float32) / 100
    how = Augmentation(rotation_degrees=180.0, zoom=0.3, aspect=0.15, shear=0.2, shift=0.1)
    ((images, _),) = drawn(ramps, how)
    down, along = images[:, 17, 16] - images[:, 15, 16], images[:, 16, 17] - images[:, 16, 15]
    move = np.linalg.inv(50 * np.stack([down, along], axis=-1)[:, :2])  # turn @ shear @ scale
    shift = -move @ (100 * images[:, 16, 16, :2, None])
    angle = np.arctan2(-move[:, 0, 1], move[:, 1, 1])
    wide = np.hypot(move[:, 0, 1], move[:, 1, 1])
    tall, sheared = (
        np.cos(angle) * move[:, 0, 0] + np.sin(angle) * move[:, 1, 0],
        -np.sin(angle) * move[:, 0, 0] + np.cos(angle) * move[:, 1, 0],
    )
    assert_fills(np.rad2deg(angle), -180, 180)
    assert_fills(np.log(tall * wide) / 2, -0.3, 0.3)
    assert_fills(np.log(tall / wide), -0.15, 0.15)
    assert_fills(sheared / tall, -0.2, 0.2)
    assert_fills(shift, -3.3, 3.3)
    both = np.stack([angle, np.log(tall * wide), np.log(tall / wide), sheared / tall, *shift[..., 0].T])
    assert np.abs(np.corrcoef(both) - np.eye(6)).max() < 4 / np.sqrt(DRAWS)  # drawn independently


def test_ranges_of_colours_are_reached_and_not_passed():
    image = np.zeros((8, 8, 3), np.float32)
    image[:4], image[4:] = (0.2, 0.0, -0.2), (-0.2, 0.0, 0.2)
    names = ("brightness", "tint", "contrast", "saturation", "gamma")
    shown = drawn(image, *(Augmentation(**{name: 0.1}) for name in names))
    brightness, tint, contrast, saturation, gamma = ((images[:, 0, 0] + 1) / 2 for images, _ in shown)
    assert_fills(brightness[:, 1] - 0.5, -0.1, 0.1)
    assert_fills(tint - (image[0, 0] + 1) / 2, -0.1, 0.1)
    assert np.abs(np.corrcoef(tint.T) - np.eye(3)).max() < 4 / np.sqrt(DRAWS)  # each channel by itself
    assert_fills(np.log((contrast[:, 0] - 0.5) / 0.1), -0.1, 0.1)
    assert_fills(np.log((saturation[:, 0] - 0.5) / 0.1), -0.1, 0.1)
    assert_fills(np.log(np.log(gamma[:, 1]) / np.log(0.5)), -0.1, 0.1)


def test_ranges_of_blur_and_noise_are_reached_and_not_passed():
    image = np.where(np.arange(64) < 32, -1.0, 1.0)[None, :, None] * np.ones((64, 1, 3))
    image[..., 1] = 0
    (blurred, _), (noisy, _) = drawn(image.astype(np.float32), Augmentation(blur=0.05), Augmentation(noise=0.05))
    # The derivative of a blurred edge is the Gaussian: its second moment about the edge gives sigma.
    weights = np.diff(blurred[:, 32, :, 0], axis=1) / 2
    sigma = np.sqrt(np.maximum(0, weights @ (np.arange(63) - 31.0) ** 2))
    assert sigma.min() < 0.4 and 3.05 < sigma.max() < 3.21  # .05 x 64 = 3.2
    noise = noisy[..., 1].std(axis=(1, 2)) / 2
    assert noise.min() < 0.002 and 0.0475 < noise.max() < 0.0515
    assert np.mean(noise) == pytest.approx(0.025, rel=0.15)
