"""A folder whose images are normalised one by one: values by hand, masks and splits as they were."""

import numpy as np
import pytest
from PIL import Image

from benchmarks.quality.normalised import by_clahe, by_percentiles, copy_normalised
from ddim_jax.runtime.errors import InputError

RAMP = np.repeat(np.arange(50, 151, dtype=np.uint8)[:, None, None], 3, axis=-1)  # 101 values: percentiles are values


def test_percentiles_become_black_and_white():
    made = by_percentiles(RAMP)
    assert made[1, 0, 0] == 0 and made[99, 0, 0] == 255  # 51 and 149, the 1st and 99th percentile
    assert made[0, 0, 0] == 0 and made[100, 0, 0] == 255  # beyond them
    assert made[50, 0, 0] == 128  # 49 of 98 steps: 127.5, to even
    assert not by_percentiles(np.full((4, 4, 3), 7, np.uint8)).any()


def test_clahe_raises_faint_contrast_and_keeps_grey_grey_and_hues():
    rng = np.random.default_rng(0)
    faint = rng.integers(100, 121, (64, 64, 1), np.uint8).repeat(3, axis=-1)
    made = by_clahe(faint)
    assert (made == made[..., :1]).all() and made.std() > 2 * faint.std()
    colour = np.zeros((64, 64, 3), np.uint8)
    colour[..., 0] = rng.integers(100, 121, (64, 64))  # pure red stays pure red
    made = by_clahe(colour)
    assert not made[..., 1:].any() and made[..., 0].std() > 2 * colour[..., 0].std()


def test_a_copy_has_the_masks_and_the_split_as_they_were(tmp_path):
    folder, output = tmp_path / "own", tmp_path / "copy"
    for kind in ("images", "masks"):
        (folder / kind / "p1").mkdir(parents=True)
        Image.fromarray(RAMP.repeat(8, axis=1)).save(folder / kind / "p1" / f"a.{'jpg' if kind == 'images' else 'png'}")
    (folder / "splits.csv").write_text("stem,split\np1/a,test\n")
    assert copy_normalised(folder, output, "percentiles") == 1
    for name in ("masks/p1/a.png", "splits.csv"):
        assert (output / name).read_bytes() == (folder / name).read_bytes()
    pixels = np.asarray(Image.open(output / "images/p1/a.png"))
    np.testing.assert_array_equal(pixels, by_percentiles(np.asarray(Image.open(folder / "images/p1/a.jpg"))))
    with pytest.raises(InputError, match="is there; expected a folder to be made"):
        copy_normalised(folder, output, "percentiles")
