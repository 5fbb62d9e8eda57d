"""`POST /segment` with DICOM and NIfTI files: slices, areas in square millimetres, windows, files of results."""

import zipfile
from concurrent.futures import ThreadPoolExecutor

import nibabel
import numpy as np
import pytest
from dicom_damage import damage
from dicom_files import bundled, ct_series, ct_slice
from pydicom import dcmread
from segmenters import red_segmenter
from served import decoded, half, network, png

from ddim_jax.imageio.images import ReadOptions
from ddim_jax.imageio.readers import nifti
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
    good = {"slice": 1, "window": "0,1"}
    for wrong in (good | {"slice": 4}, good | {"slice": "a"}, {"slice": 1}, good | {"invert": "true"}, good | {"x": 1}):
        refused = client.get(body["links"]["picture"], params=wrong)
        assert refused.status_code == 422 and "slice=N, from 1 to 3, window=CENTRE,WIDTH and" in refused.json()["error"]
    assert client.get(body["links"]["picture"], params={"slice": 1, "window": "0,-1"}).status_code == 422


@pytest.mark.parametrize(("name", "refused"), [("SOPClassUID", True), ("ImagePositionPatient", False)])
def test_a_damaged_header_costs_the_dicom_seg_at_most(name, refused, client, tmp_path):
    path = ct_slice(tmp_path / "a.dcm", np.zeros((16, 16)))
    damage(path, name, b"4,711\\x")
    answer = client.post("/segment", files={"file": ("a.dcm", path.read_bytes())})
    assert answer.status_code == 200 and "4,711" not in answer.text
    (result,) = answer.json()["networks"]
    assert client.get(result["slices"][0]["files"]["mask"]).status_code == 200
    assert ("dicom-seg" in result["files"]) != refused
    if refused:
        assert "has several values of SOPClassUID, expected one" in result["unavailable"]["dicom-seg"]


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
        archive.writestr("readme.txt", "no image")
        archive.write(bundled("DICOMDIR"), "DICOMDIR")
    (result,) = client.post("/segment", content=(tmp_path / "x.zip").read_bytes()).json()["networks"]
    assert len(result["slices"]) == 2 and set(result["files"]) == {"dicom-seg", "nifti"}
    assert "left out (2 files: .txt (1), DICOM, a DICOMDIR (1))" in result["notes"]


def test_a_dicom_file_that_begins_like_a_tiff_file(client, tmp_path):
    path = ct_slice(tmp_path / "x.dcm", np.zeros((8, 6), int))
    (result,) = client.post("/segment", content=b"II*\0" + path.read_bytes()[4:]).json()["networks"]
    assert result["slices"][0]["pixel_mm2"] == 0.375 and set(result["files"]) == {"dicom-seg", "nifti"}


def test_a_format_that_needs_more_than_the_source_says_does_not_fail_the_others(client, tmp_path):
    ct_slice(tmp_path / "x.dcm", np.zeros((8, 6), int), ImagePositionPatient=None, ImageOrientationPatient=None)
    (result,) = client.post("/segment", content=(tmp_path / "x.dcm").read_bytes()).json()["networks"]
    assert set(result["files"]) == {"dicom-seg"} and len(result["slices"]) == 1
    assert result["unavailable"]["nifti"].startswith("The file has no position")


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
            assert found["aspect"] == 0.666667
            assert found["edges"] == {"top": "A", "right": "L", "bottom": "P", "left": "R"}
            assert result["window_inverted"] == (inverted != (asked == "true"))
    (result,) = client.post("/segment?invert=true", content=png(half())).json()["networks"]
    (found,) = result["slices"]
    assert (found["window"], found["edges"], found["pixel_mm"], found["aspect"], result["window"]) == (None,) * 5
    assert result["window_inverted"] is False


def test_the_proportions_of_pixels_without_millimetres(client, tmp_path):
    nibabel.save(nibabel.Nifti1Image(np.zeros((8, 6, 3), np.uint8), np.diag([2.0, 3.0, 5.0, 1.0])), tmp_path / "x.nii")
    for name, aspect, ratio in (("x.nii", 1.5, None), ("x.dcm", 0.8, [4, 5]), ("x.dcm", None, [0, 5])):
        if ratio is not None:
            ct_slice(tmp_path / name, np.zeros((8, 6), int), PixelSpacing=None, PixelAspectRatio=ratio)
        (result,) = client.post("/segment", content=(tmp_path / name).read_bytes()).json()["networks"]
        assert {(one["aspect"], one["pixel_mm"]) for one in result["slices"]} == {(aspect, None)}


def test_what_is_left_out_and_what_is_missing_is_noted(client, tmp_path, caplog):
    ct_series(tmp_path / "in", count=7, StudyDate="20200101")
    for number in (3, 4):
        (tmp_path / "in" / f"IM{number:03d}").unlink()
    ct_slice(tmp_path / "report.dcm", np.zeros((4, 4), int), Modality="SR")
    others = {"notes.txt": b"x" * 20, "Secret^Name": b"y" * 20, "a.pdf": b"%PDF" * 9, "empty.txt": b""}
    others["Meier.Hans"] = b"z" * 20
    others["report.dcm"] = (tmp_path / "report.dcm").read_bytes()
    slices = {path.name: path.read_bytes() for path in (tmp_path / "in").iterdir()}
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name, data in (slices | others).items():
            archive.writestr(name, data)
    form = [("file", one) for one in (slices | others).items()]
    with caplog.at_level("WARNING"):
        answers = (
            client.post("/segment", content=(tmp_path / "x.zip").read_bytes()),
            client.post("/segment", files=form),
        )
    for answer in answers:
        (result,) = answer.json()["networks"]
        assert len(result["slices"]) == 5
        left_out = "left out (6 files: .pdf (1), .txt (2), DICOM, a report (1), others (2))"
        assert left_out in result["notes"] and "Secret" not in answer.text and "hans" not in answer.text.lower()
        assert any(
            note.startswith("slices missing (in 1 place, such as behind slice 3: 7.5") for note in result["notes"]
        )
    assert not [record for record in caplog.records if record.name == "absl"]
    # Where nothing is left, it is refused.
    refused = client.post("/segment", files=[("file", ("a.txt", b"x" * 9)), ("file", ("b.pdf", b"y" * 9))])
    assert refused.status_code == 415 and refused.json()["error"].startswith("None of the 2 files is of a kind")


@pytest.mark.parametrize(
    ("attributes", "at"),
    [
        ({"Modality": "CT"}, None),
        ({"Modality": "DX"}, "detector"),
        ({"Modality": "CR", "ImagerPixelSpacing": [0.5, 0.75]}, "detector"),
        ({"Modality": "CR", "ImagerPixelSpacing": [0.6, 0.9]}, None),
        ({"Modality": "DX", "PixelSpacingCalibrationType": "FIDUCIAL"}, None),
        ({"Modality": "DX", "PixelSpacing": None}, None),
    ],
)
def test_lengths_at_the_detector(client, tmp_path, attributes, at):
    path = ct_slice(tmp_path / "x.dcm", np.zeros((8, 6), int), **attributes)
    (result,) = client.post("/segment", content=path.read_bytes()).json()["networks"]
    assert result["slices"][0]["area_at"] == at
    assert any(note.startswith("lengths at the detector (") for note in result["notes"]) == (at is not None)


def test_a_volume_that_says_no_orientation(client, tmp_path):
    image = nibabel.Nifti1Image(np.zeros((8, 6, 3), np.uint8), np.diag([1.0, 2.0, 5.0, 1.0]))
    for code in (1, 0):
        image.set_sform(image.affine, code)
        image.set_qform(image.affine, 0)
        nibabel.save(image, tmp_path / "x.nii")
        (result,) = client.post("/segment", content=(tmp_path / "x.nii").read_bytes()).json()["networks"]
        assumed = "no orientation (sform and qform codes are 0; left and right are assumed)"
        assert (assumed in result["notes"]) == (code == 0)
        assert (result["slices"][0]["edges"] is None) == (code == 0)
    assert "pixels not square (2 high and 1 wide; the network sees them square)" in result["notes"]


def test_a_file_is_called_by_its_plain_number(client, tmp_path):
    ct_series(tmp_path / "in", count=4)
    *slices, more = [path.read_bytes() for path in sorted((tmp_path / "in").iterdir())]
    slices[2] = slices[2][:-50]
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for number, data in enumerate(slices):
            archive.writestr(f"secret^name/{number}", data)
    archived = (tmp_path / "x.zip").read_bytes()
    for sent, called in (
        ([("slice", data) for data in slices], "File 3"),
        ([("x.zip", archived)], "Member 3 of the archive"),
        ([("x.txt", b"notes"), ("x.zip", archived), ("more.dcm", more)], "Member 3 of file 2"),
    ):
        answer = client.post("/segment", files=[("file", one) for one in sent])
        assert answer.status_code == 422 and answer.json()["error"].startswith(f"{called} is truncated, "), answer.text


def test_a_volume_is_opened_once_for_all_of_its_pictures(client, tmp_path, monkeypatch):
    read = []
    values = nifti.NiftiStack._read_values
    monkeypatch.setattr(nifti.NiftiStack, "_read_values", lambda self: (read.append(1), values(self))[1])
    nibabel.save(nibabel.Nifti1Image(np.arange(144, dtype=np.int16).reshape(8, 6, 3), np.eye(4)), tmp_path / "x.nii.gz")
    plain, turned = (
        client.post(f"/segment?invert={asked}", content=(tmp_path / "x.nii.gz").read_bytes()).json()["links"]["picture"]
        for asked in ("false", "true")
    )
    read.clear()

    def picture(number):
        asked = {"slice": number % 3 + 1, "window": f"{number},80"}
        return client.get(plain, params=asked).status_code

    with ThreadPoolExecutor(8) as clients:
        assert set(clients.map(picture, range(16))) == {200} and len(read) == 1
    shown, inverted = (decoded(client.get(link, params={"window": "70,80"}).content) for link in (plain, turned))
    np.testing.assert_array_equal(shown, 255 - inverted)


def test_files_of_two_patients_are_refused_with_what_differs(client, tmp_path):
    sent = []
    for number in range(3):
        path = ct_slice(tmp_path / f"{number}.dcm", np.zeros((16, 16)), number=number, patient=f"P4711{number}",
                        place=(0, 0, number), series="1.2.3" if number < 2 else "1.2.4")  # fmt: skip
        sent.append(("file", (path.name, path.read_bytes())))
    answer = client.post("/segment", files=sent)
    assert answer.status_code == 422 and "4711" not in answer.text
    assert answer.json()["error"] == (
        "The upload holds 3 DICOM files, some of which share SeriesInstanceUID and differ in the patient (PatientID, "
        "PatientName, PatientBirthDate); expected one image or series. Send them one by one, or give the folder to "
        "ddim-jax sample."
    )


def test_several_sources_in_one_upload_are_named_by_number_and_kind(client, tmp_path):
    sent = [("file", ("a.png", png(half()))), ("file", ("b.png", png(half()))), ("file", ("c.nii", b""))]
    nibabel.save(nibabel.Nifti1Image(np.zeros((8, 6, 3), np.uint8), np.eye(4)), tmp_path / "c.nii")
    sent[2] = ("file", ("c.nii", (tmp_path / "c.nii").read_bytes()))
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for series in ("1.2.3", "1.2.4"):
            ct_series(tmp_path / series, count=2, series=series)
            for path in (tmp_path / series).iterdir():
                archive.write(path, f"{series}/{path.name}")
    sent.append(("file", ("x.zip", (tmp_path / "x.zip").read_bytes())))
    answer = client.post("/segment", files=sent)
    assert answer.status_code == 422
    assert answer.json()["error"] == (
        "The upload holds 2 DICOM series, 1 NIfTI file, 2 images; expected one image or series. Send them one by "
        "one, or give the folder to ddim-jax sample."
    )
