"""Images that have one value in all pixels, in which there is nothing to find."""

import numpy as np
import pytest
from segmenters import SIZE, red_segmenter

from ddim_jax.aggregation import PROTOCOLS


@pytest.mark.parametrize("size", ["model", "native", "tiles"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_their_mask_is_empty_whatever_the_network_says(protocol, size):
    segmenter = red_segmenter()
    white = np.full((SIZE + 4, 2 * SIZE, 3), 255, np.uint8)
    almost = white.copy()
    almost[0, 0] = 0
    empty, full = segmenter.segment([white, almost], protocol=protocol, size=size)
    assert not empty.mask.any() and not empty.probability.any() and not empty.uncertainty.any() and empty.doubt == 0
    assert full.mask.mean() > 0.9
    assert (segmenter.sample(white, size=size) == -1).all() and segmenter.hypotheses(white)[0].mask.sum() == 0


def test_a_part_of_one_value_is_left_to_the_network():
    image = np.zeros((SIZE, 3 * SIZE, 3), np.uint8)
    image[:, SIZE:] = 255  # of which some tiles have one value
    found = red_segmenter().segment(image, size="tiles")
    np.testing.assert_array_equal(found.mask, image[..., 0] == 255)
