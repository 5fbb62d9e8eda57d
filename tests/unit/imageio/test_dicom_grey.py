"""Grey levels of DICOM files whose values are signed, or whose window is narrow."""

import warnings

import numpy as np
import pytest
from dicom_files import ct_slice

from ddim_jax.imageio.images import read_image
from ddim_jax.imageio.stacks import open_stack

PLAIN = {"RescaleSlope": None, "RescaleIntercept": None, "RescaleType": None, "BitsAllocated": 8}


@pytest.mark.parametrize(("bits", "signed"), [(8, 0), (8, 1), (6, 0), (6, 1)])
def test_all_values_of_eight_bits_are_told_apart(bits, signed, tmp_path):
    low = -(2 ** (bits - 1)) if signed else 0
    values = np.arange(low, low + 2**bits).reshape(4, -1)
    path = ct_slice(tmp_path / "a.dcm", values, **PLAIN, BitsStored=bits, HighBit=bits - 1, PixelRepresentation=signed,
                    PixelData=values.astype(np.int8 if signed else np.uint8).tobytes())  # fmt: skip
    expected = np.round(np.arange(2**bits) * 255 / (2**bits - 1)).reshape(values.shape)
    np.testing.assert_array_equal(read_image(path)[..., 0], expected)
    stack = open_stack([path])
    centre, width = stack.window(0)
    assert (centre - width / 2, width) == (low, 2**bits)
    again = stack.with_window((centre, width)).read(0)[..., 0].astype(int)
    assert abs(again - expected).max() <= 255 / (2**bits - 1)  # a window says where its values end, one further on


@pytest.mark.parametrize("width", [2, 1e-5, 1e-30])
def test_a_narrow_sigmoid_warns_of_nothing(width, tmp_path):
    values = np.array([[-3000, -1, 0], [1, 2, 3000]])
    path = ct_slice(tmp_path / "a.dcm", values, WindowCenter=0, WindowWidth=width, VOILUTFunction="SIGMOID")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shown = read_image(path)[..., 0]
    near = 255 / (1 + np.exp(2)) if width == 2 else 0  # PS3.3 C.11.2.1.3.1, one unit beside the centre
    far = 255 / (1 + np.exp(4)) if width == 2 else 0
    np.testing.assert_array_equal(shown, np.round([[0, near, 127.5], [255 - near, 255 - far, 255]]))
