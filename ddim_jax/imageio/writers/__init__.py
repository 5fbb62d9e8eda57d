"""Formats of results, one file each. A writer registers itself, here or in a module outside of this package:

    from ddim_jax import register

    @register.writer("area")
    class Area:
        suffix = ".txt"

        def write(self, path, result, image, source, context):
            path.write_text(f"{result.mask.sum()}")

`--save area` then writes `<name>_area.txt` for each image, and the page of `ddim-jax serve` has a button for it.
"""

from __future__ import annotations

import contextlib
import mimetypes
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from ddim_jax.labels import Labels
from ddim_jax.registry import WRITERS
from ddim_jax.runtime.atomic import atomic_path
from ddim_jax.runtime.errors import ConfigError, failures_of

if TYPE_CHECKING:
    from ddim_jax.imageio.stacks import Stack
    from ddim_jax.inference.calibration import Calibrated
    from ddim_jax.inference.segmentation import Segmentation
    from ddim_jax.sampling_options import SamplingOptions

_BYTES = "application/octet-stream"


class WriterError(ConfigError):
    """A writer is at fault, not the image."""


class Context(NamedTuple):
    """The facts of a run that a result file may record.

    Attributes:
      software: name and version, "ddim_jax 0.2.0".
      checkpoint: path of the checkpoint's step folder, or of the file of packed weights; of several, joined by " + ".
      weights: SHA-256 of the weights and of the config, as in `settings.json`.
      step: training steps the checkpoint had taken, the first of several.
      options: how images are segmented.
      labels: the classes of the masks.
      segments: a coded concept for each class, for DICOM (`ddim_jax.imageio.coded`).
      slice: the number of the image in its source, from 0.
      calibration: what the bounds of a result (`Segmentation.bounds`) come from; None without any.
      members: path and training steps of each checkpoint where there are several; else ().
    """

    software: str
    checkpoint: str
    weights: str
    step: int
    options: SamplingOptions
    labels: Labels = Labels()
    segments: Mapping[str, str] = {}
    slice: int = 0
    calibration: Calibrated | None = None
    members: tuple[tuple[str, int], ...] = ()


class Outputs(NamedTuple):
    """The results that are to be written.

    Attributes:
      kinds: names in `WRITERS`.
      folder: where they go.
      context: facts of the run.
    """

    kinds: Sequence[str]
    folder: Path
    context: Context


class Writer(Protocol):
    """A kind of result; made without arguments for each file, in one of several threads.

    A writer declares what differs from the values here.

    Attributes:
      suffix: of the files, with its dot: ".png", ".nii.gz".
      title: on the page; None for the name that the writer is registered by.
      media_type: of the files; None for the one that goes with the suffix.
      on_page: whether the page has the kind.
      of_dicom: whether the files refer to DICOM files: the page has the kind for results of these alone.
      series_number: of DICOM files: viewers sort series by it.
      has_segments: whether the files hold the coded concepts of `Context.segments`: with others, they are made again.
      needs_hypotheses: whether `write` reads the hypotheses of the result.
    """

    suffix: str
    title: str | None = None
    media_type: str | None = None
    on_page: bool = True
    of_dicom: bool = False
    series_number: int = 9000
    has_segments: bool = False
    needs_hypotheses: bool = False

    def write(self, path: Path, result: Segmentation, image: np.ndarray, source: Path, context: Context) -> None:
        """Writes one file, of one image; of a source of several, one after the other into a folder.

        Args:
          path: where to, with the suffix: a temporary name that is flushed to disk and renamed afterwards, so that
            nobody sees half a file.
          result: the segmentation, [H, W].
          image: the image as it was read, uint8 [H, W, 3].
          source: absolute path of the image's file.
          context: facts of the run.
        """


class StackWriter(Protocol):
    """A kind of result of whole sources, such as a DICOM series or a volume: one file.

    Attributes:
      suffix: as of `Writer`, and so are title, media_type, on_page, of_dicom, series_number and has_segments.
      needs_probability: True if `write_stack` reads the probability; without it, False.
    """

    suffix: str

    def write_stack(
        self, path: Path, masks: np.ndarray, probability: np.ndarray | None, stack: Stack, context: Context
    ) -> None:
        """Writes one file.

        Args:
          path: as for `Writer.write`.
          masks: uint8 [n, H, W], as `ddim_jax.labels` has them.
          probability: float32 [n, H, W]; of several classes [n, H, W, K]; None if the writer does not need it.
          stack: the source; `stack.files` are its files.
          context: facts of the run.

        Raises:
          DataError: the source lacks what the format needs.
        """

    @staticmethod
    def check(sources: Sequence[Path], context: Context) -> None:
        """Checks the sources of a run before any work, or with none of them all else that the writer needs.

        A `Writer` may have it too.

        Raises:
          InputError: some are no sources for it; they are named.
        """


def declared(writer: Any, name: str) -> Any:
    """The attribute `name` of a registered writer, or its value in `Writer` where it declares none."""
    return getattr(writer, name, getattr(Writer, name))


def need_hypotheses(kinds: Iterable[str]) -> bool:
    """True if a writer of these kinds reads the hypotheses of a result."""
    return any(declared(WRITERS.get(kind), "needs_hypotheses") for kind in kinds)


def media_type(writer: Any) -> str:
    """The media type of a registered writer's files: "image/png"."""
    guessed, packed = mimetypes.guess_type(f"file{writer.suffix}")
    return declared(writer, "media_type") or (f"application/{packed}" if packed else guessed) or _BYTES


@contextlib.contextmanager
def blaming(kind: str, path: Path, source: str | os.PathLike) -> Iterator[None]:
    """A block in which the writer `kind` writes `path`, a result of the file `source`.

    Raises:
      WriterError: the writer fails (`ddim_jax.runtime.errors.failures_of`), or has written no file.
    """
    with failures_of(lambda: f"the writer {kind!r} failed on {os.fspath(source)}", WriterError):
        yield
    if not path.exists() and path.parent.is_dir():  # else somebody removed the folder
        raise WriterError(f"the writer {kind!r} wrote no file of {os.fspath(source)} at the path that it was given")


@contextlib.contextmanager
def writing(kind: str, path: Path, source: str | os.PathLike) -> Iterator[tuple[Any, Path]]:
    """A writer of `kind` and a temporary path for it, whose file is at `path` after the block; errors as `blaming`."""
    writer = WRITERS.get(kind)
    with atomic_path(path, suffix=writer.suffix) as temporary, blaming(kind, temporary, source):
        yield writer(), temporary
