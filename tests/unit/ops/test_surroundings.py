"""The surroundings of a result are kept, and a difference is told once, by name."""

import json

import pytest

from ddim_jax.ops import surroundings as module
from ddim_jax.ops.surroundings import differences, surroundings, warn_of_others

pytestmark = pytest.mark.attack("16.7")


def test_the_same_surroundings_differ_by_nothing(caplog):
    kept = json.loads(json.dumps(surroundings()))
    assert differences(kept) == []
    warn_of_others(kept, "run")
    assert caplog.text == ""


def test_each_difference_is_named(monkeypatch, caplog):
    monkeypatch.setenv("XLA_FLAGS", "")
    monkeypatch.setattr(module, "loaded_digest", lambda: None)
    kept = surroundings() | {"jaxlib": "0.1", "kernels": "3f"}
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=true")
    now = surroundings()["jaxlib"]
    assert differences(kept) == [
        f"jaxlib was 0.1, is {now}",
        "kernels was 3f, is none",
        "XLA_FLAGS was not set, is --xla_cpu_enable_fast_math=true",
    ]
    warn_of_others(kept, "runs/demo")
    assert caplog.text.count("runs/demo: jaxlib was 0.1") == 1


@pytest.mark.parametrize("before", [None, "text", [1], {}, {"jax": 3, "unknown": "x"}])
def test_what_says_nothing_is_compared_with_nothing(before):
    assert differences(before) == []
