"""The letters at the edges of images."""

import nibabel
import numpy as np
import pytest
from dicom_files import ct_slice

from ddim_jax.imageio.edges import edges_of
from ddim_jax.imageio.stacks import open_stack


def in_order(found):
    return None if found is None else tuple(found[side] for side in ("top", "right", "bottom", "left"))


@pytest.mark.parametrize(
    ("right", "down", "expected"),
    [
        ((1, 0, 0), (0, 1, 0), ("A", "L", "P", "R")),  # axial
        ((1, 0, 0), (0, 0, -2), ("H", "L", "F", "R")),  # coronal
        ((0, 1, 0), (0, 0, -1), ("H", "P", "F", "A")),  # sagittal
        ((0.9, 0.3, 0), (-0.3, 0.9, 0), ("A", "L", "P", "R")),  # 18 degrees
        ((0.8, 0.6, 0), (-0.6, 0.8, 0), ("AL", "LP", "PR", "RA")),  # 37 degrees
        ((0, 0, 0), (0, 1, 0), None),
    ],
)
def test_the_letters_of_directions(right, down, expected):
    assert in_order(edges_of(np.array(right, float), np.array(down, float))) == expected


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({}, ("A", "L", "P", "R")),
        ({"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}, ("H", "P", "F", "A")),
        ({"ImageOrientationPatient": None, "PatientOrientation": ["L", "F"]}, ("H", "L", "F", "R")),
        ({"ImageOrientationPatient": None, "PatientOrientation": ["LP", "F"]}, ("H", "LP", "F", "RA")),
        ({"ImageOrientationPatient": None, "PatientOrientation": ["<b>", "F"]}, None),
        ({"ImageOrientationPatient": None, "PatientOrientation": "L"}, None),
        ({"ImageOrientationPatient": None}, None),
        ({"ImageOrientationPatient": [0] * 6}, None),
    ],
)
def test_the_letters_of_dicom_files(tmp_path, attributes, expected):
    stack = open_stack([ct_slice(tmp_path / "x.dcm", np.zeros((4, 6)), **attributes)])
    assert in_order(stack.edges(0)) == expected and stack.pixel_mm(0) == (0.5, 0.75)


def test_the_letters_of_nifti_files(tmp_path):
    """Slices are turned so that the letters stand where radiologists expect them."""
    for spacing, expected, mm in (
        ((1, 2, 5), ("A", "L", "P", "R"), (2, 1)),
        ((1, 5, 2), ("H", "L", "F", "R"), (2, 1)),
        ((5, 1, 2), ("H", "P", "F", "A"), (2, 1)),
    ):
        for signs in (1, -1):
            image = nibabel.Nifti1Image(np.zeros((4, 5, 6), np.uint8), np.diag([*(signs * np.array(spacing)), 1.0]))
            image.header.set_xyzt_units("mm")
            nibabel.save(image, tmp_path / "x.nii")
            stack = open_stack([tmp_path / "x.nii"])
            assert in_order(stack.edges(0)) == expected and stack.pixel_mm(0) == mm
    image.header.set_xyzt_units("unknown")
    nibabel.save(image, tmp_path / "x.nii")
    stack = open_stack([tmp_path / "x.nii"])
    assert stack.pixel_mm(0) is None and stack.pixel_area(0) is None
