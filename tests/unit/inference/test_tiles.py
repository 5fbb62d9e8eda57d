"""Tiles: where they lie, how they are blended, and that one tile is the whole."""

import itertools

import numpy as np
import pytest
from segmenters import SIZE, MixesNoise, config, picture, red_segmenter, tiny_segmenter

from ddim_jax.inference.device import Blend, tile_starts, tile_weights
from ddim_jax.runtime.errors import InputError
from ddim_jax.sampling_options import SamplingOptions


@pytest.mark.parametrize(("length", "tile", "starts"), [
    (5, 8, [0]), (8, 8, [0]), (9, 8, [0, 1]), (12, 8, [0, 4]), (13, 8, [0, 2, 5]), (16, 8, [0, 4, 8]),
    (3, 1, [0, 1, 2]),
])  # fmt: skip
def test_tiles_cover_a_side_and_share_half(length, tile, starts):
    assert tile_starts(length, tile) == starts
    assert starts[-1] == max(0, length - tile)
    assert all(after - before <= max(1, tile // 2) for before, after in itertools.pairwise(starts))


def test_the_blend_is_the_weighted_mean_by_hand():
    assert tile_weights(4)[0].tolist() == [0.25, 0.5, 0.5, 0.25]
    blend = Blend((4, 6), 4)
    first, second = np.full((1, 4, 4), 1.0, np.float32), np.full((1, 4, 4), 3.0, np.float32)
    blend.add(first, 0, 0)
    blend.add(second, 0, 2)
    # Columns 2 and 3 are the last two of the first tile (weights 2, 1) and the first two of the second (1, 2).
    np.testing.assert_allclose(blend.result(), np.tile([[1, 1, 5 / 3, 7 / 3, 3, 3]], (4, 1))[None], rtol=1e-6)
    blend = Blend((4, 6), 4)
    blend.add(np.stack([first, second], -1), 0, 0)
    blend.add(np.stack([second, first], -1), 0, 2)
    np.testing.assert_allclose(blend.result()[..., 1][0, 0], [3, 3, 7 / 3, 5 / 3, 1, 1], rtol=1e-6)


@pytest.mark.parametrize(("height", "width"), [(40, 56), (SIZE, 33), (50, SIZE), (5, 7), (5, 40)])
def test_a_network_that_looks_at_pixels_alone_gives_the_same_in_tiles(height, width):
    image = picture(3, height, width)
    segmenter = red_segmenter()
    tiles, native = (segmenter.segment(image, size=size) for size in ("tiles", "native"))
    np.testing.assert_array_equal(tiles.mask, native.mask)
    np.testing.assert_allclose(tiles.probability, native.probability, atol=1e-6)
    assert tiles.mask.shape == (height, width)


def test_one_tile_is_the_whole_with_its_noise_and_what_one_tile_covers_is_its_own():
    segmenter = tiny_segmenter(MixesNoise())
    image = picture(5, SIZE, SIZE)
    whole = segmenter.sample(image, size="model")
    np.testing.assert_allclose(segmenter.sample(image, size="tiles"), whole, atol=1e-6)
    wide = np.concatenate([image, picture(6, SIZE, SIZE // 2)], axis=1)
    sampled = segmenter.sample(wide, size="tiles")
    half = SIZE // 2
    np.testing.assert_allclose(sampled[:, :, :half], whole[:, :, :half], atol=1e-6)
    right = segmenter.sample(wide[:, half:], size="model")
    np.testing.assert_allclose(sampled[:, :, SIZE:], right[:, :, half:], atol=1e-6)
    weight = tile_weights(SIZE)[:, half:], tile_weights(SIZE)[:, :half]
    middle = (whole[:, :, half:] * weight[0] + right[:, :, :half] * weight[1]) / (weight[0] + weight[1])
    np.testing.assert_allclose(sampled[:, :, half:SIZE], middle, atol=1e-5)


def test_the_device_holds_a_few_tiles_at_a_time(monkeypatch):
    segmenter = red_segmenter()
    running, most, shapes = [], [], set()
    start, finite = type(segmenter).start_batch, type(segmenter)._finite

    def counted(self, pictures, options, size):
        if options.size == "model":
            running.extend(pictures)
            shapes.update(prepared.pixels.shape for prepared in pictures)
            most.append(len(running))
        return start(self, pictures, options, size)

    def fetched(self, values):
        running.pop(0)
        return finite(self, values)

    monkeypatch.setattr(type(segmenter), "start_batch", counted)
    monkeypatch.setattr(type(segmenter), "_finite", fetched)
    list(segmenter.sample_each([picture(1, 100, 100)], segmenter.options(size="tiles"), 1))
    assert len(most) == len(tile_starts(100, SIZE)) ** 2 and max(most) <= 5
    assert shapes == {(SIZE, SIZE, 3)}


def test_a_network_trained_on_crops_works_in_tiles_unless_told_otherwise():
    about = config()
    assert SamplingOptions.create(about).size == "model"
    about["data"]["crop"] = SIZE
    assert SamplingOptions.create(about).size == "tiles"
    assert SamplingOptions.create(about, size="native").size == "native"
    with pytest.raises(InputError, match="a reverse process is followed at the size model or native"):
        red_segmenter().trajectory(picture(1), size="tiles")
