"""Bodies of uploads that mean harm, made by hand, by what is wrong with them."""

import gzip
import io
import struct
import warnings
import zipfile
import zlib

import nibabel
import numpy as np
from dicom_files import ct_slice
from picture_files import chunk
from PIL import Image

SCRIPT, SECRET = "<script>alert(1)</script>", "Secret^Name"
PIXELS = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
SOME = b"\x89PNG\r\n\x1a\n"


def saved(kind, **options):
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, kind, **options)
    return file.getvalue()


def png_chunks(*chunks, size=(30, 40), depth=8, colour=2, interlaced=0):
    header = struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, interlaced)
    return SOME + chunk(b"IHDR", header) + b"".join(chunk(*one) for one in chunks) + chunk(b"IEND", b"")


def rows():
    return zlib.compress(bytes(40 * 91))


def plain_tiff(width=4, height=4, strip=122, following=0):
    """A little-endian TIFF of one directory, with 64 bytes behind it."""
    fields = (
        (256, width),
        (257, height),
        (258, 8),
        (259, 1),
        (262, 1),
        (273, strip),
        (277, 1),
        (278, height),
        (279, 16),
    )
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in fields)
    return b"II*\0" + struct.pack("<IH", 8, len(fields)) + entries + struct.pack("<I", following) + bytes(64)


def bmp(width, height):
    return b"BM" + struct.pack("<IHHIIiiHHIIiiII", 200, 0, 0, 54, 40, width, height, 1, 24, *[0] * 6) + bytes(99)


def jpeg_of_size(height, width):
    data = bytearray(saved("JPEG"))
    place = data.index(b"\xff\xc0") + 5
    data[place : place + 4] = struct.pack(">HH", height, width)
    return bytes(data)


def archive(*members, method=zipfile.ZIP_DEFLATED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as made, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a name that is there twice
        for name, data in members:
            made.writestr(name, data)
    return file.getvalue()


def patched(data, old, new):
    assert old in data and len(old) == len(new)
    return data.replace(old, new, 1)


def linked():
    link = zipfile.ZipInfo("a.png")
    link.external_attr, link.create_system = 0o120777 << 16, 3
    return archive((link, b"/etc/passwd"))


def lying(size):
    """An archive whose member is larger than it says."""
    data = bytearray(archive(("a.png", saved("PNG") + bytes(2**22))))
    data[22:26] = struct.pack("<I", size)
    place = data.index(b"PK\1\2")
    data[place + 24 : place + 28] = struct.pack("<I", size)
    return bytes(data)


def overlapping():
    """Two members at one place."""
    data = archive(("a.png", saved("PNG")), ("b.png", saved("PNG")))
    place = data.rindex(b"PK\1\2")
    return data[: place + 42] + bytes(4) + data[place + 46 :]


def nifti(values=None, **fields):
    image = nibabel.Nifti1Image(np.zeros((8, 6, 3), np.uint8) if values is None else values, np.eye(4))
    data = bytearray(image.to_bytes())
    for place, kind, *numbers in fields.values():
        struct.pack_into(f"<{kind}", data, place, *numbers)
    return bytes(data)


def wide_nifti():
    data = bytearray(nibabel.Nifti2Image(np.zeros((8, 6, 3), np.uint8), np.eye(4)).to_bytes())
    struct.pack_into("<4q", data, 16, 3, 1, 1, 2**40)
    return bytes(data)


def dicom(at, **attributes):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ct_slice(at / "x.dcm", np.zeros((8, 8), int), **attributes).read_bytes()


def of_rows(at, count):
    rows = struct.pack("<HH", 0x28, 0x10) + b"US\2\0"
    return patched(dicom(at), rows + struct.pack("<H", 8), rows + struct.pack("<H", count))


ITEM, SEQUENCE_END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0" + bytes(4)


def element(group, number, kind, data, length=None):
    """An explicit little-endian attribute, perhaps with a wrong length."""
    length = len(data) if length is None else length
    if kind in ("OB", "OW", "SQ", "UN"):
        return struct.pack("<HH2sHI", group, number, kind.encode(), 0, length) + data
    return struct.pack("<HH2sH", group, number, kind.encode(), length) + data


def dicom_parts(at, **attributes):
    """The first group of a slice, which says how it is encoded, the attributes before its pixels, and the pixels."""
    data = dicom(at, **attributes)
    first, pixels = 144 + struct.unpack("<I", data[140:144])[0], data.index(b"\xe0\x7f\x10\x00OW")
    return data[:first], data[first:pixels], data[pixels + 12 :]


def first_group(syntax):
    """A first group of that transfer syntax."""
    syntax = syntax.encode() + b"\0" * (len(syntax) % 2)
    group = element(2, 1, "OB", b"\0\1") + element(2, 2, "UI", b"1.2.840.10008.5.1.4.1.1.2\0")
    group += element(2, 3, "UI", b"1.2.3\0") + element(2, 0x10, "UI", syntax)
    return bytes(128) + b"DICM" + element(2, 0, "UL", struct.pack("<I", len(group))) + group


def deflated(at, pixels):
    """A deflated slice with other pixels."""
    _, attributes, _ = dicom_parts(at)
    squeeze = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    content = squeeze.compress(attributes + element(0x7FE0, 0x10, "OW", pixels)) + squeeze.flush()
    return first_group("1.2.840.10008.1.2.1.99") + content


def encapsulated(at, syntax, fragments):
    """A slice that says that its pixels are encoded."""
    _, attributes, _ = dicom_parts(at)
    return first_group(f"1.2.840.10008.1.2.{syntax}") + attributes + element(0x7FE0, 0x10, "OB", fragments, 2**32 - 1)


EMPTY = ITEM + bytes(4)
"""A part of encoded pixels, or an item of a sequence, that holds nothing."""


def with_private(at, content, length=None, kind="SQ"):
    """A slice with a private attribute."""
    first, attributes, pixels = dicom_parts(at)
    private = element(9, 0x10, "LO", b"ME") + element(9, 0x1001, kind, content, length)
    return first + private + attributes + element(0x7FE0, 0x10, "OW", pixels)


NESTED = element(9, 0x1001, "SQ", b"", 2**32 - 1) + ITEM + b"\xff" * 4
BODIES = {
    # What is no image
    "nothing": (lambda at: b"", 422),
    "noise": (lambda at: np.random.default_rng(1).bytes(5000), 422),
    "a drawing with a script": (lambda at: f'<svg xmlns="http://www.w3.org/2000/svg">{SCRIPT}</svg>'.encode(), 422),
    "a program": (lambda at: b"\x7fELF" + bytes(200), 422),
    "a 7z": (lambda at: b"7z\xbc\xaf'\x1c" + bytes(60), 422),
    # Images
    "a cut PNG": (lambda at: saved("PNG")[:900], 422),
    "a cut JPEG": (lambda at: saved("JPEG")[:500], 422),
    "a PNG with a flipped byte": (lambda at: patched(saved("PNG"), saved("PNG")[70:71], b"\xf9"), 422),
    "a PNG of 4 billion pixels": (lambda at: png_chunks(size=(65000, 65000)), 422),
    "a PNG of 80 million pixels": (lambda at: png_chunks(size=(10000, 8000)), 413),
    "a PNG of no width": (lambda at: png_chunks(size=(0, 10)), 422),
    "a PNG with a page behind its mark": (lambda at: SOME + SCRIPT.encode() * 20, 422),
    "a PNG with a text bomb": (lambda at: png_chunks((b"zTXt", b"k\0\0" + zlib.compress(bytes(2**26)))), 422),
    "a PNG with a profile bomb": (lambda at: png_chunks((b"iCCP", b"k\0\0" + zlib.compress(bytes(2**26)))), 422),
    "a PNG of more rows than it says": (lambda at: png_chunks((b"IDAT", zlib.compress(bytes(2**25)))), 200),
    "a PNG whose palette is missing": (lambda at: png_chunks((b"IDAT", rows()), colour=3), 200),
    "a JPEG of 4 billion pixels": (lambda at: jpeg_of_size(65500, 65500), 422),
    "a TIFF of 2^64 pixels": (lambda at: plain_tiff(2**32 - 1, 2**32 - 1), 422),
    "a TIFF that leads to itself": (lambda at: plain_tiff(following=8), 200),
    "a TIFF whose pixels are elsewhere": (lambda at: plain_tiff(strip=2**31), 422),
    "a TIFF of 4 billion entries": (lambda at: b"II*\0\x08\0\0\0\xff\xff" + bytes(50), 422),
    "a TIFF of pages": (lambda at: saved("TIFF", save_all=True, append_images=[Image.fromarray(PIXELS)] * 2), 422),
    "a BMP of 4 billion pixels": (lambda at: bmp(2**16, 2**16), 422),
    # Archives
    "a zip bomb": (lambda at: archive(("x.dcm", dicom(at) + bytes(2**23))), 413),
    "a zip of many": (lambda at: archive(*((f"{k}.png", SOME) for k in range(40))), 413),
    "a zip in a zip": (lambda at: archive(("a.zip", archive(("x.dcm", dicom(at))))), 422),
    "an empty zip": (lambda at: archive(), 422),
    "a cut zip": (lambda at: archive(("x.dcm", dicom(at)))[:-40], 422),
    "a zip of text": (lambda at: archive(("a.txt", b"x"), (f"{SECRET}.html", SCRIPT.encode())), 422),
    "a zip with a link": (lambda at: linked(), 422),
    "a zip whose member is larger than it says": (lambda at: lying(100), 422),
    "a zip whose member is said to be huge": (lambda at: lying(2**32 - 2), 422),
    "a zip of an unknown method": (
        lambda at: archive(("a.png", saved("PNG"))).replace(b"\x14\0\0\0\x08\0", b"\x14\0\0\0\x63\0"),
        422,
    ),
    "a zip of overlapping members": (lambda at: overlapping(), 422),
    "a zip with one name twice": (lambda at: archive(("a.png", saved("PNG")), ("a.png", saved("PNG"))), 422),
    "a zip of zeros": (lambda at: b"PK\3\4" + bytes(400), 422),
    "a zip of nothing but empty files": (lambda at: archive(("a.png", b""), ("b.dcm", b"")), 422),
    "an LZMA bomb": (lambda at: archive(("a.png", bytes(2**24)), method=zipfile.ZIP_LZMA), 413),
    "a bzip2 bomb": (lambda at: archive(("a.dcm", bytes(2**24)), method=zipfile.ZIP_BZIP2), 413),
    "a cut gzip": (lambda at: gzip.compress(nifti(), 1)[:60], 422),
    "a gzip bomb": (lambda at: gzip.compress(nifti() + bytes(2**27), 1), 422),
    "a gzip in a gzip": (lambda at: gzip.compress(gzip.compress(nifti())), 422),
    "a gzip of a wrong sum": (lambda at: gzip.compress(nifti())[:-8] + bytes(8), 422),
    "a gzip of a script": (lambda at: gzip.compress(SCRIPT.encode()), 422),
    # NIfTI
    "a cut NIfTI": (lambda at: nifti()[:400], 422),
    "a NIfTI that cannot hold its values": (lambda at: nifti(size=(40, "4h", 3, 8000, 8000, 30)), 422),
    "a NIfTI of a trillion slices": (lambda at: wide_nifti(), 422),
    "a NIfTI of NaN": (lambda at: nifti(np.full((8, 6, 3), np.nan, np.float32)), 200),
    "a NIfTI of complex numbers": (lambda at: nifti(np.zeros((8, 6, 3), np.complex64)), 422),
    "a NIfTI of an unknown type": (lambda at: nifti(kind=(70, "h", 9999)), 422),
    "a NIfTI of five dimensions": (lambda at: nifti(np.zeros((4, 4, 2, 2, 2), np.uint8)), 422),
    "a NIfTI whose values begin at NaN": (lambda at: nifti(at=(108, "f", np.nan)), 422),
    "a NIfTI of an infinite slope": (lambda at: nifti(slope=(112, "f", np.inf)), 200),
    "a NIfTI nowhere": (lambda at: nifti(place=(280, "12f", *[np.nan] * 12)), 422),
    "a NIfTI with a script in its text": (lambda at: nifti(text=(148, "25s", SCRIPT.encode())), 200),
    # DICOM
    "a cut DICOM": (lambda at: dicom(at)[:700], 422),
    "a DICOM that is cut in its pixels": (lambda at: dicom(at)[:-50], 422),
    "a DICOM of more rows than it has": (lambda at: of_rows(at, 65535), 422),
    "a DICOM without rows": (lambda at: of_rows(at, 0), 422),
    "a DICOM without a syntax": (lambda at: bytes(128) + b"DICM" + bytes(400), 422),
    "a DICOM of an unknown syntax": (
        lambda at: patched(dicom(at), b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.9.9.9\0"),
        422,
    ),
    "a DICOM that is a program": (lambda at: b"MZ" + dicom(at)[2:], 200),
    "a DICOM without pixels": (lambda at: dicom(at, PixelData=None), 422),
    "a DICOM of an unknown colour": (lambda at: dicom(at, PhotometricInterpretation="SCRIPT"), 422),
    "a DICOM of an unknown alphabet": (lambda at: dicom(at, SpecificCharacterSet="ISO 9999"), 200),
    "a DICOM of no bits": (lambda at: dicom(at, BitsStored=0), 422),
    "a DICOM of 2 billion frames": (lambda at: dicom(at, NumberOfFrames=2**31 - 1), 422),
    "a DICOM of minus one frame": (lambda at: dicom(at, NumberOfFrames=-1), 422),
    "a DICOM of NaN slope": (lambda at: patched(dicom(at, RescaleSlope="1234"), b"1234", b"NaN "), 422),
    "a DICOM of an endless slope": (lambda at: dicom(at, RescaleSlope="1e308"), 422),
    "a DICOM of a negative window": (lambda at: dicom(at, WindowCenter=0, WindowWidth=-5), 200),
    "a DICOM turned by nothing": (lambda at: dicom(at, ImageOrientationPatient=[0] * 6), 200),
    "a deflated DICOM of many zeros": (lambda at: deflated(at, pixels=bytes(2**25)), 422),
    "a DICOM of many private items": (lambda at: with_private(at, EMPTY * 30_000), 200),
    "a DICOM of many private items without length": (
        lambda at: with_private(
            at, (ITEM + b"\xff" * 4 + b"\xfe\xff\x0d\xe0" + bytes(4)) * 3_000 + SEQUENCE_END, 2**32 - 1
        ),
        200,
    ),
    "a DICOM of sequences within sequences": (lambda at: with_private(at, NESTED * 20_000, 2**32 - 1), 422),
    "a DICOM of sequences of an unknown kind": (
        lambda at: with_private(at, NESTED.replace(b"SQ", b"UN") * 20_000, 2**32 - 1, "UN"),
        422,
    ),
    "an RLE DICOM of an empty part": (lambda at: encapsulated(at, "5", EMPTY * 2 + SEQUENCE_END), 422),
    "a JPEG 2000 DICOM of an empty part": (lambda at: encapsulated(at, "4.90", EMPTY * 2 + SEQUENCE_END), 422),
    "a JPEG DICOM of nothing at all": (lambda at: encapsulated(at, "4.50", b""), 422),
    "a JPEG 2000 DICOM of a part beyond its end": (
        lambda at: encapsulated(at, "4.90", EMPTY + ITEM + struct.pack("<I", 2**31)),
        422,
    ),
    "a JPEG-LS DICOM of many empty parts": (lambda at: encapsulated(at, "4.80", EMPTY * 140_001 + SEQUENCE_END), 422),
}
"""Each with what makes it in a folder, and the status of the answer."""
