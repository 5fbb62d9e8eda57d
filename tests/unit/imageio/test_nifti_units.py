"""Units of length in NIfTI headers: of the standard, and of no standard."""

import nibabel
import numpy as np
import pytest

from ddim_jax.imageio.stacks import open_stack

SHAPE = (4, 5, 3)
HOW = "if they are mm: img.header.set_xyzt_units('mm') in nibabel, and save it"
UNKNOWN = f"no areas in mm2 (xyzt_units says no unit of lengths; {HOW})"


@pytest.mark.parametrize(
    ("code", "area", "kept"),
    [
        *((0, None, 0), (1, 3e6, 1), (2, 3.0, 2), (3, 3e-6, 3), (10, 3.0, 10), (48, None, 48), (16, None, 16)),
        # No codes of the standard: 4 of lengths, 128 and 56 of time.
        *((4, None, 0), (7, None, 0), (130, 3.0, 2), (128, None, 0), (58, 3.0, 2), (255, None, 0)),
    ],
)
def test_a_code_of_no_unit_is_no_unit(code, area, kept, tmp_path):
    image = nibabel.Nifti1Image(np.zeros(SHAPE, np.uint8), np.diag([2.0, 1.5, 9.0, 1.0]))
    image.header["xyzt_units"] = code
    nibabel.save(image, tmp_path / "v.nii")
    stack = open_stack([tmp_path / "v.nii"])
    assert stack.pixel_area(0) == (None if area is None else pytest.approx(area))
    assert (UNKNOWN in stack.remarks) == (area is None)
    nibabel.save(stack.image_of(np.zeros(SHAPE, np.uint8), "about"), tmp_path / "mask.nii")
    header = nibabel.load(tmp_path / "mask.nii").header
    assert header["xyzt_units"] == kept
    header.get_xyzt_units()  # which codes of no standard stop


def test_what_the_note_advises_gives_areas(tmp_path):
    img = nibabel.Nifti1Image(np.zeros(SHAPE, np.uint8), np.diag([2.0, 1.5, 9.0, 1.0]))
    nibabel.save(img, tmp_path / "v.nii")
    (note,) = open_stack([tmp_path / "v.nii"]).remarks[-1:]
    assert "img.header.set_xyzt_units('mm')" in note
    img.header.set_xyzt_units("mm")
    nibabel.save(img, tmp_path / "v.nii")
    assert open_stack([tmp_path / "v.nii"]).pixel_area(0) == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("unit", "told"),
    [("mm", "0.7 high and 0.5 mm"), ("meter", "700 high and 500 mm"), ("unknown", "0.7 high and 0.5")],
)
def test_sides_of_pixels_have_their_unit_and_no_noise_of_the_header(unit, told, tmp_path):
    turned = np.linalg.qr(np.array([[30.0, 1, 2], [1, 40, 1], [2, 1, 50]]))[0]
    for name, axes in (("straight", np.eye(3)), ("oblique", turned)):
        affine = np.eye(4)
        affine[:3, :3] = axes * (0.5, 0.7, 3.1)
        img = nibabel.Nifti1Image(np.zeros(SHAPE, np.uint8), affine)
        img.header.set_xyzt_units(unit)
        nibabel.save(img, tmp_path / f"{name}.nii")
        stack = open_stack([tmp_path / f"{name}.nii"])
        assert f"pixels not square ({told} wide; the network sees them square)" in stack.remarks
        if unit == "mm":
            assert (stack.pixel_mm(0), stack.pixel_area(0), stack.voxel_mm3) == ((0.7, 0.5), 0.35, 1.085)
