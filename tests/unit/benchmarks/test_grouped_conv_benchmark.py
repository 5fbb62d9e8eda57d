"""The benchmark of single convolutions: what it times, and that a run that is stopped leaves what it has."""

import json

import jax.numpy as jnp
import pytest

from benchmarks.speed import grouped_conv


def test_every_lowering_of_a_shape_is_a_row(monkeypatch):
    monkeypatch.setattr(grouped_conv, "measure", lambda function, *_, calls: (1.0, float(calls)))
    monkeypatch.setattr(grouped_conv.cpu_kernels, "available", lambda: False)
    rows = list(grouped_conv.rows([(16, 64, 128, 2)], 3, 4, jnp.float32, 7))
    assert [row["lowering"] for row in rows] == ["native", *(f"supergroups of {n} channels" for n in (32, 64))]
    assert all(row["case"] == [3, 4, 64, 128, 2] and row["forward_ms"] == 7.0 for row in rows)
    assert all(row["compile_s"] == 2.0 for row in rows)


def test_a_run_that_is_stopped_leaves_the_rows_that_it_has(tmp_path, monkeypatch):
    def rows(*_):
        yield {"lowering": "native"}
        yield {"lowering": "another"}
        raise KeyboardInterrupt

    monkeypatch.setattr(grouped_conv, "rows", rows)
    file = tmp_path / "convolutions.json"
    with pytest.raises(KeyboardInterrupt):
        grouped_conv.main(["--output", str(file), "--dtype", "float32"])
    result = json.loads(file.read_text())
    assert [row["lowering"] for row in result["rows"]] == ["native", "another"]
    assert result["machine"]["dtype"] == "float32" and result["machine"]["device"]


@pytest.mark.needs_kernels
def test_tiles_take_turns_and_are_compared_with_direct_sums():
    rows = list(grouped_conv.rows_of_tiles([(1, 8, 4, 4, 1)], calls=2))
    assert [row["tile"] for row in rows] == [0, 2, 4]
    assert all(row["case"] == [1, 8, 4, 4, 1] for row in rows)
    assert all(min(row["forward_ms"], row["input_ms"], row["kernel_ms"]) > 0.0 for row in rows)
    assert rows[0]["difference"] == 0.0 and 0.0 < rows[1]["difference"] < rows[2]["difference"] < 1e-5
