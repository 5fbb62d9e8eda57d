"""From the samples of an image to its result files and its record in the index."""

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ddim_jax.imageio.images import Picture, guarded_reader
from ddim_jax.imageio.writers import Outputs, need_hypotheses, writing
from ddim_jax.inference.file_state import FileState
from ddim_jax.inference.index import Index, with_segments
from ddim_jax.inference.jobs import Job
from ddim_jax.inference.reading import Loaded, are_readable
from ddim_jax.inference.records import common, is_too_long, name_too_long, not_made, record_fields
from ddim_jax.inference.segmentation import Segmentation
from ddim_jax.inference.segmenter import Segmenter
from ddim_jax.inference.slice_folders import remove_result, result_size
from ddim_jax.inference.sliced_image import summed
from ddim_jax.inference.work import SegmentationPlan
from ddim_jax.registry import WRITERS
from ddim_jax.runtime.errors import DataError


class Results:
    """Fuses samples, writes the files of an image or of a source of several, and says what came of it.

    Args:
      segmenter: the checkpoint.
      work: of the run. Kinds of results that an earlier run saved besides are written too: no file may stay behind from
        an older state of its image.
      index: what earlier runs left.
    """

    def __init__(self, segmenter: Segmenter, work: SegmentationPlan, index: Index):
        self._segmenter = segmenter
        self._work = work
        self._index = index

    def finish(
        self, loaded: Loaded, samples: np.ndarray | None, device_seconds: float
    ) -> tuple[Loaded, dict[str, Any] | None]:
        """`loaded` as it was given, and a record; None in its place if there was not enough memory."""
        try:
            if loaded.source is not None:
                self._add_slice(loaded, samples, device_seconds)
                return loaded, None
            if loaded.reason is not None:
                return loaded, self.failed(loaded)
            return loaded, None if samples is None else self._write(loaded, samples, device_seconds)
        except MemoryError:
            if loaded.source is not None:
                loaded.source.out_of_memory = True
            return loaded, None

    def _add_slice(self, loaded: Loaded, samples: np.ndarray | None, device_seconds: float) -> None:
        """Takes the result of a slice into its source."""
        source = loaded.source
        if source.reason is not None or loaded.reason is not None:
            source.reason = source.reason or loaded.reason
        elif samples is None or source.out_of_memory:
            source.out_of_memory = True
        else:
            began = time.monotonic()
            image = loaded.picture.pixels
            kinds, _ = self._fitting(loaded.job, source.count)
            result = self._result(samples, image, kinds)
            try:
                with guarded_reader(loaded.job.source):
                    area = source.stack.pixel_area(loaded.slice)
                facts = record_fields(image, result, self._work.context.labels, area)
                facts["seconds"] = loaded.seconds + device_seconds
                if source.count == 1:
                    self._claim(loaded.job, kinds)
                source.add(loaded.slice, image, result, facts, self._outputs(kinds))
                facts["seconds"] += time.monotonic() - began
            except DataError as error:
                source.reason = str(error)

    def complete(self, loaded: Loaded) -> dict[str, Any] | None:
        """The record of a source all of whose slices were taken; None if there was not enough memory."""
        job, source = loaded.job, loaded.source
        try:
            kinds, too_long = self._fitting(job, source.count)
            began = time.monotonic()
            if source.reason is None and not source.out_of_memory:
                if source.count > 1:
                    self._claim(job, kinds, source.count)
                facts = source.complete(self._outputs(kinds))
                if source.unavailable and not are_readable(job, loaded.state):  # it may be away for a while alone
                    source.reason = next(iter(source.unavailable.values()))
        except MemoryError:
            source.out_of_memory = True
        except DataError as error:
            source.reason = str(error)
        finally:
            source.discard()
        if source.reason is not None:
            if not are_readable(job, loaded.state):
                loaded = loaded._replace(state=FileState())
            return self.failed(loaded._replace(reason=source.reason))
        if source.out_of_memory:
            return None
        whole = summed(facts, source.stack.lies_in_space, source.stack.voxel_mm3)
        record = common(loaded) | whole | ({"notes": source.notes} if source.notes else {})
        for kind in source.unavailable:  # what an earlier state of the source gave
            remove_result(self._work.output_dir / job.output(kind, source.count), WRITERS.get(kind).suffix)
        kinds = [kind for kind in kinds if kind not in source.unavailable]
        written = self._written(job, kinds, source.count)
        if too_long or source.unavailable:  # of these alone; the others are written
            reason = name_too_long(job, too_long[0]) if too_long else not_made(source.unavailable, kinds)
            return (record if kinds else common(loaded)) | {"status": "failed", "reason": reason} | written
        seconds = round(record.pop("seconds") + time.monotonic() - began, 4)
        record |= {"segments": dict(self._work.context.segments)} if with_segments(kinds) else {}
        return record | {"status": "ok"} | written | {"seconds": seconds}

    def _fitting(self, job: Job, slices: int) -> tuple[list[str], list[Path]]:
        """The kinds of results to write, and the paths of those whose names are too long for the file system."""
        earlier = self._index.record(job.name).get("outputs", ())
        kinds = [kind for kind in WRITERS if kind in earlier or kind in self._work.kinds]
        paths = {kind: self._work.output_dir / job.output(kind, slices) for kind in kinds}
        too_long = [kind for kind in kinds if is_too_long(paths[kind])]
        return [kind for kind in kinds if kind not in too_long], [paths[kind] for kind in too_long]

    def failed(self, loaded: Loaded) -> dict[str, Any]:
        job, written = loaded.job, self._index.written(loaded.job)
        record = common(loaded) | {"status": "failed", "reason": loaded.reason}
        if loaded.state.is_known and self._index.changed(job.name, loaded.state):
            self._remove(job, written)
            return record
        # A file that is as it was may be unreadable for a while, for want of memory, and while a disk is away nobody
        # knows how it is: its results stay, and are redone with the others once it can be read.
        return record | written

    def _write(self, loaded: Loaded, samples: np.ndarray, device_seconds: float) -> dict[str, Any]:
        job, picture = loaded.job, loaded.picture
        kinds, too_long = self._fitting(job, 1)
        began = time.monotonic()
        image = picture.pixels
        result = self._result(samples, image, kinds)
        self._claim(job, kinds)
        write_outputs(job, image, result, self._outputs(kinds))
        record = common(loaded)
        facts = record_fields(image, result, self._work.context.labels)
        written = self._written(job, kinds)
        if too_long:  # the fault of this name alone; others can be written
            reason = name_too_long(job, too_long[0])
            return record | facts | {"status": "failed", "reason": reason} | written
        # What there is to say of how it was read, where there is anything.
        read = {"range": picture.range, "notes": picture.notes, "orientation": picture.orientation}
        usual = Picture(image)._asdict()
        record |= {name: value for name, value in read.items() if value != usual[name]}
        return record | {
            "status": "ok",
            **written,
            **facts,
            "seconds": round(loaded.seconds + device_seconds + time.monotonic() - began, 4),
        }

    def _written(self, job: Job, kinds: list[str], slices: int = 1) -> dict[str, Any]:
        """The fields of a record that say which results are there, and by which they are known as they were written."""
        sizes = [result_size(self._work.output_dir / job.output(kind, slices)) for kind in kinds]
        # A result is out of sight for a moment where somebody moves the folder: then its size is not known.
        return {"outputs": kinds} | ({"output_bytes": sizes} if all(sizes) else {})

    def _result(self, samples: np.ndarray, image: np.ndarray, kinds: Iterable[str]) -> Segmentation:
        how = self._work.context
        return self._segmenter.result(samples, image, how.options, how.calibration, need_hypotheses(kinds))

    def _outputs(self, kinds: Sequence[str]) -> Outputs:
        return Outputs(kinds, self._work.output_dir, self._work.context)

    def _claim(self, job: Job, kinds: Iterable[str], slices: int = 1) -> None:
        """Writes down that these results are about to be written; a folder of slices gives way to a file, or that."""
        written = self._index.written(job)
        if (written.get("slices", 1) > 1) != (slices > 1):
            self._remove(job, written)
        self._index.claim(job, kinds, slices)

    def _remove(self, job: Job, written: Mapping[str, Any]) -> None:
        """Removes the results that an earlier run wrote, and no others."""
        for kind in written.get("outputs", ()):
            path = self._work.output_dir / job.output(kind, written.get("slices", 1))
            remove_result(path, WRITERS.get(kind).suffix)


def write_outputs(job: Job, image: np.ndarray, result: Segmentation, outputs: Outputs) -> None:
    """Writes the results of one image, each file atomically."""
    for kind in outputs.kinds:
        with writing(kind, outputs.folder / job.output(kind), job.source) as (writer, path):
            writer.write(path, result, image, Path(job.source), outputs.context)
