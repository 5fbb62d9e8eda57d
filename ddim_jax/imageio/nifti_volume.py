"""The volume of a NIfTI file as slices that are turned upright, shown as images or read as masks."""

import copy
import functools
import math
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ddim_jax.imageio.archives import archive_of, size_of
from ddim_jax.imageio.clinic import errors_naming, library
from ddim_jax.imageio.edges import edges_of
from ddim_jax.imageio.grey import linear, robust_limits, window_of
from ddim_jax.imageio.images import AGAIN, MAX_PIXELS, ReadOptions, log_notes
from ddim_jax.imageio.levels import SoftRange
from ddim_jax.imageio.masks import mask_of_numbers, over_black
from ddim_jax.imageio.nifti_header import (
    is_oriented,
    is_packed,
    millimetres,
    qform_remarks,
    read_header,
    remarks_of,
    result_header,
    six_digits,
    unpacked,
    upright_axes,
)
from ddim_jax.imageio.soft_masks import mask_scaling, soft_notes, soft_range
from ddim_jax.imageio.stacks import MAX_VOXELS, Stack
from ddim_jax.labels import Labels
from ddim_jax.runtime.errors import DataError
from ddim_jax.runtime.values import quantity

_MOST_BYTES = 2**29  # of a volume's values, which are in memory
_ONE = """python -c "import nibabel; nibabel.load('FILE').slicer[..., 0].to_filename('NEW.nii.gz')\""""
_SAMPLED = 8  # slices whose values decide on black and white


class NiftiStack(Stack):
    """See `ddim_jax.imageio.stacks.Stack`.

    Attributes:
      affine: float64 [4, 4], of the file.
      grid: the number of voxels along each of its axes, three.
    """

    def __init__(self, files: Sequence[Path], options: ReadOptions = ReadOptions()):
        (path,) = files
        self.files, self._options = (path,), options
        self._values: np.ndarray | None = None
        self._limits: tuple[float, float] | None = None
        self._lock = threading.Lock()
        self._soft: tuple[SoftRange | None] | None = None  # of a mask
        self._soft_lock = threading.Lock()
        with errors_naming(path, "NIfTI"):
            self._header = read_header(path)
            dims = tuple(int(side) for side in self._header.get_data_shape())
            if len(dims) < 2 or min(dims) < 1 or any(side > 1 for side in dims[3:]):
                raise DataError(
                    f"{path}: holds {' x '.join(map(str, dims))} values; expected two or three dimensions, one "
                    f"image or one volume. Save the volume that you mean as a file of its own; the first: {_ONE}."
                )
            self._stored_shape, dims = dims, (*dims[:3], 1)[:3]
            self.grid = dims
            self.affine = np.asarray(self._header.get_best_affine(), np.float64)
            if not np.isfinite(self.affine).all() or abs(np.linalg.det(self.affine[:3, :3])) < 1e-12:
                raise DataError(
                    f"{path}: its affine (sform, or else qform) has NaN, infinite or zero steps, so that nothing says "
                    "where its voxels lie; save it with another."
                )
            self._order, self._flips, plane = upright_axes(self.affine, dims, self._header.get_dim_info()[2])
            self.count, *shape = (dims[axis] for axis in self._order)
            self.shape, self.plane = (shape[0], shape[1]), plane if self.count > 1 else None
            self._check_size(dims)
            kind, slope = self._header.get_data_dtype(), self._header.get_slope_inter()
            self.by_range = not kind.names and (kind != np.uint8 or slope not in ((None, None), (1, 0)))
            self.remarks = qform_remarks(path, self._header, self.affine, dims)
            self.remarks += remarks_of(self._header, self.affine, self._order, self.plane)

    def read(self, index: int) -> np.ndarray:
        """Slice `index`, uint8 [H, W, 3]; errors as `NiftiReader.read_image`."""
        path = self.files[0]
        with errors_naming(path, "NIfTI"):
            stored = self._upright_values()[index]
            if stored.dtype.names:  # RGB
                colours = np.stack([stored[name] for name in stored.dtype.names], axis=-1)
                return over_black(colours) if colours.shape[-1] == 4 else colours
            scaled = self._scaled(stored)
            if self._options.window is not None:
                centre, width = self._options.window
                grey = linear(scaled, centre - width / 2, centre + width / 2)
            elif stored.dtype == np.uint8 and scaled is stored:
                grey = np.ascontiguousarray(stored)
            else:
                grey = linear(scaled, *self._common_limits())
            return np.repeat(grey[..., None], 3, axis=-1)

    def notes(self, index: int) -> tuple[str, ...]:
        """Says how many values of slice `index` are NaN or infinite; errors as `read`."""
        with errors_naming(self.files[0], "NIfTI"):
            stored = self._upright_values()[index]
            scaled = stored if stored.dtype.names else self._scaled(stored)
            odd = 0 if scaled.dtype.kind != "f" else scaled.size - int(np.count_nonzero(np.isfinite(scaled)))
        told = quantity(odd, "value is", "values are")
        return (f"not finite ({told} NaN or infinite; NaN is shown black)",) if odd else ()

    def with_window(self, window: tuple[float, float]) -> "NiftiStack":
        """A copy that shows the file with that centre and width."""
        self.stored()  # which both have then
        other = copy.copy(self)
        other._options = self._options._replace(window=window)
        return other

    def window(self, index: int) -> tuple[float, float] | None:
        """The centre and width that slices are shown with; None for colours."""
        with errors_naming(self.files[0], "NIfTI"):
            stored = self._upright_values()[index]
            if stored.dtype.names:
                return None
            if self._options.window is not None:
                return self._options.window
            if stored.dtype == np.uint8 and self._scaled(stored) is stored:
                return 127.5, 255.0
            return window_of(*self._common_limits())

    def pixel_area(self, index: int) -> float | None:
        """Square millimetres of a pixel; None where the header does not say what its lengths are."""
        steps = self._steps()
        return None if steps is None else six_digits(np.linalg.norm(np.cross(*steps)))

    def pixel_mm(self, index: int) -> tuple[float, float] | None:
        """Millimetres from row to row and from column to column; None as `pixel_area`."""
        steps = self._steps()
        return None if steps is None else (six_digits(np.linalg.norm(steps[0])), six_digits(np.linalg.norm(steps[1])))

    def aspect(self, index: int) -> float:
        """The height of a pixel divided by its width, which needs no unit."""
        height, width = np.linalg.norm(self.affine[:3, list(self._order[1:])], axis=0)
        return float(height / width)

    lies_in_space = True

    @property
    def voxel_mm3(self) -> float | None:
        """Cubic millimetres of a voxel; None as `pixel_area`, and of one slice, whose thickness may be anything."""
        unit = millimetres(self._header)
        if unit is None or self.count == 1:
            return None
        return six_digits(abs(np.linalg.det(self.affine[:3, :3])) * unit**3)

    def edges(self, index: int) -> dict[str, str] | None:
        """See `ddim_jax.imageio.stacks.Stack`."""
        if not is_oriented(self._header):
            return None
        down, right = (
            self.affine[:3, axis] * (-1 if flip else 1) * (-1, -1, 1)  # RAS to LPS
            for axis, flip in zip(self._order[1:], self._flips[1:], strict=True)
        )
        return edges_of(right, down)

    def _steps(self) -> tuple[np.ndarray, np.ndarray] | None:
        """The ways in millimetres from row to row and from column to column, [3]; None as `pixel_area`."""
        unit = millimetres(self._header)
        if unit is None:
            return None
        return self.affine[:3, self._order[1]] * unit, self.affine[:3, self._order[2]] * unit

    def read_mask(self, index: int, labels: Labels) -> np.ndarray:
        """Slice `index` as a mask, uint8 [H, W]; errors as `NiftiReader.read_mask`."""
        with errors_naming(self.files[0], "NIfTI"):
            volume = self._upright_values()
        return self.decoded(volume, index, labels)

    def decoded(self, volume: np.ndarray, index: int, labels: Labels) -> np.ndarray:
        """Slice `index` of the stored values, in the order [slice, row, column], as a mask uint8 [H, W].

        One that is read by level is cut in the middle of the range of all slices. Errors as `NiftiReader.read_mask`.
        """
        path = self.files[0]
        with errors_naming(path, "NIfTI"):
            values = None if volume.dtype.names else self._mask_numbers(volume[index])
            if values is None or not np.isfinite(values).all():
                raise DataError(f"{path}: is no mask, it holds colours, NaN or infinite values.")
            return mask_of_numbers(values, labels, name=str(path), soft=self._soft_range(volume, labels))

    def mask_notes(self, volume: np.ndarray, index: int, labels: Labels) -> tuple[str, ...]:
        """Says how many values of slice `index` are cut as soft; errors as `decoded`, whose arguments it has."""
        soft = self._soft_range(volume, labels)
        return () if soft is None else soft_notes([self._mask_numbers(volume[index])], soft)

    @functools.cached_property
    def _mask_numbers(self) -> Callable[[np.ndarray], np.ndarray]:
        """The map from stored values to the numbers of a mask."""
        return mask_scaling(self._upright_values(), self._scaled, self._header.get_slope_inter()[0] or 1)

    def _soft_range(self, volume: np.ndarray, labels: Labels) -> SoftRange | None:
        """See `ddim_jax.imageio.soft_masks`; what is found of a volume is logged, as notes on images are."""
        if labels.by_value:
            return None
        path = self.files[0]
        with self._soft_lock:
            if self._soft is None:  # the same in whatever order the values are
                soft = soft_range(lambda: map(self._mask_numbers, volume), str(path))
                self._soft = (soft,)
                if soft is not None:
                    log_notes(path, soft_notes(map(self._mask_numbers, volume), soft))
            return self._soft[0]

    def as_stored(self, slices: np.ndarray) -> np.ndarray:
        """Slices [n, H, W] as the file has its values."""
        turned = slices[tuple(slice(None, None, -1 if flip else 1) for flip in self._flips)]
        return turned.transpose(np.argsort(self._order)).reshape(self._stored_shape)

    def image_of(self, values: np.ndarray, about: str) -> Any:
        """A NIfTI image with the place and the spacing of this one, of values as `as_stored` gives them.

        It has none of the source's texts, which may name the patient, and not its intent.
        """
        nibabel = library("nibabel")
        header = result_header(self._header, values.dtype, about)
        kind = nibabel.Nifti2Image if int(header["sizeof_hdr"]) == 540 else nibabel.Nifti1Image
        return kind(values, None, header)

    def _check_size(self, dims: tuple[int, ...]) -> None:
        path = self.files[0]
        size = math.prod(dims) * self._header.get_data_dtype().itemsize
        kind = self._header.get_data_dtype()
        if kind.kind not in "iuf" and not (kind.names and kind.names[0] == "R"):
            what = "complex numbers" if kind.kind == "c" else f"values of kind {kind}"
            raise DataError(f"{path}: holds {what}, expected real numbers or RGB; save it so, such as its magnitude.")
        told, most = f"{path}: {' x '.join(map(str, dims))} values", f"{MAX_PIXELS} in a slice and {MAX_VOXELS} in all"
        if self.shape[0] * self.shape[1] > MAX_PIXELS or math.prod(dims) > MAX_VOXELS:
            raise DataError(f"{told} are too many, expected at most {most}; cut or shrink it.")
        if size > _MOST_BYTES:
            told, most = f"{told} of {kind} take {size / 2**20:.1f} MiB", f"{_MOST_BYTES // 2**20} MiB"
            raise DataError(f"{told}, expected at most {most}; save it with fewer bytes a value, such as int16.")
        offset = int(self._header["vox_offset"])
        there = size_of(path)
        # A stream cannot be packed to less than a thousandth.
        if there * (1032 if is_packed(path) else 1) < offset + size:
            raise DataError(
                f"{path}: is truncated or damaged: its {there} bytes cannot hold a header of {offset} and "
                f"the {size} of {' x '.join(map(str, dims))} values of {kind}; {AGAIN}."
            )

    def _scaled(self, stored: np.ndarray) -> np.ndarray:
        slope, intercept = self._header.get_slope_inter()
        if slope is None or (slope, intercept) == (1, 0):
            return stored
        with np.errstate(over="ignore", invalid="ignore"):  # `notes` counts what is not finite
            return stored * np.float32(slope) + np.float32(intercept or 0)

    def _upright_values(self) -> np.ndarray:
        """The stored values as [slice, row, column]."""
        return self.upright(self.stored())

    def stored(self) -> np.ndarray:
        """The values as they are stored, of the shape `grid`; errors as `NiftiReader.read_image`."""
        with self._lock:
            if self._values is None:
                with errors_naming(self.files[0], "NIfTI"):
                    self._values = self._read_values().reshape(self.grid)
        return self._values

    def upright(self, stored: np.ndarray) -> np.ndarray:
        """Values of the shape `grid` as [slice, row, column]."""
        turned = stored.transpose(self._order)
        return turned[tuple(slice(None, None, -1 if flip else 1) for flip in self._flips)]

    def _read_values(self) -> np.ndarray:
        path, header = self.files[0], self._header
        kind, offset = header.get_data_dtype(), int(header["vox_offset"])
        size = math.prod(self._stored_shape) * kind.itemsize
        with unpacked(path) as file:
            file.read(offset)
            values = bytearray(size)
            view, filled = memoryview(values), 0
            while filled < size and (read := file.readinto(view[filled:])):
                filled += read
            is_stream = is_packed(path) or archive_of(path) is not None
            if filled < size or (is_stream and file.read(2**20) and file.read(1)):
                found = filled if filled < size else f"more than {size + 2**20}"
                raise DataError(
                    f"{path}: is truncated or damaged, its values have {found} bytes, its header says {size}; {AGAIN}."
                )
        return np.frombuffer(values, kind).reshape(self._stored_shape, order="F")

    def _common_limits(self) -> tuple[float, float]:
        with self._lock:
            limits = self._limits
        if limits is None:
            chosen = np.unique(np.linspace(0, self.count - 1, _SAMPLED).astype(int))
            limits = robust_limits(self._scaled(self._upright_values()[chosen]))
            with self._lock:
                self._limits = limits
        return limits
