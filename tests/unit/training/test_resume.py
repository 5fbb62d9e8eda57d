import copy
import re
from pathlib import Path

import pytest
from tiny_runs import tiny_config

from ddim_jax.runtime.errors import CheckpointError, ConfigError
from ddim_jax.training.resume import check_resumable, check_same_config, check_same_data


def changed(field, value, base=None):
    config = copy.deepcopy(base or tiny_config())
    *sections, name = field.split(".")
    place = config
    for section in sections:
        place = place[section]
    place[name] = value
    return config


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "renamed"),
        ("data.root", "/elsewhere"),
        ("data.cache_dir", "/elsewhere"),
        ("data.resident_bytes", 0),
        ("model.overrides.remat", True),
        ("sample.steps", 7),
        ("sample.sampler", "ddpm"),
        ("sample.ensemble", "staple"),
        ("train.checkpoint_every", 1),
        ("train.keep_latest", 9),
        ("train.log_every", 9),
        ("train.init_from", "weights.safetensors"),
        ("train.steps", 1000),
        ("train.epochs", 3.0),
    ],
)
def test_what_does_not_change_the_steps_may_differ(field, value):
    check_resumable(tiny_config(), changed(field, value), "runs/x")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("seed", 4, "seed: 3 there, 4 now"),
        ("model.preset", None, "model.preset: 'small' there, None now"),
        (
            "model.overrides.channel_multipliers",
            [1, 2],
            r"model.overrides.channel_multipliers: \[1\] there, \[1, 2\] now",
        ),
        ("diffusion.loss", "mse", "diffusion.loss: 'bce_dice' there, 'mse' now"),
        ("data.image_size", 32, "data.image_size: 16 there, 32 now"),
        ("data.flips", False, "data.flips: True there, False now"),
        ("data.counts.train", 13, "data.counts.train: 12 there, 13 now"),
        ("train.batch_size", 4, "train.batch_size: 8 there, 4 now"),
        ("train.accumulate", 2, "train.accumulate: 1 there, 2 now"),
        ("train.learning_rate", 0.5, "train.learning_rate: 0.001 there, 0.5 now"),
        ("train.validation_steps", 2, "train.validation_steps: 1 there, 2 now"),
        ("sample.clip_x0", 1.0, "sample.clip_x0: None there, 1.0 now"),
        ("train.ema_decay", 0.5, "train.ema_decay: 0.9 there, 0.5 now"),
        ("train.new_field", 1, "train.new_field: 'absent' there, 1 now"),
    ],
)
def test_what_changes_the_steps_is_named_with_both_values(field, value, message):
    with pytest.raises(ConfigError, match=rf"^runs/x holds a run with another configuration \({message}\)\. "):
        check_resumable(tiny_config(), changed(field, value), "runs/x")


def test_every_difference_is_named():
    now = changed("train.beta1", 0.5, changed("seed", 4))
    with pytest.raises(ConfigError, match=r"\(seed: 3 there, 4 now; train.beta1: 0.9 there, 0.5 now\)"):
        check_resumable(tiny_config(), now, "runs/x")


def test_the_length_matters_where_the_learning_rate_follows_it():
    cosine = tiny_config(lr_schedule="cosine")
    check_resumable(cosine, copy.deepcopy(cosine), "runs/x")
    with pytest.raises(ConfigError, match=r"train.steps: 12 there, 24 now"):
        check_resumable(cosine, changed("train.steps", 24, cosine), "runs/x")


def test_a_tuple_is_the_list_that_was_saved_and_a_new_empty_field_is_nothing():
    now = changed("model.overrides.channel_multipliers", (1,))
    now["model"]["overrides"]["attention_levels"] = None
    check_resumable(tiny_config(), now, "runs/x")


def test_a_run_from_before_a_field_goes_on_with_what_it_did_then():
    before = tiny_config()
    for field in ("noise_schedule", "zero_terminal_snr", "loss_weight"):
        before["diffusion"].pop(field, None)
    del before["train"]["accumulate"]
    now = changed("diffusion.noise_schedule", "linear")
    now["diffusion"] |= {"zero_terminal_snr": False, "loss_weight": "plain"}
    check_resumable(before, now, "runs/x")
    check_resumable(before, before, "runs/x")
    with pytest.raises(ConfigError, match=r"diffusion\.noise_schedule: 'linear' there, 'cosine' now"):
        check_resumable(before, changed("diffusion.noise_schedule", "cosine", now), "runs/x")


def test_metadata_of_no_run_are_named_with_their_file():
    folder, now = Path("runs/x/checkpoints/8"), {"config": tiny_config(), "data": {"train_examples": 12}}

    def check(saved):
        check_same_config(saved, now["config"], "runs/x", folder)
        check_same_data(saved, now["data"], "runs/x", folder)

    check(now)
    for saved, message in (
        ({**now, "config": None}, "config is None; expected a section"),
        ({"config": now["config"]}, "data is None; expected a section"),
        ({**now, "data": [1]}, "data is [1]; expected a section"),
        ({**now, "config": {"seed": 3}}, "its config has no section train"),
        ({**now, "data": {"train_examples": "12"}}, "data.train_examples is '12'; expected the number of training"),
    ):
        with pytest.raises(CheckpointError, match=rf"^runs/x/checkpoints/8/metadata/metadata: {re.escape(message)}"):
            check(saved)
    with pytest.raises(ConfigError, match="runs/x holds a run trained on 11 images; there are 12 now"):
        check({**now, "data": {"train_examples": 11}})
