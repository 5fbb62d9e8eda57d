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


@pytest.mark.parametrize(
    ("kind", "is_projection"),
    [
        ("1", True),  # CR
        ("1.1", True),  # DX
        ("1.1.1", True),  # DX for processing
        ("1.2", True),  # MG
        ("1.2.1", True),
        ("1.3", True),  # intraoral
        ("12.1", True),  # XA
        ("12.1.1", True),
        ("12.2", True),  # RF
        ("2", False),  # CT
        ("11.1", False),  # a presentation state
        ("128", False),  # PET
        ("13.1.3", False),  # tomosynthesis
    ],
)
@pytest.mark.parametrize("modality", ["OT", None])
def test_a_projection_is_known_by_its_class_too(kind, is_projection, modality, tmp_path):
    path = ct_slice(tmp_path / "a.dcm", VALUES, Modality=modality, SOPClassUID=f"1.2.840.10008.5.1.4.1.1.{kind}")
    assert open_stack([path]).area_at == ("detector" if is_projection else None)
