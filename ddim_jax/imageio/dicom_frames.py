"""Frames of DICOM files as they are stored; what a decoder would stumble over is refused before it sees it."""

import os
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from ddim_jax.imageio import jpeg
from ddim_jax.imageio.archives import open_binary
from ddim_jax.imageio.clinic import errors_naming, library
from ddim_jax.imageio.dicom import LONG_VALUE, frames, lowest_bit, plain_bits
from ddim_jax.imageio.images import AGAIN
from ddim_jax.runtime.errors import DataError

if TYPE_CHECKING:
    from pydicom import Dataset

_PLUGINS = {
    "1.2.840.10008.1.2.4.51": "JPEG with 12 bits needs python-gdcm or pylibjpeg-libjpeg (GPL)",
    "1.2.840.10008.1.2.4.57": "lossless JPEG needs python-gdcm or pylibjpeg-libjpeg (GPL)",
    "1.2.840.10008.1.2.4.70": "lossless JPEG needs python-gdcm or pylibjpeg-libjpeg (GPL)",
    "1.2.840.10008.1.2.4.80": "JPEG-LS needs pyjpegls",
    "1.2.840.10008.1.2.4.81": "JPEG-LS needs pyjpegls",
    "1.2.840.10008.1.2.4.90": "JPEG 2000 needs pylibjpeg-openjpeg",
    "1.2.840.10008.1.2.4.91": "JPEG 2000 needs pylibjpeg-openjpeg",
    "1.2.840.10008.1.2.5": "RLE needs pylibjpeg-rle",
}
_RLE = "1.2.840.10008.1.2.5"
_ITEM = b"\xfe\xff\x00\xe0"
_MOST_PARTS, _MOST_STEPS = 2**17, 2**26


def read_frame(path: str | os.PathLike, header: "Dataset", index: int) -> np.ndarray:
    """The stored values of a frame, [H, W] or, in RGB, [H, W, 3]; errors as `shown_frame`."""
    pixels = library("pydicom.pixels")
    syntax = header.file_meta.TransferSyntaxUID
    with errors_naming(path), open_binary(path) as file:
        coded = _check_encoded(path, file, header, index) if syntax.is_encapsulated else None
        bits, unused = int(header.BitsStored), lowest_bit(header)
        if coded is not None and coded <= bits:  # the stored bits alone were coded, wherever they lay before
            unused = 0
        colours = str(header.PhotometricInterpretation)  # in the file perhaps lower-case
        try:
            # What is encoded as the file does not say, the library sees only where it reads all.
            is_odd = header.original_encoding[0] != syntax.is_implicit_VR
            source = library("pydicom").dcmread(file) if is_odd else file
            stored = pixels.pixel_array(
                source, index=index, correct_unused_bits=not unused, photometric_interpretation=colours
            )
        except Exception as error:
            if not syntax.is_encapsulated and (cut := _cut(path, file, header)) is not None:
                raise DataError(f"{path}: {cut}; {AGAIN}.") from None
            # Of a damaged frame too; but then the libraries are there.
            needed = _PLUGINS.get(str(syntax)) if isinstance(error, RuntimeError) else None
            if needed is not None and not _decodes(pixels, syntax, header):
                raise DataError(f"{path}: {needed}; install it, or save the file without compression.") from None
            raise
        shape = (int(header.Rows), int(header.Columns))
        if stored.shape[:2] != shape or stored.ndim != (3 if int(header.get("SamplesPerPixel", 1)) == 3 else 2):
            raise DataError(
                f"{path}: frame {index + 1} decodes to {list(stored.shape)} values, Rows and Columns say "
                f"{list(shape)}; expected the same. {AGAIN.capitalize()}."
            )
        # The sign is the highest of the stored bits, whatever lies above and below them (PS3.5 8.1.1).
        above = int(header.BitsAllocated) - bits - unused
        return (stored << above) >> (above + unused) if unused else stored


def _seek_pixels(file: BinaryIO, header: "Dataset") -> int:
    """Goes to the first byte of the pixels of a file, and returns its place."""
    file.seek(0)
    library("pydicom").dcmread(file, stop_before_pixels=True, specific_tags=[], defer_size=LONG_VALUE)
    return file.seek(8 if header.original_encoding[0] else 12, os.SEEK_CUR)  # tag, perhaps VR, and length of the pixels


def _cut(path: str | os.PathLike, file: BinaryIO, header: "Dataset") -> str | None:
    """Says how many bytes there are of a file that ends before its pixels do, which are not compressed; else None."""
    begin = _seek_pixels(file, header)
    there = file.seek(0, os.SEEK_END) - begin
    _, bits, expected = plain_bits(path, header)
    return f"is truncated, it ends after {there} bytes of PixelData, {expected}" if 8 * there < bits else None


def _check_encoded(path: str | os.PathLike, file: BinaryIO, header: "Dataset", index: int) -> int | None:
    """Refuses a frame whose own header says another size: a decoder would go by that one, however large.

    Returns:
      The bits of a value in the frame's own header; None for RLE, which has the bytes as they are.
    """
    rows, columns = int(header.Rows), int(header.Columns)
    _seek_pixels(file, header)
    if index == 0:
        _check_whole(path, file, frames(header))
    try:
        encoded = library("pydicom.encaps").get_frame(file, index, number_of_frames=frames(header))
    except ValueError:
        raise DataError(
            f"{path}: its pixels have no frame {index + 1} of the {frames(header)} that NumberOfFrames says; {AGAIN}."
        ) from None
    file.seek(0)
    raw = rows * columns * int(header.get("SamplesPerPixel", 1)) * (int(header.BitsAllocated) + 7) // 8
    if len(encoded) > (most := 2 * raw + 2**16):
        raise DataError(
            f"{path}: frame {index + 1} has {len(encoded)} bytes of coded pixels, which decoded have {raw}; expected "
            f"at most {most}. {AGAIN.capitalize()}."
        )
    if str(header.file_meta.TransferSyntaxUID) == _RLE:
        _check_runs(path, encoded, header)
        return None
    own = _encoded_frame(encoded)
    # Decoders take minutes over a JPEG-LS stream without its end. JPEG 2000 may lack it.
    if own is None:
        name = header.file_meta.TransferSyntaxUID.name
        raise DataError(f"{path}: frame {index + 1} does not begin as {name}, which TransferSyntaxUID says; {AGAIN}.")
    if encoded[:2] == b"\xff\xd8" and b"\xff\xd9" not in encoded[-64:]:
        raise DataError(
            f"{path}: is truncated, the {len(encoded)} bytes of frame {index + 1} have no end (FF D9); {AGAIN}."
        )
    if encoded[:2] == b"\xff\xd8" and (wrong := jpeg.damage(encoded)):
        raise DataError(
            f"{path}: frame {index + 1} is damaged, and pixels behind the damage would be wrong ({wrong}); {AGAIN}."
        )
    if (own.height, own.width) != (rows, columns):
        raise DataError(
            f"{path}: frame {index + 1} is coded as {own.width} x {own.height} pixels, Columns and Rows say "
            f"{columns} x {rows}; expected the same. {AGAIN.capitalize()}."
        )
    return own.bits


def _check_whole(path: str | os.PathLike, file: BinaryIO, pictures: int) -> None:
    """Refuses a file that ends within a frame: some decoders would leave the rest of the image out.

    So it does one of too many parts: the library goes through all of them for each frame.
    """
    start = file.tell()
    end = file.seek(0, os.SEEK_END)
    at, parts = start, 0
    while at + 8 <= end:
        parts += 1
        if parts > _MOST_PARTS or parts * pictures > _MOST_STEPS:
            raise DataError(
                f"{path}: the pixels of its {pictures} frames are in more than {parts - 1} parts, expected a few for "
                f"each frame; {AGAIN}."
            )
        file.seek(at)
        tag, length = file.read(4), int.from_bytes(file.read(4), "little")
        if tag != _ITEM:
            break
        at += 8 + length
    if at > end:
        raise DataError(
            f"{path}: is truncated, it ends after {length - (at - end)} of the {length} bytes of part {parts} of its "
            f"pixels; {AGAIN}."
        )
    file.seek(start)


def _check_runs(path: str | os.PathLike, encoded: bytes, header: "Dataset") -> None:
    """Refuses an RLE frame whose runs do not give its pixels (PS3.5 annex G): the decoder trusts them."""
    size = int(header.Rows) * int(header.Columns)
    parts = int(header.get("SamplesPerPixel", 1)) * int(header.BitsAllocated) // 8
    starts = [int(start) for start in np.frombuffer(encoded, "<u4", 16)]
    ends = [*starts[2 : parts + 1], len(encoded)]
    if starts[0] != parts or starts[1] != 64 or ends != sorted(ends):
        raise DataError(
            f"{path}: the runs of an RLE frame do not begin at {parts} places, as SamplesPerPixel and BitsAllocated "
            f"have it; {AGAIN}."
        )
    for start, end in zip(starts[1 : parts + 1], ends, strict=True):
        at, length = start, 0
        while length < size and at + 1 < end:
            control = encoded[at]
            if control < 128:
                at, length = at + control + 2, length + control + 1
            elif control > 128:
                at, length = at + 2, length + 257 - control
            else:
                at += 1
        if length != size or at > end or end - at > 1:
            raise DataError(
                f"{path}: the runs of an RLE frame give {length} values or end within one, expected Rows x Columns, "
                f"{size}; {AGAIN}."
            )


def _encoded_frame(encoded: bytes) -> jpeg.Frame | None:
    """The head of a JPEG, JPEG-LS or JPEG 2000 stream; None for another."""
    at = encoded.find(b"\xff\x4f\xff\x51")
    if 0 <= at < 4096:  # a JPEG 2000 stream, perhaps in a box
        right, below, left, above = np.frombuffer(encoded, ">u4", 4, at + 8).tolist()
        return jpeg.Frame(0x51, (encoded[at + 42] & 0x7F) + 1, below - above, right - left)
    return jpeg.frame_of(encoded)


def _decodes(pixels: Any, syntax: Any, header: "Dataset") -> bool:
    """True if a library that is installed decodes such frames."""
    twelve_bits = str(syntax).endswith(".4.51") and int(header.BitsStored) > 8  # which Pillow has no decoder for
    try:
        decoder = pixels.get_decoder(syntax)
    except NotImplementedError:
        return False
    return decoder.is_available and not (twelve_bits and set(decoder.available_plugins) <= {"pillow"})
