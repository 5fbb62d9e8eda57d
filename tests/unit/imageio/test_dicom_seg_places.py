"""Places and lengths in DICOM-SEG: those of the source, and none where it has none."""

import shutil
import subprocess

import highdicom
import numpy as np
import pytest
from dicom_damage import damage
from dicom_files import ct_slice
from pydicom import Dataset
from pydicom.uid import EnhancedCTImageStorage
from test_dicom_seg import context

from ddim_jax.imageio.dicom import read_header
from ddim_jax.imageio.listing import list_images
from ddim_jax.imageio.segments import read_segments
from ddim_jax.imageio.stacks import open_stack
from ddim_jax.imageio.writers import dicom_overlay
from ddim_jax.inference.segmentation import Segmentation
from ddim_jax.labels import Labels
from ddim_jax.registry import WRITERS
from ddim_jax.runtime.errors import DataError

NO_PLACE = {"ImagePositionPatient": None, "ImageOrientationPatient": None, "FrameOfReferenceUID": None}
XRAY = NO_PLACE | {"Modality": "DX", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.1", "SliceThickness": None}
ULTRASOUND = NO_PLACE | {
    "Modality": "US", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.3.1", "SliceThickness": None, "Rows": 4,
}  # fmt: skip


def segmented(path, stack):
    """The header of a DICOM-SEG of ones, checked by dciodvfy where it is installed."""
    WRITERS.get("dicom-seg")().write_stack(path, np.ones((stack.count, 4, 6), np.uint8), None, stack, context())
    highdicom.seg.segread(path)
    header = read_header(path)
    found = read_segments(path, header, Labels(), stack.slices)
    assert found.shape == (stack.count, 4, 6) and found.min() == 1
    if shutil.which("dciodvfy"):
        told = subprocess.run(["dciodvfy", "-new", path], capture_output=True, text=True, timeout=60)
        assert [line for line in (told.stdout + told.stderr).splitlines() if line.startswith("Error")] == []
    return read_header(path)


def referred(header):
    """(last number of the instance, frame, position) that each frame refers to, sorted."""
    found = []
    for group in header.PerFrameFunctionalGroupsSequence:
        (source,) = group.DerivationImageSequence[0].SourceImageSequence
        position = group.PlanePositionSequence[0].ImagePositionPatient if "PlanePositionSequence" in group else None
        uid = source.ReferencedSOPInstanceUID
        frame = source.get("ReferencedFrameNumber")
        found.append((int(uid.rpartition(".")[2]), None if frame is None else int(frame), position))
    return sorted(found, key=lambda one: one[:2])


@pytest.mark.parametrize("apart", [1e-6, 1e-5, 4e-4, 9e-4])
def test_orientations_that_are_rounded_keep_references_to_each_file(apart, tmp_path):
    for number in range(4):
        turn = apart * (number % 2)
        place, directions = (0, 0, 2.5 * number), [1, turn, 0, -turn, 1, 0]
        ct_slice(tmp_path / f"{number}.dcm", np.zeros((4, 6)), place=place, number=number + 1,
                 ImageOrientationPatient=directions)  # fmt: skip
    header = segmented(tmp_path / "s.dcm", open_stack(list_images(tmp_path)))
    assert referred(header) == [(number + 1, None, [0, 0, 2.5 * number]) for number in range(4)]
    (shared,) = header.SharedFunctionalGroupsSequence
    assert shared.PlaneOrientationSequence[0].ImageOrientationPatient == [1, 0, 0, 0, 1, 0]
    assert shared.PixelMeasuresSequence[0].PixelSpacing == [0.5, 0.75]


def frames_with_places(path, turns=(0, 0, 0)):
    """Writes frames that each say their position, orientation and measures, and share none."""
    groups = []
    for number, turn in enumerate(turns):
        group = Dataset()
        for name, values in (
            ("PlanePosition", {"ImagePositionPatient": [0, 0, 3 * number]}),
            ("PlaneOrientation", {"ImageOrientationPatient": [1, turn, 0, -turn, 1, 0]}),
            ("PixelMeasures", {"PixelSpacing": [0.5, 0.75], "SliceThickness": 3}),
        ):
            item = Dataset()
            item.update(values)
            setattr(group, f"{name}Sequence", [item])
        groups.append(group)
    attributes = dict.fromkeys(("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"))
    ct_slice(path, np.zeros((4 * len(turns), 6)), Rows=4, NumberOfFrames=len(turns),
             SOPClassUID=EnhancedCTImageStorage, SharedFunctionalGroupsSequence=[Dataset()],
             PerFrameFunctionalGroupsSequence=groups, **attributes)  # fmt: skip
    return open_stack([path])


def test_frames_that_share_nothing_keep_their_places(tmp_path):
    header = segmented(tmp_path / "s.dcm", frames_with_places(tmp_path / "a.dcm", (0, 1e-4, 0)))
    assert referred(header) == [(1, number + 1, [0, 0, 3 * number]) for number in range(3)]
    (shared,) = header.SharedFunctionalGroupsSequence
    assert shared.PlaneOrientationSequence[0].ImageOrientationPatient == [1, 0, 0, 0, 1, 0]
    (measures,) = shared.PixelMeasuresSequence
    assert (measures.PixelSpacing, measures.SliceThickness) == ([0.5, 0.75], 3)


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        (XRAY | {"PixelSpacing": None}, None),
        (XRAY | {"PixelSpacing": [0, 0]}, None),
        (XRAY | {"PixelSpacing": None, "ImagerPixelSpacing": [0.143, 0.143]}, None),
        (XRAY | {"PixelSpacing": None, "FrameOfReferenceUID": "1.2.3"}, None),
        (NO_PLACE, {"PixelSpacing": [0.5, 0.75], "SliceThickness": 2.5}),
        (XRAY, {"PixelSpacing": [0.5, 0.75], "SliceThickness": 1}),
        (ULTRASOUND | {"PixelSpacing": None, "NumberOfFrames": 3}, None),
        (ULTRASOUND | {"NumberOfFrames": 3}, {"PixelSpacing": [0.5, 0.75], "SliceThickness": 1}),
        (ULTRASOUND | {"NumberOfFrames": 1}, {"PixelSpacing": [0.5, 0.75], "SliceThickness": 1}),
        ({"PixelSpacing": None}, None),  # it has a place
        ({"SliceThickness": None}, {"PixelSpacing": [0.5, 0.75], "SliceThickness": 1}),
        ({}, {"PixelSpacing": [0.5, 0.75], "SliceThickness": 2.5}),
    ],
)
def test_no_lengths_are_made_up(attributes, expected, tmp_path):
    rows = 4 * attributes.get("NumberOfFrames", 1)
    stack = open_stack([ct_slice(tmp_path / "a.dcm", np.zeros((rows, 6)), **attributes)])
    header = segmented(tmp_path / "s.dcm", stack)
    found = header.SharedFunctionalGroupsSequence[0].get("PixelMeasuresSequence")
    told = None if found is None else {element.keyword: element.value for element in found[0]}
    assert told == expected
    several = attributes.get("NumberOfFrames", 1) > 1
    assert [frame for _, frame, _ in referred(header)] == ([1, 2, 3] if several else [None])
    assert ("FrameOfReferenceUID" in header) == ("ImagePositionPatient" not in attributes)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PixelSpacing", b"0,5\\0,75"),
        ("SliceThickness", b"2,5 mm"),
        ("SliceThickness", b"2\\5"),
        ("ImagePositionPatient", b"1,5\\2,5\\3,5"),
        ("ImagePositionPatient", b"\xff\xfe\\\\"),
        ("ImageOrientationPatient", b"1\\0\\0"),
        ("SpacingBetweenSlices", b"4711,5"),
    ],
)
def test_damaged_places_and_lengths_are_not_known(name, value, tmp_path):
    path = ct_slice(tmp_path / "a.dcm", np.zeros((4, 6)), SpacingBetweenSlices=2.5)
    damage(path, name, value)
    stack = open_stack([path])
    assert stack.remarks[0] == f"{name} not used (no numbers in 1 of 1 file, such as a.dcm)"
    assert stack.pixel_mm(0) == (None if name == "PixelSpacing" else (0.5, 0.75))
    header = segmented(tmp_path / "s.dcm", stack)
    assert ("FrameOfReferenceUID" in header) == (not name.startswith("Image"))
    assert ("PixelMeasuresSequence" in header.SharedFunctionalGroupsSequence[0]) == (name != "PixelSpacing")
    overlay(tmp_path / "o.dcm", stack)
    assert read_header(tmp_path / "o.dcm").get("PixelSpacing") == (None if name == "PixelSpacing" else [0.5, 0.75])


def overlay(path, stack):
    result = Segmentation(np.ones((4, 6), np.uint8), None, None, 0.0)
    WRITERS.get("dicom-overlay")().write(path, result, stack.read(0), stack.files[0], context())


@pytest.mark.parametrize("name", ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID"])
def test_several_values_of_a_name_cannot_be_referred_to(name, tmp_path):
    path = ct_slice(tmp_path / "a.dcm", np.zeros((4, 6)))
    damage(path, name, b"1.2.4711\\1.2.4712")
    stack = open_stack([path])
    for write in (segmented, overlay):
        with pytest.raises(DataError, match=rf"a\.dcm: has several values of {name}, expected one; no DICOM") as error:
            write(tmp_path / "s.dcm", stack)
        assert "4711" not in str(error.value)


@pytest.mark.parametrize("raised", [ValueError("4711"), RecursionError("4711"), OSError(28, "No space left")])
def test_whatever_the_libraries_stumble_over_names_the_file_but_for_faults_of_the_disk(raised, tmp_path, monkeypatch):
    def raises(*_, **__):
        raise raised

    monkeypatch.setattr("ddim_jax.imageio.dicom_results.finish", raises)
    stack = open_stack([ct_slice(tmp_path / "a.dcm", np.zeros((4, 6)))])
    for write in (segmented, overlay):
        with pytest.raises(OSError if isinstance(raised, OSError) else DataError) as error:
            write(tmp_path / "s.dcm", stack)
        if isinstance(raised, OSError):
            assert error.value is raised
        else:
            assert "a.dcm: has a header that no other DICOM file can refer to; save" in str(error.value)
            assert "4711" not in str(error.value)


@pytest.mark.parametrize(
    ("sets", "name"),
    [
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
        (["ISO 2022 IR 13", "ISO 2022 IR 87"], "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎"),
        (["ISO 2022 IR 6", "ISO 2022 IR 100"], "Müller^Jörg"),
        ("ISO_IR 100", "Müller^Jörg"),
        ("GB18030", "Wang^XiaoDong=王^小东"),
        ("ISO_IR 192", "Wang^XiaoDong=王^小东"),
        (None, "Secret^Name"),
    ],
)
def test_names_in_any_character_set(sets, name, tmp_path):
    path = ct_slice(tmp_path / "a.dcm", np.zeros((4, 6)), PatientName=name,
                    **({} if sets is None else {"SpecificCharacterSet": sets}))  # fmt: skip
    stack = open_stack([path])
    header = segmented(tmp_path / "s.dcm", stack)
    overlay(tmp_path / "o.dcm", open_stack([path]))
    for found in (header, read_header(tmp_path / "o.dcm")):
        assert str(found.PatientName) == name and found.SpecificCharacterSet == "ISO_IR 192"
        assert found.PatientID == "P1"
    lung = context(Labels.create({"肺": 1}))._replace(segments={"肺": "Lung"})
    WRITERS.get("dicom-seg")().write_stack(tmp_path / "s.dcm", np.ones((1, 4, 6), np.uint8), None, stack, lung)
    assert read_header(tmp_path / "s.dcm").SegmentSequence[0].SegmentLabel == "肺"


def test_series_of_results_are_of_one_patient_and_study(tmp_path):
    uids = []
    for attributes in ({}, {"StudyInstanceUID": "1.2.3"}, {"patient": "P2"}, {}):
        path = ct_slice(tmp_path / "a.dcm", np.zeros((4, 6)), **attributes)
        uids.append(segmented(tmp_path / "s.dcm", open_stack([path])).SeriesInstanceUID)
    assert len(set(uids)) == 3 and uids[0] == uids[3]


def test_the_header_of_overlays_is_read_once_while_the_file_does_not_change(tmp_path, monkeypatch):
    """A header of many frames takes long to walk through, and each frame has an overlay."""
    opened = []
    series = dicom_overlay.DicomStack
    monkeypatch.setattr(dicom_overlay, "DicomStack", lambda *given: opened.append(1) or series(*given))
    path, result = tmp_path / "a.dcm", Segmentation(np.ones((4, 6), np.uint8), None, None, 0.0)
    for patient in ("P1", "Another"):
        ct_slice(path, np.zeros((12, 6)), Rows=4, NumberOfFrames=3, patient=patient)
        for frame in range(3):
            image, about = np.zeros((4, 6, 3), np.uint8), context()._replace(slice=frame)
            WRITERS.get("dicom-overlay")().write(tmp_path / "o.dcm", result, image, path, about)
            written = read_header(tmp_path / "o.dcm")
            assert (written.PatientID, written.InstanceNumber) == (patient, frame + 1)
    assert len(opened) == 2
