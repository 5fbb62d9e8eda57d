"""Both suites, with small networks: real workers, real sides, the command as a user types it."""

import json

import pytest

pytest.importorskip("torch", reason="the benchmark needs PyTorch: pip install '.[bench]'")

from safetensors.numpy import load_file, save_file

from benchmarks.speed.__main__ import main
from benchmarks.speed.cases import TINY, Case
from benchmarks.speed.inputs import Files, Preparation
from benchmarks.speed.measure import Disagreement, Effort, measure_case
from benchmarks.worker import Worker, WorkerError

FIELDS = {"case", "model", "side", "dtype", "size", "batch", "median_s", "spread_s", "compile_s", "peak_bytes"}
FIELDS |= {"roofline_fraction", "runs", "steps", "isa", "commit"}


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch):
    """The training loop finds on disk what the bare step has compiled; the sides that are timed do not look there."""
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("TORCH_COMPILE_DISABLE", "1")  # torch.compile hands back what it is given


def measured(path):
    result = json.loads(path.read_text())
    assert result["machine"]["cpu"] and result["versions"]["jax"] and result["versions"]["torch"]
    for row in result["rows"]:
        assert row.keys() >= FIELDS
        if row["runs"]:
            assert row["median_s"] > 0 and row["spread_s"] >= 0 and row["roofline_fraction"] > 0
    return result


@pytest.mark.long
def test_the_cpu_suite(tmp_path):
    path = tmp_path / "cpu.json"
    command = ["--suite", "cpu", "--tiny", "--quick", "--threads", "1", "--output", str(path)]
    sides = ("torch_eager", "ours", "torch_compile")
    assert main([*command, "--cases", "forward", "segment", "--sides", *sides]) == 0
    rows = measured(path)["rows"]
    assert [(row["case"], row["batch"], row["steps"], row["side"], row["runs"]) for row in rows] == [
        *(("forward", 1, None, side, 2) for side in sides),
        *(("forward", 2, None, side, 2) for side in sides),
        *(("segment", 2, 2, side, 2) for side in sides),
        ("segment", 2, 3, "ours", 0),
    ]
    for row in rows:
        assert (row["compile_s"] is None) == (row["side"] == "torch_eager")
        assert (row["difference"] is None) == (row["side"] == "torch_eager" or not row["runs"])
        assert row["difference"] is None or row["difference"] < 1e-4
        assert row["peak_bytes"] is None or row["peak_bytes"] > 0


@pytest.mark.long
def test_the_suite_of_small_networks(tmp_path):
    path = tmp_path / "small.json"
    command = ["--suite", "small", "--tiny", "--threads", "1", "--output", str(path)]
    assert main([*command, "--sides", "torch_eager", "ours"]) == 0
    rows = measured(path)["rows"]
    assert [(row["case"], row["batch"], row["side"]) for row in rows] == [
        (case, batch, side)
        for case, batch in (("train_step", 2), ("segment", 2), ("segment", 4))
        for side in ("torch_eager", "ours")
    ]
    assert all(row["difference"] < 1e-4 for row in rows if row["side"] == "ours")


@pytest.mark.long
def test_the_recommended_network_in_the_gpu_suite_on_a_cpu(tmp_path):
    command = ["--suite", "gpu", "--tiny", "--dtypes", "bfloat16", "--cases", "train_step", "segment"]
    assert main([*command, "--models", "trunk_ddim", "--output", str(tmp_path / "gpu.json")]) == 0
    rows = measured(tmp_path / "gpu.json")["rows"]
    assert [(row["batch"], row["side"]) for row in rows] == [
        (batch, side) for batch in (2, 4) for side in ("torch_eager", "ours", "torch_compile")
    ]
    assert all(row["difference"] < 0.1 for row in rows if row["side"] == "ours")


@pytest.mark.long
def test_the_gpu_suite_on_a_cpu(tmp_path):
    path = tmp_path / "gpu.json"
    command = ["--suite", "gpu", "--tiny", "--quick", "--dtypes", "bfloat16", "--output", str(path)]
    sides = ("torch_eager", "ours", "xla_plain")
    assert main([*command, "--sides", *sides, "--cases", "train_step", "train_loop", "forward"]) == 0
    result = measured(path)
    assert result["ceilings"].keys() == {"float32", "tf32", "bfloat16", "bytes"}
    assert [(row["case"], row["side"]) for row in result["rows"]] == [
        *(("train_step", side) for side in ("torch_eager", "ours")),
        *(("forward", side) for side in sides * 2),
        ("train_loop", "bare_step"),
        ("train_loop", "ours"),
    ]
    compared = [row["difference"] for row in result["rows"] if row["case"] != "train_loop"]
    assert all(0 <= difference < 0.1 for difference in compared if difference is not None)
    assert sum(difference is None for difference in compared) == 3


def test_an_altered_weight_is_noticed(tmp_path):
    case = Case("forward", "lightweight_ddim", "float32", 16, 1, ("torch_eager", "ours"), overrides=TINY)
    files, _ = Preparation(str(tmp_path)).prepare(case)
    weights = load_file(files.weights)
    weights["mid.block_1.conv1.weight"].flat[0] += 5.0
    altered = Files(str(tmp_path / "altered.safetensors"), files.inputs)
    save_file(weights, altered.weights)

    def start(side):
        if side == "torch_eager":
            return Worker("benchmarks.speed.torch_side:TorchSide", case, altered, side, 1, cpus=[0])
        return Worker("benchmarks.speed.jax_side:JaxSide", case, files, side, cpus=[0])

    with pytest.raises(Disagreement, match=r"forward lightweight_ddim .* of ours differs from that of torch_eager by"):
        measure_case(case, start, Effort(runs=2, seconds=0.1))


def test_what_breaks_in_a_worker_is_told_here():
    with (
        Worker("benchmarks.speed.cases:Case", cpus=[0]) as worker,
        pytest.raises(WorkerError, match=r"TypeError: .*missing(.|\n)*Traceback"),
    ):
        worker.call("label")
    with Worker("decimal:Decimal", "1.5", cpus=[0]) as worker:
        assert worker.call("is_finite") is True
        with pytest.raises(WorkerError, match="TypeError"):
            worker.call("quantize", "a")
        assert str(worker.call("sqrt"))[:6] == "1.2247"
