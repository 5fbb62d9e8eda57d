"""A folder of images segmented by one process or several, going on where an earlier run stopped."""

import contextlib
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ddim_jax.imageio.images import note_parts
from ddim_jax.inference.agreement import SETTINGS
from ddim_jax.inference.flagging import FLAGGED, keep_list, write_flagged
from ddim_jax.inference.index import Index, has_doubt, removed
from ddim_jax.inference.jobs import Job, name_jobs
from ddim_jax.inference.ownership import refuse_strangers
from ddim_jax.inference.processes import Process
from ddim_jax.inference.results import Results
from ddim_jax.inference.segmenter import Segmenter
from ddim_jax.inference.stream import Stream
from ddim_jax.inference.unlikeness import is_unlike
from ddim_jax.inference.work import SegmentationPlan, check_earlier_kinds, plan_work
from ddim_jax.runtime.errors import InputError
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
      notes: how many images have a note in the index of how they were read, by kind ("even", "few levels").
      bounds: one line: what the bounds in the index are made to hold for; "" where it has none.
      unlike: (path, unlikeness) of every image of this process, segmented now or before, that is flagged as unlike the
        images that the checkpoint was calibrated on (`Segmentation.unlikeness`).
      not_judged: one line: why no image was compared with those; "" where they were.
      in_part: how many of `failed` have results all the same: another kind of them could not be made.
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
    in_part: int = 0


def segment_files(
    segmenter: Segmenter,
    inputs: str | os.PathLike | Sequence[str | os.PathLike],
    output_dir: str | os.PathLike,
    options: SamplingOptions | None = None,
    *,
    process: Process = Process(),
    progress: bool = False,
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
    have no doubt and are told by themselves; those that failed with some of their results written are ranked too. The
    list is of one state of the folder: a run that segments an image renames an older one when it starts.

    Of each file, some hundred bytes are in memory: its path, and its line of an earlier run. The memory for pixels does
    not grow with their number (see `Stream`). Every image runs the same compiled program, or with `size` "native" the
    one of its padded shape, so a result does not depend on `prefetch`, on the other files nor on the number of
    processes, to the bit (on one kind of device); on a CPU nor on `batch_size`, which elsewhere may change last bits.

    Args:
      segmenter: the checkpoint.
      inputs: a file, a folder (searched recursively) or a glob, or several of these.
      output_dir: made where it does not exist.
      options: how to segment; None for the checkpoint's own options.
      process: which of several processes this is, each of which does its share of the images.
      progress: whether to draw a progress bar on stderr.
      **given: fields of `FileOptions`, such as `save=("mask", "overlay")`, and fields of `SamplingOptions` that replace
        those of `options`, such as `steps=8`.

    Returns:
      Summary; its `failed` is empty if every image of this process has its results.

    Raises:
      InputError: an argument cannot be used, nothing is to be segmented, `output_dir` holds other results
        or files of others in their place, or results were removed while this process was at work.
      InUseError: this process is at work there already.
      CheckpointError: the network gives values that are not finite; that image's results are not written.
      TypeError: there is no option of that name.
    """
    began = time.monotonic()
    work = plan_work(segmenter, inputs, output_dir, options, process, **given)
    flag_uncertain = work.file_options.flag_uncertain
    if not os.path.lexists(work.output_dir / SETTINGS):  # before a record is made in a folder of somebody
        refuse_strangers(work.output_dir, (job for job in work.jobs if work.process.owns(job.name)), work.kinds)
    report, flagged = _RunReport([], {}, Counter(), {}, []), None
    with contextlib.closing(Index(work.output_dir, work.settings, work.process, work.described)) as index:
        # An image's name may depend on what is done already, its process does not.
        named = zip(work.jobs, name_jobs(work.jobs, index.is_of), strict=True)
        own = [job for planned, job in named if work.process.owns(planned.name)]
        todo = [job for job in own if not index.is_done(job, work.kinds, work.context.segments)]
        refuse_strangers(work.output_dir, todo, work.kinds, index)
        check_earlier_kinds(work, todo, index)
        if not work.not_judged:
            anew = {job.name for job in todo}
            for job in own:
                if job.name not in anew:
                    report.judge(job.source, index.record(job.name))
        if todo:
            keep_list(work.output_dir / FLAGGED, "lacks the images segmented now")
        stream = Stream(segmenter, work, todo, Results(segmenter, work, index))
        _segment(stream, index, report, _bar(progress, len(todo)))
        _check_there(work, own, report, index)
        if flag_uncertain is not None:
            file = work.output_dir / FLAGGED
            flagged = index.close(lambda merged: write_flagged(file, merged, flag_uncertain))
    calibration = work.context.calibration
    return Summary(
        done=len(todo) - len(report.failed),
        kept=len(own) - len(todo),
        failed=report.failed,
        seconds=time.monotonic() - began,
        waited=stream.waited,
        flagged=flagged,
        passed_over=work.passed_over,
        notes=report.notes,
        bounds="" if calibration is None else calibration.in_words(),
        unlike=list(report.unlike.items()),
        not_judged=work.not_judged,
        in_part=len(report.in_part),
    )


class _RunReport(NamedTuple):
    """The facts that a run tells at its end, filled while it segments.

    Attributes:
      failed, notes, unlike: as in `Summary`; `unlike` by the file.
      slices: of each image that was segmented, by its name.
      in_part: the files that failed and have results all the same.
    """

    failed: list[tuple[str, str]]
    slices: dict[str, int]
    notes: Counter[str]
    unlike: dict[str, float]
    in_part: list[str]

    def judge(self, file: str, record: Mapping[str, Any]) -> None:
        """Adds a file to `unlike` if its line in the index says that it has results and is unlike the calibration."""
        if has_doubt(record) and is_unlike(record.get("unlikeness")):
            self.unlike[file] = record["unlikeness"]


def _segment(stream: Stream, index: Index, report: _RunReport, bar: contextlib.AbstractContextManager) -> None:
    """Segments what is to do, with a line in the index for each image."""
    with bar as advance, _told_if_removed(), contextlib.closing(iter(stream)) as records:
        for record in records:
            # The line of an earlier run stays where nobody could look at the file: its results are there.
            if record["mtime_ns"] is not None or not index.is_of(record["name"], record["file"]):
                index.add(record)
                line = record
            else:
                line = index.record(record["name"])
            report.slices[record["name"]] = record.get("slices", 1)
            report.notes.update(note_parts(note)[0] for note in record.get("notes", ()))
            if record["status"] == "failed":
                report.failed.append((record["file"], record["reason"]))
                report.in_part.extend([record["file"]] if has_doubt(line) else [])
            report.judge(record["file"], line)
            advance()


def _check_there(work: SegmentationPlan, own: Sequence[Job], report: _RunReport, index: Index) -> None:
    """Refuses to end as if all were done where somebody removed results meanwhile."""
    unread = {file for file, _ in report.failed}
    gone = [
        job
        for job in own
        if job.source not in unread
        and not index.has_results(
            job, {"slices": report.slices.get(job.name) or index.record(job.name).get("slices", 1)}, work.kinds
        )
    ]
    if gone:
        place = work.output_dir / gone[0].output(work.kinds[0])
        raise InputError(f"{len(gone)} of {len(own)} results: {removed(place)}")


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
