"""The command keeps, adds, refuses and returns rows: with workers that answer from a list."""

import json

import numpy as np
import pytest

from benchmarks.speed import __main__ as run
from benchmarks.speed.cases import Case, unmeasured
from benchmarks.worker import WorkerError

PLATFORMS = {"JaxMachine": "cpu", "TorchMachine": "cpu"}


class FakeWorker:
    """Answers as the benchmark's workers do; a forward pass has 400 GFLOP and 1 GB."""

    outputs: dict = {}  # noqa: RUF012, set by the tests
    broken: dict = {}  # noqa: RUF012
    seconds: dict = {}  # noqa: RUF012

    def __init__(self, factory, *arguments, cpus, environment):
        self.name = factory.split(":")[1]
        self.side = arguments[2] if self.name in ("JaxSide", "TorchSide") else None

    def call(self, method, *arguments):
        if self.side in self.broken:
            raise WorkerError(self.broken[self.side])
        if method == "about":
            about = {"platform": PLATFORMS[self.name], "versions": {self.name: "1.0"}}
            return about | {"device": "cpu", "compiled_cpu_kernels": True}
        if method == "ceilings":
            faster = 1 if self.name == "JaxMachine" else 2
            return {"float32": faster * 100e9, "bytes": 40e9 / faster}
        answers = {
            "networks": [],
            "prepare": ("files", run_work()),
            "compile": None if self.name == "TorchSide" else 2.0,
            "first": ({"output": np.array([self.outputs.get(self.side, 1.0)])}, 4.0),
            "run": self.seconds.get(self.side, 4.0),
            "watch_memory": None,
            "peak_bytes": 1000,
        }
        return answers[method]

    def close(self):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


def run_work():
    from benchmarks.speed.roofline import Work

    return Work(400e9, 1e9)


@pytest.fixture(autouse=True)
def workers(monkeypatch):
    monkeypatch.setattr(run, "Worker", FakeWorker)
    monkeypatch.setattr(FakeWorker, "outputs", {})
    monkeypatch.setattr(FakeWorker, "broken", {})
    monkeypatch.setattr(FakeWorker, "seconds", {})


@pytest.fixture
def command(tmp_path):
    """Runs one case of the CPU suite, with more options; (exit status, content of the result file)."""

    def start(*options, cases="forward", sides=("torch_eager", "ours")):
        path = tmp_path / "cpu.json"
        arguments = ["--suite", "cpu", "--quick", "--output", str(path), "--cases", cases, "--sides", *sides]
        status = run.main([*arguments, *options])
        return status, json.loads(path.read_text())

    return start


def test_a_row_beside_the_ceilings_of_the_faster_framework(command):
    status, result = command()
    assert status == 0
    assert result["ceilings"] == {"float32": 200e9, "bytes": 40e9}
    row = next(row for row in result["rows"] if row["side"] == "ours")
    assert (row["median_s"], row["compile_s"], row["peak_bytes"]) == (4.0, 2.0, 1000)
    assert row["roofline_s"] == 2.0  # 400 GFLOP at 200 GFLOP/s; the bytes alone would take 25 ms
    assert row["roofline_fraction"] == 0.5
    assert {row["size"] for row in result["rows"]} == {256} and {row["batch"] for row in result["rows"]} == {1, 8}


def test_a_run_is_continued(command):
    _, first = command()
    FakeWorker.broken = {"torch_eager": "never started again"}
    status, second = command("--resume")
    assert status == 0 and second["rows"] == first["rows"]
    FakeWorker.broken = {}
    _, third = command("--resume", cases="train_step")
    assert third["rows"][: len(first["rows"])] == first["rows"]
    assert {row["case"] for row in third["rows"][len(first["rows"]) :]} == {"train_step"}
    assert third["command"].count("python -m benchmarks.speed") == 2  # the one that added nothing is not kept


def test_a_side_that_is_added_leaves_the_rows_that_are_there(command):
    """And says what the others took beside it: their rows may be of a slower or a faster day."""
    options = ("--resume", "--models", "lightweight_ddim")
    FakeWorker.seconds = {"torch_eager": 4.0, "ours": 2.0}
    _, first = command("--models", "lightweight_ddim")
    assert not any("beside" in row for row in first["rows"])
    FakeWorker.seconds = {"torch_eager": 8.0, "ours": 5.0, "torch_compile": 16.0}
    status, second = command(*options, sides=("torch_compile",))
    assert status == 0
    assert [row["side"] for row in second["rows"]] == ["torch_eager", "ours", "torch_compile"] * 2
    assert [row for row in second["rows"] if row["side"] != "torch_compile"] == first["rows"]
    row = second["rows"][2]
    assert (row["median_s"], row["beside"], row["difference"]) == (16.0, {"torch_eager": 8.0, "ours": 5.0}, 0.0)


def test_the_commands_in_pieces_give_the_rows_of_one(command):
    _, whole = command("--models", "lightweight_ddim", sides=("torch_eager", "ours", "torch_compile"))
    command("--models", "lightweight_ddim", sides=("torch_eager",))
    for side in ("ours", "torch_compile"):
        _, pieces = command("--resume", "--models", "lightweight_ddim", sides=(side,))
    without = [{name: value for name, value in row.items() if name != "beside"} for row in pieces["rows"]]
    assert without == whole["rows"]
    assert pieces["command"].count("python -m benchmarks.speed") == 3


def test_a_side_that_is_added_is_compared_with_the_first(command, capsys):
    FakeWorker.outputs = {"torch_compile": 1.5}
    _, first = command("--models", "lightweight_ddim")
    status, second = command("--resume", "--models", "lightweight_ddim", sides=("torch_compile",))
    assert status == 1 and second["rows"] == first["rows"]
    assert "output of torch_compile differs from that of torch_eager by 0.5" in capsys.readouterr().err
    # The side that the others are compared with may come last.
    command("--models", "lightweight_ddim", sides=("ours",))
    FakeWorker.outputs = {"torch_eager": 1.0005}
    _, third = command("--resume", "--models", "lightweight_ddim", sides=("torch_eager",))
    differences = {(row["side"], row["batch"]): row["difference"] for row in third["rows"]}
    assert differences["torch_eager", 1] is None and 0.0 < differences["ours", 1] < 1e-3


def test_nothing_is_added_beside_a_side_that_no_longer_runs(command, capsys):
    options = ("--models", "lightweight_ddim")
    _, first = command(*options)
    FakeWorker.broken = {"torch_eager": "out of memory"}
    status, second = command("--resume", *options, sides=("torch_compile",))
    assert status == 1 and second["rows"] == first["rows"] and not second["left_out"]
    assert "torch_eager, which ran before: out of memory" in capsys.readouterr().err
    FakeWorker.broken = {}
    status, third = command("--resume", *options, sides=("torch_compile",))
    assert status == 0 and "torch_compile" in {row["side"] for row in third["rows"]}


def test_a_side_that_cannot_be_added_is_not_tried_again(command):
    command(sides=("torch_eager", "ours"))
    FakeWorker.broken = {"torch_compile": "no compiler"}
    options = ("--resume", "--models", "lightweight_ddim")
    _, without = command(*options, sides=("torch_compile",))
    FakeWorker.broken = {"torch_eager": "never started again", "ours": "never started again"}
    status, again = command(*options, sides=("torch_compile",))
    assert status == 0 and again["rows"] == without["rows"] and len(again["rows"]) == 4


def test_results_of_another_machine_are_not_added_to(command, monkeypatch, capsys):
    command()
    monkeypatch.setitem(PLATFORMS, "TorchMachine", "gpu")
    with pytest.raises(SystemExit, match="2"):
        command("--resume")
    assert "cpu.json was measured with machine" in capsys.readouterr().err


@pytest.mark.parametrize("more", [(), ("--resume",)])
def test_a_file_of_other_vectors_is_neither_replaced_nor_gone_on_with(command, monkeypatch, capsys, tmp_path, more):
    monkeypatch.setattr(run, "provenance", lambda: {"isa": "avx2", "commit": None})
    _, first = command()
    assert first["machine"]["isa"] == "avx2"
    monkeypatch.setattr(run, "provenance", lambda: {"isa": "avx512", "commit": None})
    with pytest.raises(SystemExit, match="2"):
        command(*more)
    assert "cpu.json was measured with avx2, here is avx512; give another file with --output" in capsys.readouterr().err
    assert json.loads((tmp_path / "cpu.json").read_text()) == first
    command("--output", str(tmp_path / "cpu_avx512.json"))
    assert json.loads((tmp_path / "cpu_avx512.json").read_text())["machine"]["isa"] == "avx512"


def test_the_files_of_the_pages_say_their_vectors():
    for name, isa in (("cpu", "avx2"), ("small", "avx2"), ("cpu_avx512", "avx512"), ("small_avx512", "avx512")):
        result = json.loads((run.RESULTS / f"{name}.json").read_text())
        assert {result["machine"]["isa"], *(row["isa"] for row in result["rows"])} == {isa}, name


def test_a_suite_is_not_added_to_another(command, capsys, tmp_path):
    command()
    with pytest.raises(SystemExit, match="2"):
        run.main(["--suite", "gpu", "--tiny", "--resume", "--output", str(tmp_path / "cpu.json")])
    assert "cpu.json is of the cpu suite, not of gpu" in capsys.readouterr().err


def test_a_file_with_a_quick_row_says_so(tmp_path):
    path = tmp_path / "cpu.json"
    fixed = ["--suite", "cpu", "--output", str(path), "--models", "lightweight_ddim", "--cases", "segment"]
    run.main([*fixed, "--sides", "torch_eager"])
    assert json.loads(path.read_text())["quick"] is False
    run.main([*fixed, "--sides", "ours", "--resume", "--quick"])
    assert json.loads(path.read_text())["quick"] is True


def test_a_disagreement_refuses_the_case_and_fails(command, capsys):
    FakeWorker.outputs = {"ours": 1.5}
    status, result = command()
    assert status == 1 and result["rows"] == []
    assert "output of ours differs from that of torch_eager by 0.5" in capsys.readouterr().err
    FakeWorker.outputs = {}
    status, result = command("--resume")
    assert status == 0 and result["refused"] == [] and len(result["rows"]) == 4


@pytest.mark.parametrize(("side", "expected"), [("torch_compile", 0), ("ours", 1)])
def test_only_torch_compile_may_be_missing(command, side, expected):
    FakeWorker.broken = {side: "OSError: no compiler\nTraceback"}
    status, result = command("--models", "lightweight_ddim", sides=("torch_eager", "ours", "torch_compile"))
    assert status == expected
    assert {entry["side"] for entry in result["left_out"]} == {side}
    assert {entry["reason"] for entry in result["left_out"]} == {"OSError: no compiler"}
    assert side not in {row["side"] for row in result["rows"]}


def test_the_gpu_suite_needs_a_gpu_in_both_frameworks(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(PLATFORMS, "JaxMachine", "gpu")
    with pytest.raises(SystemExit, match="2"):
        run.main(["--suite", "gpu", "--output", str(tmp_path / "gpu.json")])
    assert "JAX finds a gpu, PyTorch a cpu" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_trial_does_not_overwrite_results(capsys):
    with pytest.raises(SystemExit, match="2"):
        run.main(["--suite", "cpu", "--tiny"])
    assert "--output" in capsys.readouterr().err


def test_too_many_threads(capsys):
    with pytest.raises(SystemExit, match="2"):
        run.main(["--suite", "cpu", "--threads", "100000"])
    assert "--threads is 100000" in capsys.readouterr().err


def test_what_is_missing_is_run_beside_what_the_bars_compare_with():
    case = Case("forward", "ddim", "float32", 16, 1, ("ours", "torch_compile"))
    assert unmeasured(case, ["torch_eager", "torch_compile", "ours"]) is None
    assert unmeasured(case, []) == case
    again = unmeasured(case, ["xla_plain", "torch_eager", "ours"])
    assert again.sides == ("torch_eager", "ours", "torch_compile") and again.key == case.key
    assert unmeasured(case, ["xla_plain"]).sides == ("ours", "torch_compile", "xla_plain")
    assert unmeasured(case, ["ours"], cannot=["torch_compile"]) is None
