"""The benchmark of exported programs: each is measured in turn with JAX, on the same picture."""

import numpy as np
from segmenters import MixesNoise, config, loaded_network

from benchmarks.speed import exported


def test_a_network_in_turn_with_jax(monkeypatch):
    monkeypatch.setattr(exported.time, "perf_counter", iter(np.arange(100.0)).__next__)
    network = loaded_network(MixesNoise(), {}, config(steps=1, samples=2))
    jax_row, file_row = exported.measure("mixes", network, ["stablehlo"], repeats=3)
    assert jax_row["by"] == "jax" and jax_row["times"] == 1.0 and "bytes" not in jax_row
    assert file_row["by"] == "stablehlo" and file_row["bytes"] > 1000 and file_row["probability"] < 1e-5
    assert (file_row["network"], file_row["size"], file_row["steps"], file_row["samples"]) == ("mixes", 16, 1, 2)
    assert file_row["median_s"] == 1.0 and file_row["repeats"] == 3  # a clock that ticks once a look
