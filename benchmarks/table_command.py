"""The command line of the commands that train under a budget."""

import argparse
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from benchmarks.table_run import CONFIGS
from ddim_jax.runtime.errors import InputError


def run_parser(description: str) -> argparse.ArgumentParser:
    """A parser with the options that say which runs there are."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", required=True, metavar="ROOT", help="folders with images and masks")
    parser.add_argument("--budget", type=float, required=True, metavar="SECONDS", help="of each training")
    parser.add_argument("--size", type=int, required=True, metavar="N", help="height and width of the pictures")
    parser.add_argument("--networks", choices=tuple(CONFIGS), default="small", help="small (default) or full")
    parser.add_argument("--workdir", default="runs/table1", metavar="DIR", help="of the runs; default: runs/table1")
    parser.add_argument("--any-device", action="store_true", help="train full networks without a GPU as well")
    return parser


def parse_runs(
    parser: argparse.ArgumentParser, arguments: Sequence[str] | None
) -> tuple[argparse.Namespace, list[str]]:
    """Parses and checks the options of `run_parser`; also what is to go to train.py, "--config.FIELD=VALUE"."""
    given, overrides = parser.parse_known_args(arguments)
    unknown = [argument for argument in overrides if not argument.startswith("--config.")]
    if unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    if not given.budget > 0:
        parser.error("--budget has to be above 0")
    for root in given.data:
        if not Path(root).is_dir():
            parser.error(f"--data: {root} is not a folder")
    names = [Path(root).resolve().name for root in given.data]
    if len(set(names)) < len(names):
        parser.error(f"--data: the names of the data sets are those of the folders, and {names} are not distinct")
    return given, overrides


def check_networks(given: argparse.Namespace, machine: Mapping[str, Any]) -> None:
    """Refuses networks that this machine would train for days.

    Args:
      given: the options of `run_parser`.
      machine: what `benchmarks.table_run.this_machine` says.

    Raises:
      InputError: full networks, no GPU and no --any-device.
    """
    if given.networks == "full" and machine["platform"] != "gpu" and not given.any_device:
        raise InputError(
            f"--networks full needs a GPU, and JAX finds a {machine['platform']} ({machine['device']}); give "
            "--networks small, or --any-device to train the full networks here all the same"
        )


def run_resumable(main: Callable[[], int]) -> NoReturn:
    """Ends with the status of `main`; SIGTERM and Ctrl-C end it with a word that the same command goes on."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("stopped; the same command goes on from there")
