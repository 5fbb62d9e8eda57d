"""The bars of a suite, by rows written by hand."""

import pytest

from benchmarks.speed.bars import bars_of


def row(case, side, median_s, **fields):
    standard = {
        "case": case,
        "model": "lightweight_ddim",
        "side": side,
        "dtype": "float32",
        "size": 256,
        "batch": 1,
        "steps": None,
        "median_s": median_s,
        "compile_s": None,
        "peak_bytes": 2**30,
    }
    return standard | fields


def result(suite, rows):
    return {"suite": suite, "rows": rows}


CPU_ROWS = [
    row("forward", "ours", 1.25, compile_s=3.5, roofline_s=1.0),
    row("forward", "torch_eager", 1.0),
    row("forward", "ours", 5.0, model="ddim"),
    row("train_step", "ours", 0.9, size=64, batch=4, compile_s=31.0),
    row("train_step", "torch_eager", 1.2, size=64, batch=4, peak_bytes=2**29),
    row("train_step", "torch_compile", 0.8, size=64, batch=4),
    row("train_step", "ours", 0.9, size=64, batch=4, model="ddim"),
    row("train_step", "torch_eager", 1.2, size=64, batch=4, model="ddim"),
    row("segment", "ours", 12.0, batch=5, steps=2),
    row("segment", "ours", None, batch=5, steps=50, compile_s=8.25, peak_bytes=None),
]


def test_the_bars_of_a_cpu():
    bars = {bar.promise: (bar.value, bar.verdict) for bar in bars_of(result("cpu", CPU_ROWS))}
    assert bars["light forward, batch 1: time of eager PyTorch"] == (1.25, "**missed**")
    assert bars["light train step: time of eager PyTorch"] == (0.75, "**missed**")  # at most .6
    assert bars["ddim train step: time of eager PyTorch"] == (0.75, "met")  # at most 1
    assert bars["light train step: time of torch.compile"] == (1.125, "**missed**")
    assert bars["ddim forward, batch 1: time of torch.compile"] == (None, "not measured")
    assert bars["compiling that train step, light"] == (31.0, "**missed**")
    assert bars["compiling the sampler of 50 steps, light"] == (8.25, "met")
    assert bars["light forward, batch 1: time of ddim's"] == (0.25, "met")
    assert bars["light forward, batch 1 where it reaches the roofline: time of ddim's"] == (0.2, "met")
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


def test_the_bars_of_a_gpu():
    half = {"dtype": "bfloat16"}
    rows = [
        row("train_step", "ours", 0.10, batch=20, **half),
        row("train_step", "torch_eager", 0.21, batch=20, **half),
        row("train_step", "torch_compile", 0.11, batch=20, **half),
        row("train_step", "ours", 0.5, batch=20, model="ddim", **half),
        row("segment", "ours", 0.26, batch=5, steps=50, **half),
        row("segment", "torch_eager", 1.04, batch=5, steps=50, **half),
        row("segment", "ours", 0.002, batch=4, steps=1, model="trunk_ddim", **half | {"size": 64}),
        row("segment", "torch_eager", 0.005, batch=4, steps=1, model="trunk_ddim", **half | {"size": 64}),
        row("segment", "ours", 0.04, batch=256, steps=1, model="trunk_ddim", **half | {"size": 64}),
        row("segment", "torch_eager", 0.05, batch=256, steps=1, model="trunk_ddim", **half | {"size": 64}),
        row("train_loop", "ours", 0.105, batch=20, **half),
        row("train_loop", "bare_step", 0.100, batch=20, **half),
    ]
    bars = {bar.promise: (bar.value, bar.verdict) for bar in bars_of(result("gpu", rows))}
    told = {name.removeprefix("bfloat16: "): pair for name, pair in bars.items() if pair[0] is not None}
    assert told == {
        "light train step, throughput of eager PyTorch": (pytest.approx(2.1), "met"),
        "light train step, throughput of torch.compile": (pytest.approx(1.1), "**missed**"),
        "light train step: time of ddim's": (pytest.approx(0.2), "met"),
        "one image, 50 steps x 5 samples, light: speed of eager PyTorch": (pytest.approx(4.0), "**missed**"),
        "one image, 50 steps x 5 samples, light": (0.26, "**missed**"),
        "one image, recommended network: time of eager PyTorch": (pytest.approx(0.4), "met"),
        "64 images, recommended network: time of eager PyTorch": (pytest.approx(0.8), "**missed**"),
        "whole training loop, data included: time of its bare step": (pytest.approx(1.05), "met"),
    }
    assert bars["tf32: light train step, throughput of eager PyTorch"] == (None, "not measured")


def test_the_bars_of_small_networks():
    small = {"model": "trunk_ddim", "size": 64}
    rows = [
        row("train_step", "torch_eager", 0.10, batch=16, **small),
        row("train_step", "ours", 0.09, batch=16, peak_bytes=2**29, **small),
        row("train_step", "torch_compile", 0.18, batch=16, **small),
        row("segment", "torch_eager", 0.04, batch=4, steps=1, **small),
        row("segment", "ours", 0.01, batch=4, steps=1, **small),
        row("segment", "ours", 0.08, batch=32, steps=1, **small),
    ]
    bars = {bar.promise: (bar.value, bar.verdict) for bar in bars_of(result("small", rows))}
    assert bars == {
        "training step: time of eager PyTorch": (pytest.approx(0.9), "**missed**"),
        "segmenting an image: time of eager PyTorch": (pytest.approx(0.25), "met"),
        "segmenting eight images: time of eager PyTorch": (None, "not measured"),
        "training step: time of torch.compile": (pytest.approx(0.5), "met"),
        "segmenting an image: time of torch.compile": (None, "not measured"),
        "segmenting eight images: time of torch.compile": (None, "not measured"),
        "training step: peak memory of eager PyTorch": (0.5, "met"),
    }
