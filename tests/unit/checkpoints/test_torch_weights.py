"""Weights to PyTorch's names and layouts and back, to the bit; what is refused, and the files they lie in."""

import re
import sys

import jax
import ml_dtypes
import numpy as np
import pytest
from tiny_runs import assert_same_bits

from ddim_jax.checkpoints.torch_weights import from_torch, load_state_dict, save_state_dict, to_torch
from ddim_jax.models import DenoisingUNet
from ddim_jax.runtime.errors import CheckpointError


@pytest.fixture(scope="module")
def template():
    """The shapes of a light network with every kind of layer."""
    model = DenoisingUNet(
        light=True,
        base_channels=16,
        channel_multipliers=(1, 2),
        blocks_per_level=1,
        attention_levels=(1,),
        norm_groups=4,
        stem_stride=2,
    )
    mask, image, t = np.zeros((1, 4, 4, 1)), np.zeros((1, 4, 4, 3)), np.zeros(1, np.int32)
    return jax.eval_shape(model.init, jax.random.key(0), mask, image, t)["params"]


@pytest.fixture(scope="module")
def params(template):
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), template)


@pytest.fixture
def state_dict(params):
    return to_torch(params)


def names_of(*modules):
    return {f"{module}.{kind}" for module in modules for kind in ("weight", "bias")}


def test_names_are_those_of_the_reference(state_dict):
    def block(name, shortcut=False):
        layers = ["norm1", "conv1", "temb_proj", "norm2", "conv2"] + ["nin_shortcut"] * shortcut
        return names_of(*(f"{name}.{layer}" for layer in layers))

    def attention(name):
        return names_of(*(f"{name}.{layer}" for layer in ("norm", "q", "k", "v", "proj_out")))

    assert set(state_dict) == (
        names_of("temb.dense.0", "temb.dense.1", "conv_in", "norm_out", "conv_out")
        | block("down.0.block.0")
        | names_of("down.0.downsample.conv")
        | block("down.1.block.0", shortcut=True)
        | attention("down.1.attn.0")
        | block("mid.block_1")
        | attention("mid.attn_1")
        | block("mid.block_2")
        | block("up.1.block.0", shortcut=True)
        | block("up.1.block.1", shortcut=True)
        | attention("up.1.attn.0")
        | attention("up.1.attn.1")
        | names_of("up.1.upsample.conv")
        | block("up.0.block.0", shortcut=True)
        | block("up.0.block.1", shortcut=True)
    )


def test_levels_and_blocks_of_two_digits():
    scale = np.ones(2, np.float32)
    tree = {"down_10_block_12": {"norm1": {"scale": scale}}, "up_10_attn_11": {"norm": {"bias": scale}}}
    assert set(to_torch(tree)) == {"down.10.block.12.norm1.weight", "up.10.attn.11.norm.bias"}


def test_axes(params, state_dict):
    kernel, weight = params["down_1_block_0"]["conv1"]["kernel"], state_dict["down.1.block.0.conv1.weight"]
    assert kernel.shape == (3, 3, 8, 32) and weight.shape == (32, 8, 3, 3)  # 16 channels in 2 groups of 8
    for (row, column, entering, leaving), value in np.ndenumerate(kernel):
        assert weight[leaving, entering, row, column] == value
    dense, weight = params["temb_dense_0"]["kernel"], state_dict["temb.dense.0.weight"]
    assert dense.shape == (16, 64) and weight.shape == (64, 16)
    assert weight[5, 3] == dense[3, 5] and weight[63, 0] == dense[0, 63]
    np.testing.assert_array_equal(state_dict["norm_out.weight"], params["norm_out"]["scale"])
    np.testing.assert_array_equal(state_dict["mid.attn_1.q.bias"], params["mid_attn_1"]["q"]["bias"])
    assert all(array.flags.c_contiguous for array in state_dict.values())


def test_round_trip_keeps_every_bit(params, template, state_dict):
    odd = np.array([-0.0, 3.4028235e38, 1e-38, 1e-45], np.float32)
    params = {**params, "norm_out": {"scale": np.resize(odd, 16), "bias": np.resize(-odd, 16)}}
    restored = from_torch(to_torch(params), template)
    assert_same_bits(restored, params)
    assert_same_bits(to_torch(from_torch(state_dict, params)), state_dict)


def test_another_name_table(params):
    table = ((r"temb_dense_(\d+)", r"time.\1"), (r"temb_.*", "never reached by temb_dense_0"))
    tree = {"temb_dense_0": params["temb_dense_0"]}
    assert set(to_torch(tree, table)) == {"time.0.weight", "time.0.bias"}
    assert_same_bits(from_torch(to_torch(tree, table), tree, table), tree)


def test_data_parallel_prefix(params, template, state_dict):
    wrapped = {f"module.{name}": array for name, array in state_dict.items()}
    assert_same_bits(from_torch(wrapped, template), params)
    wrapped["conv_in.weight"] = wrapped.pop("module.conv_in.weight")
    with pytest.raises(CheckpointError, match=r"not in this model \(\d+\): module\."):
        from_torch(wrapped, template)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_half_precision_is_widened_exactly(params, template, state_dict, dtype):
    halved = from_torch({name: array.astype(dtype) for name, array in state_dict.items()}, template)
    assert_same_bits(halved, jax.tree.map(lambda leaf: leaf.astype(dtype).astype(np.float32), params))


def test_all_that_does_not_fit_is_named_at_once(template, state_dict):
    del state_dict["conv_out.bias"], state_dict["mid.attn_1.k.weight"]
    state_dict["logvar"] = state_dict["head.weight"] = np.zeros(3, np.float32)
    state_dict["conv_in.weight"] = np.zeros((16, 12, 3, 3), np.float32)
    state_dict["temb.dense.0.weight"] = state_dict["temb.dense.0.weight"].T
    state_dict["norm_out.bias"] = np.zeros(16, np.int64)
    with pytest.raises(CheckpointError) as caught:
        from_torch(state_dict, template, source="other.pt")
    message = str(caught.value)
    assert message.startswith("other.pt does not fit this model. ")
    missing, surplus, misfits = re.search(
        r"missing \(2\): (.*); not in this model \(2\): (.*); of another form \(3\): (.*)\. Use", message
    ).groups()
    assert set(missing.split(", ")) == {"conv_out.bias", "mid.attn_1.k.weight"}
    assert set(surplus.split(", ")) == {"logvar", "head.weight"}
    assert "conv_in.weight is [16, 12, 3, 3], expected [16, 16, 3, 3]" in misfits  # 4 channels in, patches of 2 x 2
    assert "temb.dense.0.weight is [16, 64], expected [64, 16]" in misfits
    assert "norm_out.bias is int64, expected float32" in misfits


def test_of_many_that_do_not_fit_ten_are_named(template, state_dict):
    with pytest.raises(CheckpointError) as caught:
        from_torch({f"net.{name}": array for name, array in state_dict.items()}, template)
    count = len(state_dict)
    message = str(caught.value)
    assert message.count(f"and {count - 5} more") == 2 and f"missing ({count}): conv_in.bias, conv_in.weight" in message
    assert len(re.findall(r"\.(?:weight|bias)\b", message)) == 10


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_are_refused_by_name(template, state_dict, value):
    state_dict["conv_out.bias"] = np.full_like(state_dict["conv_out.bias"], value)
    with pytest.raises(CheckpointError, match=r"with NaN or infinite values \(1\): conv_out\.bias\."):
        from_torch(state_dict, template)


def test_parameters_with_gradients_and_bfloat16_tensors(template, state_dict, params):
    torch = pytest.importorskip("torch")
    own = {name: torch.nn.Parameter(tensor) for name, tensor in tensors(state_dict).items()}
    assert_same_bits(from_torch(own, template), params)
    halved = from_torch({name: tensor.bfloat16() for name, tensor in own.items()}, template)
    assert_same_bits(halved, jax.tree.map(lambda leaf: leaf.astype(ml_dtypes.bfloat16).astype(np.float32), params))


def test_safetensors_round_trip(tmp_path, params, template, state_dict):
    path = tmp_path / "new" / "weights.safetensors"
    save_state_dict(path, state_dict)
    assert_same_bits(from_torch(load_state_dict(path), template, source=path), params)


def test_safetensors_of_any_memory_order_and_bfloat16(tmp_path):
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    written = {"transposed": array.T, "strided": array[:, ::2], "scalar": array[1, 2], "bf": array.astype("bfloat16")}
    save_state_dict(tmp_path / "a.safetensors", written)
    loaded = load_state_dict(tmp_path / "a.safetensors")
    for name, expected in written.items():
        assert (loaded[name].dtype, loaded[name].shape) == (expected.dtype, expected.shape)
        np.testing.assert_array_equal(loaded[name], expected)


def test_safetensors_and_torch_read_each_other(tmp_path, state_dict):
    torch = pytest.importorskip("torch")
    import safetensors.torch

    save_state_dict(tmp_path / "ours.safetensors", state_dict)
    theirs = safetensors.torch.load_file(tmp_path / "ours.safetensors")
    assert set(theirs) == set(state_dict)
    for name, tensor in theirs.items():
        np.testing.assert_array_equal(tensor.numpy(), state_dict[name])
    values = torch.tensor([1.5, -3.0e38])
    safetensors.torch.save_file({"f": values, "b": values.bfloat16()}, tmp_path / "theirs.safetensors")
    loaded = load_state_dict(tmp_path / "theirs.safetensors")
    np.testing.assert_array_equal(loaded["f"], values.numpy())
    np.testing.assert_array_equal(loaded["b"].astype(np.float32), values.bfloat16().float().numpy())


def test_a_failed_write_leaves_the_old_file(tmp_path, state_dict):
    path = tmp_path / "weights.safetensors"
    save_state_dict(path, {"a": np.ones(2, np.float32)})
    before = path.read_bytes()
    with pytest.raises(Exception, match="object"):
        save_state_dict(path, {**state_dict, "b": np.array([None])})
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


@pytest.fixture
def save_pt(tmp_path):
    torch = pytest.importorskip("torch")

    def save(content, name="weights.pt"):
        torch.save(content, tmp_path / name)
        return tmp_path / name

    return save


def tensors(state_dict, factor=1.0):
    import torch

    return {name: torch.from_numpy(factor * array) for name, array in state_dict.items()}


@pytest.mark.parametrize("name", ["weights.pt", "weights.pth", "WEIGHTS.PT"])
def test_pickled_state_dict(save_pt, state_dict, name):
    assert_same_bits(load_state_dict(save_pt(tensors(state_dict), name)), state_dict)


def test_pickled_parameters_and_bfloat16(save_pt):
    import torch

    values = torch.tensor([1.5, -3.0e38])
    loaded = load_state_dict(save_pt({"p": torch.nn.Parameter(values), "b": values.bfloat16()}))
    np.testing.assert_array_equal(loaded["p"], values.numpy())
    np.testing.assert_array_equal(loaded["b"], values.bfloat16().float().numpy())


@pytest.mark.parametrize("with_average", [True, False])
def test_training_state_of_the_reference(save_pt, state_dict, with_average):
    """[model, optimiser, epoch, step] and, where it was kept, the average, which is preferred."""
    import torch

    network = torch.nn.Linear(2, 2)
    optimiser = torch.optim.Adam(network.parameters())
    network(torch.ones(1, 2)).sum().backward()
    optimiser.step()
    wrapped = {f"module.{name}": tensor for name, tensor in tensors(state_dict).items()}
    content = [wrapped, optimiser.state_dict(), 3, 100] + [tensors(state_dict, factor=2.0)] * with_average
    loaded = load_state_dict(save_pt(content))
    if with_average:
        assert_same_bits(loaded, {name: 2.0 * array for name, array in state_dict.items()})
    else:
        assert_same_bits(loaded, {f"module.{name}": array for name, array in state_dict.items()})


def test_state_dict_within_a_dict(save_pt, state_dict):
    content = {"model": tensors(state_dict), "ema": tensors(state_dict, factor=3.0), "epoch": 7}
    assert_same_bits(load_state_dict(save_pt(content)), {name: 3.0 * array for name, array in state_dict.items()})
    del content["ema"]
    assert_same_bits(load_state_dict(save_pt(content)), state_dict)


@pytest.mark.parametrize("content", [{}, [], 5, {"epoch": 7}, [{"state": {}, "param_groups": []}, 3]])
def test_no_state_dict_in_the_file(save_pt, content):
    with pytest.raises(CheckpointError, match=r"weights\.pt: holds no state dict"):
        load_state_dict(save_pt(content))


class Harmful:
    ran = False

    def __reduce__(self):
        return setattr, (Harmful, "ran", True)


def test_no_code_is_run_from_a_file(save_pt):
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_state_dict(save_pt({"weights": Harmful()}))
    assert not Harmful.ran


@pytest.mark.parametrize("library, name", [("safetensors", "weights.safetensors"), ("torch", "weights.pt")])
def test_damaged_files(tmp_path, save_pt, state_dict, library, name):
    pytest.importorskip(library)
    path = tmp_path / name
    save_state_dict(path, state_dict) if library == "safetensors" else save_pt(tensors(state_dict))
    whole = path.read_bytes()
    for content in (b"", whole[:4], whole[: len(whole) // 2], whole[:-1], b"not weights at all, only text\n" * 9):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=rf"{re.escape(name)}: cannot be read \(\w+: .+\)"):
            load_state_dict(path)


def test_paths_that_cannot_be_used(tmp_path, state_dict):
    with pytest.raises(CheckpointError, match=r"none\.safetensors: no such file"):
        load_state_dict(tmp_path / "none.safetensors")
    with pytest.raises(CheckpointError, match=r"weights\.h5: expected a file ending in \.safetensors, \.pt, \.pth"):
        load_state_dict(tmp_path / "weights.h5")
    with pytest.raises(CheckpointError, match=r"weights\.pt: state dicts are written as \.safetensors"):
        save_state_dict(tmp_path / "weights.pt", state_dict)


def test_pytorch_that_is_not_installed(tmp_path, monkeypatch):
    (tmp_path / "weights.pt").write_bytes(b"anything")
    for module in [m for m in sys.modules if m.split(".")[0] == "torch"]:
        monkeypatch.setitem(sys.modules, module, None)  # what importing a package that is not there meets
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(CheckpointError, match=r"weights\.pt: needs .*`pip install torch`"):
        load_state_dict(tmp_path / "weights.pt")


def test_a_number_that_is_said_to_be_terabytes_is_refused(save_pt):
    """A view of one number, which has no size of its own until it is widened; small views are read."""
    import torch

    path = save_pt({"w": torch.zeros(1, dtype=torch.bfloat16).expand(2**20, 2**19)})
    expected = rf"weights\.pt: its [0-9,]+ bytes say that they hold {2**40:,} bytes of weights, most of them in w"
    with pytest.raises(CheckpointError, match=expected):
        load_state_dict(path)
    np.testing.assert_array_equal(load_state_dict(save_pt({"w": torch.ones(1).expand(64)}))["w"], np.ones(64))
