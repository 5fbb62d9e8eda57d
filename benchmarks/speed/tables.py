"""The tables of the measurements of speed: against PyTorch, of starts, archives, two processes, exported programs."""

from pathlib import Path

from benchmarks.result_file import read_result, read_rows
from benchmarks.speed.bars import bars_of
from benchmarks.tables import Columns, Row, distinct, groups_of, mebibytes, met, of_commit, plain, seconds, table

_ENOUGH_PICTURES, _LEAST_RATIO, _MOST_WAITED, _MOST_GROWTH, _LEAST_ON_A_GPU = 10_000, 1.7, 0.1, 500, 1500
"""Targets of archives and of two processes: below so many images growth is chance; images a second of two by those of
one; share of the time waited for input; bytes of memory an image; images of 256 x 256 a second on a GPU."""


def suite(root: Path, name: str) -> str:
    """The machine, the targets and all rows of benchmarks/results/NAME.json."""
    result = read_result(root / "benchmarks" / "results" / f"{name}.json")
    if not result:
        return "Not yet measured.\n"
    machine, rates = result["machine"], result["ceilings"]
    code = distinct(of_commit(row) for row in result["rows"])
    ceilings = [f"{rate / 1e9:.0f} GFLOP/s in {name}" for name, rate in rates.items() if name != "bytes"]
    about = [
        f"Machine: {machine['cpu']}, {machine['threads']} threads, {machine['memory_gib']} GiB, {machine['system']}; "
        f"device {machine['device']}; compiled CPU kernels {'' if machine['compiled_cpu_kernels'] else 'not '}built",
        "Versions: " + ", ".join(f"{name} {version}" for name, version in result["versions"].items()),
        *([f"Code: {code[0]}"] if len(code) == 1 else []),
        f"Ceilings measured: {', '.join(ceilings)}, copies of {rates['bytes'] / 1e9:.0f} GB/s (read and written)",
        f"Command: `{result['command']}`",
        *(["A quick run, in part or whole: fewer repetitions than the page calls for."] if result["quick"] else []),
    ]
    columns = {
        "what": "{promise}",
        "target": lambda row: (
            f"{'at most' if row['at_most'] else 'at least'} {row['limit']:g} {row['unit'] or 'times'}"
        ),
        "measured": lambda row: f"{row['value']:.3g} {row['unit']}".strip(),
        "": "{verdict}",
    }
    parts = ["".join(f"- {line}\n" for line in about), "### Targets\n"]
    found = [{**one._asdict(), "verdict": one.verdict} for one in bars_of(result)]
    measured = [one for one in found if one["value"] is not None]
    parts.append(table(columns, measured))
    if measured != found:
        parts.append(f"Not measured: the other {len(found) - len(measured)} of {len(found)}.\n")
    parts += ["### All measurements\n", table(_SUITE | ({"code": of_commit} if len(code) > 1 else {}), result["rows"])]
    if any(map(_unsteady, result["rows"])):
        parts.append("\\* The spread exceeds the median: ratios of such a row are the least sure.\n")
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


def _unsteady(row: Row) -> bool:
    return bool(row["median_s"]) and row["spread_s"] > row["median_s"]


_SUITE: Columns = {
    "case": lambda row: (
        "{case} {size} x {size} batch {batch}".format(**row)
        + (f" of {row['pictures']} images" if "pictures" in row else "")
        + (f", {row['steps']} steps" if row["steps"] else "")
    ),
    "network": "{model}",
    "format": "{dtype}",
    "side": "{side}",
    "time": lambda row: seconds(row["median_s"]),
    "spread": lambda row: seconds(row["spread_s"]) + (" \\*" if _unsteady(row) else ""),
    "runs": "{runs}",
    "compile": lambda row: seconds(row["compile_s"]),
    "peak memory": lambda row: mebibytes(row["peak_bytes"]),
    "GFLOP": lambda row: plain(row["flops"] / 1e9, 3),
    "GB": lambda row: plain(row["bytes"] / 1e9, 3),
    "roofline": lambda row: f"{plain(100 * row['roofline_fraction'], 2)} %",
    "difference": "{difference:.0e}",
}


def startup(root: Path) -> str:
    """The time of a call of sample.py besides its images."""
    columns = {
        "network": "{network} `{model}`",
        "size": "{size} x {size}",
        "device": "{device}",
        "kernels": lambda row: "yes" if row["compiled_cpu_kernels"] else "no",
        "first call": "{first_call_s} s",
        "later calls": "{call_s} s",
        "an image": "{picture_s} s",
        "start": "{start_s} s",
        "calls timed": "{repeats}",
        "code": of_commit,
    }
    return table(columns, read_result(root / "docs" / "results" / "startup.json")["rows"])


def _of_many(row: Row, text: str) -> str:
    return text if row["pictures"] >= _ENOUGH_PICTURES else "too few to tell"


def growth(row: Row) -> str:
    """Words the growth of memory with each image, of a row of archive.json."""
    return _of_many(row, f"{row['bytes_per_picture']:.1f} B an image")


def archive(root: Path) -> str:
    """Speed and memory of segmenting many files."""
    columns = {
        "network": "{network}",
        "images": "{pictures:,} of {picture_size} x {picture_size}",
        "device": "{device}",
        "images a second": "{images_per_second:.1f}",
        f"target on a GPU: at least {_LEAST_ON_A_GPU:,}": lambda row: (
            met(row["images_per_second"] >= _LEAST_ON_A_GPU)
            if (row["network"], row["picture_size"]) == ("recommended", 256) and "threads" not in row["device"]
            else ""
        ),
        "waited for input": "{waited_share:.1%}",
        f"target: at most {_MOST_WAITED:.0%}": lambda row: met(row["waited_share"] <= _MOST_WAITED),
        "peak memory": lambda row: mebibytes(row["peak_bytes"]),
        "memory, a tenth of them": lambda row: f"{row['held_bytes_of_a_tenth'] / 2**20:.1f} MiB",
        "memory, all of them": lambda row: f"{row['held_bytes'] / 2**20:.1f} MiB",
        "growth of memory": growth,
        f"target: at most {_MOST_GROWTH} B": lambda row: _of_many(row, met(row["bytes_per_picture"] <= _MOST_GROWTH)),
        "results, written": lambda row: f"{row['result_bytes'] / row['pictures'] / 1000:.1f} kB an image",
        "results, on disk": lambda row: f"{row['result_disk_bytes'] / row['pictures'] / 1000:.1f} kB an image",
        "time for ten million": lambda row: f"{10_000_000 / row['images_per_second'] / 3600:,.0f} hours",
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
        f"target: {_LEAST_RATIO} times": lambda row: met(row["ratio"] >= _LEAST_RATIO),
    }
    about = f"At {found['size']} x {found['size']} on {found['device']}; {of_commit(found)}.\n\n"
    return about + table(columns, found["rows"])


def exported(root: Path) -> str:
    """The time of exported programs beside JAX."""
    found = read_result(root / "docs" / "results" / "exported.json")
    if not found:
        return "Not yet measured.\n"
    columns = {
        "network": "`{network}`, {size} x {size}",
        "steps x samples": "{steps} x {samples}",
        "by": lambda row: {"jax": "JAX" + (" with kernels" if row["kernels"] else "")}.get(row["by"], row["by"]),
        "an image": lambda row: seconds(row["median_s"]),
        "times JAX": "{times:.2f}",
        "file": lambda row: f"{row['bytes'] / 2**20:.1f} MiB",
        "largest difference": "{probability:.1e}",
    }
    places = dict.fromkeys(f"On {row['device']}, {row['threads']} threads; {of_commit(row)}." for row in found["rows"])
    return "\n".join(places) + "\n\n" + table(columns, found["rows"])


def step_profile(root: Path, network: str = "trunk_ddim") -> str:
    """Shares of a network's training step, a column for each state of the code, and the rates of its convolutions."""
    rows = [row for row in read_rows(root / "docs" / "results" / "step_profile.json") if row["network"] == network]
    if not rows:
        return "Not yet measured.\n"
    last = next((row for row in reversed(rows) if row["parts"]), rows[-1])
    kinds = distinct(kind for row in reversed(rows) for kind in row["parts"])
    lines = [{"of": kind, **{row["label"]: row["parts"].get(kind) for row in rows}} for kind in kinds]
    fields = {"overhead of calls": "overhead_s", "**a step**": "step_s"}
    lines += [{"of": words, **{row["label"]: row[field] for row in rows}} for words, field in fields.items()]
    lines += [
        {"of": f"{words} it", **{row["label"]: row["compile_cpu_s"][name] for row in rows}}
        for words, name in (("tracing", "trace"), ("lowering", "lower"), ("compiling", "compile"))
    ]
    about = f"On {last['device']}, one thread; " + "; ".join(f"{row['label']}: {of_commit(row)}" for row in rows)
    columns: dict = {"of a step": "{of}"}
    columns |= {row["label"]: lambda line, label=row["label"]: seconds(line[label]) for row in rows}
    rates = {
        "convolutions, " + last["label"]: "{kind}",
        "images of": "{side} x {side}",
        "time": lambda row: seconds(row["seconds"]),
        "GFLOP/s": lambda row: f"{row['flops'] / row['seconds'] / 1e9:.0f}",
    }
    of_convolutions = "\n" + table(rates, last["convolutions"]) if last["convolutions"] else ""
    return f"{about}.\n\n{table(columns, lines)}{of_convolutions}"


def tiles(root: Path) -> str:
    """Times of a 3 x 3 convolution and its gradients by direct sums and by minimal filtering, a line for each shape."""
    found = read_result(root / "benchmarks" / "results" / "tiles_avx512.json")
    if not found:
        return "Not yet measured.\n"
    machine, names = found["machine"], {0: "direct sums", 2: "tiles of 2 x 2", 4: "tiles of 4 x 4"}
    by_case = groups_of(({**row, "shape": tuple(row["case"])} for row in found["rows"]), ["shape"])
    lines = [{"shape": rows[0]["shape"], **{names[row["tile"]]: row for row in rows}} for rows in by_case]
    columns: dict = {
        "images": lambda line: "{} of {} x {}".format(line["shape"][0], *[line["shape"][1]] * 2),
        "channels, in groups": lambda line: "{} to {}, {}".format(*line["shape"][2:]),
    }
    for name in names.values():
        columns[name] = "{%s[forward_ms]:.3g} / {%s[input_ms]:.3g} / {%s[kernel_ms]:.3g}" % ((name,) * 3)
    return f"On {machine['device']}, {of_commit(machine)}.\n\n{table(columns, lines)}"
