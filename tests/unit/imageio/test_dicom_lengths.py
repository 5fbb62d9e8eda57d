"""Lengths of DICOM files: which attribute they are of, and what is said where there are none."""

import numpy as np
import pytest
from dicom_files import ct_slice

from ddim_jax.imageio.images import read_picture
from ddim_jax.imageio.stacks import open_stack

VALUES = np.arange(16).reshape(4, 4)
AT_DETECTOR = "lengths at the detector ({} is not corrected for magnification, the body is smaller)"


@pytest.mark.parametrize(
    ("modality", "spacing", "at_imager", "expected", "at", "remark"),
    [
        ("DX", None, [0.2, 0.2], (0.2, 0.2), "detector", AT_DETECTOR.format("ImagerPixelSpacing")),
        ("DX", [0, 0], [0.2, 0.2], (0.2, 0.2), "detector", AT_DETECTOR.format("ImagerPixelSpacing")),
        ("CR", "", [0.2, 0.2], (0.2, 0.2), "detector", AT_DETECTOR.format("ImagerPixelSpacing")),
        ("DX", [0.1, 0.1], [0.2, 0.2], (0.1, 0.1), None, None),
        ("DX", [0.2, 0.2], [0.2, 0.2], (0.2, 0.2), "detector", AT_DETECTOR.format("PixelSpacing")),
        ("DX", None, None, None, None, "no areas in mm2 (there is no PixelSpacing or ImagerPixelSpacing)"),
        ("DX", [0, 0], None, None, None, "no areas in mm2 (PixelSpacing is not above 0)"),
        ("DX", [-1, 1], [0, 0], None, None, "no areas in mm2 (PixelSpacing and ImagerPixelSpacing are not above 0)"),
        ("CT", None, [0.2, 0.2], None, None, "no areas in mm2 (there is no PixelSpacing)"),
        ("CT", [-1, -1], None, None, None, "no areas in mm2 (PixelSpacing is not above 0)"),
        ("CT", [0.2, 0.2], None, (0.2, 0.2), None, None),
    ],
)
def test_lengths_and_what_is_said_of_them(modality, spacing, at_imager, expected, at, remark, tmp_path):
    said = {"Modality": modality, "PixelSpacing": spacing}
    said |= {} if at_imager is None else {"ImagerPixelSpacing": at_imager}
    path = ct_slice(tmp_path / "a.dcm", VALUES, **said)
    stack = open_stack([path])
    assert stack.pixel_mm(0) == read_picture(path).pixel_mm == expected
    assert stack.pixel_area(0) == (None if expected is None else expected[0] * expected[1])
    assert (stack.area_at, stack.remarks) == (at, [] if remark is None else [remark])
