"""docs/results/startup.md from docs/results/startup.json alone."""

from pathlib import Path

from benchmarks.markdown import table
from benchmarks.result_file import read_rows
from ddim_jax.runtime.atomic import write_text

_INTRODUCTION = """\
# What a call of sample.py costs besides its pictures

Written by `python -m benchmarks.report` from `startup.json`, which `python -m benchmarks.startup` measures; do not
edit. The checkpoint has random weights and the settings of configs/fast.py: one step, four samples. "full" is the
network of the paper, "small" that of the config. The first call traces and compiles; the others, on other pictures,
read what it left on disk. A picture's time is a quarter of the difference between calls with five pictures and with
one; the start is the rest of a call. "kernels" are the compiled ones for CPUs (`make kernels`).
"""
_HEAD = (
    "network",
    "size",
    "device",
    "kernels",
    "first call",
    "later calls",
    "a picture",
    "start",
    "calls timed",
)


def write(root: Path) -> Path | None:
    """Writes `root`/docs/results/startup.md; None where there is no startup.json, and then nothing is written."""
    folder = root / "docs" / "results"
    if not (folder / "startup.json").exists():
        return None
    rows = read_rows(folder / "startup.json")
    lines = [
        (
            f"{row['network']} `{row['model']}`",
            f"{row['size']} x {row['size']}",
            row["device"],
            "yes" if row["compiled_cpu_kernels"] else "no",
            f"{row['first_call_s']} s",
            f"{row['call_s']} s",
            f"{row['picture_s']} s",
            f"{row['start_s']} s",
            str(row["repeats"]),
        )
        for row in rows
    ]
    write_text(folder / "startup.md", f"{_INTRODUCTION}\n{table(_HEAD, lines)}\n")
    return folder / "startup.md"
