"""Corruptions of images by hand: their strength, what they leave alone, and that they are the same again."""

import numpy as np
import pytest
from PIL import Image
from segmenters import picture

from benchmarks.quality.corruptions import CORRUPTIONS, SEVERITIES, corrupt


def flat(*levels, side=8):
    return np.broadcast_to(np.uint8(levels), (side, side, 3)).copy()


def test_brightness_and_contrast_by_hand():
    # value 100/255, and .3 more: all channels grow by (100 + 76.5)/100
    np.testing.assert_array_equal(corrupt(flat(100, 50, 0), "brightness", 3, 0)[0, 0], [176, 88, 0])  # 88.25
    np.testing.assert_array_equal(corrupt(flat(0, 0, 0), "brightness", 5, 0)[0, 0], [128, 128, 128])  # 127.5
    np.testing.assert_array_equal(corrupt(flat(200, 100, 0), "brightness", 5, 0)[0, 0], [255, 128, 0])  # 127.5
    halves = flat(100, 0, 0)
    halves[4:] = 200, 0, 0
    np.testing.assert_array_equal(corrupt(halves, "contrast", 3, 0)[[0, -1], 0, 0], [140, 160])  # 150 -+ .2 * 50


def test_noise_has_its_deviation_and_grows_with_the_picture():
    grey = flat(128, 128, 128, side=448)
    noisy = [corrupt(grey, "noise", severity, 7).astype(float) - 128 for severity in SEVERITIES]
    assert noisy[0].std() == pytest.approx(0.08 * 255, rel=0.02)
    # Two pixels make a unit of 1/224, and the pattern stays from severity to severity.
    np.testing.assert_array_equal(noisy[0][::2, ::2], noisy[0][1::2, 1::2])
    np.testing.assert_allclose(noisy[1][:4, :4] / 0.12, noisy[0][:4, :4] / 0.08, atol=15)
    assert corrupt(flat(128, 128, 128, side=10), "noise", 1, 7).std() > 10
    assert (corrupt(grey, "noise", 1, 8) != corrupt(grey, "noise", 1, 7)).mean() > 0.9


def test_blur_and_low_resolution_are_of_the_shorter_side():
    edge = flat(0, 0, 0, side=448)
    edge[:, 224:] = 200
    rows = corrupt(edge, "blur", 1, 0)[0, :, 0] / 200.0  # sigma of 2 pixels: 2 pixels right of the edge, Phi(1.25)
    assert rows[226] == pytest.approx(0.894, abs=0.01) and rows[221] == pytest.approx(0.106, abs=0.01)
    assert np.mean((corrupt(edge, "blur", 5, 0)[0, :, 0] > 5) & (corrupt(edge, "blur", 5, 0)[0, :, 0] < 195)) > 0.05
    fine = np.indices((268, 300)).sum(axis=0) % 2 * 200
    coarse = corrupt(np.repeat(np.uint8(fine)[..., None], 3, axis=2), "low_resolution", 1, 0)
    assert coarse.shape == (268, 300, 3)
    assert np.all(coarse == 100)  # 268 to 134: means of 2 x 2
    small = picture(0, 50, 60)
    np.testing.assert_array_equal(corrupt(small, "low_resolution", 5, 0), small)  # has fewer than 56


def test_jpeg_is_what_pillow_reads_of_that_quality(tmp_path):
    image = picture(1, 40, 30)
    Image.fromarray(image).save(tmp_path / "a.jpg", quality=15)
    np.testing.assert_array_equal(corrupt(image, "jpeg", 3, 0), np.asarray(Image.open(tmp_path / "a.jpg")))


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_corruptions_grow_with_severity_and_are_the_same_again(name):
    image = np.uint8(np.clip(np.indices((240, 320)).sum(axis=0) % 97 + 60, 0, 255))[..., None].repeat(3, axis=2)
    distances = [np.abs(corrupt(image, name, k, 3).astype(float) - image).mean() for k in SEVERITIES]
    assert distances[0] > 0 and np.all(np.diff(distances) > 0)
    np.testing.assert_array_equal(corrupt(image, name, 2, 3), corrupt(image, name, 2, 3))
