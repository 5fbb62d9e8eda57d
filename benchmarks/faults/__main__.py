"""Faults done to the programs on purpose, and how many of them they survive.

python -m benchmarks.faults [--only PART...] [--kills 100] [--flips 1000] [--truncations 100] [--fuzz-seconds 600]

Writes docs/results/faults.json after each part; parts that were measured before stay there. Needs no GPU and, but for
the fuzzing, about half an hour of an idle machine with two cores. disk_full needs root, for a small file system.
Exit status: 0 if all parts were measured, whatever they found; 1 if one could not be, and then it is not written.
"""

import argparse
import importlib
import json
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax

from benchmarks.ceilings import describe_host
from benchmarks.faults.programs import ROOT, FaultRunFailed
from ddim_jax import __version__
from ddim_jax.io.atomic import write_json
from ddim_jax.io.errors import InputError

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


def make(given: argparse.Namespace, workdir: Path, say: Callable[[str], None]) -> int:
    """Measures what is asked for, each part into the output once it is done; the exit status."""
    failed = []
    for name in given.only:
        began = time.monotonic()
        try:
            found = PARTS[name](given, workdir / name, lambda text, name=name: say(f"{name}: {text}"))
        except Exception as error:
            if not isinstance(error, FaultRunFailed | InputError):
                traceback.print_exc()
            print(f"error: {name} could not be measured: {error}", file=sys.stderr, flush=True)
            failed.append(name)
            continue
        about = {
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
    return 1 if failed else 0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--only", nargs="+", choices=tuple(PARTS), default=tuple(PARTS), metavar="PART", help=", ".join(PARTS))
    add("--kills", type=int, default=100, metavar="N", help="of one training (default: 100)")
    add("--flips", type=int, default=1000, metavar="N", help="bytes changed, one at a time (default: 1000)")
    add("--truncations", type=int, default=100, metavar="N", help="files cut short, one at a time (default: 100)")
    add("--fuzz-seconds", type=float, default=600.0, metavar="S", help="default: 600")
    add("--seed", type=int, default=0, metavar="N", help="of every random choice; default: 0")
    add("--workdir", metavar="DIR", help="where runs and logs stay; default: a temporary folder")
    add("--output", default=str(OUTPUT), metavar="FILE", help="default: docs/results/faults.json")
    given = parser.parse_args(arguments)
    for name in ("kills", "flips", "truncations", "fuzz_seconds"):
        if getattr(given, name) <= 0:
            parser.error(f"--{name.replace('_', '-')} has to be above 0")
    jax.config.update("jax_platforms", "cpu")  # as the programs are started
    with tempfile.TemporaryDirectory() as folder:
        return make(given, Path(given.workdir or folder).resolve(), lambda text: print(text, flush=True))


if __name__ == "__main__":
    sys.exit(main())
