"""The volume of a mask in the index: of slices at even distances alone, and no sum over time."""

import csv
import json

import nibabel
import numpy as np
import pytest
from dicom_files import ct_series, ct_slice
from result_files import records
from segmenters import red_segmenter

from ddim_jax.imageio.stacks import Stack, open_stack
from ddim_jax.inference import segment_files, sliced_image
from ddim_jax.inference.sliced_image import summed

SIZE = 16
FRAMES = 3


def run(source, out, **options):
    segment_files(red_segmenter(), source, out, window=(0.0, 100.0), **options)
    (record,) = records(out).values()
    return record


def cine(path, **attributes):
    """Frames of which each has its pixels bright in some more rows: 4, 8 and 12 of 16."""
    values = np.full((FRAMES, SIZE, SIZE), -900)
    for frame in range(FRAMES):
        values[frame, : 4 * (frame + 1)] = 900
    return ct_slice(path, values.reshape(-1, SIZE), Rows=SIZE, NumberOfFrames=FRAMES, **attributes)


def test_of_a_series(tmp_path, out):
    ct_series(tmp_path / "ct", count=5, shape=(SIZE, SIZE))
    record = run(tmp_path / "ct", out, flag_uncertain=0.5)
    # 0.5 mm between rows, 0.75 between columns, 2.5 between slices.
    assert record["volume_ml"] == pytest.approx(record["area"] * 0.5 * 0.75 * 2.5 / 1000, rel=1e-5)
    assert record["area"] > 0 and "area_of_slices" not in record and "volumes_ml" not in record
    with open(out / "flagged.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert float(row["volume_ml"]) == record["volume_ml"] and list(row)[-2:] == ["area", "volume_ml"]


def test_the_list_of_flagged_sources_names_the_slice_to_look_at(tmp_path, out):
    values = np.full((FRAMES, SIZE, SIZE), -900)
    values[:, :4] = 900
    values[1, 4:8] = 5  # of a window from -75 to 75: grey, of which the network is not sure
    ct_slice(tmp_path / "cine.dcm", values.reshape(-1, SIZE), Rows=SIZE, NumberOfFrames=FRAMES)
    segment_files(red_segmenter(), tmp_path / "cine.dcm", out, window=(0.0, 150.0), flag_uncertain=0.5)
    (record,) = records(out).values()
    doubts = record["doubt_of_slices"]
    assert doubts[1] == record["doubt"] > 0.05 and doubts[0] == doubts[2] < 0.01
    with open(out / "flagged.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["slice"] == "002" and (out / f"{row['name']}_mask/{row['slice']}.png").is_file()


def test_not_of_a_series_with_a_slice_missing(tmp_path, out):
    ct_series(tmp_path / "ct", count=5, shape=(SIZE, SIZE))
    (tmp_path / "ct/IM003").unlink()
    record = run(tmp_path / "ct", out)
    assert "volume_ml" not in record and record["area_mm2"] == pytest.approx(record["area"] * 0.375)


def test_slices_that_lie_obliquely_have_the_distance_across_them(tmp_path):
    # Gantry tilt: each slice 3 mm down and 4 mm along the rows' direction of columns; 3 mm count.
    for number in range(3):
        path = tmp_path / f"{number}.dcm"
        ct_slice(path, np.zeros((4, 4)), place=(0.0, 4.0 * number, 3.0 * number), number=number)
    stack = open_stack(sorted(tmp_path.iterdir()))
    assert stack.lies_in_space and stack.voxel_mm3 == pytest.approx(0.5 * 0.75 * 3)


@pytest.mark.parametrize("place", [None, [0.0, 0.0, 0.0]])
def test_frames_of_a_cine_loop_are_not_summed(tmp_path, out, place):
    record = run(cine(tmp_path / "x.dcm", ImagePositionPatient=place), out)
    assert record["area_of_slices"] == [64, 128, 192] and record["area"] == 384
    assert record["area_mm2_of_slices"] == pytest.approx([24, 48, 72])
    assert not {"area_mm2", "volume_ml"} & record.keys()


@pytest.mark.parametrize("in_space", ["not said", None, True, False])
def test_areas_of_a_reader_that_does_not_tell_space_from_time_are_summed(tmp_path, out, monkeypatch, in_space):
    class Earlier(Stack):
        """A stack of a plug-in that knows the area of a pixel alone."""

        def __init__(self, files, options):
            self._stack = stack = open_stack(files, options)
            self.files, self.count, self.shape = stack.files, stack.count, stack.shape
            self.read, self.pixel_area = stack.read, stack.pixel_area
            if in_space != "not said":
                self.lies_in_space = in_space

    monkeypatch.setattr(sliced_image, "open_stack", Earlier)
    record = run(cine(tmp_path / "x.dcm"), out)
    if in_space is False:
        assert record["area_mm2_of_slices"] == pytest.approx([24, 48, 72]) and "area_mm2" not in record
    else:
        assert record["area_mm2"] == pytest.approx(144) and "area_mm2_of_slices" not in record
    assert record["area"] == 384 and "volume_ml" not in record


@pytest.mark.parametrize(("unit", "millimetre"), [("mm", 1), ("micron", 1e-3), ("unknown", None)])
def test_of_a_nifti_file(tmp_path, out, unit, millimetre):
    values = np.full((SIZE, SIZE, 4), 900, np.int16)
    values[0, 0, :3] = -900
    image = nibabel.Nifti1Image(values, np.diag([-0.5, -2.0, 3.0, 1.0]))
    image.header.set_xyzt_units(unit)
    nibabel.save(image, tmp_path / "v.nii")
    record = run(tmp_path / "v.nii", out)
    area = 3 * (SIZE**2 - 1)  # of the slice of one value nothing
    assert record["area"] == area and "even (1 of 4 slices; there is one value in all pixels" in record["notes"][0]
    if millimetre is None:
        assert "volume_ml" not in record
    else:
        # 0.5 x 2 x 3 mm = 3 mm3 of a voxel
        assert record["volume_ml"] == pytest.approx(area * 3 * millimetre**3 / 1000, rel=1e-5)


def test_one_slice_has_an_area_and_no_volume(tmp_path, out):
    values = np.full((SIZE, SIZE), 900)
    values[0, 0] = -900
    record = run(ct_slice(tmp_path / "x.dcm", values), out)
    assert record["area_mm2"] == 255 * 0.375 and not {"volume_ml", "slices", "area_of_slices"} & record.keys()


def test_of_several_classes_each_has_its_volume():
    one = {"area": 3, "areas": {"lung": 2, "heart": 1}, "area_mm2": 6.0, "areas_mm2": {"lung": 4.0, "heart": 2.0}}
    one |= {"seconds": 0, "mean_uncertainty": 0, "doubt": 0, "unlikeness": None}
    found = summed([one, one], voxel_mm3=10.0)
    assert (found["volume_ml"], found["volumes_ml"]) == (0.06, {"lung": 0.04, "heart": 0.02})
    found = summed([one, one], in_space=False)
    assert found["areas_mm2_of_slices"] == [one["areas_mm2"]] * 2 and "areas_mm2" not in found
    assert json.dumps(found)


def test_the_median_of_an_even_number_of_slices_has_the_digits_of_its_slices():
    slices = [{"area": 0, "doubt": 0.1, "mean_uncertainty": 0.1, "unlikeness": value} for value in (1.001, 1.003)]
    assert np.median([1.001, 1.003]) != 1.002  # as floats are added
    assert summed(slices)["unlikeness"] == 1.002
