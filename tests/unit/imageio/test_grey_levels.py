"""Values of any range as grey levels."""

import numpy as np
import pytest

from ddim_jax.imageio.grey import linear, window_of


@pytest.mark.parametrize("kind", [np.float64, np.int64, np.uint32])
def test_values_far_from_zero_keep_their_levels(kind):
    """At 1e9 the steps of float32 are 64."""
    values = (10**9 + np.arange(256)).astype(kind)
    np.testing.assert_array_equal(linear(values, 1e9, 1e9 + 255), np.arange(256))
    assert window_of(1e9, 1e9 + 255) == (1e9 + 127.5, 255)


def test_one_value_and_what_is_no_number_are_black():
    np.testing.assert_array_equal(linear(np.array([7.0, np.nan]), 7, 7), [0, 0])
    assert window_of(7, 7) == (7.5, 1)


def test_values_that_float32_holds_are_shown_as_before():
    """Those of earlier runs, whose images are known by their pixels."""
    rng = np.random.default_rng(0)
    values = rng.integers(-1024, 3000, 50_000).astype(np.float64)
    np.testing.assert_array_equal(linear(values, -160, 240), linear(values.astype(np.float32), -160, 240))
