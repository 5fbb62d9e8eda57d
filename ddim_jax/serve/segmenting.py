"""One upload segmented by one checkpoint: the result as JSON has it, and its artefacts."""

import dataclasses
import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ddim_jax.imageio.class_colours import class_colour
from ddim_jax.imageio.dicom_grouping import APART, NO_POSITION
from ddim_jax.imageio.images import Picture
from ddim_jax.imageio.stacks import Stack
from ddim_jax.imageio.writers import Context, declared
from ddim_jax.inference.calibration import without_place
from ddim_jax.inference.jobs import Job, Plan, plan_jobs
from ddim_jax.inference.reading import Loaded, Opened, Reading
from ddim_jax.inference.records import facts_of
from ddim_jax.inference.segmentation import fuse
from ddim_jax.inference.segmenter import Segmenter
from ddim_jax.inference.source import is_whole
from ddim_jax.inference.unlikeness import UNLIKE, is_unlike
from ddim_jax.inference.writing import writing_context
from ddim_jax.labels import Labels
from ddim_jax.registry import WRITERS
from ddim_jax.runtime.errors import DataError, InputError
from ddim_jax.sampling_options import SamplingOptions
from ddim_jax.serve.artefacts import OWN, artefacts, picture_png
from ddim_jax.serve.limits import Limits
from ddim_jax.serve.refusals import Refusal, without_paths

_BOUNDS = ("area_low", "area_high", "dice_low", "area_mm2", "area_low_mm2", "area_high_mm2")


@dataclasses.dataclass(frozen=True)
class Network:
    """A checkpoint that a server segments with.

    Attributes:
      name: what the user calls it, without the folders it lies in.
      segmenter: of the checkpoint.
      options: of the server.
      segments: coded concepts of classes for DICOM-SEG, beside those of the checkpoint.
    """

    name: str
    segmenter: Segmenter
    options: SamplingOptions
    segments: tuple[str, ...] = ()
    _held: set[Any] = dataclasses.field(default_factory=set, compare=False)

    @classmethod
    def create(
        cls, name: str, segmenter: Segmenter, segments: Sequence[str] = (), options: SamplingOptions | None = None
    ) -> "Network":
        """Errors as `SamplingOptions.create` and `writing_context`."""
        options = options or segmenter.options()
        writing_context(segmenter, options, segments)  # what is wrong is told at the start
        return cls(name, segmenter, options, tuple(segments))

    def hold(self, program: Hashable, most: int) -> None:
        """Counts a compiled program that is about to be used; if there are `most` others, it drops these first."""
        if program not in self._held and len(self._held) >= most:
            self.segmenter.drop_programs()
            self._held.clear()
        self._held.add(program)

    def about(self) -> dict[str, Any]:
        """The checkpoint as JSON has it."""
        data, names = self.segmenter.training_data, self.segmenter.labels.class_names
        return {
            "name": self.name,
            "step": self.segmenter.step,
            "sha256": self.segmenter.fingerprint(),
            "classes": [{"name": name, "colour": class_colour(number)} for number, name in enumerate(names, start=1)],
            "exclusive": self.segmenter.labels.several and not self.segmenter.labels.multilabel,
            "options": self.options.as_dict(),
            "note": str(data.get("note") or ""),
            "terms": str(data.get("terms") or ""),
        }


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
        why = "are no slices of one series"
        if NO_POSITION in found.remark:
            why = f"have {NO_POSITION}, so that their order is unknown"
        elif apart := re.search(f"{APART} [^;]*", found.remark):
            why = apart[0]
        raise Refusal(422, f"The upload holds {len(found.jobs)} images that {why}; send them one by one.")
    return found


def left_out_note(left_out: Mapping[str, int]) -> list[str]:
    """A note on the files of an upload that are not segmented, by their kind; [] where there are none."""
    kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(left_out.items()))
    count = sum(left_out.values())
    return [f"left out ({count} file{'s' if count > 1 else ''}: {kinds})"] if count else []


def segment(
    job: Job,
    network: Network,
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
    reading = Reading(segmenter, options, allow_damaged=False)
    opened = reading.look(job)
    _check_size(opened, limits)
    _check_work(segmenter.evaluations(options), opened.count, options, limits)
    of_slices, of_source, unavailable = _kinds(job, opened, context)
    files: dict[str, bytes] = {}
    slices, notes, taken = [], [], 0
    for index in range(opened.count):
        loaded = reading.load(job, opened, index)
        if loaded.picture is None:
            if loaded.reason is None:
                raise MemoryError
            raise DataError(loaded.reason)
        found, made, reasons = _one_slice(loaded, network, context, limits, of_slices, of_source, folder)
        unavailable = reasons | unavailable
        names = {kind: f"{prefix}{index + 1}/{name}" for kind, (name, _) in made.items()}
        files |= {names[kind]: data for kind, (_, data) in made.items()}
        slices.append(found | _geometry(opened, index) | {"files": names})
        notes += [note for note in _notes(loaded.picture) if note not in notes]
        taken += sum(len(data) for _, data in made.values())
        if taken > limits.kept_bytes // 2:
            raise Refusal(413, f"The result takes more than {limits.kept_bytes // 2} bytes; cut the source into parts.")
        advance(opened.count)
    whole = _of_all(job, opened, of_source, unavailable, folder, context)
    files |= {f"{prefix}{name}": data for name, data in whole.values()}
    calibration, window = context.calibration, slices[opened.count // 2]["window"]
    body = network.about() | {
        "options": options.as_dict(),
        "calibration": None if calibration is None else calibration.in_words(),
        "not_calibrated": without_place(segmenter.calibration(options)[1]) or None,
        "coverage": None if calibration is None else calibration.coverage,
        "not_judged": segmenter.reference()[1] or None,
        "window": window,
        "window_inverted": window is not None and opened.source.is_inverted,
        "notes": [*notes, *(() if opened.source is None else opened.source.notes)],
        "slices": slices,
        "files": {kind: f"{prefix}{name}" for kind, (name, _) in whole.items()},
        "formats": {
            kind: declared(WRITERS.get(kind), "title") or kind
            for kind in dict.fromkeys([*of_slices, *of_source, *unavailable])
        },
        "unavailable": {kind: without_paths(reason, folder.parent) for kind, reason in unavailable.items()},
    }
    return Segmented(body, files, () if window is None else tuple(map(Path, job.files)))


def _one_slice(
    loaded: Loaded,
    network: Network,
    context: Context,
    limits: Limits,
    of_slices: Sequence[str],
    of_source: Sequence[str],
    folder: Path,
) -> tuple[dict[str, Any], dict[str, tuple[str, bytes]], dict[str, str]]:
    """The figures of a slice as JSON has them, and what `artefacts` returns; its source takes the result, too."""
    segmenter, labels, options = network.segmenter, context.labels, context.options
    source, index, image = loaded.source, loaded.slice, loaded.picture.pixels
    network.hold((options.program(), loaded.prepared.pixels.shape), limits.programs)
    samples = segmenter.fetch(segmenter.start(loaded.prepared, options))
    hypotheses = any(declared(WRITERS.get(kind), "needs_hypotheses") for kind in of_slices)
    result = fuse(samples, image.shape[:2], options, labels, context.calibration, hypotheses=hypotheses)
    result = result._replace(unlikeness=segmenter.unlikeness(image))
    area = None if source is None else source.pixel_area(index)
    facts = facts_of(image, result, labels, area)
    if source is not None:
        source.add(index, image, result, facts, of_source, folder, context)
    file = Path(loaded.job.files[0]) if source is None else source.place(index)[0]
    made, unavailable = artefacts(image, samples, result, file, context._replace(slice=index), of_slices, folder)
    return _slice(facts, labels, area), made, unavailable


def _of_all(
    job: Job, opened: Opened, kinds: Sequence[str], unavailable: dict[str, str], folder: Path, context: Context
) -> dict[str, tuple[str, bytes]]:
    """Name and content of each kind of result of the whole source; why there is none of one goes to `unavailable`."""
    made = {}
    for kind in kinds:
        opened.source.complete([kind], folder, context)
        if kind in opened.source.unavailable:  # the source lacks what this format needs; there are others
            unavailable[kind] = opened.source.unavailable[kind]
            continue
        path = folder / job.output(kind)
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
        raise Refusal(413, f"The image has {opened.pixels:,} pixels; expected at most {limits.picture_pixels:,}.")
    if opened.pixels * opened.count > limits.source_pixels:
        raise Refusal(
            413, f"{opened.count} slices have {opened.pixels * opened.count:,} pixels; expected at most "
            f"{limits.source_pixels:,} in all."
        )  # fmt: skip


def _check_work(of_each: int, slices: int, options: SamplingOptions, limits: Limits) -> None:
    if (work := of_each * slices) > limits.evaluations:
        factors = f"{options.steps} steps x {options.samples} samples x {slices} slice{'s' if slices > 1 else ''}"
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
        if not declared(writer, "on_page") or not of_format or (is_whole(writer) and opened.source is None):
            continue
        try:
            if kind in OWN:
                raise InputError(f"The page has images called {kind}; register the writer by another name.")
            if hasattr(writer, "check"):
                writer.check([Path(job.files[0])], context)
        except InputError as error:
            unavailable[kind] = str(error)
        else:
            (of_source if is_whole(writer) else of_slices).append(kind)
    return of_slices, of_source, unavailable


def _slice(facts: Mapping[str, Any], labels: Labels, pixel_area: float | None) -> dict[str, Any]:
    areas = facts.get("areas") or {labels.class_names[0]: facts["area"]}
    classes = []
    for name in labels.class_names:
        one = {"name": name, "area": areas[name]}
        if pixel_area is not None:
            one["area_mm2"] = float(f"{areas[name] * pixel_area:.6g}")
        bounds = facts.get("bounds", {}).get(name, {})
        classes.append(one | {field: bounds[field] for field in _BOUNDS if field in bounds})
    same = ("height", "width", "mean_uncertainty", "doubt", "unlikeness")
    warning = UNLIKE if is_unlike(facts["unlikeness"]) else None
    return {name: facts[name] for name in same} | {"warning": warning, "pixel_mm2": pixel_area, "classes": classes}


def _notes(picture: Picture) -> list[str]:
    deep = picture.range
    return [*picture.notes, *([f"values from {deep[0]:g} to {deep[1]:g} are black to white"] if deep else [])]


def _geometry(opened: Opened, index: int) -> dict[str, Any]:
    """Returns window, edges and spacing of a slice of a DICOM or NIfTI source; None for what it does not say."""
    if opened.source is None:
        return {"window": None, "edges": None, "pixel_mm": None, "area_at": None}
    window, spacing = opened.source.window(index), opened.source.pixel_mm(index)
    return {
        "window": None if window is None else [float(f"{value:.6g}") for value in window],
        "edges": opened.source.edges(index),
        "pixel_mm": None if spacing is None else [float(f"{value:.6g}") for value in spacing],
        "area_at": opened.source.area_at,
    }
