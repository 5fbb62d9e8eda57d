"""Places the voxels of a NIfTI mask on those of its image, by where both lie in space."""

import functools
import itertools
from typing import TYPE_CHECKING

import numpy as np

from ddim_jax.imageio.series import DicomStack, affine
from ddim_jax.runtime.errors import DataError
from ddim_jax.runtime.values import quantity

if TYPE_CHECKING:
    from ddim_jax.imageio.nifti_volume import NiftiStack

_SAME_PLACE = 0.01  # millimetres between a voxel of a mask and of its image


@functools.lru_cache(4)  # the slices of one file are read one after the other
def on_grid(mask: "NiftiStack", picture: "NiftiStack | DicomStack") -> np.ndarray:
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
                return mask.stored().transpose(order)[tuple(slice(None, None, -1 if flip else 1) for flip in flips)]
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


def _described(affine: np.ndarray) -> str:
    origin, *steps = (" ".join(f"{number:.4g}" for number in affine[:3, column]) for column in (3, 0, 1, 2))
    return f"({origin}) mm with the steps " + ", ".join(f"({step})" for step in steps)
