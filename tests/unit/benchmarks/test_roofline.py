"""The arithmetic and the bytes of a case, against figures worked out by hand."""

import jax
import jax.numpy as jnp
import pytest

from benchmarks.speed.cases import TINY, Case
from benchmarks.speed.roofline import case_work, count
from ddim_jax.models import create_model
from ddim_jax.models.layers import Attention, Conv, UpsampleConv
from ddim_jax.training.state import parameter_count


def work_of(module, *shape):
    x = jax.ShapeDtypeStruct(shape, jnp.float32)
    params = jax.eval_shape(module.init, jax.random.key(0), x)
    return count(module.apply, params, x)


def test_a_grouped_convolution_with_a_stride():
    """16 channels to 8 in 4 groups, 6 x 10 pixels to 3 x 5: every number sums 3 * 3 * 4 products."""
    work = work_of(Conv(8, groups=4, strides=2), 2, 6, 10, 16)
    assert work.flops == 2 * (2 * 3 * 5 * 8) * (3 * 3 * 4)
    assert work.bytes == 4 * (2 * 6 * 10 * 16 + 3 * 3 * 4 * 8 + 2 * 3 * 5 * 8)


def test_an_upsampling_convolution_counts_all_nine_taps():
    work = work_of(UpsampleConv(16), 1, 32, 32, 8)
    assert work.flops == 2 * (64 * 64 * 16) * (9 * 8)
    assert work.bytes == 4 * (64 * 64 * 8 + 9 * 8 * 16 + 64 * 64 * 16)


def test_light_attention():
    """32 channels, 8 inside, 4 x 4 pixels: Q in 4 groups of 8 channels, K and V in 8 groups of 4."""
    pixels, channels, inner = 16, 32, 8
    to_qkv = pixels * inner * (8 + 4 + 4)
    back = pixels * channels * inner
    logits_and_values = 2 * pixels * pixels * inner
    assert work_of(Attention(light=True), 1, 4, 4, channels).flops == 2 * (to_qkv + back + logits_and_values)


def test_bfloat16_moves_half():
    whole, half = (work_of(Conv(8, dtype=dtype), 1, 4, 4, 8) for dtype in (jnp.float32, jnp.bfloat16))
    assert half.flops == whole.flops
    assert half.bytes == whole.bytes / 2


@pytest.mark.slow
@pytest.mark.parametrize(("model", "gflop"), [("lightweight_ddim", 98.6), ("ddim", 496.9)])
def test_the_networks(model, gflop):
    work = case_work(Case("forward", model, "float32", 256, 1, ("ours",)))
    assert work.flops / 1e9 == pytest.approx(gflop, abs=0.05)


def test_training_and_sampling_are_multiples_of_a_forward_pass():
    def work(kind, **fields):
        return case_work(Case(kind, "lightweight_ddim", "float32", 32, 2, ("ours",), overrides=TINY, **fields))

    forward, train, segment = work("forward"), work("train_step"), work("segment", steps=7)
    assert segment == (7 * forward.flops, 7 * forward.bytes)
    assert train.flops == 3 * forward.flops
    inputs = (jnp.zeros((1, 32, 32, 1)), jnp.zeros((1, 32, 32, 3)), jnp.zeros((1,), jnp.int32))
    small = create_model("lightweight_ddim", **TINY)
    weights = parameter_count(jax.eval_shape(small.init, jax.random.key(0), *inputs)["params"])
    assert train.bytes == 3 * forward.bytes + 12 * 4 * weights


def test_a_loop_is_refused():
    with pytest.raises(ValueError, match="scan is not counted"):
        count(lambda x: jax.lax.scan(lambda c, _: (c @ c, None), x, None, length=3)[0], jnp.ones((2, 2)))
