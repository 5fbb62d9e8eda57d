"""Labels of floating point in a NIfTI file whose header is that of an image of integers, as nibabel saves them."""

import nibabel
import numpy as np
import pytest

from ddim_jax.imageio.images import read_mask
from ddim_jax.imageio.label_maps import LabelMapError
from ddim_jax.imageio.readers.nifti import NiftiReader
from ddim_jax.imageio.stacks import open_stack
from ddim_jax.labels import Labels


def saved(path, values, kind, slope=None):
    """`values` [row, column] with the header of integers of `kind`, spread by nibabel or by the slope that is given."""
    stored = values if slope is None else np.rint(values / slope)
    image = nibabel.Nifti1Image(stored[::-1, ::-1].T[..., None], np.diag([1.0, 1, 3, 1]))
    image.header.set_data_dtype(kind)
    if slope is not None:
        image.header.set_slope_inter(slope, 0)
    nibabel.save(image, path)
    return path


def regions(*values):
    """A square of 6 x 6 of each value on 0."""
    mask = np.zeros((10, 8 * len(values)), float)
    for place, value in enumerate(values):
        mask[2:8, 8 * place + 1 : 8 * place + 7] = value
    return mask


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.int32])
@pytest.mark.parametrize("values", [(1, 13), (1, 2), (1, 20), (19, 20), (1, 200), (1, 2, 4), (3, 5, 50, 104)])
def test_spread_labels_are_those_that_were_saved(values, kind, tmp_path):
    path = saved(tmp_path / "m.nii.gz", regions(*values), kind)
    with pytest.raises(LabelMapError) as refused:
        read_mask(path)
    counts = {0: 10 * 8 * len(values) - 36 * len(values), **dict.fromkeys(values, 36)}
    assert refused.value.counts == counts
    labels = Labels.create({f"c{value}": value for value in values})
    expected = regions(*range(1, len(values) + 1))
    np.testing.assert_array_equal(read_mask(path, labels), expected)


def test_the_one_label_of_a_spread_mask_is_a_whole_number(tmp_path):
    path = saved(tmp_path / "m.nii.gz", regions(1), np.uint8)
    assert 0 < nibabel.load(path).get_fdata().max() - 1 < 1e-6
    np.testing.assert_array_equal(read_mask(path, Labels.create(1)), regions(1))


@pytest.mark.parametrize("edge", [(0.25, 0.75), (0.1, 0.4, 0.6, 0.9), tuple(np.linspace(0.01, 0.99, 80))])
@pytest.mark.parametrize(("kind", "slope"), [(np.uint8, 1 / 255), (np.int16, 1 / 1000), (np.uint8, None)])
def test_soft_masks_with_a_slope_stay_soft(edge, kind, slope, tmp_path):
    mask = np.repeat([[0.0] * 40 + list(edge) + [1.0] * 40], 9, axis=0)
    path = saved(tmp_path / "m.nii.gz", mask, kind, slope)
    np.testing.assert_array_equal(read_mask(path), mask > 0.5)
    notes = NiftiReader.slice_mask_notes(path, open_stack([path]), 0, Labels())
    assert notes == (f"soft mask ({9 * len(edge)} values between 0 and 1, cut at 0.5)",)
