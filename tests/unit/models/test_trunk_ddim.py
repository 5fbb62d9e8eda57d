"""The denoiser that encodes the image once, tiny, against float64 NumPy; and how the processes use it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy_unet import conv, dense, embedding, fold, norm, silu, unfold

from benchmarks.speed.roofline import count
from ddim_jax.diffusion import DiffusionProcess, Encoded
from ddim_jax.diffusion.mask_losses.bce_dice import cross_entropy_dice
from ddim_jax.inference.segmentation import sample_image
from ddim_jax.labels import Labels
from ddim_jax.models import Network, TrunkDDIM, create_model, param_shapes
from ddim_jax.runtime.errors import ConfigError
from ddim_jax.sampling_options import SamplingOptions

GROUPS = 4


def build(**fields):
    return TrunkDDIM(base_channels=16, channel_multipliers=(1, 2, 3), norm_groups=GROUPS, **fields)


def inputs(height, width, channels=1, seed=0):
    rng = np.random.default_rng(seed)
    noisy = rng.normal(size=(2, height, width, channels)).astype(np.float32)
    return noisy, rng.uniform(-1, 1, (2, height, width, 3)).astype(np.float32), np.array([3, 900])


def pooled(x):
    corners = [x[:, i::2, j::2] for i in (0, 1) for j in (0, 1)]
    return np.maximum(np.maximum(corners[0], corners[1]), np.maximum(corners[2], corners[3]))


def blocks(p, name, x):
    for index in (0, 1):
        x = silu(norm(p[f"{name}_norm_{index}"], conv(p[f"{name}_conv_{index}"], x), GROUPS))
    return x


def trunk(p, image, patch):
    x, stack = fold(image.astype(np.float64), patch), []
    for level in range(3):
        x = blocks(p, f"down_{level}", pooled(x) if level else x)
        stack.append(x)
    found = [stack.pop()]
    for level in (1, 0):
        x = unfold(conv(p[f"up_{level}_upsample"], x), 2)
        x = blocks(p, f"up_{level}", np.concatenate([x, stack.pop()], axis=-1))
        found.append(x)
    return found[-1], found[-2], unfold(conv(p["conv_out"], x), patch)


def head(p, noisy, fine, coarse, logits, t, patch):
    time = silu(dense(p["temb_dense"], embedding(t, 16)))
    x = coarse + conv(p["in_conv"], fold(noisy.astype(np.float64), 2 * patch))
    x = silu(norm(p["in_norm"], x, GROUPS))
    for name in ("block_0", "block_1"):
        x = conv(p[f"{name}_conv"], x) + dense(p[f"{name}_temb"], time)[:, None, None]
        x = silu(norm(p[f"{name}_norm"], x, GROUPS))
    x = silu(norm(p["up_norm"], fine + unfold(conv(p["up_conv"], x), 2), GROUPS))
    return unfold(conv(p["out_conv"], np.concatenate([x, fold(logits, patch)], axis=-1)), patch)


@pytest.mark.parametrize(("light", "patch", "sizes"), [(True, 1, [(8, 12), (4, 8)]), (False, 2, [(16, 24)])])
def test_equals_numpy(draw_params, light, patch, sizes):
    model = build(light=light, stem_stride=patch)
    params = draw_params(model, *inputs(*sizes[0]))
    groups = 32 // params["head"]["block_0_conv"]["kernel"].shape[2]
    assert groups == (4 if light else 1)  # 8 channels a group, as the paper has them
    call = jax.jit(model.apply)
    encode = jax.jit(lambda params, image: model.apply({"params": params}, image, method="encode"))
    for size in sizes:  # the same parameters
        noisy, image, t = inputs(*size)
        fine, coarse, logits = trunk(params["trunk"], image, patch)
        encoded = encode(params, image)
        for found, expected in zip([*encoded.features, encoded.logits], [fine, coarse, logits], strict=True):
            np.testing.assert_allclose(found, expected, atol=2e-4 * np.abs(expected).max())
        expected = head(params["head"], noisy, fine, coarse, logits, t, patch)
        for second in (image, encoded):
            output = call({"params": params}, noisy, second, t)
            assert output.dtype == jnp.float32 and output.shape == (2, *size, 1)
            np.testing.assert_allclose(output, expected, atol=2e-4 * np.abs(expected).max())


def test_the_small_preset():
    model = create_model("trunk_ddim", preset="small")
    assert sum(leaf.size for leaf in jax.tree.leaves(param_shapes(model, model.size_multiple))) == 523_672


def test_many_heads_cost_less_than_many_networks():
    """Multiplications at 64 x 64 in units of the small U-Net's; 50 steps of 5 samples are 250 evaluations."""
    noisy, image, t = (jax.ShapeDtypeStruct(one.shape[1:], one.dtype) for one in map(jnp.asarray, inputs(64, 64)))
    noisy, image, t = (jax.ShapeDtypeStruct((1, *one.shape), one.dtype) for one in (noisy, image, t))

    def work(model, *given, **how):
        return count(
            lambda params, *x: model.apply({"params": params}, *x, **how), param_shapes(model, 64), *given
        ).flops

    model = create_model("trunk_ddim", preset="small")
    encoded = jax.eval_shape(
        lambda params, x: model.apply({"params": params}, x, method="encode"), param_shapes(model, 64), image
    )
    trunk, head = work(model, image, method="encode"), work(model, noisy, encoded, t)
    unet = work(create_model("unet", preset="small"), image)
    assert head < trunk / 16
    assert 15 < (trunk + 250 * head) / unet < 16


def test_sizes_and_levels_that_cannot_work_are_refused():
    with pytest.raises(ConfigError, match=r"channel_multipliers is \[1\]; expected two levels or more"):
        create_model("trunk_ddim", channel_multipliers=(1,))
    model = build()
    with pytest.raises(ValueError, match="size 6 x 8: both have to be multiples of 4"):
        model.init(jax.random.key(0), *inputs(6, 8))


def test_the_loss_is_that_of_the_head_and_that_of_the_trunk(draw_params):
    labels = Labels(names=("a", "b"), values=(1, 2))
    model = build(mask_channels=3)
    noisy, image, t = inputs(8, 8, channels=3)
    params = draw_params(model, noisy, image, t)
    process = DiffusionProcess.create(prediction="x0", loss="bce_dice", labels=labels)
    mask = np.where(np.eye(3)[np.random.default_rng(1).integers(0, 3, (2, 8, 8))] > 0, 1.0, -1.0).astype(np.float32)

    @jax.jit
    def computed(params):
        def summed(params):
            losses = process.losses(Network(model), params, mask, image, noisy, t)
            return jnp.sum(losses), losses

        gradients, losses = jax.grad(summed, has_aux=True)(params)
        whole = process.losses(lambda p, *given: model.apply({"params": p}, *given), params, mask, image, noisy, t)
        logits = model.apply({"params": params}, image, method="encode").logits
        return losses, whole + cross_entropy_dice(logits, mask, labels), gradients

    found, expected, gradients = computed(params)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradients))


class Counted:
    """A network that adds the red channel to the noise, and counts how often it encodes."""

    def __init__(self):
        self.encoded = []

    def __call__(self, params, noisy, image, t):
        image = image.features if isinstance(image, Encoded) else image
        return jnp.tanh(noisy + image[..., :1] + 0.01 * t[:, None, None, None])

    def encode(self, params, image):
        self.encoded.append(image.shape)
        return Encoded(image, image[..., :1])


@pytest.mark.parametrize(("flips", "samples", "times"), [(False, 5, 1), (True, 3, 3), (True, 6, 4)])
@pytest.mark.parametrize("prediction", ["noise", "x0", "v"])
@pytest.mark.parametrize("sampler", ["ddim", "ddpm", "dpm++"])
def test_a_picture_is_encoded_once_for_each_orientation(flips, samples, times, prediction, sampler):
    process = DiffusionProcess.create(num_train_timesteps=50, prediction=prediction)
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    options = SamplingOptions(steps=4, samples=samples, flips=flips, sampler=sampler)
    once = Counted()

    def whole(*given):
        return once(*given)

    @jax.jit  # together: one program
    def sampled(image):
        return [
            sample_image(process, network, None, image, np.uint32(3), np.uint32(4), options=options)
            for network in (once, whole)
        ]

    found, expected = sampled(image)
    assert once.encoded == [(times, 8, 8, 3)]
    np.testing.assert_array_equal(found, expected)
