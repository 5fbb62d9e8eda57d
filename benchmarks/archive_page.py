"""docs/results/archive.md from docs/results/archive.json and processes.json alone."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.markdown import table, verdict
from ddim_jax.runtime.atomic import write_text

Row = Mapping[str, Any]
PICTURES, SIDE = 10_000_000, 256
MOST_WAITED = 0.10
"""The share of the time in which the device may wait for pictures to be read, on one process."""
MOST_BYTES_PER_PICTURE = 500
"""Of memory, by which a run may grow with the pictures of an archive: 5 GB for ten million. What is held is told in
docs/scale.md; the rest is room for what an allocator keeps in a longer run."""
ENOUGH_PICTURES = 10_000
"""Below, a few MB by which two runs differ by chance are more than what is asked for."""
LEAST_RATIO = 1.7
"""Images a second of two processes with a thread each, by those of one."""

_INTRODUCTION = """\
# Archives and several processes, in numbers

Written by `python -m benchmarks.report` from `archive.json` and `processes.json`, which `python -m benchmarks.archive`
and `python -m benchmarks.processes` measure; do not edit. What it means stands in [scale.md](../scale.md).

One process, generated pictures, networks with random weights: "tiny" has two levels of 8 channels, "recommended" is
that of configs/fast.py, with one step and four samples a picture. "waited" is the share of the time in which the
device could have waited for a picture to be read. "memory" is the most that was resident. "held" is what was resident
near the end of a run, each time after malloc had given back what was free, of a fresh process that segmented a tenth of
the pictures and of one that segmented all; "growth" is their difference by the pictures that the second had more; what
the second held in each tenth of its time stands in `archive.json` ("held_curve"). All threads
shared one arena of malloc (one for each, as is usual, takes some tens of MB more, whatever the number of pictures).
"written" are the sizes of the files a picture, "on disk" the blocks they take.
"""
_HEAD = (
    *("network", "pictures", "device", "pictures a second", "waited", "memory", "held for a tenth", "for all"),
    *("growth", "written", "on disk"),
)
_HEAD_PROCESSES = ("what", "one process", "two processes", "times", "in each turn", f"bar: {LEAST_RATIO} times")


def write(root: Path) -> Path | None:
    """Writes `root`/docs/results/archive.md; None where neither file is there, and then nothing is written."""
    folder = root / "docs" / "results"
    found = {name: _read(folder / f"{name}.json") for name in ("archive", "processes")}
    if not any(found.values()):
        return None
    parts = [_INTRODUCTION]
    if found["archive"]:
        rows = found["archive"]["rows"]
        parts += [table(_HEAD, [_cells(row) for row in rows]), "", _bars(rows), *_large_archive(rows)]
    if found["processes"]:
        parts += _processes(found["processes"])
    write_text(folder / "archive.md", "\n".join(parts))
    return folder / "archive.md"


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def _cells(row: Row) -> tuple[str, ...]:
    side = row["picture_size"]
    return (
        row["network"],
        f"{row['pictures']:,} of {side} x {side}",
        row["device"],
        f"{row['images_per_second']:.1f}",
        f"{row['waited_share']:.1%}",
        f"{row['peak_bytes'] / 2**20:.0f} MiB",
        f"{row['held_bytes_of_a_tenth'] / 2**20:.1f} MiB",
        f"{row['held_bytes'] / 2**20:.1f} MiB",
        f"{row['bytes_per_picture']:.1f} B a picture" if row["pictures"] >= ENOUGH_PICTURES else "too few to tell",
        f"{row['result_bytes'] / row['pictures'] / 1000:.1f} kB a picture",
        f"{row['result_disk_bytes'] / row['pictures'] / 1000:.1f} kB a picture",
    )


def _bars(rows: Sequence[Row]) -> str:
    """What was asked for, and whether each row has it."""
    head = (
        *("network", "pictures", "device"),
        f"waited: at most {MOST_WAITED:.0%}",
        f"growth: at most {MOST_BYTES_PER_PICTURE} B a picture",
    )
    cells = [
        (
            *_cells(row)[:3],
            verdict(row["waited_share"] <= MOST_WAITED),
            verdict(row["bytes_per_picture"] <= MOST_BYTES_PER_PICTURE)
            if row["pictures"] >= ENOUGH_PICTURES
            else "too few to tell",
        )
        for row in rows
    ]
    return table(head, cells) + "\n"


def _large_archive(rows: Sequence[Row]) -> list[str]:
    """What ten million pictures cost at the speeds that were measured."""
    own = [row for row in rows if row["network"] == "recommended" and row["picture_size"] == SIDE]
    if not own:
        return []
    parts = [f"## Ten million pictures of {SIDE} x {SIDE}\n"]
    for row in own:
        hours = PICTURES / row["images_per_second"] / 3600
        written = PICTURES * row["result_bytes"] / row["pictures"]
        on_disk = PICTURES * row["result_disk_bytes"] / row["pictures"]
        index = PICTURES * row["index_bytes"] / row["pictures"]
        parts.append(
            f"At the speed of the recommended configuration on {row['device']}: {hours:,.0f} hours, that is "
            f"{hours / 24:,.0f} days of one such process; {written / 1e9:,.0f} GB of masks and index, "
            f"{index / 1e9:.1f} GB of it the index, which take {on_disk / 1e9:,.0f} GB of blocks. Pictures of "
            f"{3 * SIDE**2 / 1e3:.0f} kB each, if they are not packed, are {3 * SIDE**2 * PICTURES / 1e12:.1f} TB to "
            "read.\n"
        )
    if all("threads" in row["device"] for row in own):
        parts.append("No GPU was measured, so GPU-hours are not known.\n")
    return parts


def what_of(row: Row) -> str:
    """What a row of processes.json measured, with the pictures of a step of one process and of two."""
    batches = [row[name] for name in ("batch_of_one", "batch_of_two") if name in row]
    return ", ".join([row["what"], *([f"{batches[0]} and {batches[1]} a step"] if batches else [])])


def _processes(found: Mapping[str, Any]) -> list[str]:
    lines = [
        (
            what_of(row),
            f"{row['one']} a second",
            f"{row['two']} a second",
            f"{row['ratio']:.2f}",
            ", ".join(f"{ratio:.2f}" for ratio in row["ratios"]),
            verdict(row["ratio"] >= LEAST_RATIO),
        )
        for row in found["rows"]
    ]
    return [
        "## A second process\n",
        f"Images a second at {found['size']} x {found['size']} on {found['device']}, one thread a process, tied to a "
        "processor of its own as the system counts them. Behind training stand the pictures of a step, of one process "
        "and of two together.\n",
        table(_HEAD_PROCESSES, lines),
        "",
    ]
