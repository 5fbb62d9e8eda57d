"""Sources of several images, from their files to results of slices and of the whole."""

import json
import shutil
import zipfile

import highdicom
import nibabel
import numpy as np
import pydicom
import pytest
from dicom_files import FRAME, STUDY, bundled, ct_series, ct_slice
from PIL import Image
from pydicom.fileset import FileSet
from result_files import records
from segmenters import picture, red_segmenter

from ddim_jax.imageio.images import ReadOptions, read_mask
from ddim_jax.inference import segment_files, stream
from ddim_jax.inference.index import Index
from ddim_jax.inference.jobs import Job
from ddim_jax.inference.sliced_image import SlicedImage
from ddim_jax.labels import Labels
from ddim_jax.runtime.errors import InputError

SIZE = 16
WINDOW = {"window": (0.0, 100.0)}
LUNG = ("foreground=Lung",)


def bright(values):
    """The mask that the network of `red_segmenter` makes of Hounsfield units in that window."""
    grey = np.round(np.clip((values + 50) / 100 * 255, 0, 255))
    return (grey > 127).astype(np.uint8)


def read_segments(path, uids):
    return highdicom.seg.segread(path).get_pixels_by_source_instance(uids, assert_missing_frames_are_empty=True)


@pytest.fixture
def series(tmp_path):
    values = ct_series(tmp_path / "in/p1/ct", count=5, shape=(SIZE, SIZE))
    return tmp_path / "in", values


def run(source, out, **options):
    return segment_files(red_segmenter(), source, out, segments=LUNG, **WINDOW | options)


def test_with_other_segments_the_files_that_hold_them_are_made_again(tmp_path, series, out):
    folder, _ = series
    (tmp_path / "one").mkdir()
    (tmp_path / "one/a.dcm").write_bytes(next((folder / "p1/ct").iterdir()).read_bytes())
    for source, name in ((folder, "p1/ct"), (tmp_path / "one", "a")):
        results = out / name.replace("/", "_")
        assert run(source, results, save=("mask", "dicom-seg")).done == 1
        assert run(source, results, save=("mask", "dicom-seg")).kept == 1
        heart = {"segments": ("foreground=Heart",), **WINDOW}
        assert segment_files(red_segmenter(), source, results, save=("mask",), **heart).kept == 1
        assert segment_files(red_segmenter(), source, results, save=("mask", "dicom-seg"), **heart).done == 1
        (segment,) = highdicom.seg.segread(results / f"{name}_dicom-seg.dcm").SegmentSequence
        assert segment.SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Heart"


def test_a_series_gives_its_slices_and_the_whole(series, out):
    folder, values = series
    summary = run(folder, out, save=("mask", "dicom-seg", "dicom-probability", "dicom-overlay", "nifti"))
    assert (summary.done, list(summary.failed)) == (1, [])
    expected = np.stack([bright(one) for one in values])
    found = sorted((out / "p1/ct_mask").iterdir())
    assert [path.name for path in found] == ["001.png", "002.png", "003.png", "004.png", "005.png"]
    np.testing.assert_array_equal([np.asarray(Image.open(path)) for path in found], expected * 255)

    uids = [f"1.2.826.0.1.3680043.8.498.2.{5 - place}" for place in range(5)]  # in the order of places
    seg = highdicom.seg.segread(out / "p1/ct_dicom-seg.dcm")
    np.testing.assert_array_equal(read_segments(out / "p1/ct_dicom-seg.dcm", uids)[..., 0], expected)
    assert (seg.PatientID, seg.StudyInstanceUID, seg.FrameOfReferenceUID) == ("P1", STUDY, FRAME)
    assert "ddim_jax" in seg.SeriesDescription and "NOT FOR CLINICAL USE" in seg.SeriesDescription
    assert "run step 7" in seg.DerivationDescription and seg.SoftwareVersions.startswith("ddim_jax ")
    (segment,) = seg.SegmentSequence
    assert segment.SegmentedPropertyTypeCodeSequence[0].CodeValue == "39607008"
    assert segment.SegmentedPropertyCategoryCodeSequence[0].CodeMeaning == "Anatomical Structure"
    probability = read_segments(out / "p1/ct_dicom-probability.dcm", uids)[..., 0]
    np.testing.assert_array_equal(probability > 0.5, expected == 1)
    assert len(list((out / "p1/ct_dicom-overlay").iterdir())) == 5

    image = nibabel.load(out / "p1/ct_nifti.nii.gz")
    np.testing.assert_array_equal(np.asarray(image.dataobj), expected.transpose(2, 1, 0))
    # 0.5 mm between rows and 0.75 between columns; from the head down is up for NIfTI, left and back are negative.
    np.testing.assert_allclose(image.affine[:3], [[-0.75, 0, 0, 10], [0, -0.5, 0, -5], [0, 0, 2.5, 0]])
    record = records(out)["p1/ct"]
    assert record["slices"] == 5 and record["area"] == expected.sum() and record["file"] == str(folder / "p1/ct")
    assert not [path for path in out.rglob("*") if "partial" in path.name]


def test_what_is_done_is_kept_and_what_changed_is_done_again(series, out):
    folder, values = series
    run(folder, out, save=("mask", "dicom-seg"))
    before = (out / "p1/ct_dicom-seg.dcm").read_bytes()
    assert run(folder, out, save=("mask", "dicom-seg")).kept == 1
    (out / "p1/ct_mask/003.png").unlink()
    with pytest.raises(InputError, match=r"ct_mask would be replaced"):  # the slices left may have been edited
        run(folder, out, save=("mask",))
    shutil.rmtree(out / "p1/ct_mask")
    assert run(folder, out, save=("mask",)).done == 1 and (out / "p1/ct_mask/003.png").is_file()
    ct_slice(folder / "p1/ct/IM001", values[0] * 0, place=(-10.0, 5.0, 10.0), number=1)
    assert run(folder, out, save=("mask", "dicom-seg")).done == 1
    assert (out / "p1/ct_dicom-seg.dcm").read_bytes() != before


def test_a_damaged_slice_fails_the_series_and_leaves_nothing(series, out):
    folder, _ = series
    run(folder, out, save=("mask", "dicom-seg"))
    file = folder / "p1/ct/IM003"
    file.write_bytes(file.read_bytes()[:-40])
    Image.fromarray(picture(0)).save(folder / "x.png")
    summary = run(folder, out)
    assert summary.done == 1 and len(summary.failed) == 1 and "IM003: is truncated" in summary.failed[0][1]
    assert [path.name for path in out.rglob("*_*")] == ["x_mask.png"]


def test_a_zip_and_a_dicomdir_are_folders_of_files(series, out, tmp_path):
    folder, values = series
    ct_series(tmp_path / "other", count=2, shape=(SIZE, SIZE), series="1.2.3.4", seed=1)
    with zipfile.ZipFile(tmp_path / "scans.zip", "w") as archive:
        for number, file in enumerate(sorted((tmp_path / "other").iterdir())):
            archive.write(file, f"a/{number}")
        volume = nibabel.Nifti1Image(np.zeros((SIZE, SIZE, 3), np.int16), np.diag([1, 1, 2, 1]))
        archive.writestr("b/v.nii", volume.to_bytes())
        archive.writestr("a/readme.txt", "no image")
        archive.writestr("../outside.dcm", "what would leave the archive is not looked at")
    summary = run(tmp_path / "scans.zip", out, save=("mask", "nifti"))
    assert summary.done == 2 and summary.passed_over == {".txt": 1}
    assert len(list((out / "scans.zip/a_mask").iterdir())) == 2
    assert nibabel.load(out / "scans.zip/b/v_nifti.nii.gz").shape == (SIZE, SIZE, 3)

    fileset = FileSet()
    for file in sorted((folder / "p1/ct").iterdir()):
        fileset.add(file)
    fileset.write(tmp_path / "disk")
    summary = run(tmp_path / "disk/DICOMDIR", tmp_path / "out2")
    assert summary.done == 1
    (record,) = records(tmp_path / "out2").values()
    assert record["slices"] == 5 and record["area"] == sum(bright(one).sum() for one in values)


def test_a_volume_comes_back_with_its_affine(out, tmp_path):
    values = np.random.default_rng(0).integers(-100, 100, (SIZE, SIZE, 32)).astype(np.int16)
    affine = np.array([[0, -1.5, 0, 3], [1.5, 0, 0, 4], [0, 0, 4, 5], [0, 0, 0, 1]])
    nibabel.save(nibabel.Nifti1Image(values, affine), tmp_path / "v.nii.gz")
    assert run(tmp_path / "v.nii.gz", out, save=("nifti", "nifti-probability", "mask")).done == 1
    image, probability = (nibabel.load(out / f"v_{kind}.nii.gz") for kind in ("nifti", "nifti-probability"))
    np.testing.assert_array_equal(image.affine, affine)
    assert (image.get_data_dtype(), probability.get_data_dtype()) == (np.uint8, np.float32)
    np.testing.assert_array_equal(np.asarray(image.dataobj), bright(values))
    np.testing.assert_array_equal(probability.get_fdata() > 0.5, bright(values))
    assert len(list((out / "v_mask").iterdir())) == 32


def save_volume(path, slices):
    values = np.random.default_rng(slices).integers(-100, 100, (SIZE, SIZE, slices)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(values, np.diag([1, 1, 2, 1])), path)


@pytest.mark.parametrize("before", ["nothing", "a run", "a run, and slices of others"])
def test_a_folder_of_others_in_the_place_of_slices_stays(out, tmp_path, before):
    save_volume(tmp_path / "v.nii", 3)
    if before != "nothing":
        assert run(tmp_path / "v.nii", out).done == 1
        save_volume(tmp_path / "v.nii", 4)
    mine = out / ("v_mask/mine.txt" if before != "a run, and slices of others" else "v_mask/mine/1.png")
    mine.parent.mkdir(parents=True, exist_ok=True)
    mine.touch()
    with pytest.raises(InputError, match=r"v_mask would be replaced"):
        run(tmp_path / "v.nii", out)
    (tmp_path / "v.nii").write_bytes(b"no volume")  # which takes the results away
    with pytest.raises(InputError, match=r"v_mask would be replaced"):
        run(tmp_path / "v.nii", out)
    assert mine.exists()


@pytest.mark.parametrize("slices", [(3, 4), (3, 1), (1, 3)])
def test_a_source_killed_before_its_line_is_done_again(out, tmp_path, monkeypatch, slices):
    """A folder gives way to the file of one slice, and the reverse."""

    def killed(*_):
        raise KeyboardInterrupt

    for count in slices:
        save_volume(tmp_path / "v.nii", count)
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(Index, "add", killed)
            run(tmp_path / "v.nii", out)
        assert run(tmp_path / "v.nii", out).done == 1
    assert [path.name for path in out.glob("v_*")] == ["v_mask.png" if count == 1 else "v_mask"]


def test_frames_and_single_files(out, tmp_path):
    files = [bundled(name) for name in ("CT_small.dcm", "MR_small_RLE.dcm", "emri_small.dcm")]
    assert run(files, out, save=("mask", "dicom-seg")).done == 3
    seg = highdicom.seg.segread(out / "emri_small_dicom-seg.dcm")
    frames = seg.get_pixels_by_source_frame(
        seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence[0].ReferencedSOPInstanceUID,
        list(range(1, 11)),
        assert_missing_frames_are_empty=True,
    )[..., 0]
    masks = [np.asarray(Image.open(out / f"emri_small_mask/{number:03d}.png")) for number in range(1, 11)]
    np.testing.assert_array_equal(frames * 255, masks)
    mask = np.asarray(Image.open(out / "CT_small_mask.png")) // 255
    np.testing.assert_array_equal(read_mask(out / "CT_small_dicom-seg.dcm"), mask)
    # The segment of a class without a name has that of its concept.
    np.testing.assert_array_equal(read_mask(out / "CT_small_dicom-seg.dcm", Labels.create({"Lung": 9})), mask)


def test_odd_and_retired_classes_and_moments_of_old_files(out, tmp_path, caplog):
    """Files that scanners write and the standard does not know; results refer to them as they are."""
    odd = {"StudyDate": "1997.04.24", "StudyTime": "14:04:38", "PatientBirthDate": "unknown"}
    for name in ("SC_rgb_rle_2frame.dcm", "CT_small.dcm"):
        dataset = pydicom.dcmread(bundled(name))
        for field, value in odd.items():
            dataset.add_new(field, "LO", value)  # which checks nothing
            dataset[field].VR = "TM" if field == "StudyTime" else "DA"
        dataset.save_as(tmp_path / name)
    retired = pydicom.dcmread(bundled("CT_small.dcm"))
    retired.SOPClassUID = retired.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.6"
    retired.StudyDate, retired.StudyTime = odd["StudyDate"], odd["StudyTime"]
    del retired.PatientBirthDate
    retired.save_as(tmp_path / "retired.dcm")
    files = [tmp_path / name for name in ("SC_rgb_rle_2frame.dcm", "CT_small.dcm", "retired.dcm")]
    with caplog.at_level("WARNING", logger="absl"):
        summary = run(files, out, save=("dicom-seg", "dicom-overlay"))
    assert (summary.done, list(summary.failed)) == (3, [])
    told = "PatientBirthDate left empty in DICOM results (the source's cannot be one)"
    assert told in records(out)["CT_small"]["notes"] and "unknown" not in caplog.text
    for file in files:
        source, found = pydicom.dcmread(file), pydicom.dcmread(out / f"{file.stem}_dicom-seg.dcm")
        classes = {one.value for one in found.iterall() if one.keyword == "ReferencedSOPClassUID"}
        assert classes == {source.SOPClassUID}
        assert (found.StudyDate, found.StudyTime, found.PatientBirthDate) == ("19970424", "140438", "")


def test_slices_with_nothing_to_see_are_counted(out, tmp_path):
    values = np.zeros((SIZE, SIZE, 3), np.int16)
    values[..., 1] = np.arange(SIZE)
    nibabel.save(nibabel.Nifti1Image(values, np.diag([1, 1, 2, 1])), tmp_path / "v.nii.gz")
    assert segment_files(red_segmenter(), tmp_path / "v.nii.gz", out).notes == {"even": 1, "no areas in mm2": 1}
    assert records(out)["v"]["notes"] == [
        "even (2 of 3 slices; there is one value in all pixels, so the result is empty)",
        "no areas in mm2 (xyzt_units says no unit of lengths; if they are mm: img.header.set_xyzt_units('mm') in "
        "nibabel, and save it)",
    ]


@pytest.mark.parametrize(("window", "told"), [((8.0, 16.0), []), ((900.0, 4.0), ["the window 900,4 shows"])])
def test_a_window_is_named_where_it_leaves_nothing_to_see_and_not_where_nothing_is(window, told, tmp_path):
    values = np.zeros((SIZE, SIZE, 2), np.int16)
    values[..., 1] = np.arange(SIZE)
    nibabel.save(nibabel.Nifti1Image(values, np.diag([1, 1, 2, 1])), tmp_path / "v.nii.gz")

    def details(index):
        source = SlicedImage(Job(str(tmp_path), "v.nii.gz", "v"), ReadOptions(window=window))
        source.read(index)
        return [note.partition("; ")[2] for note in source.notes if note.startswith("even")]

    assert details(0) == ["there is one value in all pixels, so the result is empty)"]
    assert [text[: len("the window 900,4 shows")] for text in details(1)] == told


def test_what_a_writer_cannot_do_is_refused_before_any_work(series, out, tmp_path):
    folder, _ = series
    Image.fromarray(picture(0)).save(folder / "x.png")
    for kind, message in (
        (
            "dicom-seg",
            "--save dicom-seg refers to DICOM files, and 1 of 2 inputs are none: .*x.png. Give them in a call",
        ),
        ("nifti", "--save nifti keeps the place of a NIfTI or DICOM file, and 1 of 2 inputs have none: .*x.png."),
    ):
        with pytest.raises(InputError, match=message):
            run(folder, out, save=(kind,))
    (folder / "x.png").unlink()
    for segments, message in (
        ((), "the class 'foreground' has no coded concept"),
        (("foreground=Lnug",), r"which is no name of a SNOMED CT concept in DICOM; did you mean Lung"),
        (("foreground=Artery",), r"the category of 'foreground' is not clear from 'Artery' \(AnatomicalStructure, Ti"),
        (("heart=Heart",), "segments has 'heart=Heart'; for one class without a name write --segments Heart"),
        (("foreground=Organ/Lung",), "the category of 'foreground' is 'Organ'; expected one of AnatomicalStructure"),
    ):
        with pytest.raises(InputError, match=message):
            segment_files(red_segmenter(), folder, out, save=("dicom-seg",), segments=segments)
    assert not out.exists()


def test_files_of_a_series_without_a_position_are_told_of(tmp_path, out, caplog):
    for number in (1, 2):
        ct_slice(tmp_path / f"in{number}.dcm", np.zeros((4, 4)), number=number, ImagePositionPatient=None)
    with caplog.at_level("WARNING", logger="absl"):
        assert run([tmp_path / "*.dcm"], out, save=("mask",)).done == 2
    assert "2 files of 1 DICOM series have no position in the patient" in caplog.text


def test_a_run_that_is_stopped_leaves_no_half_source(series, out, monkeypatch):
    folder, _ = series

    def failing(self, index, *arguments):
        if index == 3:
            raise RuntimeError("a bug")
        return add(self, index, *arguments)

    add = stream.SlicedImage.add
    monkeypatch.setattr(stream.SlicedImage, "add", failing)
    with pytest.raises(RuntimeError):
        run(folder, out)
    assert not list(out.rglob("*.png")) and not list(out.rglob("*partial*"))
    assert json.loads((out / "settings.json").read_text())["window"] == [0.0, 100.0]
