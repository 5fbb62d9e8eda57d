"""A folder of images segmented by one process or several, going on where an earlier run stopped."""

import contextlib
import hashlib
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
from absl import logging

from ddim_jax.inference.agreement import SETTINGS
from ddim_jax.inference.flagging import FLAGGED, check_share, remove_list, write_flagged
from ddim_jax.inference.hypotheses import why_no_opinions
from ddim_jax.inference.index import Index, check_locks, removed
from ddim_jax.inference.jobs import absolute, name_jobs, plan_jobs
from ddim_jax.inference.ownership import refuse_strangers
from ddim_jax.inference.processes import Process
from ddim_jax.inference.results import Results
from ddim_jax.inference.segmenter import Segmenter
from ddim_jax.inference.stream import Stream
from ddim_jax.inference.unlikeness import is_unlike
from ddim_jax.inference.writing import writing_context
from ddim_jax.ops.surroundings import surroundings
from ddim_jax.registry import WRITERS
from ddim_jax.runtime.errors import InputError
from ddim_jax.runtime.remote import local_path
from ddim_jax.sampling_options import SamplingOptions


class Summary(NamedTuple):
    """Result of a run of `segment_files`.

    Attributes:
      done: images segmented by this process.
      kept: images of this process whose results were there already.
      failed: (path, reason) of every image that could not be read, in their order.
      seconds: wall-clock time of the run.
      waited: of these, the seconds in which the device waited for an image that was being read (`Stream.waited`).
      flagged: images in `flagged.csv`; None where it was not asked for, or is left to a process still at work.
      passed_over: how many files of the inputs are no images, by their suffix (lower case, "" for none).
      notes: how many images have a note in the index of how they were read, by kind ("damaged", "few levels").
      bounds: one line: what the bounds in the index are made to hold for; "" where it has none.
      unlike: (path, unlikeness) of every image of this process, segmented now or before, that is flagged as unlike the
        pictures that the checkpoint was calibrated on (`Segmentation.unlikeness`).
      not_judged: one line: why no image was compared with those; "" where they were.
    """

    done: int
    kept: int
    failed: Sequence[tuple[str, str]]
    seconds: float
    waited: float
    flagged: int | None
    passed_over: Mapping[str, int]
    notes: Mapping[str, int]
    bounds: str = ""
    unlike: Sequence[tuple[str, float]] = ()
    not_judged: str = ""


def segment_files(
    segmenter: Segmenter,
    inputs: str | os.PathLike | Sequence[str | os.PathLike],
    output_dir: str | os.PathLike,
    options: SamplingOptions | None = None,
    *,
    save: Sequence[str] = ("mask",),
    segments: Sequence[str] = (),
    flag_uncertain: float | None = None,
    prefetch: int = 4,
    batch_size: int | None = None,
    process_index: int = 0,
    process_count: int = 1,
    progress: bool = False,
    allow_damaged: bool = False,
    **given: Any,
) -> Summary:
    """Segments image files and writes the results beside an index.

    Results are named as `plan_jobs` says: the same relative folder, `<stem>_<kind>` and the suffix of the writer. Each
    file is written atomically, and `index.jsonl` (see `Index`) has a line for every image. A second run with the same
    settings does only what is missing or not whole, failed, changed (size or modification time) or not saved before;
    other settings or another checkpoint are refused. An image that cannot be read is recorded and does not stop the
    others; it loses the results of an earlier run only if it was replaced by a file that is no image. Files that the
    index does not say were written here, as they are now, are never replaced or deleted (`refuse_strangers`). Any other
    error stops the run, and what was finished stays.

    With `flag_uncertain`, `flagged.csv` (see `write_flagged`) names at the end that share of all images the folder has
    results of, those of earlier runs with it: the most doubtful, for a person to look at. Images that could not be read
    have no doubt and are told by themselves. The list is of one state of the folder: a run that segments an image
    removes an older one when it starts.

    Several processes, on one machine or many that share the folders, divide the images when each is told which one of
    how many it is: an image belongs to the process given by the SHA-256 of its name (`Process.owns`), so they need not
    speak with each other; `inputs`, `save` and `flag_uncertain` have to be the same for all. Each appends to its own
    part of the index, and the one that ends last merges the parts, and with `flag_uncertain` writes `flagged.csv`. What
    a killed process left undone, the next run does, with any number of processes. The same process twice at once, or
    runs of different numbers of processes, are refused, and several processes where the file system may not tell of
    such (`check_locks`).

    Of each file, some hundred bytes are in memory: its path, and its line of an earlier run. The memory for pixels does
    not grow with their number: at most `prefetch` images, or two batches, are on the device and about as many each are
    being read and being written (see `Stream`). Every image runs the same compiled program, or with `size` "native" the
    one of its padded shape, so a result does not depend on `prefetch`, on the other files nor on the number of
    processes, to the bit (on one kind of device); on a CPU nor on `batch_size`, which elsewhere may change last bits.

    Args:
      segmenter: the checkpoint.
      inputs: a file, a folder (searched recursively) or a glob, or several of these.
      output_dir: made where it does not exist.
      options: how to segment; None for the checkpoint's own options.
      save: kinds of results to write, names in `ddim_jax.registry.WRITERS`, such as mask, probability and overlay.
      segments: what the classes are, for DICOM-SEG, as in `data.segments` of the config, which they come before.
      flag_uncertain: the share of the images to name in `flagged.csv`, above 0 and below 1; None for no such file.
      prefetch: images started on the device before the first result is fetched, >= 1.
      batch_size: images to one program, 1 .. 4096; None for what the device has memory for
        (`ddim_jax.inference.batches.choose_batch_size`), on a CPU 1.
      process_index: which of the processes this is, 0 .. process_count - 1.
      process_count: how many processes divide the images, >= 1.
      progress: whether to draw a progress bar on stderr.
      allow_damaged: as in `ddim_jax.imageio.images.ReadOptions`; the note is in the index.
      **given: fields of `SamplingOptions` that replace those of `options`.

    Returns:
      Summary; its `failed` is empty if every image of this process has its results.

    Raises:
      InputError: an argument cannot be used, nothing is to be segmented, `output_dir` holds other results
        or files of others in their place, or results were removed while this process was at work.
      InUseError: this process is at work there already.
      CheckpointError: the network gives values that are not finite; that image's results are not written.
    """
    began = time.monotonic()
    inputs = [local_path(path, "input") for path in ([inputs] if isinstance(inputs, str | os.PathLike) else inputs)]
    output_dir = local_path(output_dir, "output")
    options = segmenter.options(options, **given)
    kinds = check_kinds(save)
    if "hypotheses" in kinds and (why := why_no_opinions(segmenter.config, options)):
        logging.warning("hypotheses: expect one mask and noise, not opinions: %s", why)
    flagging = flag_uncertain is not None
    if flagging:
        check_share(flag_uncertain)
    if prefetch < 1:
        raise InputError(f"prefetch is {prefetch}; expected at least 1")
    process = Process.create(process_index, process_count)
    output_dir = Path(absolute(output_dir))
    if output_dir.exists() and not output_dir.is_dir():
        raise InputError(f"{output_dir} is a file; expected a folder for the results")
    check_locks(output_dir, process)
    plan = plan_jobs(inputs, output_dir)
    if plan.remark:
        logging.warning("%s", plan.remark)
    if process.count > 1 and plan.inside is not None:
        # A process could take for an image what another has just written.
        raise InputError(f"{plan.inside} lies in the output folder; with several processes, use another output folder")
    context = writing_context(segmenter, options, segments)
    calibration = context.calibration
    for kind in kinds:
        if (check := getattr(WRITERS.get(kind), "check", None)) is not None:
            check([Path(job.files[0]) for job in plan.jobs], context)
    common = {"checkpoint": context.checkpoint, "weights": context.weights, "step": context.step, **options.as_dict()}
    batch_size = segmenter.batch_size(options, batch_size, len(plan.jobs))
    common |= {
        "surroundings": surroundings() | ({} if jax.default_backend() == "cpu" else {"batch_size": str(batch_size)})
    }
    # The masks are the same without: a folder that knows of none is one of a run that was not calibrated.
    common |= {} if calibration is None else {"calibration": calibration.digest()}
    reference, not_judged = segmenter.reference()
    common |= {} if reference is None else {"unlikeness": reference.digest()}

    work = {
        "input": _described([absolute(path) for path in inputs]),
        # A part of an archive may be away while one of the processes looks at it.
        "list of pictures": _described(sorted(job.source for job in plan.jobs)),
        "save": list(kinds),
        "segments": dict(context.segments),
        "flag_uncertain": flag_uncertain,
    }

    failed, flagged, slices, notes, unlike = [], None, {}, Counter(), {}
    if not os.path.lexists(output_dir / SETTINGS):  # before a record is made in a folder of somebody
        refuse_strangers(output_dir, (job for job in plan.jobs if process.owns(job.name)), kinds)
    with contextlib.closing(Index(output_dir, common, process, work)) as index:
        # An image's name may depend on what is done already, its process does not.
        named = zip(plan.jobs, name_jobs(plan.jobs, index.is_of), strict=True)
        own = [job for planned, job in named if process.owns(planned.name)]
        todo = [job for job in own if not index.is_done(job, kinds, context.segments)]
        refuse_strangers(output_dir, todo, kinds, index)
        if reference is not None:
            anew = {job.name for job in todo}
            before = ((job.source, index.unlikeness(job.name)) for job in own if job.name not in anew)
            unlike |= {file: unlikeness for file, unlikeness in before if is_unlike(unlikeness)}
        if todo:
            remove_list(output_dir, replaced=flagging)
        results = Results(segmenter, output_dir, index, kinds, context)
        stream = Stream(segmenter, todo, results, context.options, prefetch, allow_damaged, batch_size)
        with _bar(progress, len(todo)) as advance, _told_if_removed(), contextlib.closing(iter(stream)) as records:
            for record in records:
                # The line of an earlier run stays where nobody could look at the file: its results are there.
                if record["mtime_ns"] is not None or not index.is_of(record["name"], record["file"]):
                    index.add(record)
                slices[record["name"]] = record.get("slices", 1)
                notes.update(note.partition(" (")[0] for note in record.get("notes", ()))
                if record["status"] == "failed":
                    failed.append((record["file"], record["reason"]))
                elif is_unlike(record["unlikeness"]):
                    unlike[record["file"]] = record["unlikeness"]
                advance()
        unread = {file for file, _ in failed}
        gone = [
            job
            for job in own
            if job.source not in unread
            and not index.has_results(job, {"slices": slices.get(job.name) or index.slices(job.name)}, kinds)
        ]
        if gone:
            raise InputError(f"{len(gone)} of {len(own)} results: {removed(output_dir / gone[0].output(kinds[0]))}")
        if flagging:
            flagged = index.close(lambda merged: write_flagged(output_dir / FLAGGED, merged, flag_uncertain))
    return Summary(
        done=len(todo) - len(failed),
        kept=len(own) - len(todo),
        failed=failed,
        seconds=time.monotonic() - began,
        waited=stream.waited,
        flagged=flagged,
        passed_over=plan.passed_over,
        notes=notes,
        bounds="" if calibration is None else calibration.in_words(),
        unlike=list(unlike.items()),
        not_judged=not_judged,
    )


def _described(paths: Sequence[str]) -> str:
    """Paths in one line; of many, as a shell makes of a pattern, the first, their number and a digest of all."""
    if len(paths) <= 3:
        return ", ".join(paths)
    digest = hashlib.sha256("\0".join(paths).encode("utf-8", "surrogateescape")).hexdigest()
    return f"{paths[0]} and {len(paths) - 1} more (SHA-256 {digest[:16]})"


def check_kinds(save: Iterable[str]) -> tuple[str, ...]:
    """The kinds of results to write, names in `WRITERS`, each once and in their order.

    Raises:
      InputError: none, or an unknown one.
    """
    unknown = [kind for kind in save if kind not in WRITERS]
    if unknown or not save:
        found = ", ".join(map(repr, unknown)) or "empty"
        raise InputError(f"save is {found}; expected some of {', '.join(WRITERS)}")
    return tuple(kind for kind in WRITERS if kind in save)


@contextlib.contextmanager
def _told_if_removed() -> Iterator[None]:
    """Writing a result makes its folder, so that it finds none only where somebody removes it at that moment."""
    try:
        yield
    except FileNotFoundError as error:
        raise InputError(removed(error.filename or "a result")) from error


@contextlib.contextmanager
def _bar(shown: bool, total: int) -> Iterator[Any]:
    """A function to call for every image that is done."""
    if not shown:
        yield lambda: None
        return
    from rich.console import Console  # not at the head: programs have no use for it, and it takes long to import
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(file=sys.stderr)) as bar:
        task = bar.add_task("compiling", total=total)  # or reading the program, until the first image is there
        yield lambda: bar.update(task, advance=1, description="segmenting")
