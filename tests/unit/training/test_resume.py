import copy
import re
from pathlib import Path

import pytest
from tiny_runs import tiny_config

from ddim_jax.data.pixels import digest_of, write_pixels
from ddim_jax.runtime.errors import CheckpointError, ConfigError
from ddim_jax.training.resume import check_same_config, check_same_data


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
        ({**now, "config": {"seed": 3}}, "its config has no plugins, so it is of a run of ddim_jax 0.1.0"),
        ({**now, "config": {"plugins": []}}, "model is None; expected a section"),
        ({**now, "data": {"train_examples": "12"}}, "data.train_examples is '12'; expected the number of training"),
    ):
        with pytest.raises(CheckpointError, match=rf"^runs/x/checkpoints/8/metadata/metadata: {re.escape(message)}"):
            check(saved)
    with pytest.raises(ConfigError, match="runs/x holds a run trained on 11 images; there are 12 now"):
        check({**now, "data": {"train_examples": 11}})


def test_images_that_came_and_went_are_named_and_unlabelled_ones_told_by_their_field(tmp_path):
    pixels = dict.fromkeys(("a", "b", "a//empty", "v", "unlabelled/u"), "0" * 64)
    write_pixels(tmp_path, pixels, {})
    now = {"train_ids_sha256": "t", "train_examples": 2, "val_ids_sha256": "v", "unlabelled_ids_sha256": "u"}
    saved = {"data": now | {"pixels_sha256": digest_of(pixels)}}

    def told(**differing):
        ids = {"train": ("b", "c"), "val": ("v", "w")}
        with pytest.raises(ConfigError) as error:
            check_same_data(saved, now | differing, str(tmp_path), Path("runs/x/checkpoints/8"), ids)
        return re.search("now, and (.*). Use the same images", str(error.value))[1]

    names = "the names of training or validation images differ"
    assert told(train_ids_sha256="other") == f"{names} (gone: a; new: c)"
    assert told(unlabelled_ids_sha256=None) == "data.unlabelled was set there and is not now"
    assert told(unlabelled_ids_sha256="w") == "the names of images of data.unlabelled differ"
    saved["data"] |= {"unlabelled_ids_sha256": None, "pixels_sha256": "of another table"}
    assert told(val_ids_sha256="w") == f"data.unlabelled is set now and was not there and {names}"


def test_another_configuration_is_refused_with_every_difference():
    now = copy.deepcopy(tiny_config())
    now["seed"], now["train"]["beta1"] = 4, 0.5
    message = (
        r"^runs/x holds a run with another configuration \(seed: 3 there, 4 now; train.beta1: 0.9 there, 0.5 now\)"
    )
    with pytest.raises(ConfigError, match=message):
        check_same_config({"config": tiny_config()}, now, "runs/x", Path("runs/x/checkpoints/8"))


def test_a_cosine_run_is_trained_longer_at_its_last_rate_if_that_is_said():
    def check(before, now, examples=12):
        saved = {"config": tiny_config(lr_schedule="cosine", **before), "data": {"train_examples": examples}}
        check_same_config(saved, tiny_config(lr_schedule="cosine", **now), "runs/x", Path("runs/x/checkpoints/8"))

    check({}, {})
    check({}, {"steps": 20, "schedule_steps": 12})
    check({"steps": 20, "schedule_steps": 12}, {"steps": 30, "schedule_steps": 12})
    in_epochs = {"steps": 0, "epochs": 6.0}  # 6 passes over 12 images in batches of 8 are 9 steps
    check(in_epochs, {"steps": 20, "schedule_steps": 9})
    longer = r"To train longer at its last learning rate, add --config.train.schedule_steps=%d\."
    with pytest.raises(ConfigError, match=rf"\(train.steps: 12 there, 20 now\).*{longer % 12}"):
        check({}, {"steps": 20})
    with pytest.raises(ConfigError, match=longer % 9):
        check(in_epochs, {"steps": 20, "epochs": 0.0})
    with pytest.raises(ConfigError, match=r"schedule_steps=12 --config\.train\.warmup_steps=2\."):
        check({}, {"steps": 20, "warmup_steps": 4})  # as a config has it whose warm-up is a share of the steps
    with pytest.raises(ConfigError, match="schedule_steps: 0 there, 13 now"):
        check({}, {"steps": 20, "schedule_steps": 13})
    with pytest.raises(ConfigError) as error:
        check({}, {"steps": 20, "beta1": 0.5})
    assert "train longer" not in str(error.value)


def test_with_a_constant_rate_the_length_of_the_schedule_means_nothing():
    saved = {"config": tiny_config(), "data": {"train_examples": 12}}
    check_same_config(saved, tiny_config(steps=40, schedule_steps=7), "runs/x", Path("runs/x/checkpoints/8"))
