"""The benchmark of the mean over two processes: one of them, alone, and what is written."""

import json
import os

import pytest

from benchmarks import sums
from ddim_jax.training.sharding import data_mesh


def test_both_ways_are_timed():
    alone = object.__new__(sums.Summing)
    alone._mesh = data_mesh(1)
    found = alone.milliseconds(3, 8)
    assert set(found) == {"all_reduce_ms", "exchange_ms"} and all(0 < value < 1000 for value in found.values())


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="two processors are needed")
def test_both_processes_are_called_and_process_0_is_reported(tmp_path, monkeypatch, capsys):
    started = []

    class Here:
        def __init__(self, factory, address, index, *, cpus, environment):
            assert factory == "benchmarks.sums:Summing" and environment["JAX_PLATFORMS"] == "cpu"
            self._index = index
            started.append((address, index, cpus))

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def call(self, method, numbers, calls):
            assert (method, calls) == ("milliseconds", 8)
            return {"all_reduce_ms": numbers + self._index, "exchange_ms": 0.5}

    monkeypatch.setattr(sums, "Worker", Here)
    assert sums.main(["--calls", "8", "--output", str(tmp_path / "sums.json")]) == 0
    written = json.loads((tmp_path / "sums.json").read_text())
    numbers = sums.gradients()
    assert written["rows"] == [
        {"numbers": 1, "all_reduce_ms": 1, "exchange_ms": 0.5},
        {"numbers": numbers, "all_reduce_ms": numbers, "exchange_ms": 0.5},
    ]
    assert 500_000 < numbers < 600_000
    cpus = sorted(os.sched_getaffinity(0))
    assert [(index, tied) for _, index, tied in started] == 2 * [(0, [cpus[0]]), (1, [cpus[1]])]
    assert started[0][0] == started[1][0]
    assert "ms exchange" in capsys.readouterr().out
