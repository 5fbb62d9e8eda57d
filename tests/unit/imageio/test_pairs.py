"""An image and its mask lie on each other, or are refused."""

import numpy as np
import pytest
from PIL import Image

from ddim_jax.imageio import images
from ddim_jax.runtime.errors import DataError


def save(path, pixels, orientation=None):
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    Image.fromarray(pixels).save(path, exif=exif)
    return path


def read_pair(image, mask, options=images.ReadOptions()):
    picture, found = images.read_picture(image, options), images.read_mask(mask)
    images.check_fits(image, picture, mask, found)
    return picture.pixels, found


def scene(height, width):
    """A bright corner, top left, and its mask."""
    mask = np.zeros((height, width), np.uint8)
    mask[: height // 3, : width // 4] = 255
    return np.repeat(mask[..., None] // 2 + 20, 3, axis=-1), mask


@pytest.mark.parametrize(("image_turned", "mask_turned"), [(6, None), (3, None), (2, 1), (None, 6), (6, 8), (8, 4)])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_a_square_pair_turned_by_different_exif_is_refused(tmp_path, image_turned, mask_turned, suffix):
    image, mask = scene(24, 24)
    paths = save(tmp_path / f"a.{suffix}", image, image_turned), save(tmp_path / f"m.{suffix}", mask, mask_turned)
    found = rf"a\.{suffix} has EXIF orientation {image_turned or 1} and its mask .*m\.{suffix} {mask_turned or 1}"
    with pytest.raises(DataError, match=found):
        read_pair(*paths)


@pytest.mark.parametrize("turned", [None, 1, 3, 6, 7])
def test_a_pair_of_one_orientation_is_turned_alike(tmp_path, turned):
    image, mask = scene(24, 30)
    pixels, read = read_pair(save(tmp_path / "a.png", image, turned), save(tmp_path / "m.png", mask, turned))
    np.testing.assert_array_equal(pixels[..., 0], read * 127 + 20)
    assert read.shape == ((30, 24) if turned in (6, 7) else (24, 30))


def test_sides_tell_what_a_mask_was_drawn_on(tmp_path):
    image, mask = scene(24, 30)  # as stored; shown, it is 30 high
    path = save(tmp_path / "a.png", image, 6)
    shown = np.rot90(mask, -1)
    pixels, read = read_pair(path, save(tmp_path / "shown.png", shown))
    np.testing.assert_array_equal(pixels[..., 0], read * 127 + 20)
    with pytest.raises(DataError, match=r"has EXIF orientation 6 and its mask .*stored\.png 1"):
        read_pair(path, save(tmp_path / "stored.png", mask))
    with pytest.raises(
        DataError, match=r"is 24 x 30 pixels, its mask .*other\.png is 9 x 9; .* size\. Resize the mask"
    ):
        read_pair(path, save(tmp_path / "other.png", mask[:9, :9]))
    with pytest.raises(DataError, match=r"is 30 x 24 pixels, .*lying\.png is 24 x 30; .* size\. Turn one of them"):
        read_pair(save(tmp_path / "plain.png", image), save(tmp_path / "lying.png", mask.T))
    # Turned upside down, the sides say nothing.
    with pytest.raises(DataError, match="EXIF orientation 3"):
        read_pair(save(tmp_path / "b.png", image, 3), save(tmp_path / "mask.png", mask))


def test_inverted_pictures_are_turned_round(tmp_path):
    image, mask = scene(24, 30)
    path, other = save(tmp_path / "a.png", 255 - image), save(tmp_path / "m.png", mask)
    assert images.ReadOptions.of({"invert": True}) == images.ReadOptions(invert=True)
    pixels, read = read_pair(path, other, options=images.ReadOptions(invert=True))
    np.testing.assert_array_equal(pixels, image)
    np.testing.assert_array_equal(read * 255, mask)  # masks are not turned round
    deep = np.linspace(0, 4000, 24 * 30).astype(np.uint16).reshape(24, 30)
    path = save(tmp_path / "deep.png", 4095 - deep)
    np.testing.assert_array_equal(
        images.read_picture(path, images.ReadOptions(invert=True)).pixels[..., 0],
        255 - np.round((4095 - deep) * (255 / 4095)).astype(np.uint8),
    )
