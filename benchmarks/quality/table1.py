"""The systems of configs/table1.py, trained under one budget of time and scored on the same images, as in Table 1.

python -m benchmarks.quality.table1 --data ROOT... --budget SECONDS --size N [--systems ...] [--config.FIELD=VALUE ...]

Writes docs/results/table1.json after every run; `python -m benchmarks.render` puts its tables into the pages.
Interrupted, the same command goes on: rows that are there are kept, and a training goes on from its last checkpoint.
All systems come before the next data set and all data sets before the next seed, so that what is done first is a whole
table. Exit status 1 if a run failed; the others are done all the same. Where a system was scored on part of the test
images (--limit), the scores of every system on that part are written as well, from what the runs left behind.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import ROOT, provenance
from benchmarks.quality.figures import draw_table1
from benchmarks.quality.rows import IDENTITY, leads, on_the_same_pictures
from benchmarks.quality.runs import (
    TRIAL_STEPS,
    VALIDATIONS,
    Run,
    RunFailed,
    carry_out,
    check_networks,
    parse_runs,
    run_parser,
    run_resumable,
    this_machine,
)
from benchmarks.result_file import identity, merged, read_result, read_rows, write_rows
from configs.table1 import SYSTEMS
from ddim_jax.runtime.errors import report_input_errors

OUTPUT = ROOT / "docs" / "results" / "table1.json"
RULES = {
    "budget": (
        "budget_s are seconds of training steps; compilation, validation, checkpoints and evaluation are apart. A "
        f"trial of {TRIAL_STEPS} steps says how many fit, by the fastest of its parts; train_s is what they took"
    ),
    "checkpoint": (
        f"the highest Dice on the validation split, of {VALIDATIONS}, with one sample by DDIM of "
        "train.validation_steps steps; the test split is scored once"
    ),
    "n": "where n is below n_in_split, n images spread evenly over the split from the first to the last",
    "on_the_same_pictures": "where n is below n_in_split, the scores of every system on those n images",
    "leads": (
        "Dice (protocol mean) of lightweight_ddim less that of the system, mean over the n images that both were "
        "scored on; lead_ci is a 95% percentile bootstrap over these differences"
    ),
    "dice_ci": "95% percentile bootstrap over the test images",
    "dice_single": "of one sample alone, averaged over the samples of an image",
    "protocols": "ddim_jax/aggregation/protocols.py; both are scored on the same samples",
}


def runs(given: argparse.Namespace, overrides: Sequence[str], device: str) -> list[Run]:
    """All runs that were asked for, the most valuable first."""
    roots = [Path(root) for root in given.data]
    return [
        Run(
            system=system,
            data=root,
            networks=given.networks,
            size=given.size,
            budget_s=given.budget,
            seed=seed,
            limit=given.limit.get(system),
            device=device,
            overrides=tuple(overrides),
        )
        for seed in range(given.seeds)
        for root in roots
        for system in SYSTEMS
        if system in given.systems
    ]


def make(given: argparse.Namespace, overrides: Sequence[str]) -> int:
    """Carries out the runs that are missing in the output; the exit status."""
    output, workdir = given.output, given.workdir
    machine = this_machine()
    check_networks(given, machine)
    rows = read_rows(output)
    failed = []
    for run in runs(given, overrides, machine["device"]):
        name = f"{run.dataset} {run.system} seed {run.seed}"
        if _is_there(run, rows):
            print(f"{name}: in {output} already", flush=True)
            continue
        try:
            new = carry_out(run, workdir, lambda text, name=name: print(f"{name}: {text}", flush=True))
        except RunFailed as error:
            failed.append(f"{name}: {error}")
            print(f"error: {failed[-1]}", file=sys.stderr, flush=True)
            continue
        software = {name: machine[name] for name in ("compiled_cpu_kernels", "jax")} | provenance()
        rows = merged(rows, [{**row, **software} for row in new], IDENTITY)
        _write(output, rows, workdir)
        print(f"{name}: {_scores(new)}", flush=True)
    if rows:  # also where none is new: the folders may hold what an earlier call did not look for
        _write(output, rows, workdir)
        draw_table1(output.parent, rows)
    print(f"{output}: {len(rows)} rows, {len(failed)} runs failed")
    return 1 if failed else 0


def _write(output: Path, rows: Sequence[dict[str, Any]], workdir: Path) -> None:
    """Writes the table, with what the folders of the runs hold besides the rows."""
    before = read_result(output)
    parts = on_the_same_pictures(rows, workdir, before.get("on_the_same_pictures", ()))
    ahead = leads(rows, workdir, before.get("leads", ()))
    write_rows(output, RULES, rows, on_the_same_pictures=parts, leads=ahead)


def _is_there(run: Run, rows: Sequence[dict[str, Any]]) -> bool:
    """Returns True if the rows of this run, with its very settings, are among `rows`."""
    return any(
        identity({**run.about, "protocol": row["protocol"]}, IDENTITY) == identity(row, IDENTITY)
        and (row["settings"], row["limit"]) == (run.settings, run.limit)
        for row in rows
    )


def _scores(rows: Sequence[dict[str, Any]]) -> str:
    scores = ", ".join(f"{row['dice_mean']:.4f} ({row['protocol']})" for row in rows)
    return f"Dice {scores}, {rows[0]['epochs']} epochs in {rows[0]['train_s']} s"


def _limit(text: str) -> tuple[str, int]:
    system, _, number = text.partition("=")
    if system not in SYSTEMS or not number.isdigit() or int(number) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}; expected SYSTEM=N, such as medsegdiff=25")
    return system, int(number)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = run_parser(__doc__, OUTPUT)
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=SYSTEMS, help="default: all")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="seeds 0 to N - 1; default: 3")
    parser.add_argument(
        "--limit", nargs="+", type=_limit, default=[], metavar="SYSTEM=N", help="N test images for slow systems"
    )
    given, overrides = parse_runs(parser, arguments)
    given.limit = dict(given.limit)
    if given.seeds < 1:
        parser.error("--seeds has to be at least 1")
    with report_input_errors():
        return make(given, overrides)


if __name__ == "__main__":
    run_resumable(main)
