"""NIfTI files: 2-D images, and volumes as stacks of slices. Needs the extra `clinic`.

Slices lie across the axis that `ddim_jax.imageio.nifti_header.upright_axes` finds. They are turned as radiologists see
them: the patient's left on the right, the front above in axial slices, the head above in others.
"""

import functools
import itertools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ddim_jax.imageio.images import Picture, ReadOptions
from ddim_jax.imageio.nifti_volume import NiftiStack
from ddim_jax.imageio.series import DicomStack, affine, spatial_order
from ddim_jax.imageio.stacks import file_facts, file_state
from ddim_jax.labels import Labels
from ddim_jax.registry import READERS
from ddim_jax.runtime.errors import DataError
from ddim_jax.runtime.values import quantity

_SAME_PLACE = 0.01  # millimetres between a voxel of a mask and of its image


@READERS.register("nifti")
class NiftiReader:
    """See `ddim_jax.imageio.images.Reader`."""

    suffixes = (".nii", ".nii.gz")

    @staticmethod
    def read_image(path: str | os.PathLike, options: ReadOptions = ReadOptions()) -> Picture:
        """Reads a file of one slice.

        Values go through the window of `options`, or else the range of 99% of them; 8 bits stay as they are. NaN is
        shown black, infinity as the largest or smallest value; a note says how many there are.

        Raises:
          DataError: the file is missing, damaged, holds several slices, or numbers that are no grey levels or RGB.
          InputError: nibabel is not installed.
        """
        stack = NiftiStack((Path(path),), options)
        _check_single(stack)
        return Picture(stack.read(0), None, stack.notes(0), pixel_mm=stack.pixel_mm(0))

    @staticmethod
    def read_mask(path: str | os.PathLike, labels: Labels = Labels()) -> np.ndarray:
        """Reads a file of one slice by the rules of `ddim_jax.imageio.masks.mask_of_numbers`; errors as these."""
        stack = NiftiStack((Path(path),))
        _check_single(stack)
        return stack.read_mask(0, labels)

    @staticmethod
    def count_pixels(path: str | os.PathLike) -> int:
        """Height times width of a slice, from the header alone; errors as `read_image`."""
        return file_facts(path).pixels

    @staticmethod
    def read_slice_mask(path: str | os.PathLike, stack: Any, index: int, labels: Labels = Labels()) -> np.ndarray:
        """The mask of slice `index` of `stack`, uint8 [H, W]: its voxels are taken where the image has them in space.

        Raises:
          DataError: as `read_mask`; or the two have not the same grid in space, or the image none.
        """
        own = _opened_mask(os.fspath(path), file_state(path))
        return own.decoded(_on_slices(own, stack), index, labels)

    @staticmethod
    def slice_mask_notes(path: str | os.PathLike, stack: Any, index: int, labels: Labels) -> tuple[str, ...]:
        """Returns notes on how `read_slice_mask` reads that mask, as `ddim_jax.imageio.images.Picture` has them."""
        own = _opened_mask(os.fspath(path), file_state(path))
        return own.mask_notes(_on_slices(own, stack), index, labels)

    @staticmethod
    def open_stack(files: Sequence[Path], options: ReadOptions = ReadOptions()) -> "NiftiStack":
        """A file of one or more slices; errors as `read_image`."""
        return NiftiStack(files, options)


def _on_slices(own: NiftiStack, stack: Any) -> np.ndarray:
    """The stored values of a mask in the order of its image's [slice, row, column]; errors as `read_slice_mask`."""
    if isinstance(stack, NiftiStack):
        return stack.upright(_on_grid(own, stack))
    if isinstance(stack, DicomStack):
        return _on_grid(own, stack).transpose(2, 1, 0)
    raise DataError(
        f"{own.files[0]}: is NIfTI, and {stack.files[0]} has no place in space that says how the mask lies on it; save "
        "the mask as PNG, drawn on the image as it is shown."
    )


@functools.lru_cache(4)  # the slices of one file are read one after the other
def _on_grid(mask: NiftiStack, picture: NiftiStack | DicomStack) -> np.ndarray:
    """The stored values of a mask in the order of its image's voxels: of its `grid`, or [column, row, slice].

    Raises:
      DataError: no order of its axes lays all voxels on those of the image, or that has no one map to millimetres.
    """
    if isinstance(picture, DicomStack):
        grid, to_space, most = (picture.shape[1], picture.shape[0], picture.count), affine(picture), _SAME_PLACE
    else:  # of which some have their directions in single precision only
        grid, to_space = picture.grid, picture.affine
        most = max(_SAME_PLACE, 0.05 * float(np.linalg.norm(to_space[:3, :3], axis=0).min()))
    last = np.array(grid) - 1
    corners = np.array(list(itertools.product((0, 1), repeat=3))) * last  # an axis of one voxel has no direction
    apart = []
    for order in itertools.permutations(range(3)):
        if tuple(mask.grid[axis] for axis in order) != tuple(grid):
            continue
        for flips in itertools.product((False, True), repeat=3):
            own = np.empty_like(corners)
            own[:, order] = np.where(flips, last - corners, corners)
            places = (_in_space(mask.affine, own), _in_space(to_space, corners))
            apart.append(float(np.abs(places[0] - places[1]).max()))
            if apart[-1] <= most:
                laid = mask.stored().transpose(order)[tuple(slice(None, None, -1 if flip else 1) for flip in flips)]
                back = np.argsort(spatial_order(picture)) if isinstance(picture, DicomStack) else np.arange(grid[2])
                return laid if (np.diff(back) == 1).all() else laid[..., back]
    one, other = mask.files[0], picture.files[0]
    if not apart:
        sides = [f"{quantity(part.count, 'slice')} of {part.shape[1]} x {part.shape[0]}" for part in (mask, picture)]
        raise DataError(f"{one}: has {sides[0]}, {other} has {sides[1]}; expected the same.")
    raise DataError(
        f"{one}: lies elsewhere than {other}, by {min(apart):.3g} mm at best, expected at most {most:.3g}. Its voxels "
        f"begin at {_described(mask.affine)}, those of the image at {_described(to_space)}; resample it first."
    )


def _in_space(to_space: np.ndarray, voxels: np.ndarray) -> np.ndarray:
    return voxels @ to_space[:3, :3].T + to_space[:3, 3]


def _described(to_space: np.ndarray) -> str:
    origin, *steps = (" ".join(f"{number:.4g}" for number in to_space[:3, column]) for column in (3, 0, 1, 2))
    return f"({origin}) mm with the steps " + ", ".join(f"({step})" for step in steps)


@functools.lru_cache(4)  # the slices of one file are read one after the other
def _opened_mask(path: str, state: tuple[int, int]) -> NiftiStack:
    return NiftiStack((Path(path),))


def _check_single(stack: NiftiStack) -> None:
    if stack.count > 1:
        raise DataError(f"{stack.files[0]}: holds {stack.count} slices, expected one; ddim-jax sample takes it whole.")
