"""Turns result files into pages: python -m benchmarks.report

docs/benchmarks.md from benchmarks/results/cpu.json and gpu.json; docs/results.md where there is a Table 1
(`benchmarks.results_page`), and docs/results/steps.md, startup.md and archive.md and docs/reliability.md where there
are JSON files for them. Each page is a function of its files alone.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import archive_page, faults_page, results_page, startup_page, steps_page
from benchmarks.bars import bars_of
from benchmarks.cases import SAMPLER_STEPS
from benchmarks.markdown import table
from benchmarks.paper_figures import TABLE_2
from ddim_jax.runtime.atomic import write_text

ROOT = Path(__file__).parents[1]
SUITES = {"cpu": "CPU", "gpu": "GPU"}
_INTRODUCTION = """\
# Benchmarks against PyTorch

Written by `python -m benchmarks.report` from `benchmarks/results/`; do not edit. The measurements are made by

    python -m benchmarks.run --suite cpu
    python -m benchmarks.run --suite gpu

## What is compared

- **ours**: this package as its user gets it. **ours_without_kernels**: the same where the compiled CPU kernels were not
  built. **xla_plain**: the same with every convolution left to XLA (`feature_group_count`).
- **torch_eager**: the same network in eager PyTorch, the same weights under the same names, in the faster of two memory
  formats, with inference mode, fused Adam and fused averaging of the weights. In bfloat16 its weights are bfloat16; in
  training Adam works on float32 copies. **torch_compile**: that network through `torch.compile`, default mode.
- **forward** is one evaluation of the network; **train_step** noise, forward, backward, Adam and the average of the
  weights; **segment** all samples of one picture.

Each side lives in a process of its own on the same processors. Before anything is timed, all sides get the same
weights and inputs, and their outputs (training: loss, norm of the gradient, change of weights) have to agree with those
of eager PyTorch; "difference" is the largest relative difference in norm. Then they take turns, one run each. Time is
the median, spread the longest run less the shortest; a side slower than 20 s a run is run once. Different cases, one
network's and the other's among them, are timed one after the other. Compile time is apart: for ours, from Python
functions to a compiled program without any cache, for `torch.compile` the first call less a median one.

Peak memory on CPU is the most that was resident in the process during the timed runs, less what was resident once the
libraries were loaded; what a compiler has freed in the same process was given back to the system before. On a GPU it is
the most that the framework had allocated (JAX: since the start of the process, the trials by which it picks its
convolutions included).

"Roofline" is the fraction of the speed that the machine's ceilings allow: the longer of the network's arithmetic at the
speed of the fastest matrix product and the bytes its layers must move at the speed of the fastest copy, by either
framework, over the measured time (`benchmarks/roofline.py` defines both). The arithmetic is that of the network as
written down; a side that needs less of it, as ours does after upsampling, can come out above 100 %.
"""


def report(results: dict[str, dict[str, Any] | None]) -> str:
    """The page for the contents of the result files, by suite; None for a file that is not there."""
    parts = [_INTRODUCTION]
    for suite, title in SUITES.items():
        result = results.get(suite)
        parts.append(f"## {title}\n")
        parts.append("Not yet measured.\n" if result is None else _suite(result))
    return "\n".join(parts)


def _suite(result: dict[str, Any]) -> str:
    machine = result["machine"]
    ceilings = [
        f"{rate / 1e9:.0f} GFLOP/s in {name}" for name, rate in result["ceilings"].items() if name != "bytes"
    ] + [f"copies of {result['ceilings']['bytes'] / 1e9:.0f} GB/s (read and written)"]
    kernels = "built" if machine["compiled_cpu_kernels"] else "not built"
    lines = [
        f"- Machine: {machine['cpu']}, {machine['threads']} threads, {machine['memory_gib']} GiB, {machine['system']}; "
        f"device {machine['device']}; compiled CPU kernels {kernels}",
        "- Versions: " + ", ".join(f"{name} {version}" for name, version in result["versions"].items()),
        f"- Ceilings measured: {', '.join(ceilings)}",
        f"- Command: `{result['command']}`",
    ]
    if result["quick"]:
        lines.append("- A quick run, in part or whole: fewer repetitions than the page calls for.")
    sections = ["\n".join(lines) + "\n", "### Bars\n", _bars(result), "### Table 2 of the paper\n", _table_2(result)]
    sections += ["### All measurements\n", _rows(result)]
    troubles = [f"- {entry['case']}, {entry['side']}: not measured. {entry['reason']}" for entry in result["left_out"]]
    troubles += [f"- {entry['reason']}" for entry in result["refused"]]
    if troubles:
        sections += ["### What could not be measured\n", "\n".join(troubles) + "\n"]
    return "\n".join(sections)


def _bars(result: dict[str, Any]) -> str:
    rows = []
    for bar in bars_of(result):
        limit = f"{'at most' if bar.at_most else 'at least'} {bar.limit:g} {bar.unit or 'times'}"
        value = "" if bar.value is None else f"{bar.value:.3g} {bar.unit}".strip()
        rows.append((bar.promise, limit, value, bar.verdict))
    return table(("what", "bar", "measured", ""), rows) + "\n"


def _table_2(result: dict[str, Any]) -> str:
    rows = []
    timed = [row for row in result["rows"] if row["case"] == "segment" and row["median_s"] is not None]
    for network in result["networks"]:
        name = network["model"]
        paper = TABLE_2.get(name) or TABLE_2[f"{name}_noise"]
        file_size, time = paper["file_mb"], f"{paper['seconds']} s" if "seconds" in paper else ""
        own = [f"{network['parameters']:,}", f"{network['file_bytes'] / 2**20:.1f} MiB", f"{file_size} MB"]
        found = [row for row in timed if row["model"] == name]
        for row in found:
            what = f"{row['side']}, {row['dtype']}, {row['steps']} x {row['batch']}"
            rows.append((name, *own, what, _time(row["median_s"]), _memory(row["peak_bytes"]), time))
        if not found:
            rows.append((name, *own, "", "", "", time))
    head = ("network", "weights", "file", "file, paper", "one picture", "time", "peak memory")
    head = (*head, f"time, paper, {SAMPLER_STEPS} x 5")
    note = (
        "Files are float32. The paper's MB fit MiB. Steps x samples as given: on a CPU fewer steps are timed. The "
        "paper's times are of its own GPU; its memory column is not repeated here.\n"
    )
    return f"{table(head, rows)}\n\n{note}"


def _rows(result: dict[str, Any]) -> str:
    rows = []
    for row in result["rows"]:
        steps = "" if row["steps"] is None else f", {row['steps']} steps"
        fraction, difference = row["roofline_fraction"], row["difference"]
        rows.append(
            (
                f"{row['case']} {row['size']} x {row['size']} batch {row['batch']}{steps}",
                row["model"],
                row["dtype"],
                row["side"],
                _time(row["median_s"]),
                _time(row["spread_s"]),
                str(row["runs"]),
                _time(row["compile_s"]),
                _memory(row["peak_bytes"]),
                _plain(row["flops"] / 1e9, 3),
                _plain(row["bytes"] / 1e9, 3),
                "" if fraction is None else f"{_plain(100 * fraction, 2)} %",
                "" if difference is None else f"{difference:.0e}",
            )
        )
    head = ("case", "network", "format", "side", "time", "spread", "runs", "compile", "peak memory", "GFLOP", "GB")
    notes = [
        f"\n{row['model']}, {row['case']}, {row['side']}: {note}.\n"
        for row in result["rows"]
        for note in filter(None, (row.get("note"), _beside(row)))
    ]
    return table((*head, "roofline", "difference"), rows) + "\n" + "".join(notes)


def _beside(row: dict[str, Any]) -> str:
    """Of a row that was added to the file later: what it can be set against; "" of another."""
    times = [f"{_time(seconds)} of {side}" for side, seconds in row.get("beside", {}).items()]
    return f"added later, timed in turns with {', '.join(times)}" if times else ""


def _plain(value: float, digits: int) -> str:
    """A number with so many digits, or all that stand before the point; never with an exponent for its size."""
    return f"{value:,.0f}" if value >= 10 ** (digits - 1) else f"{value:.{digits}g}"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{1e3 * seconds:.3g} ms" if seconds < 1.0 else f"{seconds:.3g} s"


def _memory(size: int | None) -> str:
    return "" if size is None else f"{size / 2**20:,.0f} MiB"


def read_results(root: Path) -> dict[str, dict[str, Any] | None]:
    """The contents of benchmarks/results/<suite>.json below `root`, None where a file is not there."""
    files = {suite: root / "benchmarks" / "results" / f"{suite}.json" for suite in SUITES}
    return {suite: json.loads(path.read_text("utf-8")) if path.exists() else None for suite, path in files.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=ROOT, metavar="DIR", help="where benchmarks/ and docs/ lie")
    root = parser.parse_args(arguments).root
    page = root / "docs" / "benchmarks.md"
    write_text(page, report(read_results(root)))
    modules = (results_page, steps_page, startup_page, archive_page, faults_page)
    for written in filter(None, (page, *(module.write(root) for module in modules))):
        print(written)


if __name__ == "__main__":
    main()
