"""Distances of DICOM slices: frames in another order than in space, and places that are rounded."""

import nibabel
import numpy as np
import pytest
from dicom_files import ct_slice
from pydicom import Dataset

from ddim_jax.imageio.readers.nifti import NiftiReader
from ddim_jax.imageio.series import affine, spatial_order
from ddim_jax.imageio.stacks import open_stack
from ddim_jax.imageio.writers import Context
from ddim_jax.labels import Labels
from ddim_jax.registry import WRITERS
from ddim_jax.runtime.errors import DataError
from ddim_jax.sampling_options import SamplingOptions

SIDES = (4, 6)
REMARK = "pixels not square (0.5 high and 0.75 mm wide; the network sees them square)"


def item(**attributes):
    found = Dataset()
    for name, value in attributes.items():
        setattr(found, name, value)
    return found


def frames(path, heights):
    """A file of one frame at each height in millimetres, of the value 10 times that."""
    values = np.concatenate([np.full(SIDES, 10 * height) for height in heights])
    groups = [item(PlanePositionSequence=[item(ImagePositionPatient=[0.0, 0.0, height])]) for height in heights]
    own = {"Rows": SIDES[0], "NumberOfFrames": len(heights), "ImagePositionPatient": None}
    return ct_slice(path, values, PerFrameFunctionalGroupsSequence=groups, **own)


def series(folder, heights):
    for number, height in enumerate(heights):
        ct_slice(folder / f"{number:03d}.dcm", np.zeros(SIDES), place=(1.0, 2.0, height), number=number)
    return open_stack(sorted(folder.iterdir()))


def written(path, masks, stack):
    context = Context("ddim_jax 0", "run/checkpoints/1", "ab" * 32, 1, SamplingOptions())
    WRITERS.get("nifti")().write_stack(path, masks, None, stack, context)
    return nibabel.load(path)


@pytest.mark.parametrize("order", [(0, 2, 4, 1, 3, 5), (5, 4, 3, 2, 1, 0), (4, 2, 0, 5, 3, 1), (0, 1, 2, 3, 4, 5)])
def test_frames_in_any_order_have_a_volume_and_lie_where_they_were_taken(order, tmp_path):
    heights = [3.0 * place for place in order]
    stack = open_stack([frames(tmp_path / "a.dcm", heights)])
    assert stack.voxel_mm3 == pytest.approx(0.5 * 0.75 * 3) and stack.remarks == [REMARK]
    assert (np.diff(np.array(heights)[spatial_order(stack)]) == (3 if order[0] < 3 else -3)).all()
    masks = np.zeros((6, *SIDES), np.uint8)
    for number, place in enumerate(order):
        masks[number].flat[: place + 1] = 1
    image = written(tmp_path / "m.nii.gz", masks, stack)
    for number in range(6):
        height = (image.affine @ (0, 0, number, 1))[2]
        assert np.count_nonzero(image.dataobj[..., number]) == height / 3 + 1
    for number in range(6):
        np.testing.assert_array_equal(
            NiftiReader.read_slice_mask(tmp_path / "m.nii.gz", stack, number, Labels.create(1)), masks[number]
        )


@pytest.mark.parametrize("step", [1.25, 0.625, 0.75, 3.33])
def test_places_with_one_decimal_are_at_even_distances(step, tmp_path):
    heights = [round(step * number, 1) for number in range(40)]
    assert len(np.unique(np.round(np.diff(heights), 1))) == 2
    stack = series(tmp_path, heights)
    mean = (heights[-1] - heights[0]) / 39
    assert stack.voxel_mm3 == pytest.approx(0.375 * mean) and mean == pytest.approx(step, abs=0.1 / 39)
    assert stack.remarks == [REMARK]
    np.testing.assert_allclose(affine(stack)[:, 2], (0, 0, mean, 0), atol=1e-9)


@pytest.mark.parametrize("step", [0.625, 1.25, 3.0])
def test_oblique_places_with_one_decimal_are_at_even_distances(step, tmp_path):
    turned = np.linalg.qr(np.array([[3.0, 1, 2], [1, 4, 1], [2, 1, 5]]))[0] @ np.diag([-1, -1, 1])
    turned[:, 2] = np.cross(turned[:, 0], turned[:, 1])
    places = np.round(np.array([-120.04, 80.07, 33.02]) + step * np.arange(60)[:, None] * turned[:, 2], 1)
    for number, place in enumerate(places):
        directions = [*np.round(turned[:, 0], 9), *np.round(turned[:, 1], 9)]
        ct_slice(
            tmp_path / f"{number:03d}.dcm", np.zeros(SIDES), place=place, number=number,
            ImageOrientationPatient=directions,
        )  # fmt: skip
    line = places[0] + np.linspace(0, 1, 60)[:, None] * (places[-1] - places[0])
    assert np.linalg.norm(places - line, axis=1).max() > 0.1001
    stack = open_stack(sorted(tmp_path.iterdir()))
    assert stack.remarks == [REMARK] and stack.voxel_mm3 == pytest.approx(0.375 * step, rel=0.004)


def test_slices_shifted_in_plane_are_not_in_even_places(tmp_path):
    for number, shift in enumerate([0.0, 0.5, 0.0, 0.0]):
        ct_slice(tmp_path / f"{number}.dcm", np.zeros(SIDES), place=(shift, 0.0, 3.0 * number), number=number)
    stack = open_stack(sorted(tmp_path.iterdir()))
    told = "slices not in even places (3 to 3 mm apart, up to 0.5 mm off even ones; no volume)"
    assert stack.remarks == [told, REMARK] and stack.voxel_mm3 is None


@pytest.mark.parametrize(
    ("heights", "told"),
    [
        ((0, 3, 6, 11, 14), "slices not in even places (3 to 5 mm apart, up to 1 mm off even ones; no volume)"),
        ((0, 3, 6, 11.3, 14), "slices missing (in 1 place, such as behind slice 3: 5.3 mm to the next, 3 mm between"),
        ((0, 3, 6, 15, 18), "slices missing (in 1 place, such as behind slice 3: 9 mm to the next, 3 mm between"),
    ],
)
def test_slices_are_missing_where_a_step_is_a_multiple_of_the_usual_one(heights, told, tmp_path):
    stack = series(tmp_path, heights)
    assert stack.remarks[0].startswith(told) and stack.remarks[1:] == [REMARK]
    if "missing" not in told:
        return
    with pytest.raises(DataError) as caught:
        affine(stack)
    assert (
        f"000.dcm: the slices are not in even places: {stack.remarks[0]}; NIfTI has one affine for all. Save masks"
        in str(caught.value)
    )


@pytest.mark.parametrize(
    ("heights", "told"),
    [
        ((0, 2, 4.2, 6), "1.8 to 2.2 mm apart, up to 0.2 mm off"),
        ((0, 0.1, 0.3, 0.4), "0.1 to 0.2 mm apart, up to 0.033 mm off"),
    ],
)
def test_uneven_places_are_noted_and_named(heights, told, tmp_path):
    stack = series(tmp_path, heights)
    assert stack.voxel_mm3 is None
    assert [remark for remark in stack.remarks if "slices missing" not in remark] == [
        *([] if heights[1] < 1 else [f"slices not in even places ({told} even ones; no volume)"]),
        REMARK,
    ]
    said = r": slices missing \(.*\)" if heights[1] < 1 else rf" \({told} even ones\)"
    with pytest.raises(DataError, match=rf"000\.dcm: the slices are not in even places{said}; NIfTI"):
        affine(stack)


def test_frames_at_several_times_are_at_no_distances(tmp_path):
    stack = open_stack([frames(tmp_path / "a.dcm", [0.0, 3.0, 6.0, 0.0, 3.0, 6.0])])
    assert stack.voxel_mm3 is None and stack.remarks == [REMARK]
    with pytest.raises(DataError, match=r"a\.dcm: the slices are not in even places \(some in one plane\); NIfTI"):
        affine(stack)
