"""The benchmark of exported programs: each is measured in turn with JAX, on the same image."""

import json

import numpy as np
import pytest
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


def test_one_network_by_itself_leaves_the_rows_of_the_other(tmp_path, monkeypatch):
    def measure(name, network, kinds, repeats, **given):
        assert kinds == ["onnx"] and repeats == 3
        return [{"network": name, "size": 64, "by": "onnx", "median_s": 2.0, "times": 1.0}]

    monkeypatch.setattr(exported, "measure", measure)
    monkeypatch.setattr(exported, "save_untrained", lambda *_: None)
    monkeypatch.setattr(exported, "load_network", lambda *_: None)
    file = tmp_path / "exported.json"
    for only in ("lung_xray", "lightweight_ddim", "lung_xray"):
        given = ["--only", only, "--formats", "onnx", "--repeats", "3", "--output", str(file)]
        assert exported.main(given) == 0
    rows = json.loads(file.read_text())["rows"]
    assert [row["network"] for row in rows] == ["lung_xray", "lightweight_ddim"]
    assert all("device" in row and row["median_s"] == 2.0 for row in rows)


def test_a_run_that_is_stopped_leaves_the_network_that_was_measured(tmp_path, monkeypatch):
    def measure(name, *_, **given):
        if name != "lung_xray":
            raise KeyboardInterrupt
        return [{"network": name, "size": 64, "by": "onnx", "median_s": 2.0, "times": 1.0}]

    monkeypatch.setattr(exported, "measure", measure)
    monkeypatch.setattr(exported, "save_untrained", lambda *_: None)
    monkeypatch.setattr(exported, "load_network", lambda *_: None)
    file = tmp_path / "exported.json"
    with pytest.raises(KeyboardInterrupt):
        exported.main(["--output", str(file)])
    assert [row["network"] for row in json.loads(file.read_text())["rows"]] == ["lung_xray"]
