"""Samples that see the image mirrored in turn, and whose masks are mirrored back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from segmenters import SIZE, config, picture, red_segmenter, tiny_params, tiny_segmenter

from ddim_jax.preprocessing import image_id, mirrored
from ddim_jax.runtime.errors import InputError
from ddim_jax.sampling_options import SamplingOptions


def test_orientations_by_hand():
    values = np.array([[1, 2], [3, 4]])
    np.testing.assert_array_equal(mirrored(values, 0), [[1, 2], [3, 4]])
    np.testing.assert_array_equal(mirrored(values, 1), [[2, 1], [4, 3]])
    np.testing.assert_array_equal(mirrored(values, 2), [[3, 4], [1, 2]])
    np.testing.assert_array_equal(mirrored(values, 3), [[4, 3], [2, 1]])
    for orientation in range(4):
        np.testing.assert_array_equal(mirrored(mirrored(values, orientation), orientation), values)


def test_a_network_without_direction_gives_the_same_with_and_without_flips():
    image = picture(3, SIZE, SIZE)
    with_flips = red_segmenter().sample(image, samples=6, steps=2, flips=True)
    np.testing.assert_array_equal(with_flips, red_segmenter().sample(image, samples=6, steps=2, flips=False))


def test_flips_by_hand_through_the_process():
    segmenter, (model, params) = tiny_segmenter(), tiny_params()
    image = picture(6, SIZE, SIZE)
    key = jax.random.fold_in(jax.random.key(9), image_id(image))

    @jax.jit
    def process(params, seen, noise):
        return segmenter._process.sample(
            lambda p, *inputs: model.apply({"params": p}, *inputs), params, seen, noise, SamplingOptions(2)
        )

    expected = []
    for index in range(4):
        start, _ = jax.random.split(jax.random.fold_in(key, index))
        noise = jax.random.normal(start, (1, SIZE, SIZE, 1))
        seen = jnp.asarray(mirrored(image, index).astype(np.float32) / 127.5 - 1.0)[None]
        answer = process(params, seen, noise)
        expected.append(mirrored(np.asarray(answer)[0, :, :, 0], index))
    actual = segmenter.sample(image, samples=4, steps=2, seed=9, flips=True)
    np.testing.assert_allclose(actual, np.stack(expected), rtol=1e-4, atol=1e-4)


def test_the_config_decides_and_the_argument_wins():
    assert red_segmenter().options().flips is False  # checkpoints from before the option
    flipping = red_segmenter(flips=True)
    assert flipping.options().flips is True
    assert flipping.options(flips=False).flips is False


def test_a_network_that_never_saw_a_mirrored_image_is_not_shown_one():
    about = config()
    about["data"]["flips"] = False
    assert SamplingOptions.create(about).flips is False
    with pytest.raises(InputError, match=r"^flips is True and data\.flips is False: .*, or flips=False as well$"):
        SamplingOptions.create(about, flips=True)
