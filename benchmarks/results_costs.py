"""The part of docs/results.md that is Table 2: memory and time of one picture."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.markdown import table
from benchmarks.paper_figures import TABLE_2
from benchmarks.results_notes import distinct, software
from configs.table1 import SYSTEMS

Row = Mapping[str, Any]
_COLUMNS = (
    *("system", "parameters", "weights, MiB", "sampling", "steps timed", "s, of the steps timed"),
    *("computed: s a picture", "peak MiB", "paper: MB, s"),
)
_NOTES = """\
One picture with all its samples, sampled as the system does (steps x samples), with untrained weights; each system in a
process of its own. "s, of the steps timed" is measured, with as many steps as "steps timed" says. "computed" is not: it
is that time x steps / steps timed, and too long by what does not depend on the steps; it is empty where all steps were
timed. Memory on a CPU is what was resident beyond the libraries, on a GPU the most that JAX had allocated. The paper's
times are of another machine.
"""


def costs_section(rows: Sequence[Row]) -> list[str]:
    """One table for each device, size and number format; a sentence where there are no rows."""
    parts = ["## Table 2: memory and time at full size\n"]
    if not rows:
        return [*parts, "Not measured: there is no `table2.json`. `python -m benchmarks.table2` makes it.\n"]
    for device, size, dtype in distinct((row["device"], row["size"], row["dtype"]) for row in rows):
        own = [row for row in rows if (row["device"], row["size"], row["dtype"]) == (device, size, dtype)]
        lines = [_line(row) for row in sorted(own, key=lambda row: SYSTEMS.index(row["system"]))]
        made_with = [f"Measured by {software(own)}.\n"] if software(own) else []
        parts += [f"### {device}, {size} x {size}, {dtype}\n", *made_with, table(_COLUMNS, lines), ""]
        missing = [f"`{system}`" for system in SYSTEMS if all(row["system"] != system for row in own)]
        if missing:
            parts.append(f"Not measured: {', '.join(missing)}.\n")
    return [*parts, _NOTES]


def _line(row: Row) -> list[str]:
    paper = TABLE_2.get(row["system"], {})
    part = row["timed_steps"] < row["sampling_steps"]
    return [
        f"`{row['system']}`",
        f"{row['parameters']:,}",
        f"{row['weights_bytes'] / 2**20:.1f}",
        f"{row['sampling_steps']} x {row['samples']}",
        f"{row['timed_steps']}",
        f"{row['seconds']:.2f}",
        f"{row['seconds'] * row['sampling_steps'] / row['timed_steps']:.0f}" if part else "",
        f"{row['peak_bytes'] / 2**20:.0f}",
        ", ".join(paper[name] for name in ("file_mb", "seconds") if name in paper),
    ]
