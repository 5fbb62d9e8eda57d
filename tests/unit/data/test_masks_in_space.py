"""Masks of DICOM and NIfTI files lie on their images by their places in space."""

import nibabel
import numpy as np
import pydicom
import pytest
from clinic_files import CONTEXT, WINDOW, volume
from dicom_files import ct_slice
from PIL import Image
from pydicom.uid import EnhancedCTImageStorage

from ddim_jax.data import load_dataset
from ddim_jax.imageio.stacks import open_stack
from ddim_jax.registry import READERS, WRITERS
from ddim_jax.runtime.errors import DataError


def frames(path, values, steps):
    """Writes [n, H, W] as frames that lie one after the other by `steps` millimetres towards the head."""
    ct_slice(path, values.reshape(-1, values.shape[2]), Rows=values.shape[1], NumberOfFrames=len(values))
    file, shared, turned, measures = pydicom.dcmread(path), pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
    file.SOPClassUID = file.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    turned.ImageOrientationPatient = file.ImageOrientationPatient
    measures.PixelSpacing, measures.SliceThickness = file.PixelSpacing, file.SliceThickness
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [turned], [measures]
    file.SharedFunctionalGroupsSequence, file.PerFrameFunctionalGroupsSequence = [shared], []
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"):
        del file[name]
    for frame in range(len(values)):
        place, group = pydicom.Dataset(), pydicom.Dataset()
        place.ImagePositionPatient = [0, 0, steps * frame]
        group.PlanePositionSequence = [place]
        file.PerFrameFunctionalGroupsSequence.append(group)
    file.save_as(path)
    return open_stack([path])


def stored_otherwise(path, form):
    """Stores a NIfTI mask with other axes, or gives it another place."""
    image = nibabel.load(path)
    to_space = image.affine.copy()
    if form == "other axes":
        image = nibabel.as_closest_canonical(image).as_reoriented(np.array([[2, 1], [0, -1], [1, 1]]))
        to_space = image.affine
    elif form == "elsewhere":
        to_space[0, 3] += 0.02
    elif form == "mirrored":
        to_space[:, 0] *= -1
    values = np.asarray(image.dataobj)
    nibabel.save(nibabel.Nifti1Image(values, to_space), path)


@pytest.mark.parametrize("several", [True, False])
def test_a_nifti_mask_lies_on_its_dicom_picture_in_space(several, root):
    masks = np.random.default_rng(0).integers(0, 2, (4 if several else 1, 6, 5)).astype(np.uint8)
    values = masks.astype(int) * 2000 - 1000
    if several:
        stack = frames(root / "images/v.dcm", values, -3.0)  # from the head to the feet
    else:  # of a prone patient
        prone = {"ImageOrientationPatient": [-1, 0, 0, 0, -1, 0], **WINDOW}
        stack = open_stack([ct_slice(root / "images/v.dcm", values[0], **prone)])
    for form in ("as written", "other axes"):
        WRITERS.get("nifti")().write_stack(root / "masks/v.nii.gz", masks, None, stack, CONTEXT)
        stored_otherwise(root / "masks/v.nii.gz", form)
        source = load_dataset("folder", "all", root=root)
        np.testing.assert_array_equal([example.mask for example in source], masks)
        np.testing.assert_array_equal([example.image[..., 0] > 127 for example in source], masks)
    for form in ("elsewhere", "mirrored"):
        WRITERS.get("nifti")().write_stack(root / "masks/v.nii.gz", masks, None, stack, CONTEXT)
        stored_otherwise(root / "masks/v.nii.gz", form)
        with pytest.raises(DataError, match=r"v.nii.gz: lies elsewhere than .*v.dcm, by .* begin at .* the image at"):
            load_dataset("folder", "all", root=root)[0]


def test_a_nifti_mask_of_a_picture_without_a_place_is_refused(root):
    Image.fromarray(np.zeros((6, 5), np.uint8)).save(root / "images/a.png")
    volume(root / "masks/a.nii.gz", np.ones((5, 6, 1), np.uint8))
    with pytest.raises(DataError, match=r"a.nii.gz: is NIfTI, and .*a.png has no place in space .* the mask as PNG"):
        load_dataset("folder", "all", root=root)[0]


@pytest.mark.parametrize(
    "field, value",
    [("orientation", [-1, 0, 0, 0, 1, 0]), ("position", [0, 0.02, 0]), ("spacing", [0.5, 0.76]), ("pixels", (4, 10))],
)
@pytest.mark.parametrize("several", [True, False])
def test_a_dicom_seg_mask_lies_where_its_picture_is(several, field, value, root):
    masks = np.ones((3 if several else 1, 8, 10), np.uint8)
    path = root / "images/v.dcm"
    values = masks.astype(int)
    stack = frames(path, values, 2.5) if several else open_stack([ct_slice(path, values[0], **WINDOW)])
    WRITERS.get("dicom-seg")().write_stack(root / "masks/v.dcm", masks, None, stack, CONTEXT)
    np.testing.assert_array_equal(load_dataset("folder", "all", root=root)[0].mask, masks[0])
    file = pydicom.dcmread(root / "masks/v.dcm")
    shared = file.SharedFunctionalGroupsSequence[0]
    if field == "orientation":
        shared.PlaneOrientationSequence[0].ImageOrientationPatient = value
    elif field == "spacing":
        shared.PixelMeasuresSequence[0].PixelSpacing = value
    elif field == "position":
        file.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0].ImagePositionPatient = value
    else:
        file.Rows, file.Columns = value
        file.PixelData = file.PixelData[: len(file.PixelData) // 2]
    file.save_as(root / "masks/v.dcm")
    with pytest.raises(DataError, match=rf"masks/v.dcm: .*{field}.*images/v.dcm has .*; expected the same"):
        load_dataset("folder", "all", root=root)[0]


def test_a_slice_and_its_mask_have_one_size_whatever_the_reader(root, monkeypatch):
    volume(root / "images/v.nii.gz", np.zeros((6, 5, 4), np.uint8))
    volume(root / "masks/v.nii.gz", np.zeros((6, 5, 4), np.uint8))
    smaller = staticmethod(lambda path, stack, index, labels: np.zeros((5, 5), np.uint8))
    monkeypatch.setattr(READERS.get("nifti"), "read_slice_mask", smaller)
    with pytest.raises(DataError, match=r"v.nii.gz is 6 x 5 pixels, its mask .* is 5 x 5; expected the same size"):
        load_dataset("folder", "all", root=root)[0]


def test_a_grey_dicom_mask_lies_where_its_picture_is(root):
    inside = np.eye(4, dtype=int)
    ct_slice(root / "images/a.dcm", inside, place=(0, 0, 5), **WINDOW)
    ct_slice(root / "masks/a.dcm", inside - 1024, place=(0, 0, 5))
    np.testing.assert_array_equal(load_dataset("folder", "all", root=root)[0].mask, inside)
    ct_slice(root / "masks/a.dcm", inside - 1024, place=(0, 0, 6))
    with pytest.raises(DataError, match=r"masks/a.dcm: frame 1 has the position \(0 0 6\), .*has \(0 0 5\)"):
        load_dataset("folder", "all", root=root)[0]
