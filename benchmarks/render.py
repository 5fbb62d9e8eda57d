"""Puts the tables of the committed result files into the pages: python -m benchmarks.render [--check]

A page below docs/ has `<!-- table: NAME -->` and `<!-- end -->` on lines of their own; what stands between is written
from benchmarks/results/*.json and docs/results/*.json by the entry NAME of `TABLES`. With --check nothing is written,
and the exit status is 1 where a page is not as it would be written.
"""

import argparse
import re
import statistics
import sys
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.fault_limits import PARTS, in_words, limit_in_words, short_of_limits
from benchmarks.machine import ROOT
from benchmarks.quality.figures import figure_name, groups, table1_figures
from benchmarks.quality.paper_figures import DATASETS, NOTES, TABLE_1, TABLE_2
from benchmarks.result_file import read_result
from benchmarks.speed.bars import bars_of
from configs.table1 import SYSTEMS
from ddim_jax.runtime.atomic import write_text

Row = Mapping[str, Any]
Columns = Mapping[str, str | Callable[[Row], str]]
"""Heading -> how a cell is made of a row: a format of its fields ("{median_s:.3g} s"), or a function of it."""
_MARKED = re.compile(r"(<!-- table: (\S+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
_ENOUGH_PICTURES, _LEAST_RATIO, _MOST_WAITED, _MOST_GROWTH = 10_000, 1.7, 0.1, 500
"""Bars of archives and of two processes: below so many pictures growth is chance; images a second of two by those of
one; share of the time waited for input; bytes of memory a picture."""


def table(columns: Columns, rows: Iterable[Row]) -> str:
    """A Markdown table; a cell whose field a row does not have, or has as None, is empty."""
    lines = [list(columns), ["---"] * len(columns)]
    lines += [[_cell(how, row) for how in columns.values()] for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(how: str | Callable[[Row], str], row: Row) -> str:
    try:
        return how.format_map(row) if isinstance(how, str) else how(row)
    except (KeyError, TypeError):  # None in a format of a number
        return ""


def distinct(values: Iterable[Hashable]) -> list:
    """Each value once, in the order in which they come."""
    return list(dict.fromkeys(values))


def plain(value: float, digits: int) -> str:
    """A number with so many digits, or all that stand before the point; never with an exponent for its size."""
    return f"{value:,.0f}" if value >= 10 ** (digits - 1) else f"{value:.{digits}g}"


def seconds(value: float) -> str:
    return f"{1e3 * value:.3g} ms" if value < 1.0 else f"{value:.3g} s"


def mebibytes(value: int) -> str:
    return f"{value / 2**20:,.0f} MiB"


def met(good: bool) -> str:
    return "met" if good else "**missed**"


def of_commit(about: Row) -> str:
    """The state of the code and the vectors of the processor, as far as a result file says them."""
    names = (("commit", "commit {}"), ("package_version", "version {}"), ("isa", "{}"))
    return ", ".join(form.format(about[name]) for name, form in names if about.get(name))


# Against PyTorch


def suite(root: Path, name: str) -> str:
    """The machine, the bars and all rows of benchmarks/results/NAME.json."""
    result = read_result(root / "benchmarks" / "results" / f"{name}.json")
    if not result:
        return "Not yet measured.\n"
    machine, rates = result["machine"], result["ceilings"]
    ceilings = [f"{rate / 1e9:.0f} GFLOP/s in {name}" for name, rate in rates.items() if name != "bytes"]
    about = [
        f"Machine: {machine['cpu']}, {machine['threads']} threads, {machine['memory_gib']} GiB, {machine['system']}; "
        f"device {machine['device']}; compiled CPU kernels {'' if machine['compiled_cpu_kernels'] else 'not '}built",
        "Versions: " + ", ".join(f"{name} {version}" for name, version in result["versions"].items()),
        *distinct(f"Code: {of_commit(row)}" for row in result["rows"] if row.get("commit")),
        f"Ceilings measured: {', '.join(ceilings)}, copies of {rates['bytes'] / 1e9:.0f} GB/s (read and written)",
        f"Command: `{result['command']}`",
        *(["A quick run, in part or whole: fewer repetitions than the page calls for."] if result["quick"] else []),
    ]
    bars = {
        "what": "{promise}",
        "bar": lambda bar: f"{'at most' if bar['at_most'] else 'at least'} {bar['limit']:g} {bar['unit'] or 'times'}",
        "measured": lambda bar: f"{bar['value']:.3g} {bar['unit']}".strip(),
        "": "{verdict}",
    }
    parts = ["".join(f"- {line}\n" for line in about), "### Bars\n"]
    parts.append(table(bars, [{**bar._asdict(), "verdict": bar.verdict} for bar in bars_of(result)]))
    parts += ["### All measurements\n", table(_SUITE, result["rows"])]
    parts += [
        f"{row['model']}, {row['case']}, {row['side']}: {row['note']}.\n" for row in result["rows"] if "note" in row
    ]
    parts += [
        f"{row['model']}, {row['case']}, {row['side']}: added later, timed in turns with "
        f"{', '.join(f'{seconds(took)} of {side}' for side, took in row['beside'].items())}.\n"
        for row in result["rows"]
        if "beside" in row
    ]
    troubles = [
        f"- {entry['case']}, {entry['side']}: not measured. {entry['reason']}\n" for entry in result["left_out"]
    ]
    troubles += [f"- {entry['reason']}\n" for entry in result["refused"]]
    return "\n".join([*parts, *(["### What could not be measured\n", "".join(troubles)] if troubles else [])])


_SUITE: Columns = {
    "case": lambda row: (
        "{case} {size} x {size} batch {batch}".format(**row) + (f", {row['steps']} steps" if row["steps"] else "")
    ),
    "network": "{model}",
    "format": "{dtype}",
    "side": "{side}",
    "time": lambda row: seconds(row["median_s"]),
    "spread": lambda row: seconds(row["spread_s"]),
    "runs": "{runs}",
    "compile": lambda row: seconds(row["compile_s"]),
    "peak memory": lambda row: mebibytes(row["peak_bytes"]),
    "GFLOP": lambda row: plain(row["flops"] / 1e9, 3),
    "GB": lambda row: plain(row["bytes"] / 1e9, 3),
    "roofline": lambda row: f"{plain(100 * row['roofline_fraction'], 2)} %",
    "difference": "{difference:.0e}",
}


# The comparison of the systems


def table1(root: Path) -> str:
    """Recall and Dice of all systems, a section for each data set of docs/results/table1.json."""
    result = read_result(root / "docs" / "results" / "table1.json")
    parts = []
    for comparison in table1_figures(_of_one_state(result["rows"])).values():
        for dataset in distinct(row["dataset"] for row in comparison):
            rows = [row for row in comparison if row["dataset"] == dataset]
            parts += _dataset(dataset, rows, result["on_the_same_pictures"], result["leads"])
    return "\n".join(parts)


def _of_one_state(rows: Sequence[Row]) -> list[Row]:
    """The rows with the settings of the last row of their data set and system: only such are seeds of one thing."""
    last = {_place(row): row["settings"] for row in rows}
    return [row for row in rows if row["settings"] == last[_place(row)]]


def _place(row: Row) -> tuple:
    return tuple(row[name] for name in ("dataset", "size", "networks", "device", "budget_s", "system"))


def _dataset(dataset: str, rows: Sequence[Row], parts: Sequence[Row], leads: Sequence[Row]) -> list[str]:
    first, there = rows[0], {(row["system"], row["seed"], row["settings"]) for row in rows}

    def of(known: Sequence[Row]) -> list[Row]:
        """The entries about these very rows."""
        about = [one for one in known if all(one[name] == first[name] for name in ("dataset", "size", "budget_s"))]
        return [one for one in about if (one["system"], one["seed"], one["settings"]) in there]

    code = distinct(of_commit(row) for row in rows if row.get("commit"))
    scored = [{**row, "paper": TABLE_1.get((row["system"], dataset))} for row in _by_system(rows)]
    text = [
        f"### {dataset}, {first['size']} x {first['size']}, {first['networks']} networks, {first['budget_s']:g} s\n",
        f"On {'; '.join([first['device'], first['dtype'], *code])}.\n",
        table(_SCORES | ({f"the paper ({DATASETS[dataset]})": "{paper[dice]}"} if dataset in DATASETS else {}), scored),
    ]
    missing = [f"`{system}`" for system in SYSTEMS if all(row["system"] != system for row in rows)]
    if missing:
        text.append(f"Not measured: {', '.join(missing)}.\n")
    for n in distinct(row["n"] for row in rows if row["n"] < row["n_in_split"]):
        same = [part for part in of(parts) if part["n"] == n]
        text += [f"All systems on the same {n} pictures:\n", table(_SAME, _by_system(same))]
    text += [
        "Picture by picture, with the bootstrap interval of the differences:\n",
        table(_LEADS, of(leads)),
        *(f"`{system}`: {NOTES[system, dataset]}\n" for system in SYSTEMS if (system, dataset) in NOTES),
        "What the budget bought:\n",
        table(_COSTS, scored),
    ]
    return text


def _by_system(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """For each system one row: that of its first seed, with all its rows in `mean` and `paper_protocol`."""
    found = []
    for system in sorted(distinct(row["system"] for row in rows), key=SYSTEMS.index):
        own = {name: [r for r in rows if (r["system"], r["protocol"]) == (system, name)] for name in ("mean", "paper")}
        found.append({**own["mean"][0], "by": own, "seeds": len(own["mean"])})
    return found


def _dice(protocol: str) -> Callable[[Row], str]:
    def cell(row: Row) -> str:
        seeds = row["by"][protocol]
        mean = statistics.fmean(one["dice_mean"] for one in seeds)
        if len(seeds) == 1:
            return "{:.4f} [{:.4f}, {:.4f}]".format(mean, *seeds[0]["dice_ci"])
        return f"{mean:.4f} +- {statistics.stdev(one['dice_mean'] for one in seeds):.4f}"

    return cell


def _over_seeds(field: str, form: str = "{:.4f}", protocol: str = "mean") -> Callable[[Row], str]:
    return lambda row: form.format(statistics.fmean(one[field] for one in row["by"][protocol]))


def _each(field: str) -> Callable[[Row], str]:
    """The values of the seeds, each once; None is "no"."""
    return lambda row: ", ".join(
        "no" if value is None else str(value) for value in distinct(one[field] for one in row["by"]["mean"])
    )


_SYSTEM: Columns = {"system": "`{system}`"}
_SAME: Columns = _SYSTEM | {"Dice, mean": _dice("mean"), "Dice, paper": _dice("paper"), "seeds": "{seeds}"}
_SCORES: Columns = _SYSTEM | {
    "Dice, mean": _dice("mean"),
    "recall": _over_seeds("recall_mean"),
    "pooled": _over_seeds("dice_pooled"),
    "one sample": _over_seeds("dice_single"),
    "Dice, paper": _dice("paper"),
    "recall, paper": _over_seeds("recall_mean", protocol="paper"),
    "pooled, paper": _over_seeds("dice_pooled", protocol="paper"),
    "ECE": _over_seeds("ece"),
    "Dice of 80%": _over_seeds("kept_dice"),
    "pictures": lambda row: "{n}".format(**row) + ("" if row["n"] == row["n_in_split"] else f" of {row['n_in_split']}"),
    "seeds": "{seeds}",
}
_COSTS: Columns = _SYSTEM | {
    "parameters": "{parameters:,}",
    "learning rate": _each("learning_rate"),
    "trained": _over_seeds("train_s", "{:.0f} s"),
    "steps": _over_seeds("steps", "{:.0f}"),
    "epochs": _over_seeds("epochs", "{:.1f}"),
    "picked at": _each("picked_step"),
    "x_0 clipped": _each("clip_x0"),
    "evaluations a picture": lambda row: (
        f"{row['sampling_steps']} x {row['samples']} = {row['sampling_steps'] * row['samples']}"
        + (", mirrored" if row["flips"] else "")
    ),
    "s a picture": _over_seeds("seconds_per_image", "{:.3g}"),
}
_LEADS: Columns = {
    "`lightweight_ddim` is ahead of": "`{system}`",
    "by, Dice": "{lead:+.4f} [{lead_ci[0]:+.4f}, {lead_ci[1]:+.4f}]",
    "pictures": "{n}",
    "seed": "{seed}",
}


def table2(root: Path) -> str:
    """Memory and time of one picture, from docs/results/table2.json."""
    rows = read_result(root / "docs" / "results" / "table2.json")["rows"]
    columns = _SYSTEM | {
        "parameters": "{parameters:,}",
        "weights, MiB": lambda row: f"{row['weights_bytes'] / 2**20:.1f}",
        "sampling": "{sampling_steps} x {samples}",
        "steps timed": "{timed_steps}",
        "s, of the steps timed": "{seconds:.2f}",
        "computed: s a picture": lambda row: (
            f"{row['seconds'] * row['sampling_steps'] / row['timed_steps']:.0f}"
            if row["timed_steps"] < row["sampling_steps"]
            else ""
        ),
        "peak MiB": lambda row: f"{row['peak_bytes'] / 2**20:.0f}",
        "paper: cost MB, file MB, s": lambda row: "{cost_mb}, {file_mb}, {seconds}".format(**TABLE_2[row["system"]]),
    }
    text = []
    for device, size, dtype in distinct((row["device"], row["size"], row["dtype"]) for row in rows):
        own = [row for row in rows if (row["device"], row["size"], row["dtype"]) == (device, size, dtype)]
        own.sort(key=lambda row: SYSTEMS.index(row["system"]))
        text += [f"### {device}, {size} x {size}, {dtype}\n", table(columns, own)]
    return "\n".join(text)


def steps(root: Path) -> str:
    """Dice against network evaluations, from docs/results/steps.json, a section for each data set."""
    trained = {
        "target": "{target}",
        "predicts": "{prediction}",
        "loss": "{loss}",
        "mask at +-": "{mask_scale:g}",
        "density of t": lambda row: "even" if row["timestep_power"] == 1 else f"t^{row['timestep_power'] - 1:g}",
        "shuffled": lambda row: "yes" if row["channel_shuffle"] else "no",
        "x_0 clipped": lambda row: "no" if row["clip_x0"] is None else f"+-{row['clip_x0']:g}",
        "mirrored": lambda row: "yes" if row["flips"] else "no",
        "steps trained": "{train_steps}",
        "in": "{train_s:.0f} s",
        "picked": "{picked_step}",
        "validation Dice": "{validation_dice:.4f}",
    }
    scored = {
        "target": "{target}",
        "sampler": "{sampler}",
        "steps x samples": "{steps} x {samples}",
        "evaluations": "{evaluations}",
        "Dice": "{dice_mean:.4f} [{dice_ci[0]:.4f}, {dice_ci[1]:.4f}]",
        "one sample": "{dice_single:.4f}",
        "ECE": "{ece:.4f}",
        "s a picture": "{seconds_per_image:.3g}",
    }
    text = []
    for rows in groups(read_result(root / "docs" / "results" / "steps.json")["rows"]):
        first, targets = rows[0], {row["target"]: row for row in reversed(rows)}
        n = (
            f"{first['n']} pictures"
            if first["n"] == first["n_in_split"]
            else "{n} of {n_in_split} pictures".format(**first)
        )
        text += [
            f"## {first['dataset']}, {first['size']} x {first['size']}, {first['split']} split\n",
            f"{first['networks']} networks, {first['budget_s']:g} s of training each, seed {first['seed']}, on "
            f"{first['device']}; {n}.\n",
            f"![Dice against evaluations and seconds](../results/{figure_name(first)})\n",
            table(trained, [targets[name] for name in distinct(row["target"] for row in rows)]),
            "".join(
                f"- {name}: highest Dice {_best(rows, name)}\n" for name in distinct(row["target"] for row in rows)
            ),
            table(scored, sorted(rows, key=lambda row: (row["evaluations"], row["target"]))),
        ]
    return "\n".join(text)


def _best(rows: Sequence[Row], target: str) -> str:
    """The best setting of all, of at most four evaluations and of one, chosen by these very rows."""
    found = []
    for label, most in (("at all", float("inf")), ("with at most 4 evaluations", 4), ("with one", 1)):
        own = [row for row in rows if row["target"] == target and row["evaluations"] <= most]
        best = max(own, key=lambda row: row["dice_mean"])
        found.append(f"{label} {best['dice_mean']:.4f} ({best['sampler']} {best['steps']} x {best['samples']})")
    return ", ".join(found)


# Starts, archives, processes, faults


def startup(root: Path) -> str:
    """The time of a call of sample.py besides its pictures."""
    columns = {
        "network": "{network} `{model}`",
        "size": "{size} x {size}",
        "device": "{device}",
        "kernels": lambda row: "yes" if row["compiled_cpu_kernels"] else "no",
        "first call": "{first_call_s} s",
        "later calls": "{call_s} s",
        "a picture": "{picture_s} s",
        "start": "{start_s} s",
        "calls timed": "{repeats}",
        "code": of_commit,
    }
    return table(columns, read_result(root / "docs" / "results" / "startup.json")["rows"])


def archive(root: Path) -> str:
    """Speed and memory of segmenting many files."""

    def many(row: Row, text: str) -> str:
        return text if row["pictures"] >= _ENOUGH_PICTURES else "too few to tell"

    columns = {
        "network": "{network}",
        "pictures": "{pictures:,} of {picture_size} x {picture_size}",
        "device": "{device}",
        "pictures a second": "{images_per_second:.1f}",
        "waited": "{waited_share:.1%}",
        f"at most {_MOST_WAITED:.0%}": lambda row: met(row["waited_share"] <= _MOST_WAITED),
        "memory": lambda row: mebibytes(row["peak_bytes"]),
        "held for a tenth": lambda row: f"{row['held_bytes_of_a_tenth'] / 2**20:.1f} MiB",
        "for all": lambda row: f"{row['held_bytes'] / 2**20:.1f} MiB",
        "growth": lambda row: many(row, f"{row['bytes_per_picture']:.1f} B a picture"),
        f"at most {_MOST_GROWTH} B": lambda row: many(row, met(row["bytes_per_picture"] <= _MOST_GROWTH)),
        "written": lambda row: f"{row['result_bytes'] / row['pictures'] / 1000:.1f} kB a picture",
        "on disk": lambda row: f"{row['result_disk_bytes'] / row['pictures'] / 1000:.1f} kB a picture",
        "ten million": lambda row: f"{10_000_000 / row['images_per_second'] / 3600:,.0f} hours",
        "code": of_commit,
    }
    return table(columns, read_result(root / "docs" / "results" / "archive.json")["rows"])


def processes(root: Path) -> str:
    """Images a second of one process and of two."""
    found = read_result(root / "docs" / "results" / "processes.json")
    columns = {
        "what": lambda row: (
            row["what"] + (f", {row['batch_of_one']} and {row['batch_of_two']} a step" if "batch_of_one" in row else "")
        ),
        "one process": "{one} a second",
        "two processes": "{two} a second",
        "times": "{ratio:.2f}",
        "in each turn": lambda row: ", ".join(f"{ratio:.2f}" for ratio in row["ratios"]),
        f"bar: {_LEAST_RATIO} times": lambda row: met(row["ratio"] >= _LEAST_RATIO),
    }
    about = f"At {found['size']} x {found['size']} on {found['device']}; {of_commit(found)}.\n\n"
    return about + table(columns, found["rows"])


def faults(root: Path) -> str:
    """A line for each part of docs/results/faults.json."""
    measured = read_result(root / "docs" / "results" / "faults.json")

    def survived(row: Row) -> str:
        if "failed" in row["found"]:
            return f"could not be measured: {row['found']['failed']}"
        return "; ".join(short_of_limits(row["part"], row["found"])) or "all"

    columns = {
        "fault": "{part}",
        "done": lambda row: f"{row['found'][row['first'].field]:,} {row['first'].words}",
        "survived": survived,
        "code": lambda row: of_commit(row["found"]),
    }
    return table(columns, [{"part": p, "first": PARTS[p][0], "found": measured[p]} for p in PARTS if p in measured])


def faults_of(root: Path, part: str) -> str:
    """All counts of one part, what went wrong one by one, and how it was measured."""
    found = read_result(root / "docs" / "results" / "faults.json").get(part)
    if found is None or "failed" in found:
        return "Not measured.\n" if found is None else f"Could not be measured: {found['failed']}\n"
    rows = [{"words": words, "found": found, "field": field, "limit": limit} for field, words, limit in PARTS[part]]
    columns = {
        "what": "{words}",
        "count": lambda row: in_words(row["found"][row["field"]]),
        "expected": lambda row: limit_in_words(row["limit"]),
    }
    text = [table(columns, rows)]
    if "readers" in found:
        each = {"reader": "{name}", "tried": "{executions:,}", "read": "{read:,}", "refused": "{refused:,}"}
        each["unexpected"] = "{unexpected:,}"
        text.append(table(each, [{"name": name, **counts} for name, counts in found["readers"].items()]))
    for kind, ones in found.get("offenders", {}).items():
        text += [f"- `{kind}: {one}`\n" for one in ([ones] if isinstance(ones, str) else ones)]
    where = ", ".join(str(found[name]) for name in ("device", "cpu", "system") if name in found)
    rules = "".join(f"- {term}: {rule}\n" for term, rule in found.get("rules", {}).items())
    text.append(
        f"Measured on {where}, in {found['measured_in_s']:,.0f} s; {of_commit(found)}. "
        f"`python -m tests.slow.trials {part}` measures it again.\n"
    )
    return "\n".join([*text, *([rules] if rules else [])])


TABLES: dict[str, Callable[[Path], str]] = {
    "cpu": lambda root: suite(root, "cpu"),
    "gpu": lambda root: suite(root, "gpu"),
    "table1": table1,
    "table2": table2,
    "steps": steps,
    "startup": startup,
    "archive": archive,
    "processes": processes,
    "faults": faults,
    **{f"faults-{part}": lambda root, part=part: faults_of(root, part) for part in PARTS},
}


def rendered(page: str, root: Path = ROOT) -> str:
    """A page with its tables as the result files have them.

    Raises:
      ValueError: it asks for a table that is not in `TABLES`, or a table of it has no end.
    """

    def write(found: re.Match) -> str:
        if found[2] not in TABLES:
            raise ValueError(f"there is no table {found[2]}; expected one of {', '.join(TABLES)}")
        return f"{found[1]}{TABLES[found[2]](root)}{found[4]}"

    text = _MARKED.sub(write, page)
    if text.count("<!-- table: ") != len(_MARKED.findall(text)):
        raise ValueError("a table has no <!-- end -->")
    return text


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; status 1 where a page would change")
    given = parser.parse_args(arguments)
    stale = []
    for path in sorted((ROOT / "docs").rglob("*.md")):
        before = path.read_text(encoding="utf-8")
        after = rendered(before)
        if after != before:
            stale.append(path.relative_to(ROOT))
            if not given.check:
                write_text(path, after)
    print("\n".join(map(str, stale)) or "every page is as its result files say")
    return 1 if stale and given.check else 0


if __name__ == "__main__":
    sys.exit(main())
