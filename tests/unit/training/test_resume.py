import copy
import re
from pathlib import Path

import pytest
from tiny_runs import tiny_config

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


def test_another_configuration_is_refused_with_every_difference():
    now = copy.deepcopy(tiny_config())
    now["seed"], now["train"]["beta1"] = 4, 0.5
    message = (
        r"^runs/x holds a run with another configuration \(seed: 3 there, 4 now; train.beta1: 0.9 there, 0.5 now\)"
    )
    with pytest.raises(ConfigError, match=message):
        check_same_config({"config": tiny_config()}, now, "runs/x", Path("runs/x/checkpoints/8"))
