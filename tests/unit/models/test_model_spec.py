"""The models by name: their exact sizes, without allocating them, and what is refused."""

import functools

import jax
import jax.numpy as jnp
import pytest

from ddim_jax.diffusion import DiffusionProcess, DirectProcess
from ddim_jax.diffusion.stochastic import StochasticProcess
from ddim_jax.models import create_model, create_process, example_inputs, param_shapes
from ddim_jax.models.levels import check_memory
from ddim_jax.registry import MODELS
from ddim_jax.runtime.errors import ConfigError

ONE_PASS = {"unet": DirectProcess, "stochastic_unet": StochasticProcess}
COUNTS = {
    "lightweight_ddim": 22_882_945,
    "ddim": 113_672_065,
    "unet": 23_772_449,
    "medsegdiff": 143_405_825,
    "trunk_ddim": 23_878_683,
    "stochastic_unet": 23_773_076,
}


@functools.cache  # tracing a network of the paper's size takes a second or two
def traced(name, preset=None, height=256, width=256):
    model = create_model(name, preset=preset)
    mask, image = (jax.ShapeDtypeStruct((1, height, width, channels), jnp.float32) for channels in (1, 3))
    inputs = [image] if name in ONE_PASS else [mask, image, jax.ShapeDtypeStruct((1,), jnp.int32)]
    return jax.eval_shape(model.init_with_output, jax.random.key(0), *inputs)


def shapes(*network):
    return traced(*network)[1]["params"]


def parameters(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def by_name(tree):
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


@pytest.mark.parametrize(("name", "count"), COUNTS.items())
def test_parameter_counts_at_full_size(name, count):
    assert parameters(shapes(name)) == count
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes(name))} == {jnp.dtype("float32")}


@pytest.mark.slow
def test_dual_attention_is_counted_by_hand():
    """Six attentions of 512 channels: to 128 in 32 groups three times, back to 512, and one factor."""
    one = 3 * (512 // 32 * 128 + 128) + (128 * 512 + 512) + 1
    model = create_model("lightweight_ddim", attention="dual")
    assert parameters(param_shapes(model, 256)) == 22_882_945 + 6 * one
    small = create_model(
        "lightweight_ddim", preset="small", attention="dual"
    )  # in the bottleneck alone: 96 to 24 channels
    one = (96 // 12 * 24 + 24) + 2 * (96 // 24 * 24 + 24) + (24 * 96 + 96) + 1
    assert parameters(param_shapes(small, 64)) == parameters(shapes("lightweight_ddim", "small", 64, 64)) + one


@pytest.mark.parametrize("name", COUNTS)
def test_the_parameters_do_not_depend_on_the_image_size(name):
    assert by_name(shapes(name, "small", 64, 64)) == by_name(shapes(name, "small", 64, 96))


def test_the_two_networks_are_one_graph():
    light, ordinary = by_name(shapes("lightweight_ddim")), by_name(shapes("ddim"))
    assert light.keys() == ordinary.keys()
    grouped = {name for name in light if light[name].shape != ordinary[name].shape}
    # Only the 3 x 3 convolutions of the residual blocks and the attention differ.
    assert {name.split("'")[3] for name in grouped} == {"conv1", "conv2", "q", "k", "v", "proj_out"}


def test_the_small_preset():
    count = parameters(shapes("lightweight_ddim", "small", 64, 64))
    assert 400_000 <= count <= 700_000
    assert count < parameters(shapes("ddim", "small", 64, 64))
    model = create_model("lightweight_ddim", preset="small")
    assert model.light and model.stem_stride == 2 and model.size_multiple == 16


@pytest.mark.parametrize(
    ("name", "low", "high", "multiple"), [("unet", 500_000, 600_000, 32), ("medsegdiff", 900_000, 1_200_000, 16)]
)
def test_the_small_presets_of_the_baselines(name, low, high, multiple):
    assert low <= parameters(shapes(name, "small", 64, 64)) <= high
    model = create_model(name, preset="small")
    assert (model.stem_stride, model.size_multiple) == (2, multiple)


@pytest.mark.parametrize("name", COUNTS)
def test_each_model_has_its_inputs_and_its_process(name):
    model = create_model(name, preset="small")
    inputs = example_inputs(model, 32)
    assert (
        [leaf.shape for leaf in inputs] == [(1, 32, 32, 3)]
        if name in ONE_PASS
        else [(1, 32, 32, 1), (1, 32, 32, 3), (1,)]
    )
    channels = 2 + model.rank if name == "stochastic_unet" else 1
    assert traced(name, "small", 64, 96)[0].shape == (1, 64, 96, channels)
    if name in ONE_PASS:
        assert create_process(model, {"loss": None}) == ONE_PASS[name]()
        with pytest.raises(ConfigError, match=r"diffusion.loss is 'mse'"):
            create_process(model, {"loss": "mse"})
    else:
        process = create_process(model, {"prediction": "x0", "num_train_timesteps": 7})
        assert isinstance(process, DiffusionProcess) and (process.prediction, process.num_train_timesteps) == ("x0", 7)


def test_every_level_of_the_plain_unet_by_hand():
    tree = shapes("unet")
    widths = [56, 112, 224, 448, 896]
    assert tree["down_0_conv_0"]["kernel"].shape == (3, 3, 3, 56)
    for level in range(1, 5):
        assert tree[f"down_{level}_conv_0"]["kernel"].shape == (3, 3, widths[level - 1], widths[level])
        assert tree[f"up_{level - 1}_upsample"]["kernel"].shape == (1, 1, widths[level], 4 * widths[level - 1])
        assert tree[f"up_{level - 1}_conv_0"]["kernel"].shape == (3, 3, 2 * widths[level - 1], widths[level - 1])
    assert tree["conv_out"]["kernel"].shape == (1, 1, 56, 1)


def test_fusion_of_the_full_medsegdiff_is_at_its_two_middle_levels():
    tree = shapes("medsegdiff")
    assert {name for name in tree if "fusion" in name} == {"fusion_2", "fusion_3"}
    assert tree["fusion_3"]["ff_parser"]["weight"].shape == (33, 17, 256, 2)


KERNELS = {
    "conv_in": (3, 3, 4, 128),
    "conv_out": (3, 3, 128, 1),
    "down_2_block_0/conv1": (3, 3, 8, 256),  # 128 channels in 16 groups
    "down_2_block_0/conv2": (3, 3, 8, 256),  # 256 in 32
    "down_2_block_0/shortcut": (1, 1, 128, 256),
    "down_2_block_0/temb_proj": (512, 256),
    "down_2_downsample": (3, 3, 256, 256),
    "down_4_attn_0/q": (1, 1, 16, 128),  # 512 channels in 32 groups, to a quarter
    "down_4_attn_0/k": (1, 1, 16, 128),
    "down_4_attn_0/v": (1, 1, 16, 128),
    "down_4_attn_0/proj_out": (1, 1, 128, 512),
    "up_5_block_0/conv1": (3, 3, 32, 512),  # 512 and the skip's 512 in 32
    "up_3_block_2/conv1": (3, 3, 16, 256),  # 256 and the skip's 256 in 32
    "up_1_block_0/conv1": (3, 3, 12, 128),  # 256 and the skip's 128 in 32
    "up_1_upsample": (3, 3, 128, 128),
    "temb_dense_0": (128, 512),
    "temb_dense_1": (512, 512),
}


@pytest.mark.parametrize("path", KERNELS)
def test_kernels_of_the_light_network_by_hand(path):
    module = shapes("lightweight_ddim")
    for part in path.split("/"):
        module = module[part]
    assert module["kernel"].shape == KERNELS[path]
    assert module["bias"].shape == KERNELS[path][-1:]


def test_attention_of_the_full_network():
    names = {name for name in shapes("lightweight_ddim") if "attn" in name}
    assert names == {"down_4_attn_0", "down_4_attn_1", "mid_attn_1", "up_4_attn_0", "up_4_attn_1", "up_4_attn_2"}


def test_overrides_replace_the_preset_and_none_keeps_it():
    model = create_model("ddim", preset="small", base_channels=None, norm_groups=4, channel_multipliers=[1, 2])
    assert not model.light
    assert model.base_channels == 24  # of the preset
    assert model.norm_groups == 4
    assert model.channel_multipliers == (1, 2)  # a list of a JSON file; modules are hashed
    assert model.dropout == 0.0  # of the class
    assert create_model("unet", attention_levels=None).base_channels == 56  # a field of others, not set
    everything = dict.fromkeys(["base_channels", "channel_multipliers", "attention_levels", "stem_stride", "dtype"])
    assert create_model("ddim", preset="small", **everything) == create_model("ddim", preset="small")


@pytest.mark.parametrize(("name", "dtype"), [("float32", jnp.float32), ("bfloat16", jnp.bfloat16)])
def test_dtype_by_name(name, dtype):
    assert create_model("lightweight_ddim", dtype=name).dtype == dtype


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"name": "unet9"},
            f"model.name is 'unet9'; expected one of {', '.join(MODELS)}",
        ),
        ({"preset": "tiny"}, "model.preset is 'tiny'; expected small or none"),
        ({"width": 3}, "model has no field 'width'; it has .*base_channels"),
        ({"light": False}, "model has no field 'light'"),
        ({"dtype": "float16"}, "model.overrides.dtype is 'float16'; expected one of float32, bfloat16"),
        ({"base_channels": 12}, "model.overrides.base_channels is 12; expected a multiple of 8"),
        ({"base_channels": 0}, "model.overrides.base_channels is 0; expected a multiple of 8 from 8 to 4096"),
        ({"base_channels": 16.0}, "model.overrides.base_channels is 16.0"),
        ({"blocks_per_level": 0}, "model.overrides.blocks_per_level is 0"),
        ({"norm_groups": 0}, "model.overrides.norm_groups is 0"),
        ({"stem_stride": 0}, "model.overrides.stem_stride is 0"),
        ({"channel_multipliers": ()}, r"model.overrides.channel_multipliers is \(\)"),
        ({"channel_multipliers": [1, 0]}, r"model.overrides.channel_multipliers is \(1, 0\)"),
        ({"channel_multipliers": [1, 1.5]}, r"model.overrides.channel_multipliers is \(1, 1.5\)"),
        (
            {"channel_multipliers": (1, 1), "attention_levels": (0, 2)},
            r"model.overrides.attention_levels is .*2\]; expected levels from 0 to 1",
        ),
        ({"name": "unet", "attention_levels": (1,)}, "model has no field 'attention_levels'; it has base_channels"),
        (
            {"name": "medsegdiff", "fusion_levels": (6,)},
            r"model.overrides.fusion_levels is .*6\]; expected levels from 0 to 5",
        ),
        (
            {"name": "medsegdiff", "frequency_bins": 0},
            "overrides.frequency_bins is 0; expected a whole number",
        ),
        ({"channel_multipliers": 3}, "model.overrides.channel_multipliers is 3"),
        ({"channel_multipliers": ["a"]}, r"model.overrides.channel_multipliers is \('a',\)"),
        (
            {"attention_levels": ["a"]},
            r"model.overrides.attention_levels is \('a',\); expected 0 to 64 values, each a whole number",
        ),
        ({"attention_levels": 1}, "model.overrides.attention_levels is 1; expected 0 to 64 values"),
        ({"dtype": 5}, "model.overrides.dtype is 5; expected one of float32, bfloat16"),
        ({"remat": "yes"}, "model.overrides.remat is 'yes'; expected true or false"),
        ({"channel_shuffle": 1}, "model.overrides.channel_shuffle is 1; expected true or false"),
        ({"blocks_per_level": True}, "model.overrides.blocks_per_level is True"),
        ({"dropout": "much"}, "model.overrides.dropout is 'much'"),
        ({"dropout": 1.0}, "model.overrides.dropout is 1.0"),
        ({"dropout": -0.1}, "model.overrides.dropout is -0.1; expected a number from 0 to below 1"),
        (
            {"base_channels": 2**30},
            "model.overrides.base_channels is 1073741824; expected a multiple of 8",
        ),
        (
            {"blocks_per_level": 2**30},
            "model.overrides.blocks_per_level is 1073741824; expected a whole",
        ),
        ({"channel_multipliers": (1,) * 13}, "model.overrides.channel_multipliers is .*expected 1 to 12 values"),
    ],
)
def test_what_cannot_be_built_is_named(arguments, message):
    with pytest.raises(ConfigError, match=message):
        create_model(**{"name": "lightweight_ddim", **arguments})


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"base_channels": 4096, "channel_multipliers": (64,) * 12}, r"make a network of some [0-9,]{17,} weights"),
        ({"base_channels": 4096, "blocks_per_level": 16}, "expected at most 2,147,483,648"),
    ],
)
@pytest.mark.parametrize("name", ["lightweight_ddim", "unet", "medsegdiff"])
def test_networks_that_no_machine_holds_are_refused_before_they_are_built(name, overrides, message):
    with pytest.raises(ConfigError, match=message):
        create_model(name, **overrides)


def test_pictures_that_no_memory_holds_are_refused(monkeypatch):
    memory = {"SC_PHYS_PAGES": 2**18, "SC_PAGE_SIZE": 2**12}  # 1 GiB
    monkeypatch.setattr("os.sysconf", memory.__getitem__)
    network = create_model("ddim", base_channels=32, channel_multipliers=(1, 1), attention_levels=())
    check_memory(network, 256)  # the bottleneck's attention: 128^4 numbers of 4 bytes are 1 GiB
    with pytest.raises(ConfigError, match="image_size is 258, for which one array of the attention of level 1 takes"):
        check_memory(network, 258)
    flat = create_model("unet", base_channels=64)
    check_memory(flat, 2048)  # 2^22 pixels, 64 channels of 4 bytes
    with pytest.raises(ConfigError, match="one array of the first level takes 4 GiB; this machine has 1 GiB"):
        check_memory(flat, 4096)
