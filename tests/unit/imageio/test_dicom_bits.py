"""The values of a DICOM file are taken from the bits that HighBit and BitsStored name."""

import numpy as np
import pydicom
import pytest
from dicom_files import ct_slice

from ddim_jax.imageio.images import read_image
from ddim_jax.runtime.errors import DataError


def grey(path):
    return read_image(path)[..., 0].tolist()


@pytest.mark.parametrize("syntax", [None, pydicom.uid.RLELossless, pydicom.uid.JPEG2000Lossless])
@pytest.mark.parametrize(("bits", "signed"), [(12, 0), (12, 1), (8, 0), (8, 1)])
def test_left_aligned_values_are_those_above_the_unused_bits(bits, signed, syntax, tmp_path):
    """Bits below the stored ones, as old files keep overlays in, are none of the value; nor are those above."""
    low = -(2 ** (bits - 1)) if signed else 0
    values = np.linspace(low, low + 2**bits - 1, 64 * 64).astype(int).reshape(64, 64)
    plain = ct_slice(tmp_path / "a.dcm", values - 1024, BitsStored=bits, HighBit=bits - 1, PixelRepresentation=signed)
    expected = grey(plain)
    for high in (15, 14):
        noise = np.random.default_rng(0).integers(0, 2, values.shape)
        stored = (values << (high + 1 - bits)) + noise
        stored = stored if high == 15 else (stored & 0x7FFF) + 0x8000 * noise
        content = stored.astype("<i4").astype("<u2").tobytes()
        path = ct_slice(tmp_path / "b.dcm", values, BitsStored=bits, HighBit=high, PixelRepresentation=signed,
                        PixelData=content)  # fmt: skip
        if syntax is not None:
            whole = pydicom.dcmread(path)
            whole.BitsStored, whole.HighBit, whole.PixelRepresentation = 16, 15, 0
            whole.compress(syntax, generate_instance_uid=False)
            whole.BitsStored, whole.HighBit, whole.PixelRepresentation = bits, high, signed
            whole.save_as(path)
        assert grey(path) == expected


def test_a_wrong_high_bit_of_coded_values_is_passed_over(tmp_path):
    """JPEG 2000 of 12 bits: the coder had the stored bits alone."""
    values = np.arange(64 * 64).reshape(64, 64)
    dataset = pydicom.dcmread(
        ct_slice(tmp_path / "a.dcm", values - 1024, BitsStored=12, HighBit=11, PixelRepresentation=0)
    )
    expected = grey(tmp_path / "a.dcm")
    dataset.compress(pydicom.uid.JPEG2000Lossless, generate_instance_uid=False)
    dataset.HighBit = 15
    dataset.save_as(tmp_path / "b.dcm")
    assert grey(tmp_path / "b.dcm") == expected


@pytest.mark.parametrize(("high", "stored"), [(16, 12), (255, 16)])
def test_a_high_bit_outside_of_the_value_is_refused(high, stored, tmp_path):
    path = ct_slice(tmp_path / "x.dcm", np.zeros((4, 4)), BitsStored=stored, HighBit=high)
    said = rf"x\.dcm: has the HighBit {high} with {stored} bits stored .* expected the HighBit {stored - 1}\."
    with pytest.raises(DataError, match=said):
        read_image(path)
