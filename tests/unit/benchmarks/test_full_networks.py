"""The networks of full size that the benchmarks train and time: those of the paper, and the same in each."""

import json

import pytest

from benchmarks.quality import table2
from benchmarks.speed import archive, startup
from configs import base, fast, table1_gpu
from configs.table1 import SYSTEMS
from ddim_jax.config import resolve_config
from ddim_jax.fields import plain_config
from ddim_jax.models import create_model
from ddim_jax.registry import MODELS


def network(config, dtype=None):
    """The fields that say which network it is, in one format of numbers."""
    own = json.loads(json.dumps(config["model"]))  # tuples and lists are the same here
    own["overrides"]["dtype"] = dtype
    return own


@pytest.mark.parametrize("system", SYSTEMS)
def test_what_table_2_times_is_what_table_1_trains(system):
    timed = table2.configuration(system, 256, "float32", None)
    trained = resolve_config(table1_gpu.get_config(system))
    assert network(timed) == network(trained)
    assert timed["sample"] == trained["sample"] and timed["diffusion"] == trained["diffusion"]
    about = timed["model"]
    model = create_model(about["name"], preset=about["preset"], **about["overrides"])
    assert model == create_model(about["name"])  # of the paper's size


def test_what_a_call_of_sample_py_is_timed_with():
    full, small = (startup.configuration(name, 256) for name in ("full", "small"))
    assert network(full) == network(table2.configuration("lightweight_ddim", 256, "float32", None))
    config = fast.get_config()
    config.train.steps = 1000
    assert network(small) == network(resolve_config(config))
    for name in ("diffusion", "sample", "data"):
        assert full[name] == small[name]
    recommended = startup.configuration(archive.NETWORKS["recommended"], 256)
    assert [recommended["name"], recommended["model"]["name"]] == ["folder", "trunk_ddim"]
    assert recommended["data"]["image_size"] == 64  # its own, whatever the images' is


def test_only_the_network_becomes_another():
    before, after = (plain_config(config) for config in (fast.get_config(), fast.full_size(fast.get_config())))
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"model", "systems"}
    for name in MODELS:  # of each network its size alone
        del before["systems"][name]["model"]
        assert after["systems"][name].pop("model") == base.get_config().systems[name].model.to_dict()
    assert before["systems"] == after["systems"]
