"""DICOM-SEG files that are written and read back, by this package and by highdicom."""

import highdicom
import numpy as np
import pydicom
import pytest
from dicom_files import bundled, ct_series, ct_slice

from ddim_jax.imageio.dicom import read_header
from ddim_jax.imageio.images import read_mask
from ddim_jax.imageio.label_maps import LabelMapError
from ddim_jax.imageio.segments import read_segments
from ddim_jax.imageio.stacks import open_stack
from ddim_jax.imageio.writers import Context
from ddim_jax.labels import Labels
from ddim_jax.registry import WRITERS
from ddim_jax.runtime.errors import DataError
from ddim_jax.sampling_options import SamplingOptions

TWO = Labels.create({"lung": 1, "heart": 2})
BOTH = Labels.create({"lung": [1, 3], "heart": [2, 3]}, multilabel=True)
CONCEPTS = {"lung": "Lung", "heart": "AnatomicalStructure/Heart", "foreground": "AnatomicalStructure/SCT:39607008:Lung"}


def context(labels=Labels()):
    about = Context("ddim_jax 0.2.0", "/somewhere/runs/lungs/checkpoints/600", "ab" * 32, 600, SamplingOptions())
    return about._replace(labels=labels, segments=CONCEPTS)


def written(path, masks, stack, labels, kind="dicom-seg", probability=None):
    WRITERS.get(kind)().write_stack(path, masks, probability, stack, context(labels))
    return path


@pytest.fixture
def stack(tmp_path):
    ct_series(tmp_path / "ct", count=4, shape=(8, 10))
    return open_stack(sorted((tmp_path / "ct").iterdir()))


@pytest.mark.parametrize("labels", [Labels(), TWO, BOTH])
def test_masks_come_back(labels, stack, tmp_path):
    most = 4 if labels.multilabel else labels.count + 1
    masks = np.random.default_rng(0).integers(0, most, (4, 8, 10)).astype(np.uint8)
    masks[2] = 0  # has no frame
    path = written(tmp_path / "s.dcm", masks, stack, labels)
    np.testing.assert_array_equal(read_segments(path, read_header(path), labels, stack.slices), masks)
    uids = [part.header.SOPInstanceUID for part in stack.slices]
    seg = highdicom.seg.segread(path)
    found = seg.get_pixels_by_source_instance(uids, assert_missing_frames_are_empty=True)
    expected = np.stack([labels.of_class(masks, number + 1) for number in range(labels.count)], axis=-1)
    np.testing.assert_array_equal(found, expected)
    assert [item.SegmentLabel for item in seg.SegmentSequence] == list(labels.names or ("Lung",))


def test_the_same_masks_give_the_same_file_but_for_its_times(stack, tmp_path):
    masks = np.random.default_rng(0).integers(0, 3, (4, 8, 10)).astype(np.uint8)

    def elements(name, masks):
        whole = pydicom.dcmread(written(tmp_path / name, masks, stack, TWO))
        whole.walk(lambda within, element: within.pop(element.tag) if element.VR in ("DA", "DT", "TM") else None)
        return {(element.keyword, str(element.value)) for element in whole}

    once = elements("a.dcm", masks)
    assert elements("b.dcm", masks) == once
    changed = {name for name, _ in elements("c.dcm", masks[::-1]) ^ once}
    uids = {"SOPInstanceUID", "DimensionOrganizationSequence", "DimensionIndexSequence"}
    assert uids <= changed and "SeriesInstanceUID" not in changed


def test_probabilities_come_back_to_eight_bits(stack, tmp_path):
    probability = np.random.default_rng(0).random((4, 8, 10, 2)).astype(np.float32)
    path = written(tmp_path / "s.dcm", None, stack, TWO, "dicom-probability", probability)
    uids = [part.header.SOPInstanceUID for part in stack.slices]
    found = highdicom.seg.segread(path).get_pixels_by_source_instance(uids, assert_missing_frames_are_empty=True)
    np.testing.assert_allclose(found, probability, atol=0.5 / 255 + 1e-6)
    with pytest.raises(DataError, match="holds probabilities"):
        read_mask(path)


def two_segments(folder):
    """One image, a mask of both classes, and the DICOM-SEG of it."""
    ct_slice(folder / "a.dcm", np.zeros((4, 4)))
    stack, masks = open_stack([folder / "a.dcm"]), np.array([[[0, 1, 2, 2]] * 4], np.uint8)
    return stack, masks, written(folder / "s.dcm", masks, stack, TWO)


def test_segments_are_found_by_name_or_number_or_refused(tmp_path):
    stack, masks, path = two_segments(tmp_path)
    np.testing.assert_array_equal(read_mask(path, TWO), masks[0])
    # Names come first: these numbers are of another order.
    np.testing.assert_array_equal(read_mask(path, Labels.create({"heart": 1, "lung": 2})), [[0, 2, 1, 1]] * 4)
    for other in ({"heart": 7, "background": 1}, {"HEART ": 7, "background": [1, 2]}):
        np.testing.assert_array_equal(read_mask(path, Labels.create(other)), [[0, 0, 1, 1]] * 4)
    np.testing.assert_array_equal(read_mask(path, Labels.create({"heart": 7}, ignore=1)), [[0, 255, 1, 1]] * 4)
    with pytest.raises(LabelMapError, match=r"holds the values 0 \(4 pixels\), 1 \(4 pixels\), 2 \(8 pixels\)"):
        read_mask(path)
    for foreign in ({"left": 1, "right": 2}, {"organ": [1, 2]}):
        message = r's.dcm: .* 1 \(lung\), 2 \(heart\), and none has a name of .* data.labels={"lung": 1, "heart": 2}'
        with pytest.raises(DataError, match=message):
            read_mask(path, Labels.create(foreign))
    # Numbers without a name are what the user said.
    np.testing.assert_array_equal(read_mask(path, Labels.create([1, 2])), masks[0] > 0)
    with pytest.raises(DataError, match=r"numbers alone, .* so all need a number of it, .* for 2 \(heart\)\."):
        read_mask(path, Labels.create(1))
    with pytest.raises(DataError, match=r"some have names of data.labels, so all need one, .* for 1 \(lung\)\."):
        read_mask(path, Labels.create({"rib": 1, "heart": 2}))
    overlapping = written(tmp_path / "o.dcm", np.full((1, 4, 4), 3, np.uint8), stack, BOTH)
    with pytest.raises(DataError, match=r"segments overlap; set data\.multilabel"):
        read_mask(overlapping, TWO)


def test_a_frame_of_a_segment_that_is_not_listed_is_named(tmp_path):
    ct_slice(tmp_path / "a.dcm", np.zeros((4, 4)))
    path = written(tmp_path / "s.dcm", np.ones((1, 4, 4), np.uint8), open_stack([tmp_path / "a.dcm"]), Labels())
    dataset = pydicom.dcmread(path)
    for element in dataset.iterall():
        if element.keyword == "ReferencedSegmentNumber":
            element.value = 7
    dataset.save_as(path)
    with pytest.raises(DataError, match=r"s\.dcm: frame 1 is of segment 7, SegmentSequence has 1; expected one of"):
        read_mask(path)
    del dataset.SegmentationType
    dataset.save_as(path)
    with pytest.raises(DataError, match=r"s\.dcm: is truncated, damaged or no DICOM file \(it has no Segme.*Type\)"):
        read_mask(path)


def test_a_class_without_a_segment_is_empty_and_the_others_keep_their_names(tmp_path):
    ct_slice(tmp_path / "a.dcm", np.zeros((4, 4)))
    stack, ones = open_stack([tmp_path / "a.dcm"]), np.array([[[0, 1, 1, 0]] * 4], np.uint8)
    path = written(tmp_path / "s.dcm", ones, stack, Labels.create({"heart": 1}))  # which is segment 1
    np.testing.assert_array_equal(read_mask(path, TWO), 2 * ones[0])
    np.testing.assert_array_equal(read_mask(path, BOTH), 2 * ones[0])


def test_masks_of_other_pictures_are_refused(stack, tmp_path):
    path = written(tmp_path / "s.dcm", np.ones((4, 8, 10), np.uint8), stack, Labels())
    with pytest.raises(DataError, match="holds masks of several images, expected of one"):
        read_mask(path)
    other = open_stack([bundled("emri_small.dcm")])
    with pytest.raises(DataError, match="frame 1 is of an image that is not among"):
        read_segments(path, read_header(path), Labels(), other.slices)


@pytest.mark.parametrize(("apart", "is_same"), [(0.0002, True), (0.009, True), (0.02, False)])
def test_frames_without_a_reference_go_by_the_nearest_place(apart, is_same, tmp_path):
    """Places on both sides of what two digits would be rounded to."""
    for number in range(3):
        ct_slice(tmp_path / f"{number}.dcm", np.zeros((8, 10)), place=(0, 0, 2.5 * number + 0.0051), number=number)
    stack = open_stack([tmp_path / f"{number}.dcm" for number in range(3)])
    masks = np.random.default_rng(0).integers(0, 2, (3, 8, 10)).astype(np.uint8)
    path = written(tmp_path / "s.dcm", masks, stack, Labels())
    dataset = pydicom.dcmread(path)
    for group in dataset.PerFrameFunctionalGroupsSequence:
        del group.DerivationImageSequence
        *across, height = group.PlanePositionSequence[0].ImagePositionPatient
        group.PlanePositionSequence[0].ImagePositionPatient = [*across, height - apart]
    dataset.save_as(path)
    if is_same:
        np.testing.assert_array_equal(read_segments(path, read_header(path), Labels(), stack.slices), masks)
    else:
        with pytest.raises(DataError, match="frame 1 is of an image that is not among"):
            read_segments(path, read_header(path), Labels(), stack.slices)
    with pytest.raises(DataError, match="holds masks of several images, expected of one"):
        read_mask(path)


def test_segments_of_one_image_need_no_reference(tmp_path):
    """The frames of two segments lie a ten-thousandth of a millimetre apart."""
    stack, masks, path = two_segments(tmp_path)
    dataset = pydicom.dcmread(path)
    for group, height in zip(dataset.PerFrameFunctionalGroupsSequence, (0.00495, 0.00505), strict=True):
        del group.DerivationImageSequence
        group.PlanePositionSequence[0].ImagePositionPatient = [0, 0, height]
    dataset.save_as(path)
    np.testing.assert_array_equal(read_mask(path, TWO), masks[0])
    np.testing.assert_array_equal(read_segments(path, read_header(path), TWO, stack.slices), masks)


@pytest.mark.parametrize("count", [1, 4])
def test_slices_without_a_thickness_have_their_distance(count, tmp_path):
    ct_series(tmp_path / "ct", count=count, shape=(8, 10), SliceThickness=None)
    stack = open_stack(sorted((tmp_path / "ct").iterdir()))
    header = read_header(written(tmp_path / "s.dcm", np.ones((count, 8, 10), np.uint8), stack, Labels()))
    (measures,) = header.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence
    assert measures.SliceThickness == (2.5 if count > 1 else 1.0) and measures.PixelSpacing == [0.5, 0.75]


def test_the_same_content_has_the_same_uids(stack, tmp_path):
    ones, uids = np.ones((4, 8, 10), np.uint8), []
    for masks in (ones, ones, 1 - ones):
        header = read_header(written(tmp_path / "s.dcm", masks, stack, Labels()))
        uids.append((header.SeriesInstanceUID, header.SOPInstanceUID))
    assert uids[0] == uids[1] and uids[0][0] == uids[2][0] and uids[0][1] != uids[2][1]


@pytest.mark.parametrize("kind", ["dicom-seg", "dicom-probability"])
def test_other_concepts_are_another_instance_of_the_same_series(kind, stack, tmp_path):
    values, uids = np.ones((4, 8, 10)), []
    for concept in ("Lung", "Lung", "AnatomicalStructure/Heart"):
        about = context()._replace(segments={"foreground": concept})
        WRITERS.get(kind)().write_stack(tmp_path / "s.dcm", values.astype(np.uint8), values, stack, about)
        header = read_header(tmp_path / "s.dcm")
        uids.append((header.SeriesInstanceUID, header.SOPInstanceUID))
    assert uids[0] == uids[1] and uids[0][0] == uids[2][0] and uids[0][1] != uids[2][1]


@pytest.mark.parametrize("missing", ["StudyInstanceUID", "SOPInstanceUID"])
def test_a_source_that_cannot_be_referred_to_is_refused(missing, tmp_path):
    path = ct_slice(tmp_path / "a.dcm", np.zeros((4, 4)), **{missing: ""})
    with pytest.raises(DataError, match=f"a.dcm: has no {missing}, so that no DICOM file can refer to it"):
        written(tmp_path / "s.dcm", np.ones((1, 4, 4), np.uint8), open_stack([path]), Labels())
