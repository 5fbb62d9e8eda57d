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
from PIL import Image

SCRIPT = "<script>alert(1)</script>"
PIXELS = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
SOME = b"\x89PNG\r\n\x1a\n"


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def saved(kind, **options):
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, kind, **options)
    return file.getvalue()


def png_chunks(*chunks, size=(30, 40), depth=8, colour=2, interlaced=0):
    header = struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, interlaced)
    return SOME + chunk(b"IHDR", header) + b"".join(chunk(*one) for one in chunks) + chunk(b"IEND", b"")


def rows():
    return zlib.compress(bytes(40 * 91))


def tiff(*entries, following=0):
    """A little-endian TIFF of one directory, with 64 bytes behind it."""
    start = b"II*\0" + struct.pack("<IH", 8, len(entries))
    return start + b"".join(struct.pack("<HHII", *one) for one in entries) + struct.pack("<I", following) + bytes(64)


def plain_tiff(width=4, height=4, strip=122, bits=8, compression=1, following=0):
    fields = ((256, width), (257, height), (258, bits), (259, compression), (262, 1), (273, strip), (277, 1))
    entries = [(tag, 4, 1, value) for tag, value in (*fields, (278, height), (279, 16))]
    return tiff(*entries, following=following)


def bmp(width, height, bits=24):
    return (
        b"BM" + struct.pack("<IHHIIiiHHIIiiII", 200, 0, 0, 54, 40, width, height, 1, bits, 0, 0, 0, 0, 0, 0) + bytes(99)
    )


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


def patched(data, old, new, every=False):
    assert old in data and len(old) == len(new)
    return data.replace(old, new) if every else data.replace(old, new, 1)


def encrypted():
    data = bytearray(archive(("a.png", saved("PNG"))))
    data[6] |= 1
    data[data.index(b"PK\1\2") + 8] |= 1
    return bytes(data)


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


def dicom(at, values=None, **attributes):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ct_slice(at / "x.dcm", np.zeros((8, 8), int) if values is None else values, **attributes).read_bytes()


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


def native(at, change, length=None):
    """A slice whose pixels were changed, and perhaps their length."""
    first, attributes, pixels = dicom_parts(at)
    return first + attributes + element(0x7FE0, 0x10, "OW", change(pixels), length)


def encapsulated(at, syntax, fragments):
    """A slice that says that its pixels are encoded."""
    _, attributes, _ = dicom_parts(at)
    return first_group(f"1.2.840.10008.1.2.{syntax}") + attributes + element(0x7FE0, 0x10, "OB", fragments, 2**32 - 1)


def fragment(data):
    return ITEM + struct.pack("<I", len(data)) + data


def with_private(at, content, length=None, kind="SQ"):
    """A slice with a private attribute."""
    first, attributes, pixels = dicom_parts(at)
    private = element(9, 0x10, "LO", b"ME") + element(9, 0x1001, kind, content, length)
    return first + private + attributes + element(0x7FE0, 0x10, "OW", pixels)


NESTED = element(9, 0x1001, "SQ", b"", 2**32 - 1) + ITEM + b"\xff" * 4
BODIES = {
    # Images
    "a PNG with a page behind its mark": lambda at: SOME + SCRIPT.encode() * 20,
    "a PNG without pixels": lambda at: png_chunks(),
    "a PNG of wrong sums": lambda at: patched(saved("PNG"), saved("PNG")[29:33], b"\0\0\0\0"),
    "a PNG with a text bomb": lambda at: png_chunks(
        (b"zTXt", b"k\0\0" + zlib.compress(bytes(2**26))), (b"IDAT", rows())
    ),
    "a PNG with a profile bomb": lambda at: png_chunks(
        (b"iCCP", b"k\0\0" + zlib.compress(bytes(2**26))), (b"IDAT", rows())
    ),
    "a PNG of more rows than it says": lambda at: png_chunks((b"IDAT", zlib.compress(bytes(2**25)))),
    "a PNG with a huge chunk": lambda at: SOME + b"\xff\xff\xff\xffIHDR" + bytes(50),
    "a PNG of an unknown colour": lambda at: png_chunks((b"IDAT", rows()), colour=5),
    "a PNG of 3 bits": lambda at: png_chunks((b"IDAT", rows()), depth=3),
    "a PNG whose palette is missing": lambda at: png_chunks((b"IDAT", rows()), colour=3),
    "a tall PNG": lambda at: png_chunks((b"IDAT", rows()), size=(1, 2**31 - 1)),
    "a JPEG of 4 billion pixels": lambda at: jpeg_of_size(65500, 65500),
    "a JPEG without rows": lambda at: jpeg_of_size(0, 30),
    "a JPEG that is a page": lambda at: b"\xff\xd8\xff" + SCRIPT.encode() * 20,
    "a JPEG of markers": lambda at: b"\xff\xd8\xff\xe0" + b"\xff\xd8" * 200,
    "a TIFF of 4 billion pixels": lambda at: plain_tiff(65535, 65535),
    "a TIFF of 2^64 pixels": lambda at: plain_tiff(2**32 - 1, 2**32 - 1),
    "a TIFF without a directory": lambda at: b"II*\0" + bytes(40),
    "a TIFF that leads to itself": lambda at: plain_tiff(following=8),
    "a TIFF whose pixels are elsewhere": lambda at: plain_tiff(strip=2**31),
    "a TIFF of an unknown compression": lambda at: plain_tiff(compression=40000),
    "a TIFF of 77 bits": lambda at: plain_tiff(bits=77),
    "a TIFF of 4 billion entries": lambda at: b"II*\0\x08\0\0\0\xff\xff" + bytes(50),
    "a cut BigTIFF": lambda at: b"II+\0\x08\0\0\0" + bytes(12),
    "a BMP of 4 billion pixels": lambda at: bmp(2**16, 2**16),
    "a BMP of a negative width": lambda at: bmp(-5, 5),
    "a BMP of 5 bits": lambda at: bmp(5, 5, 5),
    "a BMP that is a text": lambda at: b"BM" + SCRIPT.encode() * 20,
    # What is no image
    "a cut GIF": lambda at: b"GIF89a\xff\xff\xff\xff" + bytes(20),
    "a WebP": lambda at: b"RIFF\x24\0\0\0WEBPVP8 " + bytes(40),
    "a PDF": lambda at: b"%PDF-1.7\n/JS (app.alert(1))" + bytes(40),
    "a tar": lambda at: b"../../etc/passwd" + bytes(241) + b"ustar" + bytes(300),
    "an xz": lambda at: b"\xfd7zXZ\0" + bytes(60),
    "a 7z": lambda at: b"7z\xbc\xaf'\x1c" + bytes(60),
    "a rar": lambda at: b"Rar!\x1a\x07\0" + bytes(60),
    "a Windows program": lambda at: b"MZ" + bytes(300),
    "a shell script": lambda at: b"#!/bin/sh\ntouch /tmp/executed\n",
    "a PHP page": lambda at: b"<?php system($_GET['c']); ?>",
    "an XML bomb": lambda at: b'<!DOCTYPE a [<!ENTITY b "x"><!ENTITY c "&b;&b;&b;">]><a>&c;</a>',
    "an XML file of another place": lambda at: b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>',
    "a wide text": lambda at: ("\ufeff" + SCRIPT).encode("utf-16"),
    "a JSON of brackets": lambda at: b"[" * 50000,
    "one byte": lambda at: b"\0",
    "an HDF5": lambda at: b"\x89HDF\r\n\x1a\n" + bytes(60),
    "a NumPy array of objects": lambda at: b"\x93NUMPY\1\0v\0{'descr': '|O', 'fortran_order': False, 'shape': (1,)}",
    # Archives
    "a zip with a password": lambda at: encrypted(),
    "a zip with a link": lambda at: linked(),
    "a zip of a wrong sum": lambda at: patched(
        archive(("a.png", saved("PNG")), method=zipfile.ZIP_STORED), saved("PNG")[60:80], bytes(20)
    ),
    "a zip whose member is larger than it says": lambda at: lying(100),
    "a zip whose member is said to be huge": lambda at: lying(2**32 - 2),
    "a zip of an unknown method": lambda at: patched(
        archive(("a.png", saved("PNG"))), b"\x14\0\0\0\x08\0", b"\x14\0\0\0\x63\0", every=True
    ),
    "a zip of overlapping members": lambda at: overlapping(),
    "a zip with one name twice": lambda at: archive(("a.png", saved("PNG")), ("a.png", saved("PNG"))),
    "a zip with a folder alone": lambda at: archive(("folder/", b"")),
    "a zip of zeros": lambda at: b"PK\3\4" + bytes(400),
    "a zip of three zips": lambda at: archive(("a.zip", archive(("b.zip", archive(("c.png", saved("PNG"))))))),
    "a zip of nothing but empty files": lambda at: archive(("a.png", b""), ("b.dcm", b"")),
    "an LZMA bomb": lambda at: archive(("a.png", bytes(2**24)), method=zipfile.ZIP_LZMA),
    "a bzip2 bomb": lambda at: archive(("a.dcm", bytes(2**24)), method=zipfile.ZIP_BZIP2),
    "gzip in gzip": lambda at: gzip.compress(gzip.compress(nifti())),
    "a gzip bomb": lambda at: gzip.compress(nifti() + bytes(2**27), 1),
    "a gzip bomb of a large header": lambda at: gzip.compress(
        nifti(size=(40, "8h", 3, 4000, 4000, 600, 1, 1, 1, 1)) + bytes(2**25), 1
    ),
    "a gzip of a wrong sum": lambda at: gzip.compress(nifti())[:-8] + bytes(8),
    "a gzip of a script": lambda at: gzip.compress(SCRIPT.encode()),
    # NIfTI
    "a NIfTI of NaN": lambda at: nifti(np.full((8, 6, 3), np.nan, np.float32)),
    "a NIfTI of infinities": lambda at: nifti(np.full((8, 6, 3), np.inf, np.float32)),
    "a NIfTI with one NaN": lambda at: nifti(np.where(np.arange(144) == 7, np.nan, 1).reshape(8, 6, 3)),
    "a NIfTI of complex numbers": lambda at: nifti(np.zeros((8, 6, 3), np.complex64)),
    "a NIfTI of an unknown type": lambda at: nifti(kind=(70, "h", 9999)),
    "a NIfTI of negative sides": lambda at: nifti(size=(40, "4h", 3, -8, 6, 3)),
    "a NIfTI without sides": lambda at: nifti(size=(40, "4h", 3, 0, 0, 0)),
    "a NIfTI of 20 dimensions": lambda at: nifti(size=(40, "h", 20)),
    "a NIfTI of five dimensions": lambda at: nifti(np.zeros((4, 4, 2, 2, 2), np.uint8)),
    "a NIfTI of one dimension": lambda at: nifti(np.zeros(9, np.uint8)),
    "a NIfTI whose values begin at NaN": lambda at: nifti(at=(108, "f", np.nan)),
    "a NIfTI whose values begin elsewhere": lambda at: nifti(at=(108, "f", 1e30)),
    "a NIfTI whose values begin before it": lambda at: nifti(at=(108, "f", -352.0)),
    "a NIfTI of an infinite slope": lambda at: nifti(slope=(112, "f", np.inf)),
    "a NIfTI nowhere": lambda at: nifti(place=(280, "12f", *[np.nan] * 12)),
    "a NIfTI of no spacing": lambda at: nifti(spacing=(76, "8f", *[0.0] * 8)),
    "a NIfTI of NaN spacing": lambda at: nifti(spacing=(76, "8f", *[np.nan] * 8)),
    "a NIfTI of a trillion slices": lambda at: wide_nifti(),
    "a NIfTI with a script in its text": lambda at: nifti(text=(148, "25s", SCRIPT.encode())),
    # DICOM
    "a DICOM that is a program": lambda at: b"MZ" + dicom(at)[2:],
    "a DICOM that is a page": lambda at: SCRIPT.encode().ljust(128) + dicom(at)[128:],
    "a DICOM without pixels": lambda at: dicom(at, PixelData=None),
    "a DICOM of 65535 values a pixel": lambda at: dicom(at, SamplesPerPixel=65535),
    "a DICOM of no values a pixel": lambda at: dicom(at, SamplesPerPixel=0),
    "a DICOM of an unknown colour": lambda at: dicom(at, PhotometricInterpretation="SCRIPT"),
    "a DICOM with more bits than it has": lambda at: dicom(at, BitsStored=64),
    "a DICOM of 2 billion frames": lambda at: dicom(at, NumberOfFrames=2**31 - 1),
    "a DICOM of minus one frame": lambda at: dicom(at, NumberOfFrames=-1),
    "a DICOM of NaN slope": lambda at: patched(dicom(at, RescaleSlope="1234"), b"1234", b"NaN "),
    "a DICOM of no slope": lambda at: dicom(at, RescaleSlope=0),
    "a DICOM of an endless slope": lambda at: dicom(at, RescaleSlope="1e308"),
    "a deflated DICOM of many zeros": lambda at: deflated(at, pixels=bytes(2**25)),
    "a DICOM with an odd number of bytes": lambda at: native(at, lambda pixels: pixels[:-1]),
    "a DICOM with too few bytes": lambda at: native(at, lambda pixels: pixels[:50]),
    "a DICOM with no bytes": lambda at: native(at, lambda pixels: b""),
    "a DICOM that ends within its pixels": lambda at: native(at, lambda pixels: pixels[:50], 2**31),
    "a DICOM of 2 bits of 1": lambda at: dicom(at, BitsAllocated=1, BitsStored=2),
    "a DICOM of no bits": lambda at: dicom(at, BitsStored=0),
    "a DICOM of a negative window": lambda at: dicom(at, WindowCenter=0, WindowWidth=-5),
    "a DICOM of an endless window": lambda at: dicom(at, WindowCenter=0, WindowWidth="1e300"),
    "a DICOM of an endless intercept": lambda at: dicom(at, RescaleIntercept="-1e300"),
    "a DICOM of a million private items": lambda at: with_private(at, fragment(b"") * 300_000),
    "a DICOM of many private items without length": lambda at: with_private(
        at, (ITEM + b"\xff" * 4 + b"\xfe\xff\x0d\xe0" + bytes(4)) * 3_000 + SEQUENCE_END, 2**32 - 1
    ),
    "a DICOM of sequences within sequences": lambda at: with_private(at, NESTED * 20_000, 2**32 - 1),
    "a DICOM of sequences of an unknown kind": lambda at: with_private(
        at, NESTED.replace(b"SQ", b"UN") * 20_000, 2**32 - 1, "UN"
    ),
    **{
        f"a {name} DICOM of {what}": lambda at, syntax=syntax, fragments=fragments: encapsulated(at, syntax, fragments)
        for name, syntax in (("JPEG", "4.50"), ("JPEG-LS", "4.80"), ("JPEG 2000", "4.90"), ("RLE", "5"))
        for what, fragments in (
            ("an empty fragment", fragment(b"") + fragment(b"") + SEQUENCE_END),
            ("no fragment", fragment(b"") + SEQUENCE_END),
            ("nothing at all", b""),
            ("a fragment beyond its end", fragment(b"") + ITEM + struct.pack("<I", 2**31)),
            ("many empty fragments", fragment(b"") * 140_000 + SEQUENCE_END),
        )
    },
    "a DICOM of no window": lambda at: dicom(at, WindowCenter=0, WindowWidth=0),
    "a DICOM of no spacing": lambda at: dicom(at, PixelSpacing=[0, 0]),
    "a DICOM of a spacing in words": lambda at: patched(dicom(at), b"0.5\\0.75", b"a\\script"),
    "a DICOM nowhere": lambda at: dicom(at, ImagePositionPatient=None, ImageOrientationPatient=None),
    "a DICOM turned by nothing": lambda at: dicom(at, ImageOrientationPatient=[0] * 6),
    "a DICOM of an unknown syntax": lambda at: patched(dicom(at), b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.9.9.9\0"),
    "a DICOM that says JPEG": lambda at: patched(dicom(at), b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.4.50"[:20]),
    "a DICOM of an unknown alphabet": lambda at: dicom(at, SpecificCharacterSet="ISO 9999"),
}
