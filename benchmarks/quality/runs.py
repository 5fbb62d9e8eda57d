"""One run of Table 1: train.py for as long as the budget says, then evaluate.py, each in a process of its own."""

import argparse
import dataclasses
import functools
import hashlib
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from benchmarks.machine import ROOT
from benchmarks.quality.rows import rows_of, run_folder, step_seconds
from benchmarks.result_file import read_result, result_parser
from benchmarks.worker import Worker
from ddim_jax.checkpoints.packed import is_packed, read_packed
from ddim_jax.config import resolve_config
from ddim_jax.data import load_dataset
from ddim_jax.fields import fields_of, leaves
from ddim_jax.runtime.atomic import write_json
from ddim_jax.runtime.errors import INTERRUPTED, TRY_AGAIN, InputError
from ddim_jax.schema import SCHEMA

CONFIGS = {"small": "table1", "full": "table1_gpu"}
"""The config for each kind of networks."""
TRIAL_STEPS, _TRIAL_INTERVAL = 40, 10
_WARMUP = 100
"""Steps of warm-up, but at most a tenth of the run."""
_CPU = {"JAX_PLATFORMS": "cpu"}
VALIDATIONS = 6
"""Validations in a run, at even distances and at its end; the one with the highest Dice picks the weights."""


class RunFailed(RuntimeError):
    """A program of a run ended with an error; the message has its last words."""


@dataclasses.dataclass(frozen=True)
class Run:
    """One system on one data set with one seed.

    Attributes:
      system: one of `configs.table1.SYSTEMS`.
      data: a folder with images and masks; its name is the data set's.
      networks: a key of `CONFIGS`.
      size: height and width of the images.
      budget_s: seconds of training.
      seed: of the weights, the order and the noise of training.
      limit: test images at most, evenly over the split; None for all.
      device: in words; runs on different devices are different runs.
      overrides: fields of the config, as train.py takes them: "--config.FIELD=VALUE".
    """

    system: str
    data: Path
    networks: str
    size: int
    budget_s: float
    seed: int
    limit: int | None
    device: str
    overrides: tuple[str, ...] = ()

    @property
    def dataset(self) -> str:
        return self.data.resolve().name

    @property
    def config_file(self) -> str:
        return f"{ROOT / 'configs' / CONFIGS[self.networks]}.py:{self.system}"

    @functools.cached_property
    def settings(self) -> str:
        """A digest of what the weights depend on besides data, budget and seed; of the config, what is no default."""
        config = resolve_config(importlib.import_module(f"configs.{CONFIGS[self.networks]}").get_config(self.system))
        defaults = dict(leaves({name: field.default for name, field in fields_of(SCHEMA)}))
        changed = {name: value for name, value in leaves(config) if value != defaults.get(name)}
        depends = [changed, self.size, self.device, TRIAL_STEPS, VALIDATIONS, *self.overrides]
        return hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def about(self) -> dict[str, Any]:
        """The fields of its rows that are known beforehand."""
        return {
            "system": self.system,
            "dataset": self.dataset,
            "networks": self.networks,
            "size": self.size,
            "device": self.device,
            "budget_s": self.budget_s,
            "seed": self.seed,
            "limit": self.limit,
            "settings": self.settings,
        }

    def folder(self, workdir: Path) -> Path:
        """Its folder."""
        return run_folder(workdir, self.about)


def this_machine() -> dict[str, Any]:
    """The answer of `Machine.about`, from a worker, so that a GPU stays free for the runs."""
    cpus = os.sched_getaffinity(0)
    with Worker("benchmarks.machine:Machine", cpus=cpus) as machine:
        return machine.call("about", len(cpus))


def train_for_budget(run: Run, workdir: Path, say: Callable[[str], None]) -> int:
    """Trains for as long as the budget says; what was interrupted goes on where it was. Returns the parameters.

    The length of the learning rate's schedule has to be known beforehand, so a short trial measures the time of a step,
    once for each system, and the budget is counted in steps from there on. Compilation, validation and checkpoints
    are outside the budget.

    Raises:
      RunFailed: train.py ended with an error.
      KeyboardInterrupt: asked to stop; train.py has saved what it had.
    """
    trial = _trial(run, workdir, say)
    steps = max(1, int(run.budget_s / trial["step_s"]))
    say(f"training for {steps} steps of {trial['step_s']:.3f} s")
    _train(
        run,
        run.folder(workdir),
        steps,
        warmup_steps=min(_WARMUP, steps // 10),
        checkpoint_every=-(-steps // VALIDATIONS),
        log_every=max(1, min(50, steps // 20)),
        keep_latest=1,
    )
    return trial["parameters"]


def carry_out(run: Run, workdir: Path, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Trains (`train_for_budget`, with its errors) and evaluates. Returns the rows, one for each protocol.

    Raises:
      RunFailed: evaluate.py ended with an error.
    """
    parameters = train_for_budget(run, workdir, say)
    folder = run.folder(workdir)
    say("evaluating")
    limit = [] if run.limit is None else ["--limit", str(run.limit)]
    _program(
        ["evaluate.py", "--ckpt", str(folder), "--split", "test", "--resolution", "model", "--no-figures", *limit],
        folder,
    )
    metrics = read_result(folder / "evaluation" / "test" / "metrics.json")
    config = read_config(folder)
    examples = len(load_dataset("folder", "train", root=run.data, seed=config["data"]["split_seed"]))
    about = {**run.about, "overrides": list(run.overrides), "parameters": parameters}
    return rows_of(about, config, read_lines(folder), examples, metrics)


def _trial(run: Run, workdir: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Seconds of a training step and the number of parameters, measured once for each system and its settings."""
    found = workdir / "trials" / f"{run.system}-{run.settings}.json"
    if not found.exists():
        say(f"trial of {TRIAL_STEPS} steps")
        folder = found.with_suffix("")
        shutil.rmtree(folder, ignore_errors=True)
        fields = {"checkpoint_every": TRIAL_STEPS, "log_every": _TRIAL_INTERVAL, "validation_images": 1}
        _train(run, folder, TRIAL_STEPS, warmup_steps=0, **fields)
        config = read_config(folder)
        with Worker("benchmarks.machine:Machine", cpus=os.sched_getaffinity(0), environment=_CPU) as machine:
            parameters = machine.call("parameters", config)
        # The fastest of them: whatever else the machine does only ever slows a step.
        step_s = step_seconds(read_lines(folder), config["train"]["batch_size"], min)
        write_json(found, {"step_s": step_s, "parameters": parameters})
        shutil.rmtree(folder)
    return json.loads(found.read_text(encoding="utf-8"))


def _train(run: Run, folder: Path, steps: int, **fields: Any) -> None:
    arguments = [f"--config.train.{name}={value}" for name, value in {"steps": steps, **fields}.items()]
    arguments += [f"--config.data.root={run.data}", f"--config.data.image_size={run.size}", f"--config.seed={run.seed}"]
    folder.mkdir(parents=True, exist_ok=True)
    train = ["train.py", "--config", run.config_file, "--workdir", str(folder)]
    _program([*train, *arguments, *run.overrides], folder)


def _program(arguments: list[str], folder: Path) -> None:
    """Runs a program of this project; what it says is added to log.txt in `folder`.

    Raises:
      RunFailed: it ended with an error.
      KeyboardInterrupt: this process or the program itself was asked to stop.

    The program has a session of its own: Ctrl-C reaches this process alone, which asks the program to stop once. (Asked
    twice, by the terminal and from here, train.py would not save.)
    """
    log = folder / "log.txt"
    with open(log, "a", encoding="utf-8") as file:
        program = [sys.executable, str(ROOT / arguments[0]), *arguments[1:]]
        process = subprocess.Popen(program, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            status = process.wait()
        except BaseException:
            process.send_signal(signal.SIGTERM)
            process.wait()
            raise
    if status in (TRY_AGAIN, INTERRUPTED):
        raise KeyboardInterrupt
    if status:
        words = " / ".join(log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-3:])
        raise RunFailed(f"{arguments[0]} ended with status {status}: {words} (all of it in {log})")


def read_lines(folder: Path) -> list[dict[str, Any]]:
    """The metrics.jsonl of a run."""
    text = (folder / "metrics.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def read_config(run: Path) -> dict[str, Any]:
    """The config of a run: its config.json, or that in a file of packed weights."""
    if is_packed(run):
        return dict(read_packed(run).metadata["config"])
    return json.loads((run / "config.json").read_text(encoding="utf-8"))


def run_parser(description: str, output: Path) -> argparse.ArgumentParser:
    """A `result_parser` with the options that say which runs there are."""
    parser = result_parser(description, output, "runs/table1")
    parser.add_argument("--data", nargs="+", required=True, metavar="ROOT", help="folders with images and masks")
    parser.add_argument("--budget", type=float, required=True, metavar="SECONDS", help="of each training")
    parser.add_argument("--size", type=int, required=True, metavar="N", help="height and width of the images")
    parser.add_argument("--networks", choices=tuple(CONFIGS), default="small", help="small (default) or full")
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
    check_names(parser, given.data)
    return given, overrides


def check_names(parser: argparse.ArgumentParser, data: Sequence[str | Path]) -> None:
    """Ends the program where two folders of --data have one name, which is what rows and runs are told apart by."""
    names = [Path(root).resolve().name for root in data]
    if len(set(names)) < len(names):
        parser.error(f"--data: the names of the data sets are those of the folders, and {names} are not distinct")


def check_networks(given: argparse.Namespace, machine: Mapping[str, Any]) -> None:
    """Refuses networks that this machine would train for days.

    Args:
      given: the options of `run_parser`.
      machine: what `benchmarks.quality.runs.this_machine` says.

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
