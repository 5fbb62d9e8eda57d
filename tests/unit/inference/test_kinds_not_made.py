"""A kind of result that cannot be made of a source fails it, and its other results are there."""

import highdicom
import numpy as np
import pytest
from dicom_files import ct_series, ct_slice
from PIL import Image
from result_files import contents, records
from segmenters import picture, red_segmenter

from ddim_jax.inference import segment_files, sliced_image
from ddim_jax.runtime.errors import InputError

SIZE = 16


def run(source, out, save):
    return segment_files(red_segmenter(), source, out, save=save, segments=("foreground=Lung",), window=(0.0, 100.0))


@pytest.fixture
def series(tmp_path):
    ct_series(tmp_path / "ct", count=5, shape=(SIZE, SIZE))
    return tmp_path / "ct"


def test_a_series_with_a_slice_missing_has_all_but_nifti(series, out):
    assert run(series, out, ("mask", "nifti")).done == 1
    (series / "IM003").unlink()
    summary = run(series, out, ("mask", "dicom-seg", "dicom-overlay", "nifti", "nifti-probability"))
    ((file, reason),) = summary.failed
    assert (summary.done, file) == (0, str(series)) and "not in even places" in reason
    # In the order in which writers are registered, whatever the order that was asked for.
    assert reason.endswith("written (dicom-overlay, dicom-seg, mask); leave out nifti, nifti-probability")
    record = records(out)["ct"]
    assert (record["status"], record["slices"], record["reason"]) == ("failed", 4, reason)
    assert record["outputs"] == ["dicom-overlay", "dicom-seg", "mask"] and record["area"] > 0
    # NIfTI of the five slices is gone, too: it is not of these.
    assert sorted(path.name for path in out.glob("ct_*")) == ["ct_dicom-overlay", "ct_dicom-seg.dcm", "ct_mask"]
    assert [len(list((out / f"ct_{kind}").iterdir())) for kind in ("mask", "dicom-overlay")] == [4, 4]
    (referenced,) = highdicom.seg.segread(out / "ct_dicom-seg.dcm").ReferencedSeriesSequence
    assert len(referenced.ReferencedInstanceSequence) == 4
    assert run(series, out, ("mask", "dicom-seg")).done == 1
    assert run(series, out, ("mask", "dicom-seg")).kept == 1 and records(out)["ct"]["status"] == "ok"


def test_frames_at_one_place_have_all_but_nifti(tmp_path, out):
    values = np.tile(np.full((SIZE, SIZE), 900), (3, 1))
    path = ct_slice(tmp_path / "x.dcm", values, NumberOfFrames=3, Rows=SIZE)
    summary = run(path, out, ("mask", "nifti"))
    ((file, reason),) = summary.failed
    assert file == str(path) and reason.startswith(
        f"{path}: the slices are not in even places (some in one plane); NIfTI has one affine for all. Save masks as"
    )
    assert records(out)["x"]["outputs"] == ["mask"] and len(list((out / "x_mask").iterdir())) == 3


@pytest.mark.parametrize("slices", [1, 3])
def test_a_source_that_nothing_can_refer_to_has_its_mask(tmp_path, out, slices):
    values = np.tile(np.full((SIZE, SIZE), 900), (slices, 1))
    frames = {} if slices == 1 else {"NumberOfFrames": slices, "Rows": SIZE}
    path = ct_slice(tmp_path / "x.dcm", values, StudyInstanceUID="", **frames)
    summary = run(path, out, ("dicom-seg", "dicom-overlay", "mask"))
    assert "has no StudyInstanceUID" in summary.failed[0][1] and summary.failed[0][1].count("StudyInstanceUID") == 1
    assert [path.name for path in out.glob("x_*")] == ["x_mask" if slices > 1 else "x_mask.png"]
    assert records(out)["x"]["outputs"] == ["mask"]
    assert not [path for path in out.rglob("*") if "partial" in path.name]


def test_too_many_probabilities_leave_the_masks(series, out, monkeypatch):
    monkeypatch.setattr(sliced_image, "MAX_VOXELS", 5 * SIZE**2 - 1)
    summary = run(series, out, ("nifti", "nifti-probability"))
    assert "probabilities are too many" in summary.failed[0][1]
    assert records(out)["ct"]["outputs"] == ["nifti"] and (out / "ct_nifti.nii.gz").is_file()


@pytest.mark.parametrize("slices", [1, 3])
def test_a_source_all_of_whose_results_have_names_too_long_fails_alone(tmp_path, out, slices):
    (tmp_path / "in").mkdir()
    frames = {} if slices == 1 else {"NumberOfFrames": slices, "Rows": SIZE}
    long = 251 * "a"
    for number, name in enumerate((long, "b")):
        values = np.full((slices * SIZE, SIZE), 900)
        ct_slice(tmp_path / f"in/{name}.dcm", values, number=number, series=f"1.2.{number + 3}", **frames)
    summary = run(tmp_path / "in", out, ("mask", "probability"))
    ((file, reason),) = summary.failed
    assert (summary.done, file) == (1, str(tmp_path / f"in/{long}.dcm"))
    assert reason.startswith(f"{file}: the name of a result is too long")
    assert [record["status"] for record in records(out).values()] == ["failed", "ok"]
    assert records(out)[long]["outputs"] == [] and not [path for path in out.rglob("*") if "partial" in path.name]


def test_a_series_that_failed_in_part_keeps_its_name_from_another(tmp_path, out):
    for patient in "12":
        ct_series(tmp_path / patient / "ct", count=5, shape=(SIZE, SIZE))
    (tmp_path / "1/ct/IM003").unlink()
    assert len(run(tmp_path / "1", out, ("mask", "nifti")).failed) == 1
    before, index = contents(out), records(out)
    with pytest.raises(InputError, match=r"out/ct_mask belongs to \S+/1/ct, not to \S+/2/ct; use another output"):
        run(tmp_path / "2", out, ("mask",))
    assert (contents(out), records(out)) == (before, index) and len(before) == 4


def test_an_edited_result_of_a_series_that_failed_in_part_stays(series, out):
    (series / "IM003").unlink()
    assert len(run(series, out, ("mask", "nifti")).failed) == 1
    (out / "ct_mask/001.png").write_bytes(b"by hand")
    for _ in range(2):
        with pytest.raises(InputError, match=r"ct_mask would be replaced"):
            run(series, out, ("mask", "nifti"))
    assert contents(out)["ct_mask/001.png"] == b"by hand"


def test_an_edited_result_of_an_image_that_failed_in_part_stays(tmp_path, out):
    name = 246 * "a"  # of 255: there is room for _mask.png, and not for _probability.png
    Image.fromarray(picture(0)).save(tmp_path / f"{name}.png")
    assert len(run(tmp_path / f"{name}.png", out, ("mask", "probability")).failed) == 1
    size = (out / f"{name}_mask.png").stat().st_size
    (out / f"{name}_mask.png").write_bytes(b"by hand")
    with pytest.raises(InputError, match=r"_mask.png would be replaced"):
        run(tmp_path / f"{name}.png", out, ("mask", "probability"))
    assert (out / f"{name}_mask.png").read_bytes() == b"by hand"
    assert records(out)[name]["output_bytes"] == [size]


def test_where_no_kind_can_be_made_the_index_claims_none(series, out):
    """In the second run, too, and so what a person puts there is not taken for a result."""
    (series / "IM003").unlink()
    for _ in range(2):
        summary = run(series, out, ("nifti",))
        assert "not in even places" in summary.failed[0][1] and "other results" not in summary.failed[0][1]
        assert summary.in_part == 0 and not list(out.glob("ct_*"))
        record = records(out)["ct"]
        assert (record["status"], record.get("outputs", []), record.get("doubt")) == ("failed", [], None)
    by_hand = out / "ct_nifti.nii.gz"
    by_hand.write_bytes(b"by hand")
    with pytest.raises(InputError, match=r"ct_nifti.nii.gz would be replaced"):
        run(series, out, ("nifti",))
    summary = run(series, out, ("mask",))
    assert (summary.done, list(summary.failed)) == (1, []) and records(out)["ct"]["outputs"] == ["mask"]
    assert by_hand.read_bytes() == b"by hand"


def test_results_stay_where_their_source_goes_while_they_are_made(series, out, monkeypatch):
    """A disk that is away for a while lets no kind be made that reads the source again."""
    kinds = ("mask", "dicom-overlay")
    assert run(series, out, kinds).done == 1
    before = [path.read_bytes() for path in sorted((out / "ct_dicom-overlay").iterdir())]
    away, add = series.with_name("away"), sliced_image.SlicedImage.add

    def go_and_add(self, index, *arguments):
        if index == self.count - 1:
            series.rename(away)
        add(self, index, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(sliced_image.SlicedImage, "add", go_and_add)
        ((file, reason),) = run(series, out, (*kinds, "probability")).failed
    assert file == str(series) and "cannot be read" in reason
    assert [path.read_bytes() for path in sorted((out / "ct_dicom-overlay").iterdir())] == before
    away.rename(series)
    assert run(series, out, kinds).done == 1 and records(out)["ct"]["status"] == "ok"


def test_a_kind_of_an_earlier_run_that_cannot_be_made_now_ends_the_run_before_it_begins(series, out, started):
    """The coded concepts that DICOM-SEG needs were given to that run, and are not given to this one."""
    assert run(series, out, ("mask", "dicom-seg")).done == 1 and started
    (series / "IM005").unlink()
    before, index = contents(out), records(out)
    started.clear()
    told = r"an earlier run saved dicom-seg of \S+/ct in \S+/out, and it has .*: the class 'foreground' has no coded"
    with pytest.raises(InputError, match=told):
        segment_files(red_segmenter(), series, out, window=(0.0, 100.0))
    assert (contents(out), records(out), started) == (before, index, [])
    assert run(series, out, ("mask",)).done == 1
    (referenced,) = highdicom.seg.segread(out / "ct_dicom-seg.dcm").ReferencedSeriesSequence
    assert len(referenced.ReferencedInstanceSequence) == 4
