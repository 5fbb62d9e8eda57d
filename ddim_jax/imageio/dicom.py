"""DICOM files: their headers, and what they have in common."""

import os
from typing import TYPE_CHECKING, Any

from ddim_jax.imageio.archives import open_binary
from ddim_jax.imageio.clinic import errors_naming, library
from ddim_jax.imageio.dicom_bounds import Bounded
from ddim_jax.imageio.images import AGAIN, MAX_PIXELS
from ddim_jax.imageio.signatures import told_of
from ddim_jax.runtime.errors import DataError
from ddim_jax.runtime.values import quantity

if TYPE_CHECKING:
    from pydicom import Dataset

MAGIC = (128, b"DICM")
"""Offset and bytes by which a DICOM file is known."""
_PIXEL_GROUP, _PIXEL_ELEMENT, _UNDEFINED = 0x7FE0, 0x0010, 2**32 - 1
_PIXEL_TYPES = (b"OB", b"OW", b"OF", b"OD", b"UN")
LONG_VALUE = 2**23  # bytes; longer values of the header are not read
_NEEDED = ("SamplesPerPixel", "BitsAllocated", "BitsStored", "PixelRepresentation")
_COLOURS = {
    1: ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR"),
    3: ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"),
}
_NO_PICTURES = {
    "SEG": "a segmentation",
    "RTDOSE": "a dose",
    "RTSTRUCT": "a set of contours",
    "SR": "a report",
    "PR": "a presentation state",
    "KO": "a selection of other files",
}


def read_header(path: str | os.PathLike) -> "Dataset":
    """The attributes before the pixels, but for values of many megabytes; `original_encoding` is that of the pixels.

    Raises:
      DataError: the file cannot be read, is no DICOM file, or its header is too large.
    """
    pydicom = library("pydicom")
    with errors_naming(path), open_binary(path) as file:
        start = file.read(4096)
        if not start:
            raise DataError(f"{path}: the file is empty (0 bytes).")
        if start[128:132] != MAGIC[1]:
            raise DataError(
                f"{path}: is no DICOM file{told_of(start)}; expected the letters DICM at byte 128, which dcmconv of "
                "dcmtk gives to old files."
            )
        file.seek(0)
        header = pydicom.dcmread(Bounded(file, path), stop_before_pixels=True, defer_size=LONG_VALUE)
        if "TransferSyntaxUID" not in header.file_meta:
            raise DataError(f"{path}: does not say how it is encoded (TransferSyntaxUID); {AGAIN}.")
        if header.file_meta.TransferSyntaxUID.name == str(header.file_meta.TransferSyntaxUID):  # which has no name
            raise DataError(f"{path}: its encoding (TransferSyntaxUID) is not known; save it without compression.")
        start = file.read(12)
        # By the element itself: what the file says of its encoding may be wrong. A length is even, "O" and "U" are odd.
        is_implicit = start[4:6] not in _PIXEL_TYPES if start else header.file_meta.TransferSyntaxUID.is_implicit_VR
        header.set_original_encoding(is_implicit, header.file_meta.TransferSyntaxUID.is_little_endian)
        if (colours := header.get("PhotometricInterpretation")) and isinstance(colours, str) and not colours.isupper():
            header.PhotometricInterpretation = colours.upper()
        if not start and no_picture(header) is None:
            raise DataError(
                f"{path}: has no pixels (PixelData) in its {file.tell()} bytes; it is truncated, or was saved without "
                f"them. {AGAIN.capitalize()}."
            )
        _check_length(path, header, start)
        return header


def _check_length(path: str | os.PathLike, header: "Dataset", start: bytes) -> None:
    """Refuses a file with other pixels than its header says: of more frames, which would be left out, or of fewer.

    `start` is that of the pixels.
    """
    is_implicit, is_little = header.original_encoding
    order = "little" if is_little else "big"
    if int.from_bytes(start[:2], order) != _PIXEL_GROUP or int.from_bytes(start[2:4], order) != _PIXEL_ELEMENT:
        return
    length = int.from_bytes(start[4:8] if is_implicit else start[8:12], order)
    of_each, of_all, expected = plain_bits(path, header)
    more = 8 * (length - 2 * -(-of_all // 16))  # behind an even number of bytes
    if of_each and length != _UNDEFINED and (more >= of_each or 8 * length < of_all):
        raise DataError(
            f"{path}: PixelData has {length} bytes, {expected}; NumberOfFrames, Rows or Columns is wrong, or the file "
            f"was cut: {AGAIN}."
        )


def plain_bits(path: str | os.PathLike, header: "Dataset") -> tuple[int, int, str]:
    """The bits of a frame and of all frames as the header says, without compression; and the latter in words.

    Raises:
      DataError: the header has something else than a number.
    """
    names = ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated")
    rows, columns, samples, bits = (_number(path, header, name, default=0) for name in names)
    count = max(1, _number(path, header, "NumberOfFrames", default=1))
    of_each = rows * columns * samples * bits
    if header.get("PhotometricInterpretation") == "YBR_FULL_422":  # two pixels share their colours
        of_each = of_each * 2 // 3
    said = (
        f"expected {-(-of_each * count // 8)} "
        f"({quantity(count, 'frame')} of {columns} x {rows} pixels of {samples} x {bits} bits)"
    )
    return of_each, of_each * count, said


def _number(path: str | os.PathLike, header: "Dataset", name: str, default: int | None = None) -> int:
    """An attribute that is a whole number; `default` where it is missing or empty.

    Raises:
      DataError: it is something else, or missing and has no default.
    """
    try:
        value = header.get(name)
        found = default if value is None or value == "" else int(value)
    except (TypeError, ValueError, OverflowError):
        raise DataError(f"{path}: its {name} is no whole number, expected one; {AGAIN}.") from None
    if found is None:
        raise DataError(f"{path}: has no {name}, which DICOM images have to say; {AGAIN}.")
    return found


def picture_header(path: str | os.PathLike) -> "Dataset":
    """The header of a file of one or more images.

    Raises:
      DataError: as `read_header`; it holds no image, or one that is larger than `MAX_PIXELS`.
    """
    header = read_header(path)
    with errors_naming(path):
        if (kind := no_picture(header)) is not None:
            raise DataError(f"{path}: is {kind}, no image.")
        _check_encoding(path, header.file_meta.TransferSyntaxUID)
        rows, columns, frames = (
            _number(path, header, name, default=0) for name in ("Rows", "Columns", "NumberOfFrames")
        )
        if rows < 1 or columns < 1:
            raise DataError(f"{path}: {columns} x {rows} pixels, there is nothing to see.")
        if frames < 0:
            raise DataError(f"{path}: has the NumberOfFrames {frames}; expected 1 or more. {AGAIN.capitalize()}.")
        if rows * columns > MAX_PIXELS:
            raise DataError(f"{path}: {columns} x {rows} pixels, expected at most {MAX_PIXELS} in all.")
        if "BitsStored" not in header:
            raise DataError(
                f"{path}: does not say how many bits a value has (BitsStored), as files of floating-point values; "
                "expected integers."
            )
        samples, bits, stored, sign = (_number(path, header, name) for name in _NEEDED)
        if samples not in (1, 3) or bits not in (1, 8, 16, 32):
            raise DataError(f"{path}: {samples} values of {bits} bits a pixel; expected 1 or 3 of 8, 16 or 32.")
        if samples == 3:
            _number(path, header, "PlanarConfiguration")
        if sign not in (0, 1):
            raise DataError(f"{path}: has the PixelRepresentation {sign}; expected 0 or 1, with or without a sign.")
        if header.get("PhotometricInterpretation") not in _COLOURS[samples]:
            raise DataError(
                f"{path}: has no PhotometricInterpretation that is known for {quantity(samples, 'value')} a pixel; "
                f"expected one of {', '.join(_COLOURS[samples])}. Convert it to one of them."
            )
        if not 1 <= stored <= bits:
            raise DataError(f"{path}: has {stored} bits stored (BitsStored) of {bits}; expected 1 to {bits}.")
        if (unused := lowest_bit(header)) and (unused + stored > bits or samples > 1):
            raise DataError(
                f"{path}: has the HighBit {unused + stored - 1} with {stored} bits stored (BitsStored) of {bits}, and "
                f"{samples} values a pixel; expected the HighBit {stored - 1}."
            )
        return header


def _check_encoding(path: str | os.PathLike, syntax: Any) -> None:
    """Refuses what no library decodes, whatever is installed."""
    if any(kind in syntax.name for kind in ("MPEG", "HEVC", "Video")):
        raise DataError(f"{path}: is a video ({syntax.name}); export the frames that you mean without compression.")
    try:
        library("pydicom.pixels").get_decoder(syntax)
    except NotImplementedError:
        raise DataError(
            f"{path}: is encoded as {syntax.name}, which is not decoded here; save it without compression."
        ) from None


def no_picture(header: "Dataset") -> str | None:
    """A name for the kind of a file that holds no image to segment, or None for an image."""
    modality = str(header.get("Modality", ""))
    if modality in _NO_PICTURES:
        return _NO_PICTURES[modality]
    if "Rows" in header and "Columns" in header:
        return None
    if "DirectoryRecordSequence" in header:
        return "a DICOMDIR"
    return "a file without pixels" if "SOPClassUID" in header else "a file without pixels, or what is left of one"


def frames(header: "Dataset") -> int:
    """The number of frames, at least 1."""
    return max(1, int(header.get("NumberOfFrames") or 1))


def presentation_shape(header: "Dataset") -> str | None:
    """PresentationLUTShape where it says which end of the values is white, "IDENTITY" or "INVERSE"; else None."""
    shape = str(header.get("PresentationLUTShape") or "").strip().upper()
    return shape if shape in ("IDENTITY", "INVERSE") else None


def white_is_low(header: "Dataset") -> bool:
    """True where the smallest value of a grey image is shown white.

    What comes out of the windows is inverted where PresentationLUTShape says INVERSE, and not where it says IDENTITY
    (PS3.3 C.11.6.1.2); PhotometricInterpretation has to agree with it, and decides alone where there is no shape.
    """
    colours = str(header.get("PhotometricInterpretation", ""))
    shape = presentation_shape(header)
    return colours.startswith("MONOCHROME") and (colours == "MONOCHROME1" if shape is None else shape == "INVERSE")


def lowest_bit(header: "Dataset") -> int:
    """The place of the lowest of the stored bits: 0, but for values that lie higher, which HighBit says."""
    stored = int(header.BitsStored)
    return max(0, int(header.get("HighBit") or 0) + 1 - stored)
