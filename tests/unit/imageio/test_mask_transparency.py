"""Masks in files whose pixels are transparent in part: by alpha, or by a colour that is marked so (tRNS of PNG)."""

import numpy as np
import pytest
from mask_pictures import TRUTH, disk
from PIL import Image

from ddim_jax.imageio.foregrounds import noting
from ddim_jax.imageio.images import read_mask
from ddim_jax.imageio.label_maps import LabelMapError
from ddim_jax.labels import Labels
from ddim_jax.runtime.errors import DataError

DRAWN = np.where(TRUTH, 0, 255).astype(np.uint8)  # black on white
OTHER = disk(64, (30, 34), 5)


def saved(path, pixels, palette=None, **options):
    picture = Image.fromarray(pixels, None if palette is None else "P")
    if palette is not None:
        picture.putpalette(palette)
    picture.save(path, **options)
    return path


def grey3(values):
    return np.repeat(values[..., None], 3, axis=-1)


@pytest.mark.parametrize(
    ("pixels", "palette", "transparency", "highest"),
    [
        (DRAWN, [0, 0, 0] * 255 + [255, 255, 255], 255, 255),
        (TRUTH, [255, 255, 255, 0, 0, 0], b"\x00\xff", 255),
        (TRUTH, [0, 0, 0, 128, 0, 0], 1, 128),
        (DRAWN, None, 255, 255),
        (DRAWN > 0, None, 1, 255),
        (TRUTH * 255, None, 255, 255),
        (grey3(TRUTH * 255), None, (255, 255, 255), 255),
        (np.dstack([DRAWN, 255 - DRAWN]), None, None, 255),
        (np.dstack([grey3(DRAWN), 255 - DRAWN]), None, None, 255),
        (np.dstack([grey3(TRUTH * 255), 255 - TRUTH * 255]), None, None, 255),
    ],
)
def test_black_alone_is_drawing_or_background_where_what_is_transparent_has_a_colour(
    pixels, palette, transparency, highest, tmp_path
):
    options = {} if transparency is None else {"transparency": transparency}
    path = saved(tmp_path / "m.png", pixels, palette, **options)
    told = rf"m\.png: its transparent .* up to {highest}, .* seen are black, .* without transparency, with 0 for"
    with pytest.raises(DataError, match=told):
        read_mask(path)


@pytest.mark.parametrize("hidden", [0, 255])
def test_a_colour_over_what_is_transparent_is_the_mask(hidden, tmp_path):
    soft = np.where(TRUTH, 255, 0).astype(np.uint8)
    soft[30, 51:55] = [200, 130, 120, 60]  # the edge, of which half is drawn
    for number, colour in enumerate([(255, 255, 255), (255, 0, 0), (0, 0, 90)]):
        pixels = np.where(soft[..., None], np.array(colour, np.uint8), np.uint8(hidden))
        np.testing.assert_array_equal(
            read_mask(saved(tmp_path / f"{number}.png", np.dstack([pixels, TRUTH * 255]))), TRUTH
        )
    for number, colour in enumerate([0, 255]):
        grey = np.where(soft, colour, hidden if colour else 0).astype(np.uint8)
        np.testing.assert_array_equal(
            read_mask(saved(tmp_path / f"s{number}.png", np.dstack([grey, soft]))), soft > 127
        )
    black = saved(tmp_path / "p.png", TRUTH, [0, 0, 0, 0, 0, 0], transparency=0)
    np.testing.assert_array_equal(read_mask(black), TRUTH)


@pytest.mark.parametrize(
    ("pixels", "palette", "transparency", "key"),
    [
        (TRUTH, [0, 0, 0, 255, 0, 0], 0, (255, 0, 0)),
        (TRUTH, [255, 0, 0, 255, 0, 0], 0, (255, 0, 0)),
        (TRUTH * 255, None, 0, 255),
        (grey3(TRUTH * 255), None, (0, 0, 0), 255),
        (TRUTH[..., None] * np.array([255, 0, 0], np.uint8), None, (0, 0, 0), (255, 0, 0)),
    ],
)
def test_a_colour_on_what_is_transparent_is_the_mask_and_noted(pixels, palette, transparency, key, tmp_path):
    path = saved(tmp_path / "m.png", pixels, palette, transparency=transparency)
    found = []
    with noting(found):
        np.testing.assert_array_equal(read_mask(path), TRUTH)
    assert [(one.key, one.pixels) for one in found] == [(key, TRUTH.sum())]
    if palette is not None or pixels.ndim == 3:
        return
    np.testing.assert_array_equal(read_mask(path, Labels.create(255)), TRUTH)


def test_an_empty_mask_whose_black_is_transparent_is_empty(tmp_path):
    nothing = np.zeros_like(TRUTH)
    for number, (pixels, palette, clear) in enumerate(
        [(nothing, [0, 0, 0, 255, 0, 0], 0), (nothing, None, 0), (grey3(nothing), None, (0, 0, 0))]
    ):
        assert read_mask(saved(tmp_path / f"{number}.png", pixels, palette, transparency=clear)).sum() == 0
    for number, (pixels, palette, clear) in enumerate(
        [(nothing, [255, 255, 255, 0, 0, 0], 0), (nothing + 255, None, 255), (nothing > 1, [9, 9, 9], 0)]
    ):
        path = saved(tmp_path / f"w{number}.png", pixels.astype(np.uint8), palette, transparency=clear)
        with pytest.raises(DataError, match=rf"w{number}\.png: every pixel is transparent"):
            read_mask(path)


def test_dark_and_bright_over_what_is_transparent_has_no_background(tmp_path):
    framed = np.dstack([grey3(TRUTH * 255), np.full_like(TRUTH, 255)])
    framed[:4] = [255, 255, 255, 0]
    smooth = DRAWN.copy()
    smooth[30, 51:55] = [40, 100, 160, 220]
    for pixels, clear, lowest, highest in ((framed, None, 0, 255), (smooth, 255, 0, 220)):
        options = {} if clear is None else {"transparency": clear}
        with pytest.raises(DataError, match=rf"its transparent pixels .* to 255, .* from {lowest} to {highest},"):
            read_mask(saved(tmp_path / "m.png", pixels, **options))
    framed[:4] = 0
    np.testing.assert_array_equal(read_mask(saved(tmp_path / "m.png", framed)), TRUTH)
    three = saved(tmp_path / "m.png", TRUTH + OTHER, [255, 255, 255, 0, 0, 0, 255, 0, 0], transparency=0)
    with pytest.raises(LabelMapError) as refused:
        read_mask(three)
    assert refused.value.counts == {0: (TRUTH == 0).sum(), 1: TRUTH.sum() - OTHER.sum(), 2: OTHER.sum()}


def test_exact_values_go_without_what_is_marked_transparent(tmp_path):
    values, labels = TRUTH + OTHER, Labels.create({"a": 1, "b": 2})
    for number, (palette, clear) in enumerate([(None, 1), (None, 0), ([255, 255, 255, 0, 0, 0, 255, 0, 0], 0)]):
        path = saved(tmp_path / f"{number}.png", values, palette, transparency=clear)
        np.testing.assert_array_equal(read_mask(path, labels), values)


def test_a_transparent_value_of_16_bits_is_refused(tmp_path):
    path = saved(tmp_path / "m.png", DRAWN.astype(np.uint16) * 257, transparency=65535)
    with pytest.raises(DataError, match=r"m\.png: has a transparent value among 16 bits.* save it without alpha"):
        read_mask(path)
