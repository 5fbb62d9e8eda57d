"""Volumes whose masks were resampled: soft edges are cut by the range of the whole volume, and noted."""

import nibabel
import numpy as np
import pytest
from clinic_files import WINDOW, volume
from dicom_files import ct_slice
from scipy import ndimage

from ddim_jax.data import load_dataset
from ddim_jax.imageio import nifti_volume
from ddim_jax.imageio.series import affine
from ddim_jax.imageio.stacks import open_stack
from ddim_jax.labels import Labels
from ddim_jax.runtime.errors import DataError


def resampled(kind, scale):
    """An ellipsoid that was turned with linear interpolation, [x, y, slice]."""
    x, y, z = np.mgrid[:32, :32, :24]
    hard = (((x - 16) / 10) ** 2 + ((y - 16) / 8.5) ** 2 + ((z - 12) / 8.3) ** 2 < 1).astype(np.float32)
    soft = ndimage.rotate(ndimage.rotate(hard, 7, (0, 2), order=1, reshape=False), 5, (1, 2), order=1, reshape=False)
    return (np.clip(soft, 0, 1) * scale).astype(kind)


@pytest.mark.parametrize(
    "kind, scale, cut", [(np.float32, 1, 0.5), (np.uint8, 255, 127.5), (np.uint8, 100, 50), (np.float64, 4, 2)]
)
def test_a_soft_volume_is_cut_in_the_middle_of_its_own_range_and_not_of_a_slice(kind, scale, cut, root):
    values = resampled(kind, scale)
    volume(root / "images/v.nii.gz", np.zeros(values.shape, np.uint8))
    volume(root / "masks/v.nii.gz", values)
    source = load_dataset("folder", "all", root=root)
    np.testing.assert_array_equal([example.mask.T for example in source], (values > cut).transpose(2, 0, 1))
    tops = values.max(axis=(0, 1))
    assert ((tops > 0) & (tops <= cut)).any()  # slices with the tail of the structure alone
    soft = ((values > 0) & (values < values.max())).sum(axis=(0, 1))
    told = [f"soft mask ({n} values between 0 and {scale}, cut at {cut:g})" if n else None for n in soft]
    assert [(example.notes or (None,))[-1] for example in source][5:-5] == told[5:-5]
    exact = Labels.create({"a": 1})
    with pytest.raises(DataError, match=r"which data\.labels and data\.ignore do not have"):
        load_dataset("folder", "all", root=root, labels=exact)[12]


def test_a_soft_mask_of_one_slice_is_noted(root, monkeypatch):
    logged = []
    monkeypatch.setattr(nifti_volume, "log_notes", lambda path, notes: logged.append((path.name, *notes)))
    values = resampled(np.float32, 1)[..., 12:13]
    picture = open_stack([ct_slice(root / "images/v.dcm", np.zeros((32, 32)), **WINDOW)])
    nibabel.save(nibabel.Nifti1Image(values, affine(picture)), root / "masks/v.nii")
    (example,) = load_dataset("folder", "all", root=root)
    np.testing.assert_array_equal(example.mask.T, values[..., 0] > 0.5)
    between = ((values > 0) & (values < 1)).sum()
    assert example.notes[-1] == f"soft mask ({between} values between 0 and 1, cut at 0.5)"
    volume(root / "images/v.nii", np.zeros((32, 32, 24), np.uint8))
    (root / "images/v.dcm").unlink()
    volume(root / "masks/v.nii", resampled(np.float32, 1))
    assert len(list(load_dataset("folder", "all", root=root))) == 24
    between = ((resampled(np.float32, 1) > 0) & (resampled(np.float32, 1) < 1)).sum()
    assert logged == [
        ("v.nii", example.notes[-1]),
        ("v.nii", f"soft mask ({between} values between 0 and 1, cut at 0.5)"),
    ]


def test_few_levels_in_a_volume_are_no_soft_edges(root):
    volume(root / "images/v.nii", np.zeros((12, 12, 5), np.uint8))
    for levels, said in (((0.5, 1.0), r"3 well-separated levels \(0, 0.5, 1\)"), ((1, 2), "is a label map")):
        values = np.zeros((12, 12, 5), np.float32)
        values[2:8, 2:8, 1], values[2:8, 2:8, 2:4] = levels
        values[9, 9, 1:4] = levels[1]
        volume(root / "masks/v.nii", values)
        source = load_dataset("folder", "all", root=root)
        with pytest.raises(DataError, match=said):
            source[1]
        np.testing.assert_array_equal(source[3].mask.T, values[..., 3] > 0)
    thin = np.zeros((12, 12, 5))
    thin[6, 1:11, 2] = np.linspace(20, 90, 10)
    volume(root / "masks/v.nii", thin)
    with pytest.raises(DataError, match=r"v\.nii: its values go up to 90 and no 3 x 3 pixels agree on that"):
        load_dataset("folder", "all", root=root)[0]
