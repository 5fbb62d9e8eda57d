"""Denoising pre-training: its loss by hand, what it writes, and the training that begins with it."""

import re
from unittest import TestCase

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict
from PIL import Image
from tiny_runs import SIZE, assert_same_bits, tiny_config, unet_config

from ddim_jax import models
from ddim_jax.checkpoints.packed import PRETRAINING, read_packed, write_packed
from ddim_jax.config import resolve_config
from ddim_jax.data import load_dataset
from ddim_jax.inference import Segmenter
from ddim_jax.preprocessing import resize_image
from ddim_jax.runtime.errors import CheckpointError, ConfigError, DataError, InputError
from ddim_jax.training.optimiser import create_optimiser
from ddim_jax.training.pretraining import GAMMA, DenoisingProcess, pretrain
from ddim_jax.training.state import create_state, load_weights, new_parts, pretrainable, start_from


def test_the_loss_is_the_squared_error_of_the_noise():
    rng = np.random.default_rng(0)
    image, noise = rng.uniform(-1, 1, (2, 4, 4, 3)), rng.normal(size=(2, 4, 4, 3))
    process = DenoisingProcess()
    found = process.losses(
        lambda params, x: params * x + 0.25, jnp.float32(3.0), None, jnp.float32(image), jnp.float32(noise), None
    )
    noisy = np.sqrt(0.95) * image + np.sqrt(0.05) * noise
    np.testing.assert_allclose(found, ((3.0 * noisy + 0.25 - noise) ** 2).mean(axis=(1, 2, 3)), rtol=1e-5)
    # A network that knows the image gives the noise, and no other scale of it does.
    exact = process.losses(
        lambda params, x: (x - np.sqrt(GAMMA) * image) / np.sqrt(1 - GAMMA), None, None, image, noise, None
    )
    np.testing.assert_allclose(exact, 0.0, atol=1e-9)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Seven smooth images of its own, and one of each split of the phantoms."""
    place = tmp_path_factory.mktemp("pictures")
    for number in range(7):
        pixels = np.random.default_rng(number).integers(0, 256, (6, 6, 3), np.uint8)
        Image.fromarray(resize_image(pixels, (20, 20))).save(place / f"{number}.png")
    data = tiny_config()["data"]
    for split in ("train", "val", "test"):
        source = load_dataset("phantom", split, image_size=SIZE, counts=data["counts"])
        Image.fromarray(source[0].image).save(place / f"of_{split}.png")
    return place


def trunk_config(folder, seed=3, **overrides):
    fields = {"steps": 60, "learning_rate": 1e-2, "ema_decay": 0.5, "log_every": 10}
    config = tiny_config(seed=seed, unlabelled=str(folder), **fields)
    config["model"]["name"] = "trunk_ddim"
    config["model"]["overrides"] |= {"channel_multipliers": [1, 1], "dropout": 0.0, **overrides}
    return config


def network(name="trunk_ddim", **overrides):
    return models.create_model(name, preset="small", **trunk_config("")["model"]["overrides"] | overrides)


@pytest.fixture(scope="module")
def made(folder, tmp_path_factory):
    """The file of a pre-training of the trunk of `network()`, and what was logged meanwhile."""
    file = tmp_path_factory.mktemp("pretrained") / "trunk.safetensors"
    with TestCase().assertLogs("absl", "INFO") as logged:
        pretrain(trunk_config(folder), file)
    return file, [record.getMessage() for record in logged.records]


def test_a_split_that_was_drawn_by_another_seed_is_refused(folder, tmp_path):
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
        for number in range(10):
            Image.fromarray(np.tri(SIZE, SIZE, number, dtype=np.uint8) * 255).save(tmp_path / kind / f"{number}.png")
    load_dataset("folder", "train", root=tmp_path, seed=0)
    config = trunk_config(folder)
    about = {"name": "folder", "root": str(tmp_path), "split_seed": 1, "cache_dir": str(tmp_path / "cache")}
    config["data"] |= about
    with pytest.raises(DataError, match=r"splits\.csv: was drawn by seed 0, and data\.split_seed is 1"):
        pretrain(config, tmp_path / "trunk.safetensors")


def test_it_learns_from_all_pictures_but_those_of_validation_and_test(made):
    file, lines = made
    told = "1 of 10 unlabelled images are of the {0} split and left out: of_{0}.png".format
    assert told("val") in lines and told("test") in lines and not any("of_train" in line for line in lines)
    # Of each of the 3 x 2 blocks 4 arrays and 2 of the way up; the head has 24 and the last layer of the trunk 2.
    assert any(
        line.startswith("trunk_ddim: pre-trains 26 of 52 arrays on 8 images at 16 x 16; ")
        and line.endswith("anew: head, trunk.conv_out")
        for line in lines
    )
    losses = [float(found[1]) for line in lines if (found := re.match(r"step \d+/60: loss (.*)", line))]
    assert len(losses) == 6 and losses[-1] < 0.8 * losses[0]
    packed = read_packed(file)
    assert packed.step == 60 and packed.metadata["data"]["pretraining_examples"] == 8
    assert packed.metadata["config"]["data"]["unlabelled"] == ""


def test_a_training_begins_with_the_same_arrays_to_the_bit(made):
    file, _ = made
    model, params = network(), read_packed(file).params
    fresh = create_state(model, create_optimiser(lambda step: 1.0), SIZE, seed=1)
    initial = load_weights(file, model, SIZE)
    assert initial.description == (
        f"starts from step 60 of {file}, pre-trained on 8 images without masks: 26 of 52 arrays; these are new: "
        "head, trunk.conv_out"
    )
    started = start_from(fresh, initial)
    for got in (started.params, started.ema_params):
        assert_same_bits({name: layer for name, layer in got["trunk"].items() if name != "conv_out"}, params["trunk"])
        assert_same_bits(got["trunk"]["conv_out"], fresh.params["trunk"]["conv_out"])
        assert_same_bits(got["head"], fresh.params["head"])
    other = fresh.params["trunk"]["down_0_conv_0"]["kernel"] != params["trunk"]["down_0_conv_0"]["kernel"]
    assert np.all(other)


def test_the_same_seed_gives_the_same_bytes_and_another_others(made, folder, tmp_path):
    pretrain(trunk_config(folder), tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == made[0].read_bytes()
    pretrain(trunk_config(folder, seed=4), tmp_path / "other.safetensors")
    assert read_packed(tmp_path / "other.safetensors").digest != read_packed(made[0]).digest


def test_a_plain_network_keeps_all_but_its_last_layer(folder, tmp_path):
    config = unet_config(steps=3, unlabelled=str(folder))
    file = tmp_path / "unet.safetensors"
    pretrain(config, file)
    overrides = config["model"]["overrides"]
    model = models.create_model("unet", preset="small", mask_channels=3, **overrides)  # whatever its classes are
    initial = load_weights(file, model, SIZE)
    assert initial.description.endswith("arrays; these are new: conv_out")
    assert set(initial.params) == set(models.param_shapes(model, SIZE)) - {"conv_out"}
    jax.tree.map(np.testing.assert_array_equal, initial.params, read_packed(file).params)


def test_a_stochastic_network_begins_with_all_but_the_layer_of_its_distribution(tmp_path):
    config = unet_config(steps=3)
    config["model"]["name"] = "stochastic_unet"
    model = models.create_model("stochastic_unet", preset="small", **config["model"]["overrides"])
    arrays, found = flatten_dict(models.param_shapes(model, SIZE), sep="."), pretrainable(model, SIZE)
    assert found and set(arrays) - set(found) == {"trunk.conv_out.kernel", "trunk.conv_out.bias"}
    # The arrays that a pre-training of it has are those of a plain U-Net that gives three colours.
    plain = models.PlainUNet(**model.shared(mask_channels=3))
    trained = flatten_dict(models.param_shapes(plain, SIZE), sep=".")
    assert {name: trained[name.removeprefix("trunk.")].shape for name in found} == {
        name: leaf.shape for name, leaf in found.items()
    }
    assert trained["conv_out.kernel"].shape != arrays["trunk.conv_out.kernel"].shape

    params = {name: np.full(leaf.shape, 0.5, np.float32) for name, leaf in found.items()}
    metadata = {"config": resolve_config(config), "data": {PRETRAINING: 8}, "package_version": "0"}
    file = tmp_path / "stochastic.safetensors"
    write_packed(file, unflatten_dict(params, sep="."), step=3, metadata=metadata, note="", terms="")
    initial = load_weights(file, model, SIZE)
    assert initial.description.endswith(f"{len(found)} of {len(arrays)} arrays; these are new: trunk.conv_out")
    assert flatten_dict(initial.params, sep=".").keys() == found.keys()


def test_parts_without_an_array_are_named_as_a_whole():
    names = ("a.b.c", "a.b.d", "a.e.f", "ab.c", "g.h", "g.i")
    assert new_parts(names, ("a.b.c", "g.h")) == ["a.b.d", "a.e", "ab", "g.i"]
    assert new_parts(names, ()) == ["a", "ab", "g"]
    assert new_parts(names, names) == []


def test_a_file_that_does_not_fit_is_refused(made, tmp_path):
    file, _ = made
    for model in (network(base_channels=16), network(blocks_per_level=3), network("unet"), network("lightweight_ddim")):
        with pytest.raises(CheckpointError, match=r"trunk\.safetensors belongs to another model"):
            load_weights(file, model, SIZE)
    damaged = bytearray(file.read_bytes())
    damaged[-100] ^= 1
    (tmp_path / "damaged.safetensors").write_bytes(damaged)
    with pytest.raises(CheckpointError, match=r"damaged\.safetensors: changed after it was packed"):
        load_weights(tmp_path / "damaged.safetensors", network(), SIZE)
    with pytest.raises(CheckpointError, match=r"trunk\.safetensors: is of a pre-training.*train\.init_from"):
        Segmenter.load(file)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"model.name": "lightweight_ddim"}, "'lightweight_ddim'.*stochastic_unet, trunk_ddim, unet"),
        ({"data.unlabelled": ""}, r"data\.unlabelled is not set"),
        ({"train.init_from": "a.pt"}, r"train\.init_from is 'a\.pt'; expected none"),
    ],
)
def test_what_cannot_be_pre_trained_is_refused(folder, tmp_path, change, told):
    config = trunk_config(folder)
    for name, value in change.items():
        section, field = name.split(".")
        config[section][field] = value
    with pytest.raises(ConfigError, match=told):
        pretrain(config, tmp_path / "a.safetensors")
    with pytest.raises(InputError, match=r"end in \.safetensors"):
        pretrain(config, tmp_path / "a.npz")
    assert not list(tmp_path.iterdir())
