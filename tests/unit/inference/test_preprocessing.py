import hashlib
import struct

import numpy as np
import pytest
from segmenters import picture

from ddim_jax.preprocessing import bucket_shape, image_id, pad_to


def test_image_id_is_the_start_of_a_sha256_over_shape_and_pixels():
    image = picture(3, 5, 4)
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
