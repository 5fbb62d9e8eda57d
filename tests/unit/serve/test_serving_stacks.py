"""`POST /segment` with DICOM and NIfTI files: slices, areas in square millimetres, windows, files of results."""

import zipfile

import nibabel
import numpy as np
import pytest
from dicom_files import ct_series, ct_slice
from pydicom import dcmread
from segmenters import red_segmenter
from served import decoded, half, network, png

from ddim_jax.imageio.images import ReadOptions
from ddim_jax.imageio.stacks import open_stack


def test_a_dicom_series_has_areas_and_files_of_its_own(client, tmp_path):
    values = ct_series(tmp_path / "in", count=3)
    sent = [("file", (path.name, path.read_bytes())) for path in (tmp_path / "in").iterdir()]
    answer = client.post("/segment", files=sent, data={"window": "0,1000"})
    body = answer.json()
    (result,) = body["networks"]
    assert result["window"] == [0, 1000] and len(result["slices"]) == 3
    stack = open_stack(sorted((tmp_path / "in").iterdir()), ReadOptions(window=(0, 1000)))
    expected = red_segmenter().segment([stack.read(index) for index in range(3)])
    for found, own in zip(result["slices"], expected, strict=True):
        assert found["pixel_mm2"] == 0.375
        assert found["classes"] == [
            {"name": "foreground", "area": own.mask.sum(), "area_mm2": pytest.approx(own.mask.sum() * 0.375)}
        ]
    (tmp_path / "x.dcm").write_bytes(client.get(result["files"]["dicom-seg"]).content)
    segmentation = dcmread(tmp_path / "x.dcm")
    assert segmentation.Modality == "SEG" and segmentation.Rows == values.shape[1]
    assert segmentation.pixel_array.sum() == sum(int(own.mask.sum()) for own in expected)
    (tmp_path / "x.nii.gz").write_bytes(client.get(result["files"]["nifti"]).content)
    kept = np.asarray(nibabel.load(tmp_path / "x.nii.gz").dataobj)
    np.testing.assert_array_equal(kept, np.stack([own.mask for own in expected]).transpose(2, 1, 0))

    shown = client.get(body["links"]["picture"], params={"slice": 2, "window": "-200,300"})
    other = open_stack(sorted((tmp_path / "in").iterdir()), ReadOptions(window=(-200, 300))).read(1)
    np.testing.assert_array_equal(decoded(shown.content), other[..., 0])
    for wrong in ({"slice": 4, "window": "0,1"}, {"slice": 1}, {"slice": "a", "window": "0,1"}):
        assert client.get(body["links"]["picture"], params=wrong).status_code == 404
    assert client.get(body["links"]["picture"], params={"slice": 1, "window": "0,-1"}).status_code == 422


def test_the_window_that_a_series_is_shown_with(tmp_path):
    """Shown again with the window that it says, a slice is the same."""
    ct_series(tmp_path / "plain", count=3)
    ct_series(tmp_path / "told", count=2, WindowCenter=40, WindowWidth=400)
    for name, slices in (("plain", 3), ("told", 2)):
        stack = open_stack(sorted((tmp_path / name).iterdir()))
        window = stack.window(1)
        assert name == "plain" or window == (40, 400)
        again = stack.with_window(window)
        for index in range(slices):
            difference = stack.read(index).astype(int) - again.read(index)
            assert abs(difference).max() <= 1  # DICOM's linear function leaves half a value out
        nibabel.save(
            nibabel.Nifti1Image(np.random.default_rng(0).normal(0, 9, (6, 5, 4)), np.eye(4)), tmp_path / "v.nii"
        )
    volume = open_stack([tmp_path / "v.nii"])
    np.testing.assert_array_equal(volume.read(2), volume.with_window(volume.window(2)).read(2))


def test_a_nifti_volume_and_a_zip_of_dicom_files(client, tmp_path):
    values = np.zeros((8, 6, 3), np.uint8)
    values[:, :3, 1] = 255
    nibabel.save(nibabel.Nifti1Image(values, np.diag([2.0, 2.0, 5.0, 1.0])), tmp_path / "secret^name.nii.gz")
    sent = {"file": ("secret^name.nii.gz", (tmp_path / "secret^name.nii.gz").read_bytes())}
    (result,) = client.post("/segment", files=sent).json()["networks"]
    assert [one["classes"][0]["area"] > 0 for one in result["slices"]] == [False, True, False]
    assert set(result["files"]) == {"nifti"} and result["unavailable"] == {}
    ct_series(tmp_path / "in", count=2)
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for path in (tmp_path / "in").iterdir():
            archive.write(path, f"secret^name/{path.name}")
        archive.writestr("readme.txt", "no picture")
    (result,) = client.post("/segment", content=(tmp_path / "x.zip").read_bytes()).json()["networks"]
    assert len(result["slices"]) == 2 and set(result["files"]) == {"dicom-seg", "nifti"}


def test_a_dicom_file_that_begins_like_a_tiff_file(client, tmp_path):
    path = ct_slice(tmp_path / "x.dcm", np.zeros((8, 6), int))
    (result,) = client.post("/segment", content=b"II*\0" + path.read_bytes()[4:]).json()["networks"]
    assert result["slices"][0]["pixel_mm2"] == 0.375 and set(result["files"]) == {"dicom-seg", "nifti"}


def test_a_format_that_needs_more_than_the_source_says_does_not_fail_the_others(client, tmp_path):
    ct_slice(tmp_path / "x.dcm", np.zeros((8, 6), int), ImagePositionPatient=None, ImageOrientationPatient=None)
    (result,) = client.post("/segment", content=(tmp_path / "x.dcm").read_bytes()).json()["networks"]
    assert set(result["files"]) == {"dicom-seg"} and len(result["slices"]) == 1
    assert result["unavailable"]["nifti"].startswith("The file: has no position")


def test_why_there_is_no_dicom_seg(serving, tmp_path):
    ct_series(tmp_path / "in", count=2)
    sent = [("file", path.read_bytes()) for path in (tmp_path / "in").iterdir()]
    (result,) = serving([network(segments=())]).post("/segment", files=sent).json()["networks"]
    assert set(result["files"]) == {"nifti"}
    assert "has no coded concept" in result["unavailable"]["dicom-seg"]


def test_how_a_slice_is_shown_and_lies(client, tmp_path):
    told = {"WindowCenter": 40, "WindowWidth": 400, "PhotometricInterpretation": "MONOCHROME1"}
    data = ct_slice(tmp_path / "x.dcm", np.zeros((8, 6), int), **told).read_bytes()
    for sent, inverted in ((data, True), (data.replace(b"MONOCHROME1 ", b"MONOCHROME2 "), False)):
        for asked in ("false", "true"):
            (result,) = client.post(f"/segment?invert={asked}", content=sent).json()["networks"]
            (found,) = result["slices"]
            assert found["window"] == result["window"] == [40, 400] and found["pixel_mm"] == [0.5, 0.75]
            assert found["edges"] == {"top": "A", "right": "L", "bottom": "P", "left": "R"}
            assert result["window_inverted"] == (inverted != (asked == "true"))
    (result,) = client.post("/segment?invert=true", content=png(half())).json()["networks"]
    (found,) = result["slices"]
    assert (found["window"], found["edges"], found["pixel_mm"], result["window"]) == (None,) * 4
    assert result["window_inverted"] is False
