"""One upload segmented by one checkpoint: its result and its artefacts."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ddim_jax.imageio.dicom_grouping import APART, NO_POSITION
from ddim_jax.imageio.stacks import Stack
from ddim_jax.imageio.writers import Context, Outputs, declared, need_hypotheses
from ddim_jax.inference.jobs import Job, Plan, plan_jobs
from ddim_jax.inference.reading import Loaded, Opened, Reading
from ddim_jax.inference.records import record_fields
from ddim_jax.inference.sliced_image import writes_whole
from ddim_jax.inference.writing import writing_context
from ddim_jax.registry import WRITERS
from ddim_jax.runtime.errors import DataError, InputError
from ddim_jax.runtime.values import quantity
from ddim_jax.sampling_options import SamplingOptions
from ddim_jax.serve.artefacts import OWN, artefacts, picture_png
from ddim_jax.serve.body import network_body, notes_of, slice_body
from ddim_jax.serve.limits import Limits
from ddim_jax.serve.network import ServedNetwork
from ddim_jax.serve.refusals import Refusal, without_paths


class Segmented(NamedTuple):
    """A source segmented by one checkpoint.

    Attributes:
      body: the result as JSON has it; "files" in it name artefacts.
      files: the artefacts by their names.
      source: its files, if its slices can be shown with another window; else empty.
    """

    body: dict[str, Any]
    files: dict[str, bytes]
    source: tuple[Path, ...]


def plan(files: Sequence[Path], output_dir: Path) -> Plan:
    """The one source that the files of an upload are, and what they hold besides.

    Raises:
      Refusal: they are several.
      DataError: none can be read.
    """
    found = plan_jobs(files[0] if len(files) == 1 else files[0].parent, output_dir)
    if len(found.jobs) > 1:
        why = ""
        if NO_POSITION in found.remark:
            why = f", some of which have {NO_POSITION}, so that their order is unknown"
        elif apart := re.search(f"{APART} [^;]*", found.remark):
            why = f", some of which {apart[0]}"
        kinds = Counter(map(_kind_of, found.jobs))
        held = ", ".join(quantity(count, *names) for names, count in sorted(kinds.items()))
        raise Refusal(
            422, f"The upload holds {held}{why}; expected one image or series. Send them one by one, or give "
            "the folder to ddim-jax sample."
        )  # fmt: skip
    return found


def _kind_of(job: Job) -> tuple[str, str]:
    """The kind of a source in words, of one and of several."""
    if job.slices:
        return "DICOM series", "DICOM series"
    kind = {".dcm": "DICOM file", ".nii": "NIfTI file", ".gz": "NIfTI file"}.get(Path(job.source).suffix, "image")
    return kind, f"{kind}s"


def segment(
    job: Job,
    network: ServedNetwork,
    options: SamplingOptions,
    limits: Limits,
    prefix: str,
    folder: Path,
    advance: Callable[[int], None],
) -> Segmented:
    """Segments all slices of a source.

    Args:
      job: the source.
      network: the checkpoint.
      options: checked.
      limits: of its pixels.
      prefix: of the names of artefacts, with a slash.
      folder: private, for files on their way.
      advance: called with the number of slices after each of them.

    Raises:
      DataError: it cannot be read.
      Refusal: it, or its result, is too large.
      CheckpointError: the network gives values that are not finite.
    """
    segmenter = network.segmenter
    context = writing_context(segmenter, options, network.segments)
    reading = Reading(segmenter, options)
    opened = reading.look(job)
    _check_size(opened, limits)
    _check_work(segmenter.evaluations(options), opened.count, options, limits)
    of_slices, of_source, unavailable = _kinds(job, opened, context)
    each, whole = (Outputs(kinds, folder, context) for kinds in (of_slices, of_source))
    files: dict[str, bytes] = {}
    facts, slices, notes, taken = [], [], [], 0
    for index in range(opened.count):
        loaded = reading.load(job, opened, index)
        if loaded.picture is None:
            if loaded.reason is None:
                raise MemoryError
            raise DataError(loaded.reason)
        figures, made, reasons = _one_slice(loaded, network, limits, each, whole)
        unavailable = reasons | unavailable
        names = {kind: f"{prefix}{index + 1}/{name}" for kind, (name, _) in made.items()}
        files |= {names[kind]: data for kind, (_, data) in made.items()}
        facts.append(figures)
        slices.append(slice_body(figures, context.labels, opened.source, index) | {"files": names})
        notes += [note for note in notes_of(loaded.picture) if note not in notes]
        taken += sum(len(data) for _, data in made.values())
        if taken > limits.kept_bytes // 2:
            raise Refusal(
                413, f"The result takes more than {limits.kept_bytes // 2} bytes; cut the source into parts, or "
                "give the server a larger --kept-mib."
            )  # fmt: skip
        advance(opened.count)
    of_all = _of_all(job, opened, whole, unavailable)
    files |= {f"{prefix}{name}": data for name, data in of_all.values()}
    body = network_body(network, context, opened.source, facts, slices, notes) | {
        "files": {kind: f"{prefix}{name}" for kind, (name, _) in of_all.items()},
        "formats": {
            kind: declared(WRITERS.get(kind), "title") or kind
            for kind in dict.fromkeys([*of_slices, *of_source, *unavailable])
        },
        "unavailable": {kind: without_paths(reason, folder.parent) for kind, reason in unavailable.items()},
    }
    return Segmented(body, files, () if body["window"] is None else tuple(map(Path, job.files)))


def _one_slice(
    loaded: Loaded, network: ServedNetwork, limits: Limits, each: Outputs, whole: Outputs
) -> tuple[dict[str, Any], dict[str, tuple[str, bytes]], dict[str, str]]:
    """The facts of a slice, and what `artefacts` returns; its source takes the result, too."""
    segmenter, context, options = network.segmenter, each.context, each.context.options
    source, index, image = loaded.source, loaded.slice, loaded.picture.pixels
    network.hold((options.program(), loaded.prepared.pixels.shape), limits.programs)
    samples = segmenter.fetch(segmenter.start(loaded.prepared, options))
    result = segmenter.result(samples, image, options, context.calibration, need_hypotheses(each.kinds))
    facts = record_fields(image, result, context.labels, None if source is None else source.stack.pixel_area(index))
    if source is not None:
        source.add(index, image, result, facts, whole)
    file = Path(loaded.job.files[0]) if source is None else source.place(index)[0]
    each = each._replace(context=context._replace(slice=index))
    made, unavailable = artefacts(image, samples, result, file, each)
    return facts, made, unavailable


def _of_all(job: Job, opened: Opened, outputs: Outputs, unavailable: dict[str, str]) -> dict[str, tuple[str, bytes]]:
    """Name and content of each kind of result of the whole source; why there is none of one goes to `unavailable`."""
    made = {}
    for kind in outputs.kinds:
        opened.source.complete(outputs._replace(kinds=[kind]))
        if kind in opened.source.unavailable:  # the source lacks what this format needs; there are others
            unavailable[kind] = opened.source.unavailable[kind]
            continue
        path = outputs.folder / job.output(kind)
        made[kind] = f"{kind}{WRITERS.get(kind).suffix}", path.read_bytes()
        path.unlink()
    return made


def show(stack: Stack, index: int, window: tuple[float, float], invert: bool) -> bytes:
    """A slice of an opened DICOM or NIfTI source with another window, as PNG.

    Raises:
      DataError: it cannot be read.
    """
    pixels = stack.with_window(window).read(index)
    return picture_png(255 - pixels if invert else pixels)


def _check_size(opened: Opened, limits: Limits) -> None:
    if opened.reason is not None:
        raise DataError(opened.reason)
    if opened.pixels > limits.picture_pixels:
        raise Refusal(
            413, f"The image has {opened.pixels:,} pixels; expected at most {limits.picture_pixels:,}. ddim-jax sample "
            "takes larger ones."
        )  # fmt: skip


def _check_work(of_each: int, slices: int, options: SamplingOptions, limits: Limits) -> None:
    if (work := of_each * slices) > limits.evaluations:
        factors = " x ".join(
            (quantity(options.steps, "step"), quantity(options.samples, "sample"), quantity(slices, "slice"))
        )
        raise Refusal(
            413, f"{factors} are {work:,} evaluations of a network; expected at most {limits.evaluations:,}: ask for "
            "fewer steps or samples, or cut the source into parts."
        )  # fmt: skip


def _kinds(job: Job, opened: Opened, context: Context) -> tuple[list[str], list[str], dict[str, str]]:
    """The kinds of results on the page, of slices and of whole sources, that this source can have; and why not others.

    Of kinds that are of another format than the source nothing is said.
    """
    of_slices, of_source, unavailable = [], [], {}
    for kind, writer in WRITERS.items():
        of_format = job.files[0].endswith(".dcm") or not declared(writer, "of_dicom")
        if not declared(writer, "on_page") or not of_format or (writes_whole(writer) and opened.source is None):
            continue
        try:
            if kind in OWN:
                raise InputError(f"The page has images called {kind}; register the writer by another name.")
            if hasattr(writer, "check"):
                writer.check([Path(job.files[0])], context)
        except InputError as error:
            unavailable[kind] = str(error)
        else:
            (of_source if writes_whole(writer) else of_slices).append(kind)
    return of_slices, of_source, unavailable
