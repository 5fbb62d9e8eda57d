"""A folder of images segmented as a stream: read ahead, compute, write behind, and go on where a run stopped."""

import contextlib
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ddim_jax.inference.ahead import start_ahead
from ddim_jax.inference.flagging import FLAGGED, check_doubts, check_share, remove_list, write_flagged
from ddim_jax.inference.index import INDEX, Index
from ddim_jax.inference.outputs import OUTPUTS, Job, plan_jobs, write_outputs
from ddim_jax.inference.segmentation import fuse
from ddim_jax.inference.segmenter import Segmenter
from ddim_jax.inference.settings import Settings, Size
from ddim_jax.io.errors import DataError, InputError
from ddim_jax.io.images import read_image


class Summary(NamedTuple):
    """What a run did.

    Attributes:
      done: images segmented by this run.
      kept: images whose results were there already.
      failed: (path, reason) of every image that could not be read.
      seconds: wall-clock time of the run.
      flagged: images in `flagged.csv`; None where it was not asked for.
    """

    done: int
    kept: int
    failed: tuple[tuple[str, str], ...]
    seconds: float
    flagged: int | None


class _Loaded(NamedTuple):
    job: Job
    image: np.ndarray | None
    reason: str | None
    bytes: int
    mtime_ns: int
    seconds: float


def segment_files(
    segmenter: Segmenter,
    inputs: str | os.PathLike | Sequence[str | os.PathLike],
    output_dir: str | os.PathLike,
    *,
    save: Sequence[str] = ("mask",),
    samples: int | None = None,
    steps: int | None = None,
    seed: int = 0,
    threshold: float | None = None,
    protocol: str | None = None,
    size: Size | None = None,
    flips: bool | None = None,
    sampler: str | None = None,
    ensemble: str | None = None,
    flag_uncertain: float | None = None,
    batch_size: int = 4,
    progress: bool = False,
) -> Summary:
    """Segments image files and writes the results beside an index.

    Results are named as `plan_jobs` says: the same relative folder, `<stem>_<kind>.png`. Each file is written
    atomically, and `index.jsonl` (see `Index`) has a line for every image. A second run with the same settings does
    only what is missing, failed, changed (size or modification time) or was not saved before; other settings or another
    checkpoint are refused. An image that cannot be read is recorded, loses the results of an earlier run and does not
    stop the others; any other error stops the run, and what was finished stays.

    With `flag_uncertain`, `flagged.csv` (see `write_flagged`) names at the end that share of all images the folder has
    results of, those of earlier runs with it: the most doubtful, for a person to look at. Images that could not be read
    have no doubt and are told by themselves. Versions before this one wrote no doubt down: their images are segmented
    again, to the same bits, if they are among the inputs, and refused if not. The list is of one state of the folder: a
    run that segments an image removes an older one when it starts.

    Memory does not grow with the number of files: at most `batch_size` images are being read, as many wait for the
    device and as many are being written. Every image runs the same compiled program, or with `size` "native" the
    one of its padded shape, so a result does not depend on `batch_size` nor on the other files, to the bit.

    Args:
      segmenter: the checkpoint.
      inputs: a file, a folder (searched recursively) or a glob, or several of these.
      output_dir: made where it does not exist.
      save: which results to write, of `OUTPUTS`: mask, probability, uncertainty, overlay.
      samples, steps, seed, threshold, protocol, size, flips, sampler, ensemble: as
        `Segmenter.segment`.
      flag_uncertain: the share of the images to name in `flagged.csv`, above 0 and below 1; None for no such file.
      batch_size: images started on the device before the first result is fetched, >= 1.
      progress: whether to draw a progress bar on stderr.

    Returns:
      Summary; its `failed` is empty if every image has its results.

    Raises:
      InputError: an argument cannot be used, nothing is to be segmented, or `output_dir` holds other results, or with
        `flag_uncertain` results without a doubt of images that are no inputs.
      CheckpointError: the network gives values that are not finite; that image's results are not written.
    """
    began = time.monotonic()
    settings = segmenter.settings(
        samples=samples,
        steps=steps,
        seed=seed,
        threshold=threshold,
        protocol=protocol,
        size=size,
        flips=flips,
        sampler=sampler,
        ensemble=ensemble,
    )
    kinds = check_kinds(save)
    flagging = flag_uncertain is not None
    if flagging:
        check_share(flag_uncertain)
    if batch_size < 1:
        raise InputError(f"batch_size is {batch_size}; expected at least 1")
    output_dir = Path(os.path.abspath(output_dir))
    if output_dir.exists() and not output_dir.is_dir():
        raise InputError(f"{output_dir} is a file; expected a folder for the results")
    jobs = plan_jobs(inputs, output_dir)
    common = {
        "checkpoint": segmenter.checkpoint,
        "weights": segmenter.fingerprint(),
        "step": segmenter.step,
        **settings._asdict(),
    }
    failed, flagged = [], None
    with contextlib.closing(Index(output_dir, common)) as index:
        todo = [job for job in jobs if not index.is_done(job, kinds, with_doubt=flagging)]
        if flagging:
            check_doubts(output_dir / INDEX, index.segmented(), {job.name for job in jobs})
        if todo:
            remove_list(output_dir, replaced=flagging)
        records = _stream(segmenter, settings, todo, output_dir, index, kinds, batch_size)
        with _bar(progress, len(todo)) as advance, contextlib.closing(records):
            for record in records:
                index.add(record)
                if record["status"] == "failed":
                    failed.append((record["file"], record["reason"]))
                advance()
        if flagging:
            flagged = write_flagged(output_dir / FLAGGED, index.segmented(), flag_uncertain)
    return Summary(len(todo) - len(failed), len(jobs) - len(todo), tuple(failed), time.monotonic() - began, flagged)


def check_kinds(save: Iterable[str]) -> tuple[str, ...]:
    """The kinds of results to write, each once, in the order of `OUTPUTS`.

    Raises:
      InputError: none, or an unknown one.
    """
    unknown = [kind for kind in save if kind not in OUTPUTS]
    if unknown or not save:
        found = ", ".join(map(repr, unknown)) or "empty"
        raise InputError(f"save is {found}; expected some of {', '.join(OUTPUTS)}")
    return tuple(kind for kind in OUTPUTS if kind in save)


def _stream(
    segmenter: Segmenter,
    settings: Settings,
    jobs: Iterable[Job],
    output_dir: Path,
    index: Index,
    kinds: tuple[str, ...],
    batch_size: int,
) -> Iterator[dict[str, Any]]:
    """Index records in the order of `jobs`, each after its files are written."""
    pool = ThreadPoolExecutor(min(32, 2 * batch_size), thread_name_prefix="image-files")

    def start_device(loaded: _Loaded) -> tuple[_Loaded, Any, float]:
        device = None if loaded.image is None else segmenter.start(loaded.image, settings)
        return loaded, device, time.monotonic()

    def start_writing(loaded: _Loaded, device: Any, started: float) -> Future:
        nonlocal device_free
        samples = None if device is None else segmenter.fetch(device)
        now = time.monotonic()
        seconds, device_free = now - max(started, device_free), now
        return pool.submit(_finish, settings, loaded, samples, output_dir, kinds_of(loaded.job), seconds)

    def kinds_of(job: Job) -> tuple[str, ...]:
        # An earlier run may have saved more: these files must not stay behind from an older state of the image.
        return tuple(kind for kind in OUTPUTS if kind in kinds or kind in index.kinds(job))

    device_free = 0.0
    try:
        loading = start_ahead(lambda job: pool.submit(_load, job), jobs, batch_size)
        running = start_ahead(start_device, (future.result() for future in loading), batch_size)
        writing = start_ahead(lambda item: start_writing(*item), running, batch_size)
        for future in writing:
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _load(job: Job) -> _Loaded:
    began = time.monotonic()
    image, reason, size, mtime_ns = None, None, 0, 0
    try:
        # Taken before reading: a file that changes meanwhile is done again next time.
        stat = job.source.stat()
        size, mtime_ns = stat.st_size, stat.st_mtime_ns
        image = read_image(job.source)
    except FileNotFoundError:
        reason = f"{job.source}: no longer there"
    except DataError as error:
        reason = str(error)
    return _Loaded(job, image, reason, size, mtime_ns, time.monotonic() - began)


def _finish(
    settings: Settings,
    loaded: _Loaded,
    samples: np.ndarray | None,
    output_dir: Path,
    kinds: tuple[str, ...],
    device_seconds: float,
) -> dict[str, Any]:
    job, image = loaded.job, loaded.image
    record = {
        "name": job.name,
        "file": str(job.source),
        "bytes": loaded.bytes,
        "mtime_ns": loaded.mtime_ns,
    }
    if image is None:
        for kind in kinds:
            (output_dir / job.output(kind)).unlink(missing_ok=True)
        return record | {"status": "failed", "reason": loaded.reason}
    began = time.monotonic()
    result = fuse(samples, image.shape[:2], settings)
    write_outputs(job, output_dir, image, result, kinds)
    return record | {
        "status": "ok",
        "outputs": list(kinds),
        "height": image.shape[0],
        "width": image.shape[1],
        "area": int(result.mask.sum()),
        "mean_uncertainty": round(float(result.uncertainty.mean(dtype=np.float64)), 6),
        "doubt": round(result.doubt, 6),
        "seconds": round(loaded.seconds + device_seconds + time.monotonic() - began, 4),
    }


@contextlib.contextmanager
def _bar(shown: bool, total: int) -> Iterator[Any]:
    """A function to call for every image that is done."""
    columns = (TextColumn("segmenting"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(file=sys.stderr), disable=not shown) as bar:
        task = bar.add_task("images", total=total)
        yield lambda: bar.advance(task)
