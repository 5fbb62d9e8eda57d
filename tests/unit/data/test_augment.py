"""Augmentation against scipy's affine transform and filter, and arithmetic in NumPy."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from augmented import IN_COLOUR, PAPER, STRONG, augment, move, pair
from scipy import ndimage

from ddim_jax.data import Augmentation, augmentation


def with_scipy(image, mask, degrees, vertical, horizontal, *, scale=(1, 1), shear=0.0, shift=(0, 0)):
    """Scales, shears and rotates anticlockwise about the centre, flips, shifts: in one resample, as the package."""
    radians = np.deg2rad(degrees)
    # scipy maps output to input coordinates (row, column); rows point down, so anticlockwise as seen is this matrix.
    turn = np.array([[np.cos(radians), -np.sin(radians)], [np.sin(radians), np.cos(radians)]])
    flip = np.diag([-1.0 if vertical else 1.0, -1.0 if horizontal else 1.0])
    back = np.linalg.inv(flip @ turn @ np.array([[1, 0], [shear, 1]]) @ np.diag(scale))
    centre = (np.array(image.shape[:2]) - 1) / 2
    offset = centre - back @ (centre + shift)
    channels = [
        ndimage.affine_transform(image[..., c].astype(np.float64), back, offset, order=1, mode="nearest")
        for c in range(3)
    ]
    turned = np.stack(channels, axis=-1)
    turned_mask = ndimage.affine_transform(mask[..., 0], back, offset, order=0, mode="grid-constant", cval=-1)[
        ..., None
    ]
    return turned, turned_mask


@pytest.mark.parametrize("shape", [(32, 32), (31, 44)])
@pytest.mark.parametrize("degrees", [-15.0, -3.3, 7.9, 14.2])
@pytest.mark.parametrize(("vertical", "horizontal"), [(False, False), (True, False), (False, True), (True, True)])
def test_rotation_and_flips_agree_with_scipy(shape, degrees, vertical, horizontal):
    image, mask = pair(*shape)
    expected_image, expected_mask = with_scipy(image, mask, degrees, vertical, horizontal)
    moved_image, moved_mask = move(jnp.asarray(image), jnp.asarray(mask), np.deg2rad(degrees), vertical, horizontal)
    np.testing.assert_allclose(moved_image, expected_image, atol=2e-5)
    # A pixel centre may fall within a rounding error of the border between two pixels or of the image's edge.
    assert np.mean(np.asarray(moved_mask) != expected_mask) < 0.002


def test_the_direction_is_anticlockwise_as_seen():
    image = np.zeros((21, 21, 3), np.float32)
    image[10, 18] = 1.0
    mask = np.where(image[..., :1] > 0, 1.0, -1.0).astype(np.float32)
    moved, moved_mask = move(jnp.asarray(image), jnp.asarray(mask), np.pi / 2, False, False)
    assert np.asarray(moved)[2, 10, 0] == pytest.approx(1, abs=1e-5)
    assert np.argwhere(np.asarray(moved_mask)[..., 0] > 0).tolist() == [[2, 10]]


@pytest.mark.parametrize(("vertical", "horizontal"), [(False, False), (True, False), (False, True), (True, True)])
def test_without_rotation_flips_are_exact(vertical, horizontal):
    image, mask = pair(16, 17)
    flips = (slice(None, None, -1 if vertical else 1), slice(None, None, -1 if horizontal else 1))
    moved_image, moved_mask = move(jnp.asarray(image), jnp.asarray(mask), 0.0, vertical, horizontal)
    np.testing.assert_array_equal(moved_image, image[flips])
    np.testing.assert_array_equal(moved_mask, mask[flips])


def test_beyond_the_edge_the_image_repeats_it_and_the_mask_is_background():
    image, mask = np.full((20, 20, 3), 0.7, np.float32), np.ones((20, 20, 1), np.float32)
    moved_image, moved_mask = move(jnp.asarray(image), jnp.asarray(mask), np.deg2rad(15), False, False)
    np.testing.assert_allclose(moved_image, 0.7, atol=1e-6)
    moved_mask = np.asarray(moved_mask)[..., 0]
    assert moved_mask[[0, 0, -1, -1], [0, -1, 0, -1]].tolist() == [-1, -1, -1, -1]
    assert moved_mask[10, 10] == 1


def test_a_batch_under_jit_and_vmap():
    image, mask = pair(24, 24)
    count = 400
    keys = jax.random.split(jax.random.key(0), count)
    batched = jax.jit(jax.vmap(lambda *pair: augment(*pair, PAPER), in_axes=(0, None, None)))
    images, masks = (np.asarray(x) for x in batched(keys, image, mask))
    assert set(np.unique(masks)) == {-1.0, 1.0}
    for row in (0, 7):
        alone, _ = augment(keys[row], jnp.asarray(image), jnp.asarray(mask), PAPER)
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
        moved_image, moved_mask = augment(key, jnp.asarray(image), jnp.asarray(mask), Augmentation())
        np.testing.assert_array_equal(moved_image, image)
        np.testing.assert_array_equal(moved_mask, mask)
        unflipped, _ = augment(key, jnp.asarray(image), jnp.asarray(mask), Augmentation(rotation_degrees=1e-6))
        np.testing.assert_allclose(unflipped, image, atol=1e-5)


@pytest.mark.parametrize(
    "how",
    [
        {"scale": (1.3, 1.3)},
        {"scale": (0.83, 0.94)},
        {"shear": 0.25},
        {"shift": (3, -5)},
        {"shift": (0.4, 2.7)},
        {"scale": (1.2, 0.9), "shear": -0.2, "shift": (2.5, -1.25)},
    ],
)
@pytest.mark.parametrize(("degrees", "vertical"), [(0.0, False), (160.0, True)])
def test_every_move_agrees_with_scipy(how, degrees, vertical):
    image, mask = pair(31, 44)
    expected_image, expected_mask = with_scipy(image, mask, degrees, vertical, False, **how)
    arguments = {name: jnp.asarray(value, jnp.float32) for name, value in how.items()}
    moved_image, moved_mask = move(image, mask, np.deg2rad(degrees), vertical, False, **arguments)
    np.testing.assert_allclose(moved_image, expected_image, atol=1e-4)
    assert np.mean(np.asarray(moved_mask) != expected_mask) < 0.002


def test_a_quarter_turn_and_a_shift_move_picture_and_mask_by_whole_pixels():
    image, _ = pair(24, 24)
    mask = np.arange(24 * 24, dtype=np.uint8).reshape(24, 24, 1) % 7
    turned, turned_mask = move(image, mask, np.pi / 2, False, False, 0)
    np.testing.assert_allclose(turned, np.rot90(image), atol=1e-4)
    np.testing.assert_array_equal(turned_mask, np.rot90(mask))
    shifted, shifted_mask = move(image, mask, 0.0, False, False, 0, shift=jnp.array([4.0, -6.0]))
    np.testing.assert_array_equal(shifted[4:, :-6], image[:-4, 6:])
    np.testing.assert_array_equal(shifted[:4, :-6], np.broadcast_to(image[:1, 6:], (4, 18, 3)))  # repeats the edge
    expected = np.zeros_like(mask)
    expected[4:, :-6] = mask[:-4, 6:]
    np.testing.assert_array_equal(shifted_mask, expected)


def test_the_papers_pairs_are_those_of_one_angle_and_two_coins():
    image, mask = pair(24, 24)
    for key in jax.random.split(jax.random.key(4), 5):
        angle, coins = jax.random.split(key)
        radians = jnp.deg2rad(jax.random.uniform(angle, minval=-15.0, maxval=15.0))
        vertical, horizontal = jax.random.bernoulli(coins, shape=(2,))
        expected = move(image, mask, radians, vertical, horizontal)
        jax.tree.map(np.testing.assert_array_equal, augment(key, image, mask, PAPER), expected)


def test_classes_and_ignored_pixels_keep_their_values_and_move_with_the_picture():
    """The mask is a function of the image's own values, and still is after both have moved."""
    codes = np.array([0, 1, 2, 5, 255], np.uint8)
    blocks = np.random.default_rng(3).integers(0, 5, (6, 6)).repeat(8, axis=0).repeat(8, axis=1)
    image = np.repeat(blocks[..., None] / 2.0 - 1, 3, axis=-1).astype(np.float32)
    how = dataclasses.replace(STRONG, **dict.fromkeys(IN_COLOUR, 0.0))
    agree = []
    for key in jax.random.split(jax.random.key(5), 20):
        moved, moved_mask = (np.asarray(a) for a in augment(key, image, codes[blocks][..., None], how, outside=0))
        assert moved_mask.dtype == np.uint8 and set(np.unique(moved_mask)) <= set(codes)
        shown = codes[np.rint((moved[..., 0] + 1) * 2).astype(int)][..., None]
        agree.append(np.mean((shown == moved_mask)[moved_mask > 0]))
    assert min(agree) > 0.85 and np.mean(agree) > 0.9  # but for the borders of the blocks


def test_the_strong_augmentation_is_a_function_of_the_key_under_vmap():
    image, mask = map(jnp.asarray, pair(24, 24))
    keys = jax.random.split(jax.random.key(0), 6)
    batched = jax.jit(jax.vmap(lambda key: augmentation.augment(key, image, mask, STRONG)))
    images, masks = batched(keys)
    assert len(np.unique(np.asarray(images).reshape(6, -1), axis=0)) == 6
    assert np.min(images) >= -1 and np.max(images) <= 1 and set(np.unique(masks)) == {-1.0, 1.0}
    order = np.array([3, 0, 3, 5, 1, 4])  # other places, other neighbours
    others, other_masks = batched(keys[order])
    np.testing.assert_allclose(others, images[order], atol=1e-5)
    np.testing.assert_array_equal(other_masks, masks[order])
