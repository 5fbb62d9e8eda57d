"""Series and frames of DICOM as stacks of slices."""

import numpy as np
import pytest
from dicom_files import bundled, ct_series, ct_slice
from pydicom import Dataset

from ddim_jax.imageio import dicom_shown
from ddim_jax.imageio.dicom_grouping import group_series
from ddim_jax.imageio.images import ReadOptions, read_image
from ddim_jax.imageio.listing import list_images
from ddim_jax.imageio.stacks import open_stack
from ddim_jax.runtime.errors import DataError

HU = np.array([[-1000, -160, 40], [240, 400, 3000]])


def test_a_series_is_sorted_by_its_places(tmp_path):
    values = ct_series(tmp_path)
    ct_slice(tmp_path / "scout.dcm", HU, ImageOrientationPatient=[0, 1, 0, 0, 0, -1])
    series, others, _ = group_series(map(str, list_images(tmp_path)))
    assert [len(files) for files in series] == [4, 1] and others == {}
    stack = open_stack(series[0], ReadOptions(window=(0.0, 510.0)))
    assert (stack.count, stack.shape) == (4, (12, 10))
    assert [path.name for path in stack.files] == ["IM004", "IM003", "IM002", "IM001"]
    for number, expected in enumerate(values):
        np.testing.assert_allclose(stack.read(number)[..., 0], np.clip((expected + 255) / 2, 0, 255), atol=0.51)


def test_slices_at_one_place_are_refused_and_missing_ones_said(tmp_path, caplog):
    ct_series(tmp_path, count=5)
    (tmp_path / "IM003").unlink()
    stack = open_stack(list_images(tmp_path))
    assert stack.count == 4 and not caplog.text
    missing = "slices missing (in 1 place, such as behind slice 2: 5 mm to the next, 2.5 mm between the others)"
    assert stack.remarks == [missing, "pixels not square (0.5 high and 0.75 mm wide; the network sees them square)"]
    ct_slice(tmp_path / "again.dcm", np.zeros((12, 10)), place=(-10.0, 5.0, 5.0 + 2.5), number=9)
    with pytest.raises(DataError, match=r"IM002 and .*again.dcm: two slices of one series at one position"):
        open_stack(list_images(tmp_path))


def test_files_of_a_series_without_places_are_pictures_by_themselves_and_that_is_said(tmp_path):
    for number in range(3):
        ct_slice(tmp_path / f"{number}.dcm", HU, number=number, ImagePositionPatient=None)
    ct_slice(tmp_path / "other.dcm", HU, series="1.2.3", ImagePositionPatient=None)
    series, _, remark = group_series(map(str, list_images(tmp_path)))
    assert [len(files) for files in series] == [1, 1, 1, 1]
    assert remark.startswith("3 files of 1 DICOM series have no position in the patient (ImagePositionPatient), such")
    assert group_series([str(tmp_path / "0.dcm"), str(tmp_path / "other.dcm")])[2] == ""


def test_a_series_in_several_folders_is_told_of(tmp_path):
    ct_series(tmp_path / "whole", series="1.2.5")
    for number in range(8):
        (tmp_path / f"cd/{number % 2:04d}").mkdir(parents=True, exist_ok=True)
        ct_slice(tmp_path / f"cd/{number % 2:04d}/{number}.dcm", HU, place=(0, 0, number), number=number)
    series, _, remark = group_series(map(str, list_images(tmp_path)))
    assert [len(files) for files in series] == [4, 4, 4]
    assert remark.startswith(
        f"1 DICOM series lies in several folders, such as in {tmp_path}/cd/0000 and {tmp_path}/cd/"
    )
    assert group_series(map(str, list_images(tmp_path / "whole")))[2] == ""
    for number in range(2):
        ct_slice(tmp_path / f"whole/{number}.dcm", HU, number=number, series="1.2.6", ImagePositionPatient=None)
    remark = group_series(map(str, list_images(tmp_path)))[2]
    assert "2 files of 1 DICOM series have no position" in remark and "; 1 DICOM series lies in several" in remark


def test_exact_copies_of_a_slice_are_left_out_and_told_of(tmp_path):
    ct_series(tmp_path)
    expected = [open_stack(list_images(tmp_path)).read(number) for number in range(4)]
    for number in (1, 3):
        (tmp_path / f"IM00{number} (copy)").write_bytes((tmp_path / f"IM00{number}").read_bytes())
    stack = open_stack(list_images(tmp_path))
    assert [path.name for path in stack.files] == ["IM004", "IM003", "IM002", "IM001"] and stack.count == 4
    np.testing.assert_array_equal([stack.read(number) for number in range(4)], expected)
    assert stack.remarks[0] == "copies left out (2 files, such as IM001 (copy) of IM001)"
    changed = bytearray((tmp_path / "IM001").read_bytes())
    changed[-1] ^= 1
    (tmp_path / "IM001 (copy)").write_bytes(changed)
    with pytest.raises(DataError, match=r"at one position .*; both .* \(SOPInstanceUID\) and differ: keep"):
        open_stack(list_images(tmp_path))


def test_slices_without_a_window_share_black_and_white(tmp_path):
    for number in range(3):
        ct_slice(tmp_path / f"{number}.dcm", np.full((4, 4), 100 * number), place=(0, 0, number), number=number)
    stack = open_stack(list_images(tmp_path))
    assert [int(stack.read(number).mean()) for number in range(3)] == [0, 128, 255]


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_a_window_that_slices_share_keeps_its_function(function, tmp_path):
    for number in range(3):
        window = {"WindowCenter": 10 * number, "WindowWidth": 100, "VOILUTFunction": function}
        ct_slice(tmp_path / f"{number}.dcm", HU / 10, place=(0, 0, number), number=number, **window)
    stack = open_stack(list_images(tmp_path))
    of_the_middle_one = read_image(tmp_path / "1.dcm")
    for number in range(3):
        np.testing.assert_array_equal(stack.read(number), of_the_middle_one)
        assert stack.window(number) == (10, 100)
    assert stack.remarks[0].startswith("windows differ (3 kinds in 3 slices; all are shown with that of the middle one")
    wider = stack.with_window((0.0, 600.0))
    assert wider.window(0) == (0, 600)
    np.testing.assert_array_equal(wider.read(0), read_image(tmp_path / "0.dcm", ReadOptions(window=(0.0, 600.0))))


def test_frames_are_slices():
    stack = open_stack([bundled("emri_small.dcm")])
    assert (stack.count, stack.shape) == (10, (64, 64))
    packed = open_stack([bundled("emri_small_jpeg_ls_lossless.dcm")])
    for number in (0, 9):
        np.testing.assert_array_equal(stack.read(number), packed.read(number))
    with pytest.raises(DataError, match="holds 10 frames, expected one"):
        read_image(bundled("emri_small.dcm"))


def test_the_window_of_a_file_of_many_frames_is_looked_for_once(tmp_path, monkeypatch):
    asked, own = [], dicom_shown.own_window
    monkeypatch.setattr(dicom_shown, "own_window", lambda *part: (asked.append(part[2]), own(*part))[1])
    values = np.zeros((4, 6), int)
    ct_slice(tmp_path / "x.dcm", np.tile(values, (5, 1)), Rows=4, NumberOfFrames=5, WindowCenter=40, WindowWidth=400)
    stack = open_stack([tmp_path / "x.dcm"])
    assert stack.count == 5 and stack.window(4) == (40, 400) and asked == [0]
    groups = [Dataset() for _ in range(5)]
    for number, group in enumerate(groups):
        window = Dataset()
        window.WindowCenter, window.WindowWidth = 10 * number, 400
        group.FrameVOILUTSequence = [window]
    own_of_each = {"NumberOfFrames": 5, "PerFrameFunctionalGroupsSequence": groups}
    ct_slice(tmp_path / "x.dcm", np.tile(values, (5, 1)), Rows=4, **own_of_each)
    stack = open_stack([tmp_path / "x.dcm"])
    assert stack.window(4) == (20, 400) and asked == [0, *range(5)]
