"""DICOM files: headers, and frames as pictures.

What is said of a file names the file, its attributes and its sizes, never a value of the patient: messages of the
libraries, which may quote what they could not parse, are not passed on.
"""

import contextlib
import importlib
import logging
import os
import warnings
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from ddim_jax.imageio.archives import open_binary
from ddim_jax.imageio.grey import linear, robust_limits
from ddim_jax.imageio.images import MAX_PIXELS, ReadOptions
from ddim_jax.runtime.errors import DataError, InputError

if TYPE_CHECKING:
    from pydicom import Dataset

MAGIC = (128, b"DICM")
"""Offset and bytes by which a DICOM file is known."""
_HEADER_BYTES = 2**24  # the headers of enhanced files of some thousand frames have a few MiB
_LONG_VALUE = 2**23  # bytes; longer values of the header are not read
_RLE = "1.2.840.10008.1.2.5"
_ITEM = b"\xfe\xff\x00\xe0"
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_NO_PICTURES = {
    "SEG": "a segmentation",
    "RTDOSE": "a dose",
    "RTSTRUCT": "a set of contours",
    "SR": "a report",
    "PR": "a presentation state",
    "KO": "a selection of other files",
}
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


def library(name: str) -> Any:
    """A module of the extra `clinic`.

    Raises:
      InputError: it is not installed.
    """
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        raise InputError(f"{name.partition('.')[0]} is not installed; pip install 'ddim_jax[clinic]'") from error
    for package in ("pydicom", "highdicom", "nibabel"):  # which quote what they find odd in a header, such as a name
        logging.getLogger(package).setLevel(logging.CRITICAL)
        warnings.filterwarnings("ignore", module=rf"{package}\b.*")
    if name == "pydicom":
        module.config.settings.reading_validation_mode = module.config.IGNORE
    return module


@contextlib.contextmanager
def errors_naming(path: str | os.PathLike, kind: str = "DICOM") -> Iterator[None]:
    """Turns whatever reading a file raises into a DataError that names it and quotes nothing of its content."""
    try:
        yield
    except InputError:
        raise
    except MemoryError as error:
        raise DataError(f"{path}: there is not enough memory to decode it, or it is damaged.") from error
    except BaseException as error:  # a damaged file makes the libraries raise anything, a panic of Rust among it
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        if isinstance(error, OSError) and error.errno is not None:
            raise DataError(f"{path}: cannot be read ({error.strerror}).") from error
        raise DataError(f"{path}: is truncated, damaged or no {kind} file ({type(error).__name__}).") from None


def read_header(path: str | os.PathLike) -> "Dataset":
    """The attributes before the pixels, but for values of many megabytes.

    Raises:
      DataError: the file cannot be read, is no DICOM file, or its header is too large.
    """
    pydicom = library("pydicom")
    with errors_naming(path), open_binary(path) as file:
        start = file.read(4096)
        if not start:
            raise DataError(f"{path}: the file is empty (0 bytes).")
        if start[128:132] != MAGIC[1]:
            raise DataError(f"{path}: is no DICOM file; expected the letters DICM at byte 128.")
        if _DEFLATED in start:
            _check_inflated(file, start, path)
        file.seek(0)
        bounded = file if _DEFLATED in start else _Bounded(file, path)
        header = pydicom.dcmread(bounded, stop_before_pixels=True, defer_size=_LONG_VALUE)
        if "TransferSyntaxUID" not in header.file_meta:
            raise DataError(f"{path}: is damaged, it does not say how it is encoded (TransferSyntaxUID).")
        return header


def picture_header(path: str | os.PathLike) -> "Dataset":
    """The header of a file of one or more pictures.

    Raises:
      DataError: as `read_header`; it holds no picture, or one that is larger than `MAX_PIXELS`.
    """
    header = read_header(path)
    with errors_naming(path):
        if (kind := no_picture(header)) is not None:
            raise DataError(f"{path}: is {kind}, no picture.")
        rows, columns, frames = (int(header.get(name) or 0) for name in ("Rows", "Columns", "NumberOfFrames"))
        if rows < 1 or columns < 1 or frames < 0:
            raise DataError(f"{path}: {columns} x {rows} pixels, there is nothing to see.")
        if rows * columns > MAX_PIXELS:
            raise DataError(f"{path}: {columns} x {rows} pixels, expected at most {MAX_PIXELS} in all.")
        samples, bits = int(header.get("SamplesPerPixel", 1)), int(header.BitsAllocated)
        if samples not in (1, 3) or bits not in (1, 8, 16, 32):
            raise DataError(f"{path}: {samples} values of {bits} bits a pixel; expected 1 or 3 of 8, 16 or 32.")
        return header


def no_picture(header: "Dataset") -> str | None:
    """A name for the kind of a file that holds no picture to segment, or None for a picture."""
    modality = str(header.get("Modality", ""))
    if modality in _NO_PICTURES:
        return _NO_PICTURES[modality]
    return None if "Rows" in header and "Columns" in header else "a file without pixels"


def frames(header: "Dataset") -> int:
    """The number of frames, at least 1."""
    return max(1, int(header.get("NumberOfFrames") or 1))


def shown_frame(
    path: str | os.PathLike,
    header: "Dataset",
    index: int,
    options: ReadOptions,
    limits: tuple[float, float] | None = None,
) -> np.ndarray:
    """A frame as a picture, uint8 [H, W, 3].

    Grey values go through the modality LUT and then the window of `options`, or the file's VOI LUT or window, or
    `limits`, or the range of 99% of the frame's values; 8 bits without any of these stay as they are. MONOCHROME1 is
    turned round. Palettes and YBR become RGB, of which 8 bits are kept.

    Args:
      path: of the file.
      header: as `picture_header` gives it.
      index: of the frame, from 0.
      options: how to read.
      limits: the values that become black and white where the file says nothing, as `stored_limits` gives them.

    Raises:
      DataError: the frame is damaged or missing, or no installed library decodes it; the message names the file.
    """
    stored = read_frame(path, header, index)
    with errors_naming(path):
        colours = str(header.get("PhotometricInterpretation", ""))
        if stored.ndim == 3:
            return _eight_bits(stored, int(header.BitsStored) if stored.dtype.itemsize > 1 else 8)
        if colours == "PALETTE COLOR":
            pixels = library("pydicom.pixels").apply_color_lut(stored, header)
            return _eight_bits(pixels, 8 * pixels.dtype.itemsize)
        attributes = _frame_attributes(header, index)
        low, high = int(stored.min()), int(stored.max())
        if high - low < 2**16:  # one value of each instead of millions
            grey = _grey(np.arange(low, high + 1, dtype=stored.dtype), stored, attributes, options, limits)
            grey = grey[stored - low]
        else:
            grey = _grey(stored, stored, attributes, options, limits)
        if colours == "MONOCHROME1":
            grey = 255 - grey
        return np.repeat(grey[..., None], 3, axis=-1)


def stored_limits(path: str | os.PathLike, header: "Dataset", index: int) -> tuple[float, float]:
    """The range of 99% of a frame's values after the modality LUT, without its padding."""
    stored = read_frame(path, header, index)
    with errors_naming(path):
        attributes = _frame_attributes(header, index)
        return robust_limits(_modality(_without_padding(stored, attributes), attributes))


def says_its_range(header: "Dataset") -> bool:
    """True if a file says how its values become grey levels, so that `stored_limits` are not needed."""
    attributes = _frame_attributes(header, 0)
    colours = str(header.get("PhotometricInterpretation", ""))
    plain = int(header.BitsStored) <= 8 and not ({"RescaleSlope", "ModalityLUTSequence"} & attributes.keys())
    return plain or not colours.startswith("MONOCHROME") or "VOILUTSequence" in attributes or _window(attributes)


def read_frame(path: str | os.PathLike, header: "Dataset", index: int) -> np.ndarray:
    """The stored values of a frame, [H, W] or, in RGB, [H, W, 3]; errors as `shown_frame`."""
    pixels = library("pydicom.pixels")
    syntax = header.file_meta.TransferSyntaxUID
    with errors_naming(path), open_binary(path) as file:
        if syntax.is_encapsulated:
            _check_encoded(path, file, header, index)
        deflated = str(syntax) == _DEFLATED.decode()  # which is read whole; `read_header` has bounded it
        try:
            stored = pixels.pixel_array(library("pydicom").dcmread(file) if deflated else file, index=index)
        except (NotImplementedError, RuntimeError):
            # Of a damaged frame too; but then the libraries are there.
            needed = _PLUGINS.get(str(syntax))
            if needed is not None and not _decodes(pixels, syntax, header):
                raise DataError(f"{path}: {needed}; install it, or save the file without compression.") from None
            raise
        shape = (int(header.Rows), int(header.Columns))
        if stored.shape[:2] != shape or stored.ndim != (3 if int(header.get("SamplesPerPixel", 1)) == 3 else 2):
            raise DataError(f"{path}: is damaged, its pixels are {list(stored.shape)}, its header says {list(shape)}.")
        return stored


class _Bounded:
    """A file of which a header's length is read at most: a header of millions of attributes would fill the memory."""

    def __init__(self, file: BinaryIO, path: str | os.PathLike):
        self._file, self._path, self._left = file, path, _HEADER_BYTES
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(self._left + 1 if size < 0 else min(size, self._left + 1))
        self._left -= len(data)
        if self._left < 0:
            raise DataError(f"{self._path}: its header has more than {_HEADER_BYTES} bytes; it is damaged.")
        return data

    def close(self) -> None:
        self._file.close()


def _check_inflated(file: BinaryIO, start: bytes, path: str | os.PathLike) -> None:
    """Refuses a deflated file that would fill the memory, which the library inflates whole."""
    inflate, left = zlib.decompressobj(-zlib.MAX_WBITS), _HEADER_BYTES
    file.seek(144 + int.from_bytes(start[140:144], "little"))  # behind the group that says that it is deflated
    while left and (data := inflate.unconsumed_tail or file.read(2**16)):
        left -= len(inflate.decompress(data, left))
    if not left:
        raise DataError(
            f"{path}: has more than {_HEADER_BYTES} bytes when it is inflated; save it without compression."
        )


def _check_encoded(path: str | os.PathLike, file: BinaryIO, header: "Dataset", index: int) -> None:
    """Refuses a frame whose own header says another size: a decoder would go by that one, however large."""
    rows, columns = int(header.Rows), int(header.Columns)
    pydicom = library("pydicom")
    pydicom.dcmread(file, stop_before_pixels=True, specific_tags=[], defer_size=_LONG_VALUE)
    file.seek(12, os.SEEK_CUR)  # tag, VR and length of the pixels
    if index == 0:
        _check_whole(path, file)
    encoded = library("pydicom.encaps").get_frame(file, index, number_of_frames=frames(header))
    file.seek(0)
    raw = rows * columns * int(header.get("SamplesPerPixel", 1)) * (int(header.BitsAllocated) + 7) // 8
    if len(encoded) > 2 * raw + 2**16:
        raise DataError(f"{path}: is damaged, frame {index + 1} has {len(encoded)} bytes, decoded ones have {raw}.")
    if str(header.file_meta.TransferSyntaxUID) == _RLE:
        _check_runs(path, encoded, header)
        return
    size = _encoded_size(encoded)
    # Decoders take minutes over a JPEG-LS stream without its end. JPEG 2000 may lack it.
    if size is None or (encoded[:2] == b"\xff\xd8" and b"\xff\xd9" not in encoded[-64:]):
        raise DataError(f"{path}: is truncated or damaged, frame {index + 1} has no end.")
    if size != (rows, columns):
        raise DataError(
            f"{path}: is damaged, frame {index + 1} is {size[1]} x {size[0]}, its header says {columns} x {rows}."
        )


def _check_whole(path: str | os.PathLike, file: BinaryIO) -> None:
    """Refuses a file that ends within a frame: some decoders would leave the rest of the picture out."""
    start = file.tell()
    end = file.seek(0, os.SEEK_END)
    at = start
    while at + 8 <= end:
        file.seek(at)
        tag, length = file.read(4), int.from_bytes(file.read(4), "little")
        if tag != _ITEM:
            break
        at += 8 + length
    if at > end:
        raise DataError(f"{path}: is truncated, it ends within a frame.")
    file.seek(start)


def _check_runs(path: str | os.PathLike, encoded: bytes, header: "Dataset") -> None:
    """Refuses an RLE frame whose runs do not give its pixels (PS3.5 annex G): the decoder trusts them."""
    size = int(header.Rows) * int(header.Columns)
    parts = int(header.get("SamplesPerPixel", 1)) * int(header.BitsAllocated) // 8
    starts = [int(start) for start in np.frombuffer(encoded, "<u4", 16)]
    ends = [*starts[2 : parts + 1], len(encoded)]
    if starts[0] != parts or starts[1] != 64 or ends != sorted(ends):
        raise DataError(f"{path}: is damaged, its runs do not begin where its header says.")
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
            raise DataError(f"{path}: is damaged, its runs give another number of pixels than its header says.")


def _encoded_size(encoded: bytes) -> tuple[int, int] | None:
    """Height and width in the head of a JPEG, JPEG-LS or JPEG 2000 stream; None for another."""
    at = encoded.find(b"\xff\x4f\xff\x51")
    if 0 <= at < 4096:  # a JPEG 2000 stream, perhaps in a box
        right, below, left, above = np.frombuffer(encoded, ">u4", 4, at + 8).astype(int)
        return below - above, right - left
    if encoded[:2] != b"\xff\xd8":
        return None
    at = 2
    while at + 9 <= len(encoded) and encoded[at] == 0xFF:
        marker, length = encoded[at + 1], int.from_bytes(encoded[at + 2 : at + 4], "big")
        if marker == 0xFF:  # fill bytes
            at += 1
        elif marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            return int.from_bytes(encoded[at + 5 : at + 7], "big"), int.from_bytes(encoded[at + 7 : at + 9], "big")
        else:
            at += 2 + length
    raise DataError("no size in a JPEG stream")


def _decodes(pixels: Any, syntax: Any, header: "Dataset") -> bool:
    """True if a library that is installed decodes such frames."""
    twelve_bits = str(syntax).endswith(".4.51") and int(header.BitsStored) > 8  # which Pillow has no decoder for
    try:
        decoder = pixels.get_decoder(syntax)
    except NotImplementedError:
        return False
    return decoder.is_available and not (twelve_bits and set(decoder.available_plugins) <= {"pillow"})


def _frame_attributes(header: "Dataset", index: int) -> dict[str, Any]:
    """The attributes that decide how a frame is shown, from its functional groups where the file has such."""
    groups = [header]
    for name, item in (("SharedFunctionalGroupsSequence", 0), ("PerFrameFunctionalGroupsSequence", index)):
        sequence = header.get(name) or []
        if item < len(sequence):
            groups += [part[0] for group in ("PixelValueTransformationSequence", "FrameVOILUTSequence")
                       if (part := sequence[item].get(group))]  # fmt: skip
    names = ("RescaleSlope", "RescaleIntercept", "ModalityLUTSequence", "WindowCenter", "WindowWidth",
             "VOILUTFunction", "VOILUTSequence", "BitsStored", "PixelRepresentation", "PixelPaddingValue")  # fmt: skip
    return {name: group[name].value for group in groups for name in names if group.get(name) not in (None, "", [])}


def _dataset(attributes: dict[str, Any]) -> "Dataset":
    dataset = library("pydicom").Dataset()
    for name, value in attributes.items():
        setattr(dataset, name, value)
    return dataset


def _modality(stored: np.ndarray, attributes: dict[str, Any]) -> np.ndarray:
    """Values in the file's units, such as Hounsfield units."""
    if "ModalityLUTSequence" in attributes:
        return library("pydicom.pixels").apply_modality_lut(stored, _dataset(attributes))
    slope, intercept = float(attributes.get("RescaleSlope", 1)), float(attributes.get("RescaleIntercept", 0))
    return stored if (slope, intercept) == (1, 0) else stored * np.float32(slope) + np.float32(intercept)


def _grey(
    stored: np.ndarray,
    frame: np.ndarray,
    attributes: dict[str, Any],
    options: ReadOptions,
    limits: tuple[float, float] | None,
) -> np.ndarray:
    """Stored values as grey levels, uint8; `frame` has all that there are, for their range."""
    values = _modality(stored, attributes)
    if options.window is not None:
        centre, width = options.window
        return linear(values, centre - width / 2, centre + width / 2)
    if "VOILUTSequence" in attributes:
        table = attributes["VOILUTSequence"][0]
        bits = int(table.LUTDescriptor[2])
        shown = library("pydicom.pixels").apply_voi(values.astype(np.int64), _dataset(attributes))
        return linear(shown, 0, 2**bits - 1)
    if (window := _window(attributes)) is not None:
        centre, width, function = window
        if function == "SIGMOID":
            return np.round(255 / (1 + np.exp(-4 * (values - centre) / width))).astype(np.uint8)
        if function == "LINEAR":  # PS3.3 C.11.2.1.2.1
            centre, width = centre - 0.5, max(width - 1, 1e-6)
        return linear(values, centre - width / 2, centre + width / 2)
    bits = int(attributes["BitsStored"])
    if bits <= 8 and values is stored:
        return linear(values, 0, 2**bits - 1)
    return linear(values, *(limits or robust_limits(_modality(_without_padding(frame, attributes), attributes))))


def _window(attributes: dict[str, Any]) -> tuple[float, float, str] | None:
    """Centre, width and function of the first window of a file that has one that can be used."""
    first = []
    for name in ("WindowCenter", "WindowWidth"):
        value = attributes.get(name)
        value = value[0] if isinstance(value, list | tuple) or hasattr(value, "insert") else value
        first.append(np.nan if value is None else float(value))
    usable = np.isfinite(first).all() and first[1] > 0
    return (*first, str(attributes.get("VOILUTFunction", "LINEAR"))) if usable else None


def _without_padding(stored: np.ndarray, attributes: dict[str, Any]) -> np.ndarray:
    padding = attributes.get("PixelPaddingValue")
    kept = stored if padding is None else stored[stored != int(padding)]
    return kept if kept.size else stored


def _eight_bits(colours: np.ndarray, bits: int) -> np.ndarray:
    """[H, W, 3] of so many bits as uint8: the upper 8 of them."""
    return np.ascontiguousarray(colours[..., :3] >> max(0, bits - 8)).astype(np.uint8)
