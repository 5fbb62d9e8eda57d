"""One source of several images on its way from its files to its results."""

import contextlib
import functools
import os
import shutil
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ddim_jax.imageio.constant import notes_if_constant
from ddim_jax.imageio.images import Picture, ReadOptions, note_parts
from ddim_jax.imageio.stacks import MAX_VOXELS, Stack, open_stack, read_checked
from ddim_jax.imageio.writers import Outputs, blaming, writing
from ddim_jax.inference.jobs import Job, slice_name
from ddim_jax.inference.segmentation import Segmentation
from ddim_jax.inference.slice_folders import holds_only_slices, remove_result
from ddim_jax.registry import WRITERS
from ddim_jax.runtime.atomic import errors_naming, flush_file, flush_folder
from ddim_jax.runtime.errors import DataError


class SlicedImage:
    """A DICOM series, a file of several frames, a volume, or an image of such a format: its slices and results.

    Results of slices are written into folders with temporary names, which `complete` renames; those of the whole source
    are written then, so that nothing of it is there before all of it is.

    Args:
      job: the source.
      options: how to read.

    Attributes:
      stack: the opened source.
      count: number of slices.
      pixels: of one slice.
      reason: what went wrong with a slice; the source has failed then.
      unavailable: the kinds of results that cannot be made of this source, and why; the others are written.

    Raises:
      DataError: it cannot be opened.
    """

    def __init__(self, job: Job, options: ReadOptions):
        self.job = job
        self._options = options
        self.stack: Stack = open_stack(job.files, options)
        self.count = self.stack.count
        self.pixels = self.stack.shape[0] * self.stack.shape[1]
        self.reason: str | None = None
        self.unavailable: dict[str, str] = {}
        self.out_of_memory = False
        self._lock = threading.Lock()
        self._masks: np.ndarray | None = None
        self._probability: np.ndarray | None = None
        self._notes: dict[int, tuple[str, ...]] = {}
        self._facts: list[Mapping[str, Any]] = [{}] * self.count
        self._folders: dict[str, Path] = {}

    def read(self, index: int) -> Picture:
        """Slice `index`.

        Raises:
          DataError: it cannot be decoded, or another slice could not be.
        """
        if self.reason is not None:
            raise DataError(self.reason)
        pixels, found = read_checked(self.stack, index)
        constant = notes_if_constant(pixels, self._options.window, lambda: read_checked(self._without_window, index)[0])
        notes = (*constant, *found)
        with self._lock:
            self._notes |= {index: notes} if notes else {}
        return Picture(255 - pixels if self._options.invert else pixels)

    @functools.cached_property
    def _without_window(self) -> Stack:
        return open_stack(self.job.files, self._options._replace(window=None))

    @property
    def notes(self) -> tuple[str, ...]:
        """Remarks on the slices that were read, and on all, as `Picture.notes`."""
        notes = [note for _, of_slice in sorted(self._notes.items()) for note in of_slice]
        whole = tuple(self.stack.remarks)
        if self.count == 1:
            return *notes, *whole
        kinds: dict[str, list[str]] = {}
        for kind, details in map(note_parts, notes):
            kinds.setdefault(kind, []).append(details)
        return *(f"{kind} ({len(all_)} of {self.count} slices; {all_[0]})" for kind, all_ in kinds.items()), *whole

    @property
    def is_inverted(self) -> bool:
        """True if larger values are shown darker."""
        return self.stack.white_is_low != self._options.invert

    def place(self, index: int) -> tuple[Path, int]:
        """The file of slice `index`, and its number in that file."""
        of_each = len(self.stack.files) == self.count
        return self.stack.files[index if of_each else 0], 0 if of_each else index

    def add(
        self, index: int, image: np.ndarray, result: Segmentation, facts: Mapping[str, Any], outputs: Outputs
    ) -> None:
        """Takes the result of a slice and writes what there is of each slice; called from several threads."""
        writers = {kind: WRITERS.get(kind) for kind in outputs.kinds}
        whole = [kind for kind, writer in writers.items() if writes_whole(writer)]
        with self._lock:
            if whole and self._masks is None:
                self._masks = np.zeros((self.count, *result.mask.shape), np.uint8)
                shape = (self.count, *result.probability.shape)
                if needing := [kind for kind in whole if getattr(writers[kind], "needs_probability", False)]:
                    if np.prod(shape, dtype=np.int64) > MAX_VOXELS:
                        why = f"{self.job.source}: its probabilities are too many to be kept; save masks."
                        self.unavailable |= dict.fromkeys(needing, why)
                    else:
                        self._probability = np.zeros(shape, np.float32)
            for kind, writer in writers.items():
                if not writes_whole(writer) and self.count > 1 and kind not in self._folders:
                    target = outputs.folder / self.job.output(kind, self.count)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    self._folders[kind] = target.parent / f".{uuid.uuid4().hex}.partial.slices"
                    self._folders[kind].mkdir()
        if self._masks is not None:
            self._masks[index] = result.mask
        if self._probability is not None:
            self._probability[index] = result.probability
        file, _ = self.place(index)
        for kind, writer in writers.items():
            if writes_whole(writer) or kind in self.unavailable:
                continue
            with self._unless_unavailable(kind):
                if self.count > 1:
                    path = self._folders[kind] / f"{slice_name(index, self.count)}{writer.suffix}"
                    with errors_naming(outputs.folder / self.job.output(kind, self.count)):
                        with blaming(kind, path, file):
                            writer().write(path, result, image, file, outputs.context._replace(slice=index))
                        flush_file(path)
                else:
                    with writing(kind, outputs.folder / self.job.output(kind), file) as (made, path):
                        made.write(path, result, image, file, outputs.context)
        self._facts[index] = facts

    @contextlib.contextmanager
    def _unless_unavailable(self, kind: str) -> Iterator[None]:
        """The source may lack what a format needs, and others do without."""
        try:
            yield
        except DataError as error:
            with self._lock:
                self.unavailable.setdefault(kind, str(error))

    def complete(self, outputs: Outputs) -> list[Mapping[str, Any]]:
        """Writes the results of the whole source, gives all their names, and returns the facts of the slices.

        Those that it lacks something for are in `unavailable` then.

        Raises:
          DataError: files of others are in the place of results.
        """
        for kind in outputs.kinds:
            if writes_whole(WRITERS.get(kind)) and kind not in self.unavailable:
                target = outputs.folder / self.job.output(kind)
                with self._unless_unavailable(kind), writing(kind, target, self.job.source) as (made, path):
                    made.write_stack(path, self._masks, self._probability, self.stack, outputs.context)
        for kind in self.unavailable.keys() & self._folders.keys():
            shutil.rmtree(self._folders.pop(kind), ignore_errors=True)
        for kind, folder in self._folders.items():
            target = outputs.folder / self.job.output(kind, self.count)
            suffix = WRITERS.get(kind).suffix
            if target.is_dir() and not holds_only_slices(target, suffix):
                raise DataError(
                    f"{target}: holds more than results of slices, so it is not replaced by those of "
                    f"{self.job.source}. Move it away, or use another output folder."
                )
            remove_result(target, suffix)
            flush_folder(folder)
            os.replace(folder, target)
        self._folders.clear()
        return self._facts

    def discard(self) -> None:
        """Removes what was written under temporary names."""
        for folder in self._folders.values():
            shutil.rmtree(folder, ignore_errors=True)
        self._folders.clear()
        self._masks = self._probability = None


def writes_whole(writer: Any) -> bool:
    """True for a writer of whole sources."""
    return hasattr(writer, "write_stack")


def rounded(value: float) -> float:
    """The value with six digits, as lengths and areas are told."""
    return float(f"{value:.6g}")


def summed(
    facts: Sequence[Mapping[str, Any]], in_space: bool | None = None, voxel_mm3: float | None = None
) -> dict[str, Any]:
    """The facts of all slices as those of the source: areas added, uncertainty averaged, the largest doubt.

    With `voxel_mm3` there is the volume of the pixels, too. Of frames in time (`in_space` is False; None:
    unknown) square millimetres are not added: there are lists of their areas.

    The bounds and the hypotheses stay those of each slice, in a list: what holds for each need not hold for their sum.
    Of doubt and unlikeness there are such lists too; of the latter the source has the median: of many slices one in
    twenty is beyond the limit where all are alike.
    """
    found = dict(facts[0])
    if len(facts) > 1 and found.pop("bounds", None):
        found["bounds_of_slices"] = [one["bounds"] for one in facts]
    if len(facts) > 1 and found.pop("hypotheses", None):
        found["hypotheses_of_slices"] = [one["hypotheses"] for one in facts]
    for name in [one for one in ("area", "seconds") if one in found]:
        found[name] = round(sum(one[name] for one in facts), 4)
    if "areas" in found:
        found["areas"] = {name: sum(one["areas"][name] for one in facts) for name in found["areas"]}
    if len(facts) > 1 and in_space is False:
        for name in ("area", "areas", "area_mm2", "areas_mm2"):
            if all(name in one for one in facts):
                found[f"{name}_of_slices"] = [one[name] for one in facts]
        found = {name: value for name, value in found.items() if name not in ("area_mm2", "areas_mm2")}
    if found.pop("area_mm2", None) is not None and all("area_mm2" in one for one in facts):
        found["area_mm2"] = rounded(sum(one["area_mm2"] for one in facts))
    if (several := found.pop("areas_mm2", None)) and "area_mm2" in found:
        found["areas_mm2"] = {name: rounded(sum(one["areas_mm2"][name] for one in facts)) for name in several}
    if voxel_mm3 is not None:
        found["volume_ml"] = rounded(found["area"] * voxel_mm3 / 1000)
        if "areas" in found:
            found["volumes_ml"] = {name: rounded(area * voxel_mm3 / 1000) for name, area in found["areas"].items()}
    found["mean_uncertainty"] = round(float(np.mean([one["mean_uncertainty"] for one in facts])), 6)
    found["doubt"] = max(one["doubt"] for one in facts)
    if len(facts) > 1:
        found["doubt_of_slices"] = [one["doubt"] for one in facts]
    if len(facts) > 1 and found["unlikeness"] is not None:
        found["unlikeness_of_slices"] = [one["unlikeness"] for one in facts]
        found["unlikeness"] = rounded(np.median(found["unlikeness_of_slices"]))
    return found | ({"slices": len(facts)} if len(facts) > 1 else {})
