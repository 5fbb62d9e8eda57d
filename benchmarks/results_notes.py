"""What the rows of Table 1 say in sentences: what made them, and what in them cannot be compared."""

import shlex
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any

from configs.table1 import SYSTEMS

Row = Mapping[str, Any]
GROUP = ("dataset", "size", "networks", "device", "budget_s")
"""Rows that agree in all of this stand in one table; what is compared is compared within it."""

_FAR = 1.2
"""A training that took so many times its budget, or so small a part of it, is told."""


def distinct(values: Iterable[Hashable]) -> list:
    """Each value once, in the order in which they come."""
    return list(dict.fromkeys(values))


def of_one_state(rows: Sequence[Row]) -> tuple[list[Row], list[str]]:
    """The rows without seeds that have other settings than the others of their system, and a sentence for each.

    Seeds are averaged, and runs with other settings (another state of the code, other options) are not seeds of one
    thing. Kept are the settings that most seeds have; where that does not decide, those that come last.
    """
    kept, said = [], []
    for group in distinct(_place(row) for row in rows):
        own = [row for row in rows if _place(row) == group]
        found = [row.get("settings") for row in own]
        best = max(distinct(found), key=lambda name: (found.count(name), -found[::-1].index(name)))
        kept += [row for row in own if row.get("settings") == best]
        for settings in distinct(found):
            if settings != best:
                seeds = distinct(str(row["seed"]) for row in own if row.get("settings") == settings)
                said.append(
                    f"`{own[0]['system']}` on {own[0]['dataset']}: seed {', '.join(seeds)} has other settings "
                    f"({settings}, the others {best}): of another state of the code or with other options, and left "
                    "out here.\n"
                )
    order = {id(row): place for place, row in enumerate(rows)}
    return sorted(kept, key=lambda row: order[id(row)]), said


def differences(rows: Sequence[Row]) -> list[str]:
    """Sentences on what differs between the data sets of one comparison though it is of the same system.

    Args:
      rows: of one size, kind of networks, device and budget.
    """
    said = []
    states = _by_dataset(rows, lambda row: row.get("settings"))
    if states:
        said.append(
            f"**Of different states of the code, or with different options**, between data sets: {states} (digests of "
            "the settings). Such a line cannot be set against the same system's on another data set, and the lines "
            "beside it may be of another state than it.\n"
        )
    steps = _by_dataset(rows, lambda row: row["steps"])
    if steps:
        said.append(
            f"Steps under the same budget, where they differ between data sets or seeds: {steps}. The trial that says "
            "how many fit gave another time of a step.\n"
        )
    return said


def commands(rows: Sequence[Row]) -> list[str]:
    """The commands that make the rows of one comparison, as far as the rows tell, without their workdir."""
    wanted: dict[tuple, list[str]] = {}
    for dataset in distinct(row["dataset"] for row in rows):
        parts: dict[tuple, list[str]] = {}
        for system in SYSTEMS:
            own = [row for row in rows if (row["dataset"], row["system"]) == (dataset, system)]
            for overrides, limit in distinct(_options(row) for row in own):
                seeds = 1 + max(row["seed"] for row in own if _options(row) == (overrides, limit))
                parts.setdefault((seeds, overrides), []).append(system if limit is None else f"{system}={limit}")
        for (seeds, overrides), systems in parts.items():
            wanted.setdefault((seeds, overrides, tuple(systems)), []).append(dataset)
    first = rows[0]
    found = []
    for (seeds, overrides, limited), datasets in wanted.items():
        systems = [name.partition("=")[0] for name in limited]
        words = ["python", "-m", "benchmarks.table1", "--data", *datasets, "--budget", f"{first['budget_s']:g}"]
        words += ["--size", str(first["size"]), "--seeds", str(seeds)]
        words += ["--networks", first["networks"]] if first["networks"] != "small" else []
        words += ["--any-device"] if first["networks"] == "full" and "threads" in first["device"] else []
        words += ["--systems", *systems] if set(systems) != set(SYSTEMS) else []
        limits = [name for name in limited if "=" in name]
        words += ["--limit", *limits] if limits else []
        found.append(shlex.join([*words, *overrides]))
    return found


def software(rows: Sequence[Row]) -> str:
    """The version of JAX and whether the compiled CPU kernels were there; "" if no row says it."""
    known = [row for row in rows if "jax" in row]
    if not known:
        return ""
    found = distinct(
        f"JAX {row['jax']} {'with' if row['compiled_cpu_kernels'] else 'without'} the compiled CPU kernels"
        for row in known
    )
    unknown = distinct(f"`{row['system']}`" for row in rows if "jax" not in row)
    return " or ".join(found) + (f" (not recorded for {', '.join(unknown)})" if unknown else "")


def far_from_budget(rows: Sequence[Row]) -> str:
    """Which trainings took another time than their budget; "" if none did."""
    far = [
        f"`{row['system']}` {row['train_s']:.0f} s"
        for row in rows
        if row["protocol"] == "calibrated" and not 1 / _FAR <= row["train_s"] / row["budget_s"] <= _FAR
    ]
    if not far:
        return ""
    return (
        f"**Not trained in {rows[0]['budget_s']:g} s** but in: {', '.join(far)}. Their steps are as many as a short "
        "trial said would fit; in the training a step took another time than in the trial.\n"
    )


def limited(rows: Sequence[Row]) -> str:
    """Which systems were scored on part of the split; "" if none was."""
    parts = distinct(
        f"`{row['system']}` on {row['n']} of {row['n_in_split']}" for row in rows if row["n"] < row["n_in_split"]
    )
    if not parts:
        return ""
    return (
        f"Not scored on all test pictures: {', '.join(parts)}, spread evenly over the split. **Those lines cannot be "
        "compared with the others of this table.**\n"
    )


def _place(row: Row) -> tuple:
    return (*(row[name] for name in GROUP), row["system"])


def _options(row: Row) -> tuple:
    return tuple(row.get("overrides", ())), row.get("limit")


def _by_dataset(rows: Sequence[Row], value: Callable[[Row], Hashable]) -> str:
    """`system` A (these data sets), B (those); ..., of the systems that have several values."""
    told = []
    for system in SYSTEMS:
        own = [row for row in rows if row["system"] == system]
        values = distinct(value(row) for row in own)
        if len(values) > 1:
            places = (
                f"{name} ({', '.join(distinct(row['dataset'] for row in own if value(row) == name))})"
                for name in values
            )
            told.append(f"`{system}` {', '.join(places)}")
    return "; ".join(told)
