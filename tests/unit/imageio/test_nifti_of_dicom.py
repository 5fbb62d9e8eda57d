"""NIfTI results of DICOM series, as other programs find their place: by the sform or by the qform."""

import nibabel
import numpy as np
import pytest
from dicom_files import ct_slice

from ddim_jax.imageio.series import affine
from ddim_jax.imageio.stacks import open_stack
from ddim_jax.imageio.writers import Context
from ddim_jax.registry import WRITERS
from ddim_jax.runtime.errors import DataError
from ddim_jax.sampling_options import SamplingOptions

TURNED = [0.8, 0.6, 0, 0, 0, -1]


@pytest.mark.parametrize(
    ("directions", "step", "qform"),
    [
        ([1, 0, 0, 0, 1, 0], (0, 0, 2), 1),
        (TURNED, (-1.2, 1.6, 0), 1),
        (TURNED, (1.2, -1.6, 0), 1),
        ([1, 0, 0, 0, 1, 0], (0, 0.4, 2), 0),  # a tilted gantry
    ],
)
def test_both_forms_are_of_the_scanner_where_the_qform_can_say_it(directions, step, qform, tmp_path):
    for number in range(3):
        place = tuple(np.array(step) * number + (-120.5, 33.25, 7))
        values, name = np.zeros((4, 6)), tmp_path / f"{number}.dcm"
        ct_slice(name, values, place=place, number=number, ImageOrientationPatient=directions)
    stack = open_stack(sorted(tmp_path.iterdir()))
    context = Context("ddim_jax 0", "run/checkpoints/1", "ab" * 32, 1, SamplingOptions())
    masks = np.random.default_rng(0).integers(0, 2, (3, 4, 6)).astype(np.uint8)
    WRITERS.get("nifti")().write_stack(tmp_path / "m.nii.gz", masks, None, stack, context)
    image = nibabel.load(tmp_path / "m.nii.gz")
    assert image.header.get_dim_info() == (None, None, 2)
    assert (int(image.header["sform_code"]), int(image.header["qform_code"])) == (1, qform)
    np.testing.assert_allclose(image.get_sform(), affine(stack), atol=1e-4)
    if qform:
        np.testing.assert_allclose(image.get_qform(), affine(stack), atol=1e-4)
    np.testing.assert_allclose(image.header.get_zooms()[:2], (0.75, 0.5))
    for slice_, part in zip(masks, stack.slices, strict=True):
        rows, columns = np.array(directions[:3]), np.array(directions[3:])
        for row, column in np.ndindex(slice_.shape):
            point = np.array(part.header.ImagePositionPatient) + rows * 0.75 * column + columns * 0.5 * row
            voxel = np.linalg.inv(image.affine) @ (*(point * (-1, -1, 1)), 1)
            assert image.dataobj[tuple(np.round(voxel[:3]).astype(int))] == slice_[row, column]


def test_sagittal_slices_of_equal_spacings_stay_sagittal(tmp_path):
    for number in range(3):
        name, place = tmp_path / f"{number}.dcm", (0.5 * number, 0, 0)
        spacing = {"PixelSpacing": [0.5, 0.5], "ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}
        ct_slice(name, np.zeros((4, 6)), place=place, number=number, **spacing)
    stack = open_stack(sorted(tmp_path.iterdir()))
    context = Context("ddim_jax 0", "run/checkpoints/1", "ab" * 32, 1, SamplingOptions())
    WRITERS.get("nifti")().write_stack(tmp_path / "m.nii.gz", np.zeros((3, 4, 6), np.uint8), None, stack, context)
    back = open_stack([tmp_path / "m.nii.gz"])
    assert (stack.plane, back.plane, back.count, back.shape) == ("sagittal", "sagittal", 3, (4, 6))


@pytest.mark.parametrize(
    ("attributes", "missing"),
    [
        (("ImagePositionPatient",), r"position \(ImagePositionPatient\)"),
        (("PixelSpacing",), r"spacing \(PixelSpacing\)"),
        (
            ("ImagePositionPatient", "ImageOrientationPatient"),
            r"position \(ImagePositionPatient\) and no orientation \(ImageOrientationPatient\)",
        ),
    ],
)
def test_only_what_is_missing_of_the_place_is_named(attributes, missing, tmp_path):
    path = ct_slice(tmp_path / "a.dcm", np.zeros((4, 6)), **dict.fromkeys(attributes))
    with pytest.raises(DataError, match=rf"a\.dcm: has no {missing}; expected it for NIfTI"):
        affine(open_stack([path]))
