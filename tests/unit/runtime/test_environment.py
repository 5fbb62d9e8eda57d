"""The environment of a result is kept, and a difference is told once, by name."""

import json

import pytest

from ddim_jax.runtime.environment import differences, environment, warn_if_changed


def test_the_same_environment_differ_by_nothing(caplog):
    kept = json.loads(json.dumps(environment("3f")))
    assert differences(kept, environment("3f")) == []
    warn_if_changed(kept, "run", environment("3f"))
    assert caplog.text == ""


def test_each_difference_is_named(monkeypatch, caplog):
    monkeypatch.setenv("XLA_FLAGS", "")
    kept = environment("3f") | {"jaxlib": "0.1"}
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=true")
    now = environment(None)
    assert differences(kept, now) == [
        f"jaxlib was 0.1, is {now['jaxlib']}",
        "kernels was 3f, is none",
        "XLA_FLAGS was not set, is --xla_cpu_enable_fast_math=true",
    ]
    warn_if_changed(kept, "runs/demo", now)
    assert caplog.text.count("runs/demo: jaxlib was 0.1") == 1


@pytest.mark.parametrize("before", [None, "text", [1], {}, {"jax": 3, "unknown": "x"}])
def test_what_says_nothing_is_compared_with_nothing(before):
    assert differences(before, environment(None)) == []
