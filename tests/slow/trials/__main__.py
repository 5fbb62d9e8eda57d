"""The long trials: python -m tests.slow.trials [PART...] [--count N] [--seed 0]

Writes docs/results/faults.json after each part, with the commit that was measured; parts that were measured before stay
there, and `python -m benchmarks.render` puts the counts into the pages. Needs no GPU and, all parts together, about 45
minutes of an idle machine with two cores. disk_full needs root, for a small file system. Exit status:
0 if all parts were measured, whatever they found; 1 if one could not be, and then why is written instead. What the
programs wrote and said is kept where something was lost or could not be measured, and the folder is printed.
"""

import argparse
import contextlib
import importlib
import json
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax

from benchmarks.children import end_on_sigterm
from benchmarks.faults import PARTS, short_of_limits
from benchmarks.machine import ROOT, describe_host, provenance
from ddim_jax import __version__
from ddim_jax.runtime.atomic import write_json

OUTPUT = ROOT / "docs" / "results" / "faults.json"
COUNTS = {"kills": 100, "troubles": 30, "flips": 1000, "truncations": 100, "sigterm": 10}
"""The parts whose number of trials can be given, with the number by default."""


def measure(part: str, folder: Path, given: argparse.Namespace, say: Callable[[str], None]) -> dict[str, Any]:
    """Runs a part of `PARTS` in a folder of its own; returns its counts."""
    module = importlib.import_module(f"tests.slow.trials.{'damage' if part in ('flips', 'truncations') else part}")
    arguments: dict[str, Any] = {} if part == "disk_full" else {"seed": given.seed}
    if part in COUNTS:
        arguments["count"] = given.count or COUNTS[part]
    if part in ("flips", "truncations"):
        arguments["kind"] = part
    return module.measure(folder, say=say, **arguments)


def make(given: argparse.Namespace, workdir: Path) -> tuple[list[str], list[str]]:
    """Measures what is asked for; the parts that could not be measured, and those that missed a limit."""
    failed, bad = [], []
    for part in given.parts:
        began, folder = time.monotonic(), workdir / part
        remove(folder)  # of earlier trials: their runs would be gone on with
        try:
            with _cache_of_its_own(folder / "cache"):
                found = measure(part, folder, given, lambda text, part=part: print(f"{part}: {text}", flush=True))
        except Exception as error:
            traceback.print_exc()
            print(f"error: {part} could not be measured: {error}", file=sys.stderr, flush=True)
            failed.append(part)
            found = {"failed": " ".join(str(error).split()) or type(error).__name__}
        found = json.loads(json.dumps(found).replace(str(workdir), "DIR"))  # the same wherever it is measured
        about = {
            "seed": given.seed,
            "measured_in_s": round(time.monotonic() - began, 1),
            "device": "cpu",
            **describe_host(threads=len(os.sched_getaffinity(0))),
            "package_version": __version__,
            **provenance(),
        }
        output = Path(given.output)
        before = json.loads(output.read_text(encoding="utf-8")) if output.exists() else {}
        measured = before | {part: {**found, **about}}
        write_json(output, {name: measured[name] for name in PARTS if name in measured})
        if part not in failed and short_of_limits(part, found):
            bad.append(part)
            print(f"{part}: {'; '.join(short_of_limits(part, found))}", flush=True)
    return failed, bad


def remove(folder: Path) -> None:
    """Also where folders in it were closed on purpose."""
    for place, names, _ in os.walk(folder):
        for inner in (Path(place) / name for name in names):
            if not inner.is_symlink():
                inner.chmod(0o700)
    if folder.exists():
        shutil.rmtree(folder)


@contextlib.contextmanager
def _cache_of_its_own(folder: Path) -> Iterator[None]:
    """Programs started in the block share what they compile in `folder`: a SIGKILL does not hit the user's cache."""
    before = dict(os.environ)
    os.environ["XDG_CACHE_HOME"] = str(folder)
    os.environ.pop("JAX_COMPILATION_CACHE_DIR", None)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=[], metavar="PART", help=f"{', '.join(PARTS)}; default: all")
    parser.add_argument("--count", type=int, metavar="N", help=f"how often; default: {COUNTS}")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of every random choice; default: 0")
    parser.add_argument("--workdir", metavar="DIR", help="where runs and logs stay; DIR/PART is emptied first")
    parser.add_argument("--output", default=str(OUTPUT), metavar="FILE", help="default: docs/results/faults.json")
    given = parser.parse_args(arguments)
    given.parts = given.parts or list(PARTS)
    if not set(given.parts) <= PARTS.keys():
        parser.error(f"a part is one of {', '.join(PARTS)}")
    if given.count is not None and given.count < 1:
        parser.error("--count has to be above 0")
    jax.config.update("jax_platforms", "cpu")  # as the programs are started
    workdir = Path(given.workdir or tempfile.mkdtemp(prefix="trials-")).resolve()
    failed, bad = make(given, workdir)
    if failed or bad:
        print(f"the runs and logs of {', '.join([*failed, *bad])} are kept in {workdir}", flush=True)
    elif not given.workdir:
        remove(workdir)
    return 1 if failed else 0


if __name__ == "__main__":
    end_on_sigterm()
    sys.exit(main())
