"""Formats told by the first bytes of a file."""

import pytest

from ddim_jax.imageio.signatures import suffix_of_content, told_of


@pytest.mark.parametrize(
    ("start", "suffix", "told"),
    [
        (b"II*\0" + bytes(124) + b"DICM", ".dcm", "DICOM"),  # the preamble of a DICOM file may be a TIFF header
        (b"II*\0" + bytes(124), ".tif", "TIFF"),
        (b"\x5c\x01\0\0" + bytes(340) + b"n+1\0", ".nii", "NIfTI"),
        (b"\x1c\x02\0\0n+2\0", ".nii", "NIfTI"),
        (b"\x1f\x8b\x08", ".nii.gz", "gzip"),
        (b"PK\x03\x04", ".zip", "zip"),
        (b"GIF89a", None, "GIF"),
        (b"RIFF\0\0\0\0WEBP", None, "WebP"),
    ],
)
def test_a_file_is_known_by_its_content(start, suffix, told):
    assert suffix_of_content(start) == suffix
    assert told_of(start) == f" (it is a {told} file)"


@pytest.mark.parametrize("start", [b"", b"stem,split", b"DICM"])
def test_others_are_not_known(start):
    assert suffix_of_content(start) is None and told_of(start) == ""
