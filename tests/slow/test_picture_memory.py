"""Reading the largest images stays below 2 GiB; `python -m tests.slow.picture_memory` measures every kind."""

import pytest

from ddim_jax.imageio.images import MAX_PIXELS
from tests.slow.picture_memory import LIMIT, measure

LARGEST = int(MAX_PIXELS**0.5)
LONG = ("CMYK progressive.jpg", "RGBA16 deflate.tif")


@pytest.mark.parametrize("name", [*(pytest.param(name, marks=pytest.mark.long) for name in LONG), "I;16.png"])
def test_the_largest_pictures(tmp_path, name):
    found = list(measure(tmp_path, LARGEST, [name]))
    assert [one.reader for one in found] == ["read_image", "read_mask"]
    assert found[0].said == "read" and max(one.peak for one in found) < LIMIT
    assert found[0].bytes_a_pixel < (17 if name.startswith("RGBA16") else 13)


@pytest.mark.long
def test_the_largest_masks(tmp_path):
    """Colours have to be told apart: there are fewer of them."""
    for name, side in (("L.png", LARGEST), ("RGBA.png", 7320), ("I;16.png", 7320)):
        (_, mask) = measure(tmp_path, side, [name])
        assert mask.peak < LIMIT and "there is not enough memory" not in mask.said
        assert "expected 8-bit grey without alpha where there are more than" not in mask.said
    (_, mask) = measure(tmp_path, 7400, ["RGBA.png"])
    assert "a mask of 7400 x 7400 pixels of kind 'RGBA', expected 8-bit grey without alpha where there are" in mask.said
