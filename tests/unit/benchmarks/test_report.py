"""The page says what the result files say, of every row, and tells the bars that were missed."""

import pytest

from benchmarks.bars import bars_of
from benchmarks.report import ROOT, read_results, report


def row(case, side, median_s, **fields):
    standard = {
        "case": case,
        "model": "lightweight_ddim",
        "side": side,
        "dtype": "float32",
        "size": 256,
        "batch": 1,
        "steps": None,
        "runs": 3,
        "median_s": median_s,
        "spread_s": 0.01,
        "compile_s": None,
        "peak_bytes": 2**30,
        "difference": None,
        "flops": 98.6e9,
        "bytes": 1.9e9,
        "roofline_s": 0.5,
        "roofline_fraction": None if median_s is None else 0.5 / median_s,
    }
    return standard | fields


def result(suite, rows, **fields):
    standard = {
        "suite": suite,
        "command": "python -m benchmarks.run --suite " + suite,
        "quick": False,
        "machine": {
            "cpu": "A Processor",
            "threads": 2,
            "memory_gib": 8.0,
            "system": "Linux",
            "device": "device kind",
            "platforms": [suite, suite],
            "compiled_cpu_kernels": True,
        },
        "versions": {"jax": "1.2.3", "torch": "4.5.6"},
        "ceilings": {"float32": 200e9, "bytes": 40e9},
        "networks": [{"model": "lightweight_ddim", "parameters": 22882945, "file_bytes": 91574484}],
        "rows": rows,
        "left_out": [],
        "refused": [],
    }
    return standard | fields


CPU_ROWS = [
    row("forward", "ours", 1.25, difference=2.8e-6, compile_s=3.5),
    row("forward", "torch_eager", 1.0),
    row("forward", "ours", 5.0, model="ddim"),
    row("train_step", "ours", 0.9, size=64, batch=4, compile_s=31.0),
    row("train_step", "torch_eager", 1.2, size=64, batch=4, peak_bytes=2**29),
    row("segment", "ours", 12.0, batch=5, steps=2),
    row("segment", "ours", None, batch=5, steps=50, compile_s=8.25, runs=0, peak_bytes=None, spread_s=None),
]


def test_every_row_is_on_the_page():
    text = report({"cpu": result("cpu", CPU_ROWS), "gpu": None})
    assert "A Processor, 2 threads" in text and "jax 1.2.3, torch 4.5.6" in text
    assert "`python -m benchmarks.run --suite cpu`" in text
    first = (
        "| forward 256 x 256 batch 1 | lightweight_ddim | float32 | ours | 1.25 s | 10 ms | 3 | 3.5 s | 1,024 MiB "
        "| 98.6 | 1.9 | 40 % | 3e-06 |"
    )
    assert first in text
    assert "| train_step 64 x 64 batch 4 | lightweight_ddim | float32 | torch_eager | 1.2 s |" in text
    assert "| segment 256 x 256 batch 5, 50 steps | lightweight_ddim | float32 | ours |  |  | 0 | 8.25 s |" in text
    assert text.count("| lightweight_ddim | float32 |") + text.count("| ddim | float32 |") == len(CPU_ROWS)
    assert text.split("## GPU")[1].strip() == "Not yet measured."


def test_the_bars_of_a_cpu():
    bars = {bar.promise: (bar.value, bar.verdict) for bar in bars_of(result("cpu", CPU_ROWS))}
    assert bars["light forward, batch 1: time of eager PyTorch"] == (1.25, "**missed**")
    assert bars["light train step: time of eager PyTorch"] == (0.75, "met")
    assert bars["compiling that train step"] == (31.0, "**missed**")
    assert bars["compiling the sampler of 50 steps"] == (8.25, "met")
    assert bars["light forward: time of ddim's"] == (0.25, "**missed**")
    assert bars["light forward, batch 1: peak memory of eager PyTorch"] == (1.0, "met")
    assert bars["light train step: peak memory of eager PyTorch"] == (2.0, "**missed**")
    assert bars["light segmentation: peak memory of eager PyTorch"] == (None, "not measured")


def test_a_bar_compares_times_of_one_run():
    """The machine was half as fast when the other side was added."""
    eager, ours = row("forward", "torch_eager", 1.0), row("forward", "ours", 1.2, beside={"torch_eager": 2.0})
    promise = "light forward, batch 1: time of eager PyTorch"

    def found(*rows):
        bars = {bar.promise: (bar.value, bar.verdict) for bar in bars_of(result("cpu", list(rows)))}
        return bars[promise]

    assert found(eager, ours) == (0.6, "met")
    later = row("forward", "torch_eager", 2.0, beside={"ours": 1.2, "xla_plain": 7.0})
    assert found(row("forward", "ours", 0.6), later) == (0.6, "met")
    assert found(eager, row("forward", "ours", 1.2, beside={"xla_plain": 7.0})) == (None, "not measured")


def test_large_numbers_have_no_exponent():
    text = report({"cpu": result("cpu", [row("forward", "ours", 0.25, flops=24649e9, bytes=458.2e9)]), "gpu": None})
    assert "| 1,024 MiB | 24,649 | 458 | 200 % |" in text


def test_the_bars_of_a_gpu():
    half = {"dtype": "bfloat16"}
    rows = [
        row("train_step", "ours", 0.10, batch=20, **half),
        row("train_step", "torch_eager", 0.21, batch=20, **half),
        row("train_step", "torch_compile", 0.11, batch=20, **half),
        row("train_step", "ours", 0.5, batch=20, model="ddim", **half),
        row("segment", "ours", 0.26, batch=5, steps=50, **half),
        row("segment", "torch_eager", 1.04, batch=5, steps=50, **half),
        row("train_loop", "ours", 0.105, batch=20, **half),
        row("train_loop", "bare_step", 0.100, batch=20, **half),
    ]
    bars = {bar.promise: (bar.value, bar.verdict) for bar in bars_of(result("gpu", rows))}
    told = {name.removeprefix("bfloat16: "): pair for name, pair in bars.items() if pair[0] is not None}
    assert told == {
        "light train step, throughput of eager PyTorch": (pytest.approx(2.1), "met"),
        "light train step, throughput of torch.compile": (pytest.approx(1.1), "**missed**"),
        "light train step: time of ddim's": (pytest.approx(0.2), "met"),
        "one picture, 50 steps x 5 samples, light: speed of eager PyTorch": (pytest.approx(4.0), "**missed**"),
        "one picture, 50 steps x 5 samples, light": (0.26, "**missed**"),
        "whole training loop, data included: time of its bare step": (pytest.approx(1.05), "met"),
    }
    assert bars["tf32: light train step, throughput of eager PyTorch"] == (None, "not measured")


def test_the_papers_table_stands_beside_ours():
    text = report({"cpu": result("cpu", CPU_ROWS), "gpu": None})
    own = "| lightweight_ddim | 22,882,945 | 87.3 MiB | 84.6 MB | ours, float32, 2 x 5 | 12 s | 1,024 MiB | 5.80 s |"
    assert own in text


def test_what_went_wrong_is_told():
    left_out = [{"case": "forward ddim", "side": "torch_compile", "reason": "no compiler"}]
    refused = [{"case": "segment ddim", "reason": "ours differs by 0.5"}]
    text = report({"cpu": None, "gpu": result("gpu", [], left_out=left_out, refused=refused)})
    assert "- forward ddim, torch_compile: not measured. no compiler" in text
    assert "- ours differs by 0.5" in text


def test_the_page_in_the_repository():
    results = read_results(ROOT)
    if not any(results.values()):
        pytest.skip("nothing was measured yet")
    assert (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8") == report(results)
