"""sample.py as a user calls it, and timed; a traced program that later calls make anew is not measured."""

import jax
import numpy as np
import pytest

from benchmarks.speed import startup
from ddim_jax import Segmenter


def assert_of_the_recommended_configuration(run):
    segmenter = Segmenter.load(run)
    options = segmenter.options()
    assert (segmenter.image_size, options.steps, options.samples, options.flips) == (32, 1, 4, True)
    assert sum(np.size(leaf) for leaf in jax.tree.leaves(segmenter._params)) == 529_980


def test_real_calls_find_what_the_first_has_left(tmp_path, environment, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    startup.save_untrained(tmp_path / "run", "small", 32)
    assert_of_the_recommended_configuration(tmp_path / "run")
    calls = startup._Calls(tmp_path, 32)
    assert calls.traced() == []
    first, left = calls.seconds(1), calls.traced()
    assert len(left) == 1 and calls.seconds(2) > 0 < first
    assert calls.traced() == left
    masks = [path.name for path in tmp_path.glob("*/results/*_mask.png")]
    assert sorted(masks) == ["1_mask.png", "2_mask.png", "3_mask.png"]


def test_a_program_that_is_traced_again_is_no_measurement(monkeypatch):
    monkeypatch.setattr(startup._Calls, "seconds", lambda self, pictures: 1.0)
    found = iter([["a"], ["a", "b"]])
    monkeypatch.setattr(startup._Calls, "traced", lambda self: next(found))
    about = {"model": {"name": "a network"}, "sample": {"steps": 1, "samples": 4}}
    monkeypatch.setattr(startup, "save_untrained", lambda folder, network, size: about)
    with pytest.raises(RuntimeError, match="traced the network again"):
        startup.measure("small", 32, 1, "a machine")
