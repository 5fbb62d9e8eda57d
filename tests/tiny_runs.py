"""Runs of seconds: a network of one level on images of 16 x 16 pixels."""

import copy
import functools
import json
from pathlib import Path

import jax
import numpy as np

from ddim_jax.checkpoints import CheckpointStore
from ddim_jax.data.augmentation import AUGMENTATIONS
from ddim_jax.models import create_model
from ddim_jax.training.optimiser import create_optimiser, learning_rate_schedule
from ddim_jax.training.state import create_state

SIZE, BATCH = 16, 8
ABSENT = object()
"""Given to `changed`: the field is not there."""
CONFIG_FILE = """
from configs import base


def get_config():
    config = base.get_config()
    config.systems.lightweight_ddim.sample.clip_x0 = None  # fills what is None in the values, which is off
    config.update({})
    config.name = "tiny"
    return config
"""


def tiny_config(*, resident_bytes=2**30, counts=None, seed=3, unlabelled="", **train_fields):
    """Twelve images and batches of eight, so that a batch holds parts of two passes over the data."""
    return {
        "name": "tiny",
        "seed": seed,
        "plugins": [],
        "model": {
            "name": "lightweight_ddim",
            "preset": "small",
            "overrides": {
                "base_channels": 8,
                "channel_multipliers": [1],
                "norm_groups": 4,
                "stem_stride": 1,
                "dropout": 0.1,
            },
        },
        "diffusion": {
            "prediction": "x0",
            "loss": "bce_dice",
            "loss_weight": "plain",
            "mask_scale": 0.1,
            "timestep_power": 2.0,
            "num_train_timesteps": 50,
            "noise_schedule": "linear",
            "beta_start": 1e-4,
            "beta_end": 0.2,
            "zero_terminal_snr": False,
        },
        "data": {
            "name": "phantom",
            "root": "",
            "labels": None,
            "ignore": [],
            "multilabel": False,
            "annotators": [],
            "unlabelled": unlabelled,
            "image_size": SIZE,
            "window": None,
            "crop": 0,
            "segments": [],
            "invert": False,
            "augmentation": "paper",
            "transforms": [],
            "rotation_degrees": 15.0,
            "flips": True,
            "augment": dict(AUGMENTATIONS["paper"]["augment"]),
            "groups": "folder",
            "folds": 0,
            "fold": 0,
            "empty_windows": 0.0,
            "erased": 0.0,
            "split_seed": 0,
            "cache_dir": None,
            "counts": counts or {"train": 12, "val": 5, "test": 1},
            "same_pixels": True,
            "resident_bytes": resident_bytes,
        },
        "train": {
            "batch_size": BATCH,
            "accumulate": 1,
            "steps": 12,
            "epochs": 0.0,
            "learning_rate": 1e-3,
            "lr_schedule": "constant",
            "schedule_steps": 0,
            "init_from": None,
            "warmup_steps": 2,
            "beta1": 0.9,
            "beta2": 0.999,
            "gradient_clip": 1.0,
            "adversarial_epsilon": 0.0,
            "adversarial_share": 1.0,
            "unlabelled_weight": 1.0,
            "ema_decay": 0.9,
            "log_every": 1,
            "checkpoint_every": 4,
            "keep_latest": 3,
            "validation_images": 5,
            "validation_steps": 1,
            **train_fields,
        },
        "sample": {
            "sampler": "ddim",
            "steps": 1,
            "samples": 2,
            "eta": 0.0,
            "flips": False,
            "clip_x0": None,
            "protocol": "mean",
            "ensemble": "mean",
        },
    }


def without_dropout(accumulate):
    """Sixteen examples a step, which eight devices can accumulate in two parts: each computes its own share."""
    config = tiny_config(steps=4, checkpoint_every=100, batch_size=16, accumulate=accumulate)
    config["model"]["overrides"]["dropout"] = 0.0
    return config


def unet_config(**fields):
    """The same with the network that has no diffusion, which is traced and compiled in a fraction of the time."""
    config = tiny_config(**fields)
    config["model"]["name"] = "unet"
    config["model"]["overrides"]["dropout"] = 0.0  # as every network has it by default
    config["diffusion"] = dict.fromkeys(config["diffusion"])
    config["sample"] |= {"sampler": None, "samples": 4, "flips": True}
    return config


def config_file(values):
    """A config file for the commands with `values` in place of the base config's."""
    values["model"]["overrides"]["channel_multipliers"] = tuple(values["model"]["overrides"]["channel_multipliers"])
    values["plugins"] = ()
    return CONFIG_FILE.format(values)


def checkpoint(workdir, step):
    """Everything that a checkpoint of `workdir` holds of the state, read from the files: (state, ema_params)."""
    config = json.loads((Path(workdir) / "config.json").read_text())
    fields = {name: config["train"][name] for name in ("lr_schedule", "warmup_steps", "gradient_clip")}
    about = json.dumps([config["model"], fields, config["data"]["image_size"]])
    restored = CheckpointStore(Path(workdir) / "checkpoints").restore(_template(about), step)
    return restored.state, restored.ema_params


@functools.cache
def _template(about):
    network, fields, size = json.loads(about)
    model = create_model(network["name"], preset=network["preset"], **network["overrides"])
    rate = learning_rate_schedule(fields["lr_schedule"], 1.0, fields["warmup_steps"], 10**6)
    optimiser = create_optimiser(rate, gradient_clip=fields["gradient_clip"])
    fresh = jax.eval_shape(lambda: create_state(model, optimiser, size, 0))
    return {"step": fresh.step, "params": fresh.params, "opt_state": fresh.opt_state}


def assert_same_but_for_rounding(actual, expected):
    """Two states, or parts of them, that other sums of the same numbers led to.

    The bias of an attention's keys adds the same to all scores of a query, and the softmax takes it out again: its
    gradient is rounding alone, of which Adam makes steps of any size up to the learning rate.
    """
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    leaves = jax.tree_util.tree_leaves_with_path(actual)
    for (path, one), other in zip(leaves, jax.tree.leaves(expected), strict=True):
        name = jax.tree_util.keystr(path)
        atol = 12e-3 if name.endswith("['k']['bias']") else 2e-5  # 12 steps of 1e-3
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=atol, err_msg=name)


def assert_same_bits(actual, expected):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    leaves = jax.tree_util.tree_leaves_with_path(actual)
    assert leaves
    for (path, a), e in zip(leaves, jax.tree.leaves(expected), strict=True):
        a, e = np.asarray(a), np.asarray(e)
        assert a.dtype == e.dtype and a.shape == e.shape, path
        assert a.tobytes() == e.tobytes(), path


def metric_lines(workdir):
    """metrics.jsonl without the speeds, which are never the same twice."""
    lines = [json.loads(line) for line in (Path(workdir) / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "images_per_second"} for line in lines]


def losses(workdir):
    return {line["step"]: line["loss"] for line in metric_lines(workdir) if "loss" in line}


def changed(field, value, base=None):
    """`base`, or the tiny config, with another value in one field."""
    config = copy.deepcopy(base or tiny_config())
    *sections, name = field.split(".")
    place = config
    for section in sections:
        place = place[section]
    if value is ABSENT:
        del place[name]
    else:
        place[name] = value
    return config
