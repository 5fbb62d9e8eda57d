"""The benchmark against PyTorch: python -m benchmarks.speed --suite cpu|gpu|small [--quick]

Writes benchmarks/results/<suite>.json after every case; `python -m benchmarks.render` puts the tables into the pages.
Needs the extra `bench` (pip install '.[bench]' in a checkout). Exit status 1 if a side disagreed, or could not be run
where it should.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import ROOT, describe_host, provenance
from benchmarks.result_file import identity
from benchmarks.speed.cases import (
    CASE_FIELDS,
    DTYPES,
    KINDS,
    MODELS,
    SIDES,
    SUITES,
    Case,
    chosen,
    suite_cases,
    unmeasured,
)
from benchmarks.speed.measure import Disagreement, Effort, measure_case, measure_loop
from benchmarks.worker import Worker, WorkerError
from ddim_jax.runtime.atomic import write_json
from ddim_jax.runtime.errors import InputError, report_input_errors

RESULTS = ROOT / "benchmarks" / "results"
_FULL, _QUICK, _TINY = Effort(runs=15, seconds=20.0, visits=2), Effort(runs=3, seconds=5.0), Effort(runs=2, seconds=0.1)
_LOOP_STEPS, _TINY_LOOP_STEPS = 20, 2
_MAY_FAIL = ("torch_compile",)
"""Sides that do not run on every machine: left out of the result, with the reason."""


def run(given: argparse.Namespace, command: str) -> int:
    """Measures what was asked for; the exit status.

    Raises:
      InputError: the suite cannot be measured here, or not added to the result file.
    """
    cpus = sorted(os.sched_getaffinity(0))
    if given.threads is not None and not 1 <= given.threads <= len(cpus):
        raise InputError(f"--threads is {given.threads}; this process may use 1 to {len(cpus)} processors")
    cpus = cpus[: given.threads]
    output = given.output or RESULTS / f"{given.suite}.json"
    if given.suite != "gpu":
        _check_isa(output)
    cases = chosen(
        suite_cases(given.suite, quick=given.quick, tiny=given.tiny),
        kinds=given.cases,
        models=given.models,
        dtypes=given.dtypes,
        sides=given.sides,
    )
    # The suites of a CPU leave a GPU alone; the GPU suite of a machine without one runs on its CPU, for a trial.
    of_suite = {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""} if given.suite != "gpu" else {}

    def worker(factory: str, *arguments: Any, **more: str) -> Worker:
        return Worker(factory, *arguments, cpus=cpus, environment={**of_suite, **more})

    about = _machine(worker, given, len(cpus))
    with (
        tempfile.TemporaryDirectory() as folder,
        worker("benchmarks.speed.inputs:Preparation", folder, JAX_PLATFORMS="cpu") as preparation,
    ):
        result = _earlier(output, about, command, given) if given.resume else None
        result = result or {
            **about,
            "suite": given.suite,
            "command": command,
            "quick": given.quick or given.tiny,
            "networks": [] if given.tiny or given.suite == "small" else preparation.call("networks"),
            "rows": [],
            "left_out": [],
            "refused": [],
        }
        for asked in cases:
            there = [row["side"] for row in result["rows"] if identity(row, CASE_FIELDS) == asked.key]
            failed = [entry["side"] for entry in result["left_out"] if entry["case"] == asked.label]
            case = unmeasured(asked, there, [side for side in failed if side in _MAY_FAIL])
            if case is not None:
                print(case.label, flush=True)
                _add(result, case, preparation, worker, given, len(cpus))
                write_json(output, result)
    bad = [entry for entry in result["left_out"] if entry["side"] not in _MAY_FAIL] + result["refused"]
    for entry in bad:
        print(f"error: {entry['reason']}", file=sys.stderr)
    print(f"{output}: {len(result['rows'])} rows")
    return 1 if bad else 0


def _machine(worker, given: argparse.Namespace, threads: int) -> dict[str, Any]:
    """Machine, versions and ceilings as a result file has them; the ceilings by the faster of the two frameworks."""
    with (
        worker("benchmarks.speed.ceilings:JaxMachine") as jax,
        worker("benchmarks.speed.ceilings:TorchMachine", threads) as torch,
    ):
        of_jax, of_torch = jax.call("about"), torch.call("about")
        platforms = [of_jax["platform"], of_torch["platform"]]
        if given.suite == "gpu" and not given.tiny and platforms != ["gpu", "gpu"]:
            raise InputError(
                f"the gpu suite needs a GPU that both JAX and PyTorch can use; JAX finds a {platforms[0]}, PyTorch a "
                f"{platforms[1]}. --tiny tries the code on any machine."
            )
        sizes = "tiny" if given.tiny else "gpu" if given.suite == "gpu" else "cpu"
        dtypes = DTYPES if given.suite == "gpu" else ("float32",)
        measured = [machine.call("ceilings", dtypes, sizes) for machine in (jax, torch)]
    machine = {
        **describe_host(threads),
        "isa": provenance()["isa"],
        "device": of_jax["device"],
        "platforms": platforms,
        "compiled_cpu_kernels": of_jax["compiled_cpu_kernels"],
    }
    return {
        "machine": machine,
        "versions": {**of_jax["versions"], **of_torch["versions"]},
        "ceilings": {name: max(found[name] for found in measured) for name in measured[0]},
    }


def _add(result: dict, case: Case, preparation: Worker, worker, given: argparse.Namespace, threads: int) -> None:
    """Measures one case and adds to the result the rows of the sides that it does not have."""
    files, work = preparation.call("prepare", case)

    def start(side: str) -> Worker:
        if side.startswith("torch"):
            # It reads weights and sizes with this package, which must not take memory on the GPU for it.
            return worker("benchmarks.speed.torch_side:TorchSide", case, files, side, threads, JAX_PLATFORMS="cpu")
        return worker("benchmarks.speed.jax_side:JaxSide", case, files, side)

    effort = _TINY if given.tiny else _QUICK if given.quick else _FULL
    about = {"case": case.label}
    try:
        if case.kind == "train_loop":
            steps = _TINY_LOOP_STEPS if given.tiny else _LOOP_STEPS
            # No time of compiling is reported: where the user keeps programs, the loop finds that of the bare step.
            cached = {"JAX_ENABLE_COMPILATION_CACHE": "true"}
            with worker("benchmarks.speed.train_loop:TrainLoop", case, steps, **cached) as loop:
                rows, failed = measure_loop(case, loop), {}
        else:
            rows, failed = measure_case(case, start, effort)
    except Disagreement as error:
        result["refused"].append({**about, "reason": str(error)})
        return
    except WorkerError as error:
        rows, failed = [], dict.fromkeys(case.sides, str(error).splitlines()[0])
    least = max(work.flops / result["ceilings"][case.dtype], work.bytes / result["ceilings"]["bytes"])
    made_by = provenance()
    for row in rows:
        row |= made_by | {"flops": work.flops, "bytes": work.bytes, "roofline_s": least}
        row["roofline_fraction"] = least / row["median_s"] if row["median_s"] else None
        print(f"  {row['side']}: {row['median_s']} s, {row['runs']} runs, compiled in {row['compile_s']} s", flush=True)
    places = [place for place, row in enumerate(result["rows"]) if identity(row, CASE_FIELDS) == case.key]
    there = [result["rows"][place] for place in places]
    broken = [f"{row['side']}, which ran before: {failed[row['side']]}" for row in there if row["side"] in failed]
    if broken:  # what was to be compared with it was not
        result["refused"].append({**about, "reason": f"{case.label}: {'; '.join(broken)}"})
        return
    end = places[-1] + 1 if places else len(result["rows"])
    result["rows"][end:end] = added(there, rows)
    result["left_out"] = [
        entry for entry in result["left_out"] if entry["case"] != case.label or entry["side"] not in case.sides
    ]
    result["left_out"] += [{**about, "side": side, "reason": reason} for side, reason in failed.items()]


def _check_isa(output: Path) -> None:
    """Refuses a result file of a processor with other vectors, which would be replaced or gone on with.

    Raises:
      InputError: `output` is one.
    """
    here = provenance()["isa"]
    there = json.loads(output.read_text(encoding="utf-8"))["machine"].get("isa", here) if output.exists() else here
    if there != here:
        raise InputError(f"{output} was measured with {there}, here is {here}; give another file with --output")


def _earlier(output: Path, about: dict[str, Any], command: str, given: argparse.Namespace) -> dict[str, Any] | None:
    """The result that is continued, its refused cases to be tried again; None if there is none."""
    if not output.exists():
        return None
    earlier = json.loads(output.read_text(encoding="utf-8"))
    if earlier["suite"] != given.suite:
        raise InputError(f"{output} is of the {earlier['suite']} suite, not of {given.suite}; give another --output")
    for name in ("machine", "versions"):
        if earlier[name] != about[name]:
            raise InputError(
                f"{output} was measured with {name} {earlier[name]}, here is {about[name]}; move the file away, "
                "or measure without --resume"
            )
    earlier["quick"] = earlier["quick"] or given.quick or given.tiny
    earlier["refused"] = []
    earlier["command"] += f"; {command}"
    return earlier


def added(there: Sequence[dict[str, Any]], rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of one run that a result file with the rows `there` of the same case does not have yet.

    If it has any, each says in `beside` what the other sides of its own run took, in seconds: times are set against
    each other only where they were taken in turns. What is there stays; a difference from the first side that was not
    known, since that side was missing, is filled in.
    """
    before = {row["side"]: row for row in there}
    new = []
    for row in rows:
        if row["side"] not in before:
            others = {other["side"]: other["median_s"] for other in rows if other is not row}
            new.append({**row, "beside": others} if there else row)
        elif before[row["side"]]["difference"] is None:
            before[row["side"]]["difference"] = row["difference"]
    return new


def main(arguments: Sequence[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", choices=SUITES, required=True)
    parser.add_argument("--quick", action="store_true", help="fewer runs, and no standard network")
    parser.add_argument("--tiny", action="store_true", help="small networks on small images: a trial of the code")
    parser.add_argument("--threads", type=int, metavar="N", help="processors that either side may use (all)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="the result file; --tiny needs one")
    parser.add_argument(
        "--resume", action="store_true", help="keep what the result file has and add the sides that it lacks"
    )
    for name, choices in (("cases", KINDS), ("models", MODELS), ("dtypes", DTYPES), ("sides", SIDES)):
        parser.add_argument(f"--{name}", nargs="+", choices=choices, default=choices, help="only these")
    given = parser.parse_args(arguments)
    if given.tiny and not given.output:
        parser.error("--tiny gives no figures worth keeping; say with --output where they go")
    with report_input_errors():
        return run(given, " ".join(["python -m benchmarks.speed", *arguments]))


if __name__ == "__main__":
    sys.exit(main())
