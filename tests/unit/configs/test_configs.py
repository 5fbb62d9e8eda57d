"""Every file of configs/ as train.py reads it."""

import functools
from pathlib import Path

import jax
import pytest
from ml_collections.config_flags.config_flags import ConfigFileFlagParser

from configs import table1
from ddim_jax.config import resolve_config, total_steps
from ddim_jax.labels import Labels
from ddim_jax.models import create_model, create_process, example_inputs
from ddim_jax.registry import DATASETS
from ddim_jax.training.optimiser import configured_optimiser
from ddim_jax.training.state import parameter_count
from ddim_jax.unused_fields import refuse_unused

FOLDER = Path(__file__).parents[3] / "configs"
NAMES = sorted(path.stem for path in FOLDER.glob("*.py"))
# These leave the length of the run to those built on them.
RUNNABLE = [name for name in NAMES if name not in ("small_x0", "fast")]
PAPER = ("rsua", "isbi2016", "polypdb")
# The package's own: a network that is added may lack what a config sets, such as a preset.
SYSTEMS = ("ddim", "lightweight_ddim", "medsegdiff", "stochastic_unet", "trunk_ddim", "unet")


@pytest.fixture
def load(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER.parent))
    return lambda name: ConfigFileFlagParser("config").parse(str(FOLDER / f"{name}.py"))


@functools.cache
def parameters(model):
    inputs = example_inputs(model, model.size_multiple)
    return parameter_count(jax.eval_shape(model.init, jax.random.key(0), *inputs)["params"])


def resolved(config):
    if not config.train.steps and not config.train.epochs:
        config.train.steps = 1000  # which is left to those built on it
    return resolve_config(config)


def test_all_are_there():
    assert {"base", "demo", "folder", *PAPER} <= set(NAMES)
    page = (FOLDER.parent / "docs/how-to/choose.md").read_text(encoding="utf-8")
    assert [name for name in NAMES if f"`{name}`" not in page] == []


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("name", RUNNABLE)
def test_a_config_can_be_run_with_every_system(name, system, load):
    config = load(name)
    assert config.name == name
    config.data.root = "somewhere"
    config.model.name = system
    plain = resolved(config)
    refuse_unused(plain)
    assert "systems" not in plain
    assert plain["data"]["name"] in DATASETS
    about = plain["model"]
    model = create_model(about["name"], preset=about["preset"], **about["overrides"])
    one_pass = system in ("unet", "stochastic_unet")
    assert create_process(model, plain["diffusion"]).num_train_timesteps == (1 if one_pass else 1000)
    fields = plain["train"]
    steps = total_steps(fields["steps"], fields["epochs"], fields["batch_size"], 371)
    configured_optimiser(fields, steps)
    assert plain["data"]["image_size"] % model.size_multiple == 0
    if plain["model"]["preset"] is None:
        assert model == create_model(system, dtype=about["overrides"].get("dtype"))  # of the paper's size
    else:
        assert parameters(model) < 2_500_000


@pytest.mark.parametrize("name", NAMES)
def test_a_misspelt_field_is_refused(name, load):
    config = load(name)
    with pytest.raises(AttributeError, match="stepz"):
        config.train.stepz = 3
    with pytest.raises(AttributeError, match="lr"):
        config.lr = 0.1


@pytest.mark.parametrize("name", PAPER)
def test_the_papers_values(name, load):
    config = resolved(load(name))
    assert config["data"] | {"name": name, "image_size": 256, "rotation_degrees": 15.0, "flips": True} == config["data"]
    assert config["data"]["augmentation"] == "paper" and set(config["data"]["augment"].values()) == {0.0}
    train = {"batch_size": 20, "epochs": 2000.0, "steps": 0, "learning_rate": 2e-5, "beta1": 0.9, "beta2": 0.999}
    train |= {"lr_schedule": "constant", "warmup_steps": 0, "gradient_clip": 0.0}
    assert config["train"] | train == config["train"]
    assert config["diffusion"] == {
        "prediction": "noise",
        "loss": "mse",
        "loss_weight": "plain",
        "mask_scale": 1.0,
        "timestep_power": 1.0,
        "num_train_timesteps": 1000,
        "noise_schedule": "linear",
        "beta_start": 1e-4,
        "beta_end": 0.02,
        "zero_terminal_snr": False,
    }
    sample = {"steps": 50, "samples": 5, "eta": 0.0, "flips": False, "clip_x0": 1.0, "protocol": "paper"}
    assert config["sample"] == sample | {"sampler": "ddim", "ensemble": "mean"}
    assert config["model"]["name"] == "lightweight_ddim" and config["model"]["preset"] is None
    assert config["model"]["overrides"] == {}


def test_all_systems_of_the_comparison_get_the_same_augmentation(load):
    sections = []
    for system in table1.SYSTEMS:
        config = table1.get_config(system)
        config.data.augmentation, config.data.rotation_degrees = "strong", 180.0
        sections.append(resolved(config)["data"])
    assert len(sections) == len(table1.SYSTEMS) and all(section == sections[0] for section in sections)
    assert sections[0]["augment"]["zoom"] == 0.3 and sections[0]["rotation_degrees"] == 180


def test_the_name_of_an_augmentation_decides_its_angle(load):
    angles = []
    for name in ("strong", "paper"):
        config = load("folder")
        config.data.augmentation = name
        angles.append(resolved(config)["data"]["rotation_degrees"])
    assert angles == [20.0, 15.0] and resolved(load("folder"))["data"]["augmentation"] == "strong"


@pytest.mark.parametrize("name", ["fast", "demo", "folder"])
def test_ours_predict_the_mask_in_few_evaluations(name, load):
    config = resolved(load(name))
    assert config["diffusion"]["prediction"] == "x0"
    assert config["sample"]["steps"] * config["sample"]["samples"] <= 4
    assert config["sample"]["protocol"] == "mean"
    assert config["data"]["image_size"] == 64
    assert name == "fast" or config["data"]["name"] == {"demo": "phantom", "folder": "folder"}[name]


def test_the_demo_of_classes_has_three_and_mirrors_nothing(load):
    config = resolved(load("demo_classes"))
    labels = Labels.from_config(config["data"])
    assert labels.names == ("right lung", "left lung", "heart") and labels.channels == 4
    assert config["data"]["flips"] is False and config["sample"]["flips"] is False
    about = config["model"]
    about["overrides"] |= {"blocks_per_level": 1, "channel_multipliers": (1,), "attention_levels": ()}
    one, four = (
        jax.eval_shape(model.init, jax.random.key(0), *example_inputs(model, 64))["params"]
        for model in (
            create_model(about["name"], preset=about["preset"], mask_channels=channels, **about["overrides"])
            for channels in (1, 4)
        )
    )
    assert four["conv_in"]["kernel"].shape[2] - one["conv_in"]["kernel"].shape[2] == 3 * 4
    assert four["conv_out"]["kernel"].shape[3] == 4 * one["conv_out"]["kernel"].shape[3]


@pytest.mark.parametrize("name", ["rsua", "demo"])
def test_the_baselines_are_trained_and_sampled_their_own_way(name, load):
    config = load(name)
    config.model.name = "unet"
    unet = resolved(config)
    assert set(unet["diffusion"].values()) == {None}
    assert unet["train"]["validation_steps"] == 1
    assert unet["train"]["learning_rate"] >= 1e-3  # not the light network's 2e-5 or 2e-4
    assert unet["sample"] == {
        "sampler": None,
        "steps": 1,
        "samples": 4,
        "eta": 0.0,
        "flips": True,
        "clip_x0": None,
        "protocol": "mean",
        "ensemble": "mean",
    }
    config.model.name = "medsegdiff"
    medsegdiff = resolved(config)
    assert (medsegdiff["diffusion"]["prediction"], medsegdiff["diffusion"]["loss"]) == ("noise", "mse")
    assert (medsegdiff["diffusion"]["mask_scale"], medsegdiff["diffusion"]["timestep_power"]) == (1.0, 1.0)
    assert medsegdiff["train"]["learning_rate"] in (1e-4, 1e-3)  # its paper's, and the small network's
    assert medsegdiff["sample"] == {
        "sampler": "ddpm",
        "steps": 1000,
        "samples": 5,
        "eta": 0.0,
        "flips": False,
        "clip_x0": 1.0,
        "protocol": "mean",
        "ensemble": "mean",
    }


def test_what_is_set_wins_over_the_section_of_the_system(load):
    config = load("demo")
    config.model.name = "medsegdiff"
    config.sample.steps = 7  # as --config.sample.steps=7 does
    config.systems.medsegdiff.sample.clip_x0 = None  # off, which a None of the config itself could not say
    plain = resolved(config)
    assert (plain["sample"]["steps"], plain["sample"]["sampler"], plain["sample"]["clip_x0"]) == (7, "ddpm", None)
