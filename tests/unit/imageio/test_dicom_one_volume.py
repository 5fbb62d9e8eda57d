"""Files that share a SeriesInstanceUID and are, or are not, slices of one volume."""

import struct

import numpy as np
import pytest
from dicom_damage import damage
from dicom_files import ct_slice
from pydicom.datadict import tag_for_keyword

from ddim_jax.imageio.dicom_grouping import NO_POSITION, group_series
from ddim_jax.imageio.listing import list_images
from ddim_jax.imageio.series import affine
from ddim_jax.imageio.stacks import open_stack
from ddim_jax.runtime.errors import DataError

PATIENT = "the patient (PatientID, PatientName, PatientBirthDate)"
UNLIKE = {
    "patient": ({"PatientID": "4711"}, PATIENT),
    "name": ({"PatientName": "Other^Name"}, PATIENT),
    "study": ({"StudyInstanceUID": "1.2.3.4711"}, "StudyInstanceUID"),
    "frame of reference": ({"FrameOfReferenceUID": "1.2.3.4711"}, "FrameOfReferenceUID"),
    "spacing": ({"PixelSpacing": [0.5, 0.7501]}, "PixelSpacing"),
    "no spacing": ({"PixelSpacing": None}, "PixelSpacing"),
    "orientation": ({"ImageOrientationPatient": [1, 0.0012, 0, -0.0012, 1, 0]}, "ImageOrientationPatient"),
    "two": ({"PatientID": "4711", "StudyInstanceUID": "1.2.3.4711"}, f"{PATIENT}, StudyInstanceUID"),
}


def four_slices(folder, odd):
    """Slices of which every second one has the attributes `odd`."""
    folder.mkdir()
    for number in range(4):
        attributes = odd if number % 2 else {}
        ct_slice(folder / f"{number}.dcm", np.zeros((4, 6)), place=(0, 0, 2 * number), number=number, **attributes)
    return list_images(folder)


@pytest.mark.parametrize("case", UNLIKE)
def test_files_of_one_uid_that_are_no_volume_are_parted_and_the_attribute_is_named(case, tmp_path):
    odd, name = UNLIKE[case]
    files = four_slices(tmp_path / "ct", odd)
    series, _, remark = group_series(map(str, files))
    assert series == [[str(tmp_path / f"ct/{number}.dcm") for number in part] for part in ((0, 2), (1, 3))]
    assert remark.startswith("1 DICOM series has files that are no slices of one volume, such as in")
    assert f"they share SeriesInstanceUID and differ in {name}; those that agree are a source" in remark
    assert "4711" not in remark and "Name^" not in remark
    # Nor can they be opened as one.
    with pytest.raises(DataError, match=r"1\.dcm: differs from .*0\.dcm in .*; expected slices of one volume") as error:
        open_stack(files)
    assert name in str(error.value) and "4711" not in str(error.value)


@pytest.mark.parametrize("name", ["Modality", "SeriesInstanceUID", "ImagePositionPatient"])
def test_a_file_with_an_attribute_that_cannot_be_decoded_is_a_source_by_itself(name, tmp_path):
    files = four_slices(tmp_path / "ct", {})
    tag = tag_for_keyword(name)
    start = struct.pack("<HH", tag >> 16, tag & 0xFFFF)
    raw = files[1].read_bytes()
    at = raw.index(start, 132) + len(start)
    files[1].write_bytes(raw[:at] + b"D\0" + raw[at + 2 :])  # of no kind of value
    series, others, _ = group_series(map(str, files))
    assert sorted(map(len, series)) == [1, 3] and others == {}


@pytest.mark.parametrize("value", [b"", b"0\\0\\2,5"])
def test_one_file_of_a_series_without_a_position_is_told_of(value, tmp_path):
    files = four_slices(tmp_path / "ct", {})
    damage(files[1], "ImagePositionPatient", value)
    series, _, remark = group_series(map(str, files))
    assert sorted(map(len, series)) == [1, 3]
    assert remark.startswith(f"1 file of 1 DICOM series has {NO_POSITION}, such as {files[1]}: their order is unknown")


@pytest.mark.parametrize(
    "rounded", [{"ImageOrientationPatient": [1, 0.0009, 0, -0.0009, 1, 0]}, {"PixelSpacing": [0.50001, 0.75001]}]
)
def test_what_scanners_round_keeps_slices_together(rounded, tmp_path):
    files = four_slices(tmp_path / "ct", rounded)
    series, _, remark = group_series(map(str, files))
    assert [len(files) for files in series] == [4] and remark == ""
    # Columns lie .75 mm apart towards the left, rows .5 mm towards the back, slices 2 mm towards the head.
    np.testing.assert_allclose(affine(open_stack(files)), np.diag([-0.75, -0.5, 2, 1]), atol=1e-6)
