"""Faults done to the programs on purpose, and how many of them they survive.

python -m benchmarks.faults [--only PART...] [--kills 100] [--flips 1000] [--truncations 100] [--fuzz-seconds 600]

Writes docs/results/faults.json after each part; parts that were measured before stay there. Needs no GPU and, but for
the fuzzing, about half an hour of an idle machine with two cores. disk_full needs root, for a small file system.
Exit status: 0 if all parts were measured, whatever they found; 1 if one could not be, and then why is written instead.
What the programs wrote and said is kept where something was lost or could not be measured, and the folder is printed.
Ended by SIGTERM, it ends the programs that it started and unmounts the small file system first.
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
from benchmarks.fault_limits import short_of_limits
from benchmarks.faults.programs import ROOT, FaultRunFailed
from benchmarks.machine import describe_host, provenance
from ddim_jax import __version__
from ddim_jax.runtime.atomic import write_json
from ddim_jax.runtime.errors import InputError

OUTPUT = ROOT / "docs" / "results" / "faults.json"
PARTS: dict[str, Callable[[argparse.Namespace, Path, Callable[[str], None]], dict[str, Any]]] = {
    "kills": lambda given, folder, say: _part("kills").measure(folder, given.kills, given.seed, say),
    "flips": lambda given, folder, say: _part("damage").measure("flips", folder, given.flips, given.seed, say),
    "truncations": lambda given, folder, say: _part("damage").measure(
        "truncations", folder, given.truncations, given.seed, say
    ),
    "disk_full": lambda given, folder, say: _part("disk_full").measure(folder, say),
    "peer_death": lambda given, folder, say: _part("peer_death").measure(folder, given.seed, say),
    "sigterm": lambda given, folder, say: _part("sigterm").measure(folder, given.seed, say),
    "bad_inputs": lambda given, folder, say: _part("bad_inputs").measure(folder, say),
    "fuzz": lambda given, folder, say: _part("fuzz").measure(
        folder, seconds=given.fuzz_seconds, seed=given.seed, say=say
    ),
}
"""How each part is measured, given the arguments, a folder of its own and what tells how far it is."""


def _part(name: str) -> Any:
    return importlib.import_module(f"benchmarks.faults.{name}")


def make(given: argparse.Namespace, workdir: Path, say: Callable[[str], None]) -> tuple[list[str], list[str]]:
    """Measures what is asked for, each part into the output once it is done.

    Returns:
      The parts that could not be measured, and those that found something that ought not to be.
    """
    failed, bad = [], []
    for name in given.only:
        began = time.monotonic()
        folder = workdir / name
        _remove(folder)  # of an earlier campaign: its runs would be gone on with
        try:
            with _cache_of_its_own(folder / "cache"):
                found = PARTS[name](given, folder, lambda text, name=name: say(f"{name}: {text}"))
        except Exception as error:
            if not isinstance(error, FaultRunFailed | InputError):
                traceback.print_exc()
            print(f"error: {name} could not be measured: {error}", file=sys.stderr, flush=True)
            failed.append(name)
            found = {"failed": " ".join(str(error).split()) or type(error).__name__}
        found = json.loads(json.dumps(found).replace(str(workdir), "DIR"))  # the same wherever it is measured
        about = {
            **provenance(),
            "seed": given.seed,
            "measured_in_s": round(time.monotonic() - began, 1),
            "device": "cpu",
            **describe_host(threads=len(os.sched_getaffinity(0))),
            "package_version": __version__,
        }
        output = Path(given.output)
        before = json.loads(output.read_text(encoding="utf-8")) if output.exists() else {}
        measured = before | {name: {**found, **about}}
        write_json(output, {part: measured[part] for part in PARTS if part in measured})
        numbers = ", ".join(f"{key} {value}" for key, value in found.items() if isinstance(value, bool | int | float))
        say(f"{name}: {numbers}")
        if name not in failed and short_of_limits(name, found):
            bad.append(name)
    return failed, bad


def _remove(folder: Path) -> None:
    """Also where folders in it were closed on purpose."""
    for place, names, _ in os.walk(folder):
        for inner in (Path(place) / name for name in names):
            if not inner.is_symlink():
                inner.chmod(0o700)
    if folder.exists():
        shutil.rmtree(folder)


@contextlib.contextmanager
def _cache_of_its_own(folder: Path) -> Iterator[None]:
    """Programs started in the block keep compiled programs in `folder`.

    They share them, and a SIGKILL in the middle of writing one does not hit those of the user.
    """
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
    add = parser.add_argument
    add("--only", nargs="+", choices=tuple(PARTS), default=tuple(PARTS), metavar="PART", help=", ".join(PARTS))
    add("--kills", type=int, default=100, metavar="N", help="of one training (default: 100)")
    add("--flips", type=int, default=1000, metavar="N", help="bytes changed, one at a time (default: 1000)")
    add("--truncations", type=int, default=100, metavar="N", help="files cut short, one at a time (default: 100)")
    add("--fuzz-seconds", type=float, default=600.0, metavar="S", help="default: 600")
    add("--seed", type=int, default=0, metavar="N", help="of every random choice; default: 0")
    add("--workdir", metavar="DIR", help="where runs and logs stay; DIR/PART is emptied first")
    add("--output", default=str(OUTPUT), metavar="FILE", help="default: docs/results/faults.json")
    given = parser.parse_args(arguments)
    for name in ("kills", "flips", "truncations", "fuzz_seconds"):
        if getattr(given, name) <= 0:
            parser.error(f"--{name.replace('_', '-')} has to be above 0")
    jax.config.update("jax_platforms", "cpu")  # as the programs are started
    workdir = Path(given.workdir or tempfile.mkdtemp(prefix="faults-")).resolve()
    failed, bad = make(given, workdir, lambda text: print(text, flush=True))
    if failed or bad:
        print(f"the runs and logs of {', '.join([*failed, *bad])} are kept in {workdir}", flush=True)
    elif not given.workdir:
        _remove(workdir)
    return 1 if failed else 0


if __name__ == "__main__":
    end_on_sigterm()
    sys.exit(main())
