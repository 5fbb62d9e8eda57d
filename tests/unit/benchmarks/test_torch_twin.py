"""The network in PyTorch against the one in JAX: same weights and inputs, hence the same values and gradients.

The networks of full size are compared on images of 64 x 64 and 128 x 128, the gradients at 64 x 64: nothing in them
depends on the size, and at 256 x 256 the gradients alone would take minutes. (There the benchmark itself compares the
outputs before it measures a time.)
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the comparison needs PyTorch: pip install '.[bench]'")

from benchmarks.speed.cases import Case, suite_cases  # noqa: E402
from benchmarks.speed.inputs import draw_inputs as inputs_of  # noqa: E402
from benchmarks.speed.inputs import recommended_config, setting_of  # noqa: E402
from benchmarks.speed.torch_process import process_of  # noqa: E402
from benchmarks.speed.torch_twin import create_twin  # noqa: E402
from ddim_jax.checkpoints.torch_weights import to_torch  # noqa: E402
from ddim_jax.inference.segmentation import sample_images  # noqa: E402
from ddim_jax.models import Network, create_model, create_process  # noqa: E402
from ddim_jax.runtime.errors import ConfigError  # noqa: E402
from ddim_jax.sampling_options import SamplingOptions  # noqa: E402

SMALL = {
    "base_channels": 16,
    "channel_multipliers": (2, 1),
    "blocks_per_level": 2,
    "attention_levels": (0, 1),
    "norm_groups": 6,
    "stem_stride": 3,
}


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """The test processes have a core each; threads of PyTorch would only wait for one another."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def full_precision():
    """On a GPU float32 products are rounded to about three digits by default."""
    with jax.default_matmul_precision("highest"):
        yield


def draw_inputs(batch, height, width):
    """(noisy mask, image, timesteps, weights of the output in a loss), channels last."""
    rng = np.random.default_rng(1)
    noisy_mask, weights = rng.standard_normal((2, batch, height, width, 1), dtype=np.float32)
    image = rng.uniform(-1.0, 1.0, (batch, height, width, 3)).astype(np.float32)
    return noisy_mask, image, np.array([999, 3, 437][:batch], np.int32), weights


def draw_params(model):
    """Weights that keep the signal near unit variance, so that all of them count; no bias is 0 and no scale 1.

    The first convolution leaves a signal so small that the constant in the first normalisations counts as well.
    """
    inputs = draw_inputs(1, model.size_multiple, model.size_multiple)[:3]
    shapes = jax.eval_shape(model.init, jax.random.key(0), *inputs)["params"]
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        module, kind = path[-2].key, path[-1].key
        z = rng.standard_normal(leaf.shape, dtype=np.float32)
        if kind == "kernel":
            z /= np.float32(np.sqrt(np.prod(leaf.shape[:-1])))
        else:
            z = np.float32(kind == "scale") + np.float32(0.1) * z
        return z * np.float32(0.03 if module == "conv_in" else 1.0)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def make_pair(name, **fields):
    """(model, its parameters, the twin with the same)."""
    model, twin = create_model(name, **fields), create_twin(name, **fields)
    params = draw_params(model)
    arrays = to_torch(params, setting_of(name).names)
    twin.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    return model, params, twin.to(memory_format=torch.channels_last)


@pytest.fixture(scope="module", params=["lightweight_ddim", "ddim"])
def full_size(request):
    return make_pair(request.param)


@pytest.fixture(scope="module")
def small_light():
    """(twin, inputs, its output in float32)."""
    model, _, twin = make_pair("lightweight_ddim", preset="small", attention_levels=(3,))
    inputs = [in_torch(array) for array in draw_inputs(2, model.size_multiple, model.size_multiple)[:3]]
    with torch.inference_mode():
        return twin, inputs, twin(*inputs)


def forward(model):
    return jax.jit(lambda params, *inputs: model.apply({"params": params}, *inputs))


def in_torch(array):
    """[B, H, W, C] -> a contiguous [B, C, H, W] tensor; [B] as it is."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(array, -1, 1)) if array.ndim == 4 else array)


def assert_close(output, expected):
    """Largest difference relative to the largest value; PyTorch's output against ours."""
    assert output.dtype == torch.float32
    output, expected = output.detach().numpy()[:, 0], np.asarray(expected)[..., 0]
    assert output.shape == expected.shape
    assert np.abs(output - expected).max() < 1e-4 * np.abs(expected).max()


@pytest.mark.slow
def test_full_size_values_at_128(full_size):
    model, params, twin = full_size
    *inputs, _ = draw_inputs(1, 128, 128)
    with torch.inference_mode():
        output = twin(*map(in_torch, inputs))
    assert_close(output, forward(model)(params, *inputs))


@pytest.mark.slow
def test_full_size_values_and_gradients_at_64(full_size):
    model, params, twin = full_size
    *inputs, weights = draw_inputs(1, 64, 64)

    @jax.jit
    @functools.partial(jax.grad, has_aux=True)
    def gradients_and_output(params):
        output = model.apply({"params": params}, *inputs)
        return jnp.sum(output * weights), output

    gradients, expected = gradients_and_output(params)
    gradients = to_torch(gradients)
    output = twin(*map(in_torch, inputs))
    (output * in_torch(weights)).sum().backward()
    assert_close(output, expected)

    found = {key: parameter.grad.numpy() for key, parameter in twin.named_parameters()}
    assert found.keys() == gradients.keys()
    norm = {key: np.linalg.norm(gradient) for key, gradient in found.items()}
    for key in found:
        difference = np.linalg.norm(gradients[key] - found[key])
        if key.endswith(".k.bias"):
            # It adds the same number to all logits of a query, which the softmax ignores: the gradient is 0.
            limit = 1e-3 * norm[key.replace("bias", "weight")]
            assert norm[key] < limit and difference < limit, key
        else:
            assert difference < 1e-3 * norm[key], key


@pytest.mark.parametrize(("name", "own"), [("lightweight_ddim", {"channel_shuffle": True}), ("ddim", {})])
def test_other_sizes(name, own):
    """Several images that are not square, patches, every memory format, with and without overwriting."""
    model, params, twin = make_pair(name, **SMALL, **own)
    *inputs, _ = draw_inputs(3, 2 * model.size_multiple, 3 * model.size_multiple)
    expected = forward(model)(params, *inputs)
    given = [in_torch(array) for array in inputs]
    for memory_format in (torch.contiguous_format, torch.channels_last):
        twin.to(memory_format=memory_format)
        assert_close(twin(*given), expected)
        with torch.inference_mode():
            assert_close(twin(*given), expected)
    for array, tensor in zip(inputs, given, strict=True):  # overwriting stopped at the inputs
        assert torch.equal(tensor, in_torch(array))


@pytest.mark.slow
def test_no_break_in_the_compiled_graph(small_light):
    twin, inputs, expected = small_light
    with torch.inference_mode():
        compiled = torch.compile(twin, fullgraph=True, backend="eager")
        torch.testing.assert_close(compiled(*inputs), expected, rtol=0.0, atol=0.0)


def test_bfloat16(small_light):
    """Weights in bfloat16: float32 comes out, and as near as eight bits allow."""
    twin, inputs, expected = small_light
    half = create_twin("lightweight_ddim", preset="small", attention_levels=(3,))
    half.load_state_dict(twin.state_dict())
    with torch.inference_mode():
        output = half.to(torch.bfloat16)(*inputs)
    assert output.dtype == torch.float32
    assert 0.0 < (output - expected).abs().max() < 0.05 * expected.abs().max()


def test_dropout_reaches_every_block():
    twin = create_twin("lightweight_ddim", preset="small", dropout=0.25)
    rates = [module.p for module in twin.modules() if isinstance(module, torch.nn.Dropout)]
    assert rates == [0.25] * (4 + 2 + 8)


def test_a_model_without_a_twin():
    with pytest.raises(ConfigError, match="PlainUNet has no twin"):
        create_twin("unet", preset="small")


TRUNK = {
    "base_channels": 16,
    "channel_multipliers": (1, 2, 3),
    "blocks_per_level": 1,
    "norm_groups": 4,
    "stem_stride": 2,
}


@pytest.fixture(scope="module")
def trunk_pair():
    return make_pair("trunk_ddim", **TRUNK)


def test_the_trunk_and_the_head(trunk_pair):
    """Compares images that are not square, in every memory format, with and without overwriting."""
    model, params, twin = trunk_pair
    *inputs, _ = draw_inputs(3, 2 * model.size_multiple, 3 * model.size_multiple)

    @jax.jit
    def both(params, noisy_mask, image, t):
        encoded = model.apply({"params": params}, image, method="encode")
        return model.apply({"params": params}, noisy_mask, encoded, t), encoded.logits

    given, expected = [in_torch(array) for array in inputs], both(params, *inputs)
    for memory_format in (torch.contiguous_format, torch.channels_last):
        twin.to(memory_format=memory_format)
        outputs = twin(*given)
        with torch.inference_mode():
            outputs += twin(*given)
        for output, wanted in zip(outputs, (*expected, *expected), strict=True):
            assert_close(output, wanted)
    for array, tensor in zip(inputs, given, strict=True):
        assert torch.equal(tensor, in_torch(array))


def test_the_recommended_loss_and_its_gradients(trunk_pair):
    model, params, twin = trunk_pair
    drawn = inputs_of(Case("train_step", "trunk_ddim", "float32", 16, 2, ()))
    process = create_process(model, recommended_config()["diffusion"])
    image, mask = drawn["image"] / np.float32(127.5) - 1, 2 * drawn["mask"][..., None].astype(np.float32) - 1
    noise, t = drawn["noise"], drawn["t"]

    def loss(params):
        return jnp.mean(process.losses(Network(model), params, mask, image, noise, t))

    expected, gradients = jax.jit(jax.value_and_grad(loss))(params)
    of_torch = process_of("trunk_ddim", torch.device("cpu"))
    twin.zero_grad()
    found = of_torch.loss(twin, *(in_torch(array) for array in (mask, image, t, noise)))
    found.backward()
    assert found.item() == pytest.approx(float(expected), rel=1e-5)
    gradients = to_torch(gradients, ())
    for name, parameter in twin.named_parameters():
        assert np.linalg.norm(gradients.pop(name) - parameter.grad.numpy()) < 1e-3 * parameter.grad.norm(), name
    assert not gradients
    timesteps, noise = of_torch.draw(torch.zeros(2000, 1, 1, 1))
    # floor(1000 u^(1/8)) has the median 917; the standard error of 2000 draws' is 2.
    assert noise.shape == (2000, 1, 1, 1) and abs(timesteps.median().item() - 917) < 12


def test_the_samples_of_two_pictures(trunk_pair):
    model, params, twin = trunk_pair
    drawn = inputs_of(Case("segment", "trunk_ddim", "float32", 16, 8, (), steps=1, pictures=2))
    process = create_process(model, recommended_config()["diffusion"])
    options = SamplingOptions(steps=1, samples=4, flips=True)
    sample = jax.jit(functools.partial(sample_images, process, Network(model), options=options))
    expected = sample(params, drawn["image"], np.uint32(0), np.arange(2, dtype=np.uint32))
    image, noise = (in_torch(drawn[name]) for name in ("image", "noise"))
    segment = process_of("trunk_ddim", torch.device("cpu")).sampler(twin.eval(), image, noise, 1)
    assert_close(segment(noise), np.asarray(expected).reshape(8, 16, 16, 1))
    assert segment().shape == (8, 1, 16, 16)


def test_the_suite_of_small_networks_is_that_of_the_recommended_configuration():
    config, cases = recommended_config(), suite_cases("small")
    options = SamplingOptions.create(config)
    train, *segments = cases
    about = config["model"]
    expected = create_model(about["name"], preset=about["preset"], **about["overrides"])
    assert all(create_model(case.model, **case.overrides) == expected for case in cases)
    assert {case.size for case in cases} == {config["data"]["image_size"]}
    assert (train.kind, train.batch) == ("train_step", config["train"]["batch_size"])
    assert [(case.batch, case.pictures) for case in segments] == [(options.samples, 1), (8 * options.samples, 8)]
    assert {case.steps for case in segments} == {options.steps}
    assert options.program() == SamplingOptions(options.steps, options.samples, flips=True)
    setting = setting_of("trunk_ddim")
    assert (setting.learning_rate, setting.gradient_clip, setting.ema_decay) == (0.002, 1.0, 0.999)
    tiny = suite_cases("small", tiny=True)
    assert [(case.batch, case.pictures, case.size) for case in tiny] == [(2, 1, 16), (2, 1, 16), (4, 2, 16)]
