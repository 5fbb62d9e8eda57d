import numpy as np

from ddim_jax.inference.overlay import draw_overlay

COLOUR = np.array([0, 255, 170])


def test_outline_tint_and_untouched_outside():
    image = np.full((9, 9, 3), 100, np.uint8)
    mask = np.zeros((9, 9), np.uint8)
    mask[2:7, 2:7] = 1
    result = draw_overlay(image, mask)
    inner = np.zeros((9, 9), bool)
    inner[3:6, 3:6] = True
    np.testing.assert_array_equal(result[mask == 0], np.full((81 - 25, 3), 100))
    np.testing.assert_array_equal(result[(mask == 1) & ~inner], np.tile(COLOUR, (16, 1)))
    # 0.88 * 100 + 0.12 * colour, rounded
    np.testing.assert_array_equal(result[inner], np.tile([88, 119, 108], (9, 1)))
    assert result.dtype == np.uint8 and (image == 100).all()


def test_no_outline_where_the_picture_ends():
    mask = np.zeros((8, 8), np.uint8)
    mask[:, :4] = 1
    result = draw_overlay(np.zeros((8, 8, 3), np.uint8), mask)
    assert (result[:, 3] == COLOUR).all()
    assert not (result[:, :3] == COLOUR).all(axis=-1).any()


def test_outline_grows_with_the_picture():
    mask = np.zeros((1024, 1024), np.uint8)
    mask[100:900, 100:900] = 1
    result = draw_overlay(np.zeros((1024, 1024, 3), np.uint8), mask)
    assert (result[500, 100:104] == COLOUR).all() and not (result[500, 104] == COLOUR).all()


def test_empty_mask_leaves_the_picture():
    image = np.random.default_rng(0).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    np.testing.assert_array_equal(draw_overlay(image, np.zeros((5, 6), np.uint8)), image)
