import hashlib
import struct

import jax.numpy as jnp
import numpy as np
import pytest

from ddim_jax.labels import Labels
from ddim_jax.preprocessing import (
    bucket_shape,
    class_estimates,
    image_id,
    normalise,
    normalise_mask,
    pad_to,
    resize_image,
    resize_mask,
    resize_unit_map,
)


def test_image_id_is_the_start_of_a_sha256_over_shape_and_pixels():
    image = np.random.default_rng(3).integers(0, 256, (5, 4, 3), np.uint8)
    digest = hashlib.sha256(struct.pack("<QQQ", 5, 4, 3) + image.tobytes()).digest()
    assert image_id(image) == struct.unpack(">I", digest[:4])[0]


@pytest.mark.parametrize(
    ("shape", "size_multiple", "expected"),
    [
        ((1, 1), 1, (64, 64)),
        ((64, 65), 32, (64, 128)),
        ((513, 700), 32, (576, 704)),
        ((128, 129), 128, (128, 256)),  # a network deeper than the step
        ((72, 73), 24, (72, 144)),  # 72 is the first multiple of 24 from 64 on
        ((60, 100), 3, (66, 132)),
    ],
)
def test_bucket_shape_by_hand(shape, size_multiple, expected):
    assert bucket_shape(shape, size_multiple) == expected


@pytest.mark.parametrize("size_multiple", [1, 2, 6, 16, 48, 64, 96, 128])
def test_a_bucket_holds_the_picture_and_suits_the_network(size_multiple):
    steps = {size: bucket_shape((size, 1), size_multiple)[0] for size in range(1, 400)}
    assert all(bucket >= size and bucket % size_multiple == 0 for size, bucket in steps.items())
    assert all(bucket - size < 64 + size_multiple for size, bucket in steps.items())
    assert len(set(steps.values())) <= 7  # programs for 399 heights


def test_padding_continues_the_edges_below_and_to_the_right():
    image = np.array([[[1, 10], [2, 20], [3, 30]], [[4, 40], [5, 50], [6, 60]]], np.uint8)
    padded = pad_to(image, (4, 5))
    assert padded.dtype == np.uint8
    rows = [[1, 2, 3, 3, 3], [4, 5, 6, 6, 6], [4, 5, 6, 6, 6], [4, 5, 6, 6, 6]]
    np.testing.assert_array_equal(padded[..., 0], rows)
    np.testing.assert_array_equal(padded[..., 1], 10 * np.array(rows))
    np.testing.assert_array_equal(pad_to(image, (2, 3)), image)


@pytest.mark.parametrize("library", [np, jnp])
def test_normalise_maps_the_ends(library):
    image = normalise(library.array([[[[0, 255, 51]]]], library.uint8))
    mask = normalise_mask(library.array([[[1]], [[0]]], library.uint8))
    np.testing.assert_allclose(image, [[[[-1.0, 1.0, -0.6]]]], atol=1e-6)
    np.testing.assert_array_equal(mask, [[[[1.0]]], [[[-1.0]]]])
    assert image.dtype == mask.dtype == np.float32


def triangle_weights(before, after):
    """The weights of a bilinear resize with antialiasing, [after, before]: a triangle as wide as the reduction."""
    scale = before / after
    centres = (np.arange(after) + 0.5) * scale
    distance = np.abs(np.arange(before) + 0.5 - centres[:, None]) / max(scale, 1.0)
    weights = np.maximum(1 - distance, 0)
    return weights / weights.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("shape", [(8, 9), (20, 31), (50, 70), (13, 60)])
def test_resize_is_bilinear_with_antialiasing(shape):
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (37, 41, 3), np.uint8)
    rows, columns = triangle_weights(37, shape[0]), triangle_weights(41, shape[1])
    expected = np.einsum("ah,bw,hwc->abc", rows, columns, image)
    resized = resize_image(image, shape)
    assert resized.dtype == np.uint8
    # Pillow rounds after each of its two passes.
    np.testing.assert_allclose(resized, expected, atol=1.01)
    values = rng.random((37, 41)).astype(np.float32)
    np.testing.assert_allclose(resize_unit_map(values, shape), rows @ values @ columns.T, atol=1e-5)


def test_a_map_in_the_unit_interval_stays_in_it_and_is_not_touched_without_need():
    values = np.array([[-0.25, 1.5], [0.5, 1.0]], np.float32)
    assert resize_unit_map(values, (2, 2)) is values
    large = resize_unit_map(values, (8, 8))
    assert (large.min(), large.max(), large.dtype) == (0.0, 1.0, np.float32)
    rows = triangle_weights(2, 8)
    np.testing.assert_allclose(large, np.clip(rows @ values @ rows.T, 0, 1), atol=1e-6)


@pytest.mark.parametrize("shape", [(8, 9), (20, 31), (50, 70)])
def test_masks_are_resized_to_the_nearest_pixel(shape):
    mask = np.random.default_rng(2).integers(0, 2, (37, 41), np.uint8)
    rows = np.floor((np.arange(shape[0]) + 0.5) * 37 / shape[0]).astype(int)
    columns = np.floor((np.arange(shape[1]) + 0.5) * 41 / shape[1]).astype(int)
    np.testing.assert_array_equal(resize_mask(mask, shape), mask[np.ix_(rows, columns)])


EXCLUSIVE = Labels.create({"lung": 1, "heart": 2}, ignore=9)
OVERLAPPING = Labels.create({"lung": [1, 3], "heart": [2, 3]}, multilabel=True)


@pytest.mark.parametrize("library", [np, jnp])
def test_the_x0_of_classes_is_one_hot_and_zero_where_ignored(library):
    x0 = normalise_mask(library.array([[0, 1, 2, 255]], library.uint8), EXCLUSIVE)
    np.testing.assert_array_equal(x0[0], [[1, -1, -1], [-1, 1, -1], [-1, -1, 1], [0, 0, 0]])
    bits = normalise_mask(library.array([[0, 1, 2, 3]], library.uint8), OVERLAPPING)
    np.testing.assert_array_equal(bits[0], [[-1, -1], [1, -1], [-1, 1], [1, 1]])
    one = normalise_mask(library.array([[0, 1, 255]], library.uint8), Labels.create(ignore=9))
    np.testing.assert_array_equal(one[0, :, 0], [-1, 1, 0])


@pytest.mark.parametrize("library", [np, jnp])
def test_estimates_of_classes_share_what_the_channels_add_up_to(library):
    x0 = library.array([[1.0, -1, -1], [-1, 3, -1], [0, 0, -1], [-0.5, -0.5, 0], [-1, -1, -1]], library.float32)
    share = [[0, 0], [1, 0], [0.5, 0], [0.25, 0.5], [0, 0]]  # 1/4, 1/4, 1/2 of the fourth
    np.testing.assert_allclose(class_estimates(x0, EXCLUSIVE), 2 * np.array(share) - 1, atol=1e-6)
    np.testing.assert_array_equal(class_estimates(x0[:, :2], OVERLAPPING), x0[:, :2])
    np.testing.assert_array_equal(class_estimates(x0[:, :1]), x0[:, 0])


def test_maps_of_classes_are_resized_each_by_itself():
    maps = np.random.default_rng(0).random((5, 7, 2)).astype(np.float32)
    found = resize_unit_map(maps, (10, 9))
    for k in range(2):
        np.testing.assert_array_equal(found[..., k], resize_unit_map(maps[..., k], (10, 9)))
