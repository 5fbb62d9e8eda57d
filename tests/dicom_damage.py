"""Damages to one attribute of a small DICOM file, as `dicom_files.ct_slice` writes it."""

import struct

from pydicom.datadict import tag_for_keyword


def damage(path, name, value):
    """Writes the bytes `value` in place of those of an attribute that has less than 64 KiB."""
    raw, tag = path.read_bytes(), tag_for_keyword(name)
    at = raw.index(struct.pack("<HH", tag >> 16, tag & 0xFFFF), 132) + 6
    (length,) = struct.unpack("<H", raw[at : at + 2])
    value += b" " * (len(value) % 2)
    path.write_bytes(raw[:at] + struct.pack("<H", len(value)) + value + raw[at + 2 + length :])
