"""The numbers of a run while it trains: progress on the terminal, `metrics.jsonl`, TensorBoard files."""

import errno
import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from ddim_jax.imageio.class_colours import blended, palette
from ddim_jax.labels import IGNORED
from ddim_jax.runtime.atomic import atomic_path, errors_naming
from ddim_jax.runtime.json_text import parse_json
from ddim_jax.runtime.printable import printable
from ddim_jax.runtime.values import is_whole, quantity
from ddim_jax.training.stopping import Stop
from ddim_jax.training.validation import Validation

_LITTLE_BYTES = 2**20
_NAMED = 5  # lines that are numbered in a message


class DeferredErrors:
    """Calls what reports numbers, and keeps what the disk refuses until a checkpoint is saved, which it asks for.

    Args:
      stop: is asked to stop the run after the next step, on all processes.
    """

    def __init__(self, stop: Stop):
        self._stop, self._refusal = stop, None

    def __call__(self, report: Callable[..., None], *values: Any) -> None:
        try:
            report(*values)
        except OSError as error:
            self._refusal = self._refusal or error
            self._stop.ask()

    def raise_refusal(self) -> None:
        """Raises the first refusal, if there was one."""
        if self._refusal is not None:
            raise self._refusal


class _Terminal(Console):
    """A console that leaves the program alone where nobody reads it any more; rich would end it."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def _summary_writer() -> Callable[..., Any]:
    """The class of tensorboardX, which imports PyTorch where it is installed, for the types in its signatures.

    Without it a program that trains starts in half the time. Its methods that need PyTorch import it by themselves.
    """
    hidden = "torch" not in sys.modules
    if hidden:
        sys.modules["torch"] = None  # an import of it fails
    try:
        from tensorboardX import SummaryWriter
    finally:
        if hidden:
            del sys.modules["torch"]
    return SummaryWriter


class Reporter:
    """Writes the numbers of a run where people look for them; used as a context manager, by process 0 alone.

    `metrics.jsonl` has one JSON object a line: {"step", "loss", "learning_rate", "gradient_norm", "images_per_second"}
    for training, every train.log_every steps, at each checkpoint and at a stop (the rate of the last step, the others
    means since the last such line; no speed where nothing was timed), and {"step", "validation_loss",
    "validation_dice"} for validation. Lines of steps that a resumed run will do again are removed when it starts; where
    others cannot be read, the file as it was is kept as metrics.jsonl.damaged.

    A terminal or a pipe that takes no more is no reason to end a run. A file that is refused is: an OSError.
    """

    def __init__(self, workdir: Path, *, steps: int, start_step: int, batch_size: int):
        self._steps = steps
        self._batch_size = batch_size
        self._console = _Terminal(file=sys.stderr)
        self._path = Path(os.path.realpath(workdir / "metrics.jsonl"))  # a link to it stays one
        self._drop_lines_after(start_step)
        self._file = open(self._path, "a", encoding="utf-8")  # noqa: SIM115, closed in __exit__
        self._events = workdir / "tensorboard"
        writer = _summary_writer()
        before = set(threading.enumerate())
        with errors_naming(self._events):
            self._tensorboard = writer(str(self._events), purge_step=start_step + 1, max_queue=1000)
        self._writing = set(threading.enumerate()) - before
        self._progress = Progress(
            TextColumn("step {task.completed}/{task.total}"),
            BarColumn(),
            TextColumn("{task.fields[numbers]}"),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._progress.add_task("", total=steps, completed=start_step, numbers="compiling")
        self._last = (start_step, time.perf_counter())

    def __enter__(self) -> "Reporter":
        self._shown(self._progress.start)
        return self

    def __exit__(self, *_: Any) -> None:
        self._shown(self._progress.stop)
        try:
            with errors_naming(self._events):
                self._tensorboard.close()
        finally:
            with errors_naming(self._path):
                self._file.close()

    def restart_clock(self, step: int) -> None:
        """Leaves what came before (compilation, validation, saving) out of the next speed."""
        self._last = (step, time.perf_counter())

    def training(self, step: int, values: dict[str, float]) -> None:
        """Reports the mean loss since the last report and so on, at `step`."""
        last_step, last_time = self._last
        line, numbers = {"step": step, **values}, f"loss {values['loss']:.4f}"
        if step > last_step:  # else the clock has only just been started
            rate = (step - last_step) * self._batch_size / (time.perf_counter() - last_time)
            line["images_per_second"] = round(rate, 2)
            numbers += f", {rate:.1f} images/s, {_duration((self._steps - step) * self._batch_size / rate)} left"
        self._last = (step, time.perf_counter())
        self._write(line)
        self._shown(self._progress.update, self._task, completed=step, numbers=numbers)
        if not self._console.is_terminal:
            self.message(f"step {step}/{self._steps}: {numbers}")

    def validation(self, step: int, result: Validation) -> None:
        """Reports a validation, with images for TensorBoard: image, truth and probability side by side."""
        self._write({"step": step, "validation_loss": result.loss, "validation_dice": result.dice})
        if len(result.probabilities):
            self._tensorboard.add_image("samples", _pictures(result), step, dataformats="HWC")
        self._tensorboard.flush()
        self.message(f"step {step}/{self._steps}: validation loss {result.loss:.4f}, Dice {result.dice:.4f}")

    def messages(self, lines: Iterable[str]) -> None:
        """Lines for the person who watches; they are made only where somebody does."""
        for line in lines:
            self.message(line)

    def message(self, text: str) -> None:
        """A line for the person who watches."""
        self._shown(self._console.print, printable(text), markup=False, highlight=False, soft_wrap=True)

    def _shown(self, show: Callable[..., Any], *values: Any, **options: Any) -> None:
        try:
            show(*values, **options)
        except (OSError, ValueError):  # closed, full, or nobody reads
            self._console.quiet = True

    def _write(self, values: dict[str, float]) -> None:
        with errors_naming(self._path):
            self._file.write(json.dumps(values) + "\n")
            self._file.flush()
        self._check_events()
        for name, value in values.items():
            if name != "step":
                self._tensorboard.add_scalar(name, value, values["step"])

    def _check_events(self) -> None:
        """The thread that writes events ends where the disk refuses one; what is handed over then is never written.

        Raises:
          OSError: it has ended.
        """
        if not all(thread.is_alive() for thread in self._writing):
            number = errno.ENOSPC if shutil.disk_usage(self._events).free < _LITTLE_BYTES else errno.EIO
            raise OSError(number, os.strerror(number), str(self._events))

    def _drop_lines_after(self, step: int) -> None:
        if not self._path.exists():
            return
        content = self._path.read_bytes()
        whole = content.split(b"\n")[:-1]  # what a kill tore at the end is of a step that is done again
        steps = {number: _step_of(line) for number, line in enumerate(whole, 1)}
        unread = [str(number) for number, at in steps.items() if at is None and whole[number - 1].strip()]
        if unread:
            kept = self._path.with_name(self._path.name + ".damaged")
            with atomic_path(kept) as temporary:
                temporary.write_bytes(content)
            self.message(
                f"{self._path}: {quantity(len(unread), 'line cannot be read and is', 'lines cannot be read and are')} "
                f"left out, line {', '.join(unread[:_NAMED])}{' and others' if len(unread) > _NAMED else ''}; the file "
                f"as it was is kept as {kept.name}"
            )
        left = [whole[number - 1] + b"\n" for number, at in steps.items() if at is not None and at <= step]
        with atomic_path(self._path) as temporary:
            temporary.write_bytes(b"".join(left))


def _step_of(line: bytes) -> int | None:
    """The step of a line of `metrics.jsonl`; None where it is none."""
    try:
        values = parse_json(line)
    except ValueError:
        return None
    step = values.get("step") if isinstance(values, dict) else None
    return step if is_whole(step, 0) else None


class NullReporter:
    """A stand-in for `Reporter` on all processes but the first: it says and writes nothing."""

    def __enter__(self) -> "NullReporter":
        return self

    def __exit__(self, *_: Any) -> None:
        pass

    def message(self, *_: Any) -> None:
        """Does nothing, as the other methods."""

    restart_clock = training = validation = messages = message


def create_reporter(workdir: Path, **about: int) -> Reporter | NullReporter:
    """The reporter of this process; arguments as for `Reporter`."""
    return Reporter(workdir, **about) if jax.process_index() == 0 else NullReporter()


def _pictures(result: Validation) -> np.ndarray:
    """uint8 [n H, 3 W, 3]: one row for each image."""
    rows = []
    for image, truth, probability in zip(result.images, result.truths, result.probabilities, strict=True):
        if result.labels.several:
            parts = palette(result.labels)[truth], blended(probability, result.labels)
        else:
            parts = _grey(np.where(truth == IGNORED, 0.5, truth)), _grey(probability)
        rows.append(np.concatenate([image, *parts], axis=1))
    return np.concatenate(rows)


def _grey(values: np.ndarray) -> np.ndarray:
    return np.repeat((255.0 * values)[..., None], 3, axis=-1).astype(np.uint8)


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds:02d} s"
