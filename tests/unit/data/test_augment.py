"""Augmentation against scipy's affine transform and plain NumPy flips."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from ddim_jax.data import augmentation

augment = jax.jit(augmentation.augment, static_argnames=("rotation_degrees", "flips"))
rotate_and_flip = jax.jit(augmentation.rotate_and_flip)


def pair(height, width, seed=0):
    rng = np.random.default_rng(seed)
    image = rng.uniform(-1, 1, (height, width, 3)).astype(np.float32)
    mask = np.where(ndimage.gaussian_filter(rng.normal(size=(height, width)), 2) > 0, 1, -1).astype(np.float32)
    return image, mask[..., None]


def with_scipy(image, mask, degrees, vertical, horizontal):
    """Rotates anticlockwise about the centre, then flips: what the package does in one resample."""
    radians = np.deg2rad(degrees)
    # scipy maps output to input coordinates (row, column); rows point down, so anticlockwise as seen is this matrix.
    back = np.array([[np.cos(radians), np.sin(radians)], [-np.sin(radians), np.cos(radians)]])
    centre = (np.array(image.shape[:2]) - 1) / 2
    offset = centre - back @ centre
    channels = [
        ndimage.affine_transform(image[..., c].astype(np.float64), back, offset, order=1, mode="nearest")
        for c in range(3)
    ]
    turned = np.stack(channels, axis=-1)
    turned_mask = ndimage.affine_transform(mask[..., 0], back, offset, order=0, mode="grid-constant", cval=-1)[
        ..., None
    ]
    flips = (slice(None, None, -1 if vertical else 1), slice(None, None, -1 if horizontal else 1))
    return turned[flips], turned_mask[flips]


@pytest.mark.parametrize("shape", [(32, 32), (31, 44)])
@pytest.mark.parametrize("degrees", [-15.0, -3.3, 7.9, 14.2])
@pytest.mark.parametrize(("vertical", "horizontal"), [(False, False), (True, False), (False, True), (True, True)])
def test_rotation_and_flips_agree_with_scipy(shape, degrees, vertical, horizontal):
    image, mask = pair(*shape)
    expected_image, expected_mask = with_scipy(image, mask, degrees, vertical, horizontal)
    moved_image, moved_mask = rotate_and_flip(
        jnp.asarray(image), jnp.asarray(mask), np.deg2rad(degrees), vertical, horizontal
    )
    np.testing.assert_allclose(moved_image, expected_image, atol=2e-5)
    # A pixel centre may fall within a rounding error of the border between two pixels or of the picture's edge.
    assert np.mean(np.asarray(moved_mask) != expected_mask) < 0.002


def test_the_direction_is_anticlockwise_as_seen():
    image = np.zeros((21, 21, 3), np.float32)
    image[10, 18] = 1.0
    mask = np.where(image[..., :1] > 0, 1.0, -1.0).astype(np.float32)
    moved, moved_mask = rotate_and_flip(jnp.asarray(image), jnp.asarray(mask), np.pi / 2, False, False)
    assert np.asarray(moved)[2, 10, 0] == pytest.approx(1, abs=1e-5)
    assert np.argwhere(np.asarray(moved_mask)[..., 0] > 0).tolist() == [[2, 10]]


@pytest.mark.parametrize(("vertical", "horizontal"), [(False, False), (True, False), (False, True), (True, True)])
def test_without_rotation_flips_are_exact(vertical, horizontal):
    image, mask = pair(16, 17)
    flips = (slice(None, None, -1 if vertical else 1), slice(None, None, -1 if horizontal else 1))
    moved_image, moved_mask = rotate_and_flip(jnp.asarray(image), jnp.asarray(mask), 0.0, vertical, horizontal)
    np.testing.assert_array_equal(moved_image, image[flips])
    np.testing.assert_array_equal(moved_mask, mask[flips])


def test_beyond_the_edge_the_image_repeats_it_and_the_mask_is_background():
    image, mask = np.full((20, 20, 3), 0.7, np.float32), np.ones((20, 20, 1), np.float32)
    moved_image, moved_mask = rotate_and_flip(jnp.asarray(image), jnp.asarray(mask), np.deg2rad(15), False, False)
    np.testing.assert_allclose(moved_image, 0.7, atol=1e-6)
    moved_mask = np.asarray(moved_mask)[..., 0]
    assert moved_mask[[0, 0, -1, -1], [0, -1, 0, -1]].tolist() == [-1, -1, -1, -1]
    assert moved_mask[10, 10] == 1


def test_a_batch_under_jit_and_vmap():
    image, mask = pair(24, 24)
    count = 400
    keys = jax.random.split(jax.random.key(0), count)
    batched = jax.jit(jax.vmap(augment, in_axes=(0, None, None)))
    images, masks = (np.asarray(x) for x in batched(keys, image, mask))
    assert set(np.unique(masks)) == {-1.0, 1.0}
    for row in (0, 7):
        alone, _ = augment(keys[row], jnp.asarray(image), jnp.asarray(mask))
        np.testing.assert_allclose(images[row], alone, atol=1e-5)
    # A gradient from left to right tells the horizontal flip, one from top to bottom the vertical one.
    ramp = np.linspace(-1, 1, 24, dtype=np.float32)
    gradients = np.stack([*np.meshgrid(ramp, ramp, indexing="ij"), np.zeros((24, 24), np.float32)], axis=-1)
    images, _ = (np.asarray(x) for x in batched(keys, gradients, mask))
    vertical = images[:, 20, 12, 0] < images[:, 3, 12, 0]
    horizontal = images[:, 12, 20, 1] < images[:, 12, 3, 1]
    for share in (vertical.mean(), horizontal.mean(), (vertical == horizontal).mean()):
        assert abs(share - 0.5) < 4 * 0.5 / np.sqrt(count)
    # Near the centre nothing is clipped, so the slope of the row ramp gives the angle.
    along = images[:, 12, 15, 0] - images[:, 12, 8, 0]
    down = images[:, 15, 12, 0] - images[:, 8, 12, 0]
    degrees = np.rad2deg(np.arctan2(along, np.abs(down)))
    assert 13.5 < degrees.max() <= 15.01 and -15.01 <= degrees.min() < -13.5
    # Uniform in [-15, 15]: the standard deviation is 15 / sqrt(3).
    assert degrees.std() == pytest.approx(15 / np.sqrt(3), rel=0.08)


def test_nothing_asked_is_the_identity():
    image, mask = pair(16, 16)
    for key in jax.random.split(jax.random.key(1), 3):
        moved_image, moved_mask = augment(key, jnp.asarray(image), jnp.asarray(mask), rotation_degrees=0.0, flips=False)
        np.testing.assert_array_equal(moved_image, image)
        np.testing.assert_array_equal(moved_mask, mask)
        unflipped, _ = augment(key, jnp.asarray(image), jnp.asarray(mask), rotation_degrees=1e-6, flips=False)
        np.testing.assert_allclose(unflipped, image, atol=1e-5)
