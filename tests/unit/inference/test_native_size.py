"""Images segmented at their own size: padded, computed, cropped, and never resampled."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from segmenters import SIZE, MixesNoise, config, picture, red_segmenter, tiny_params, tiny_segmenter

from ddim_jax.diffusion import DiffusionProcess
from ddim_jax.inference import Segmenter
from ddim_jax.preprocessing import image_id
from ddim_jax.sampling_options import SamplingOptions

COMPILED = "/jax/core/compile/backend_compile_duration"


def fake(model, **sample):
    return Segmenter(model, {}, config=config(**sample), step=1, checkpoint="x")


@pytest.fixture
def compiled():
    """An entry for every program that is compiled."""
    events = []

    def listen(name, *_, **__):
        if name == COMPILED:
            events.append(name)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield events
    jax.monitoring.unregister_event_duration_listener(listen)


@pytest.mark.parametrize("shape", [(21, 35), (64, 64), (65, 1)])
def test_every_pixel_is_answered_at_its_own_place(shape):
    image = picture(0, *shape)
    red = image[..., 0].astype(np.float64)
    samples = red_segmenter().sample(image, size="native")
    assert samples.shape == (3, *shape) and samples.dtype == np.float32
    np.testing.assert_allclose(samples, np.stack([red / 127.5 - 1] * 3), atol=1e-6)
    result = red_segmenter().segment(image, size="native")
    np.testing.assert_allclose(result.probability, red / 255, atol=1e-6)
    np.testing.assert_array_equal(result.mask, red > 127)
    assert result.uncertainty.shape == shape


def test_the_padding_does_not_enter_the_stretch_of_the_paper_protocol():
    class Column(nn.Module):
        """x_0 grows to the right and jumps in the padding."""

        size_multiple = 2

        def __call__(self, noisy_mask, image, t):
            column = jnp.arange(image.shape[2], dtype=jnp.float32)
            return jnp.broadcast_to(jnp.where(column < 10, column / 10, 50.0)[:, None], noisy_mask.shape)

    result = fake(Column()).segment(picture(0, 7, 10), protocol="paper", size="native")
    np.testing.assert_allclose(result.probability, np.tile(np.arange(10) / 9, (7, 1)), atol=1e-6)


def test_a_trajectory_has_the_size_of_the_picture():
    image = picture(1, 9, 30)
    timesteps, x_t, x0 = red_segmenter(bias=0.5).trajectory(image, steps=4, size="native")
    red = image[..., 0] / 127.5 - 1.0
    np.testing.assert_array_equal(timesteps, [99, 74, 49, 24, -1])
    np.testing.assert_allclose(x0, [red + 0.5 * t / 100 for t in (99, 74, 49, 24)], atol=1e-5)
    assert x_t.shape == (5, 9, 30)
    np.testing.assert_allclose(x_t[-1], 0.5 * x0[-1], atol=1e-6)


def test_the_network_at_an_odd_size_is_the_process_on_the_hand_padded_picture():
    image = picture(2, 21, 37)
    actual = tiny_segmenter().sample(image, samples=2, seed=6, size="native")

    padded = np.empty((64, 64, 3), np.uint8)
    for row in range(64):
        for column in range(64):
            padded[row, column] = image[min(row, 20), min(column, 36)]
    model, params = tiny_params()
    process = DiffusionProcess.create(**config()["diffusion"])
    own = jax.random.fold_in(jax.random.key(6), image_id(image))
    starts = [jax.random.split(jax.random.fold_in(own, i))[0] for i in range(2)]
    noise = jnp.stack([jax.random.normal(start, (64, 64, 1)) for start in starts])
    scaled = jnp.asarray(np.stack([padded] * 2), jnp.float32) / 127.5 - 1.0
    options = SamplingOptions(2)
    x0 = jax.jit(lambda image, noise: process.sample(_applied(model), params, image, noise, options))(scaled, noise)
    assert actual.shape == (2, 21, 37)
    np.testing.assert_allclose(actual, x0[:, :21, :37, 0], rtol=1e-4, atol=1e-4)
    assert np.abs(actual[0] - actual[1]).max() > 0.01


def _applied(model):
    return lambda params, *inputs: model.apply({"params": params}, *inputs)


def test_one_program_serves_all_sizes_of_a_bucket(compiled):
    segmenter = fake(MixesNoise())

    def programs(*shapes):
        pictures = [picture(seed, *shape) for seed, shape in enumerate(shapes)]
        compiled.clear()
        segmenter.segment(pictures, size="native")
        return len(compiled)

    assert programs((20, 24)) >= 1  # besides the sampler, what JAX compiles only once
    assert programs((64, 64), (33, 1), (21, 24), (63, 50)) == 0
    assert programs((65, 64), (128, 10), (100, 64)) == 1
    assert programs((64, 65)) == 1
    assert programs((40, 128), (128, 40), (7, 7)) == 0


def test_the_default_is_the_size_of_training():
    image = picture(3, 20, 24)
    default = red_segmenter().sample(image)
    np.testing.assert_array_equal(red_segmenter().sample(image, size="model"), default)
    assert default.shape == (3, SIZE, SIZE)


def test_values_that_are_not_finite_are_refused_in_every_part():
    with pytest.raises(ValueError, match="NaN or infinity"):
        red_segmenter(gain=np.nan).sample(picture(0, 5, 5), size="native")
