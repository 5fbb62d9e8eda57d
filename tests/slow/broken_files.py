"""Broken images or volumes in a process of their own: `python broken_files.py FOLDER COUNT SEED images|volumes`.

Writes one line of JSON: how many files there are, how many were segmented, what was said of the others, the peak of the
memory in bytes, and results that belong to no segmented file.
"""

import gzip
import io
import json
import struct
import sys
import zlib
from pathlib import Path

import nibabel
import numpy as np
from PIL import Image
from pydicom.data import get_testdata_file

from tests.slow.picture_memory import peak

DICOM = (
    *("CT_small.dcm", "MR_small_RLE.dcm", "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm"),
    *("SC_rgb_jpeg_dcmtk.dcm", "SC_rgb_rle_2frame.dcm", "examples_palette.dcm", "rtdose.dcm"),
)


def volumes():
    """Whole DICOM and NIfTI files by name."""
    rng = np.random.default_rng(0)
    found = {name: Path(get_testdata_file(name, download=False)).read_bytes() for name in DICOM}
    for name, shape in (("a.nii", (20, 24, 6)), ("b.nii.gz", (20, 24, 6)), ("c.nii.gz", (31, 33, 1))):
        image = nibabel.Nifti1Image(rng.integers(-99, 999, shape).astype(np.int16), np.diag([1, 1, 3, 1]))
        whole = image.to_bytes()
        found[name] = gzip.compress(whole) if name.endswith(".gz") else whole
    return found


def images():
    """Whole images by name."""
    rng, found = np.random.default_rng(0), {}
    rgb = Image.fromarray(rng.integers(0, 256, (24, 24, 3), np.uint8))
    deep = Image.fromarray(rng.integers(0, 2**16, (24, 24), np.uint16))
    for name, picture, options in (
        ("d.png", rgb, {}),
        ("e.png", rgb.quantize(16), {"transparency": 3}),
        ("f.jpg", rgb, {}),
        ("g.jpg", rgb, {"progressive": True}),
        ("h.tif", rgb, {"compression": "tiff_lzw"}),
        ("i.tif", deep, {"compression": "tiff_adobe_deflate"}),
        ("k.bmp", rgb, {}),
    ):
        file = io.BytesIO()
        picture.save(file, Image.registered_extensions()[name[1:]], **options)
        found[name] = file.getvalue()
    return found


def damaged(name, whole, rng):
    """A file cut, with flipped bytes, with wrong lengths, or with sizes that are too large."""
    kind = rng.choice(["cut", "flip", "flip the head", "lengths", "sizes"])
    packed = name.endswith(".gz")
    content = bytearray(gzip.decompress(whole) if packed and kind in ("lengths", "sizes") else whole)
    if kind == "cut":
        return bytes(content[: rng.integers(0, len(content))])
    if kind in ("flip", "flip the head"):
        end = len(content) if kind == "flip" else min(len(content), 1500)
        for at in rng.integers(0, end, rng.integers(1, 9)):
            content[at] ^= 1 << rng.integers(0, 8)
        return bytes(content)
    if kind == "lengths":  # of anything in the head
        at = rng.integers(132 if name.endswith(".dcm") else 0, min(len(content), 1400) - 4)
        content[at : at + 4] = struct.pack("<I", rng.choice([0xFFFFFFFF, 0x7FFFFFFF, 0x10000000, 0]))
    elif name.endswith(".dcm"):
        for tag in (b"\x28\x00\x10\x00", b"\x28\x00\x11\x00", b"\x28\x00\x08\x00", b"\x28\x00\x00\x01"):
            at = content.find(tag)
            if at > 0 and rng.random() < 0.6:
                content[at + 8 : at + 10] = rng.choice([b"\xff\xff", b"\x00\x00", b"\x00\x40", b"99"])
        at = content.find(b"\xff\x4f\xff\x51")  # of JPEG 2000
        if at > 0:
            content[at + 8 : at + 16] = struct.pack(">II", 60000, 60000)
        at = max(content.find(b"\xff\xc0"), content.find(b"\xff\xf7"))  # of JPEG and JPEG-LS
        if at > 0:
            content[at + 5 : at + 9] = struct.pack(">HH", 65000, 65000)
    elif name.endswith(".png"):  # with a checksum that is right
        content[16:24] = struct.pack(">II", *rng.choice([0, 23, 25, 30000, 2**31], 2))
        content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    elif name.endswith(".jpg"):
        at = max(content.find(b"\xff\xc0"), content.find(b"\xff\xc2"))
        content[at + 5 : at + 9] = struct.pack(">HH", *rng.choice([0, 23, 25, 30000, 65535], 2))
    elif name.endswith(".bmp"):
        content[18:26] = struct.pack("<ii", *rng.choice([0, -24, 25, 30000, -(2**31)], 2))
    elif name.endswith(".tif"):
        (at,) = struct.unpack_from("<I", content, 4)
        for _ in range(2):  # numbers of the directory
            place = at + int(rng.integers(2, 100))
            content[place : place + 2] = rng.choice([b"\0\0", b"\1\0", b"\xff\x7f", b"\xff\xff"])
    else:
        dims = rng.choice([[3, 30000, 30000, 30000, 1], [3, 700, 700, 700, 1], [3, 20, 24, -6, 1], [7, 20, 24, 6, 99]])
        content[40:50] = np.array(dims, "<i2").tobytes()
    return gzip.compress(bytes(content)) if packed else bytes(content)


def bombs(folder):
    """Files that are small and would fill the memory."""
    whole = bytearray(Path(get_testdata_file("MR_small_RLE.dcm", download=False)).read_bytes())
    at = whole.find(b"\xe0\x7f\x10\x00")
    runs = b"\x81\x00" * 2**22  # 128 bytes each
    frame = struct.pack("<16I", 2, 64, 64 + len(runs) // 2, *[0] * 13) + runs
    item = b"\xfe\xff\x00\xe0" + struct.pack("<I", 0) + b"\xfe\xff\x00\xe0" + struct.pack("<I", len(frame)) + frame
    (folder / "runs.dcm").write_bytes(bytes(whole[: at + 12]) + item + b"\xfe\xff\xdd\xe0\0\0\0\0")
    many = bytes(128) + b"DICM" + b"\x02\x00\x10\x00UI\x14\x001.2.840.10008.1.2.1\0"
    many += b"\x09\x00\x10\x10UN\0\0\0\0\0\0" * 2**21  # empty attributes
    (folder / "attributes.dcm").write_bytes(many)


def main(folder, count, seed, kind):
    from segmenters import red_segmenter

    from ddim_jax.inference import segment_files

    folder, rng, whole = Path(folder), np.random.default_rng(seed), {"images": images, "volumes": volumes}[kind]()
    (folder / "in").mkdir(parents=True)
    for number in range(count):
        name = list(whole)[number % len(whole)]
        # In a folder of its own: copies of one file would be slices of one series.
        (folder / f"in/{number:03d}").mkdir()
        (folder / f"in/{number:03d}/{name}").write_bytes(damaged(name, whole[name], rng))
    save = ("mask", "overlay")
    if kind == "volumes":
        bombs(folder / "in")
        save += ("nifti", "nifti-probability")
    out = folder / "out"
    summary = segment_files(red_segmenter(), folder / "in", out, save=save)
    # A source of which NIfTI cannot be made has its other results all the same, and its line names them.
    records = [json.loads(line) for line in (out / "index.jsonl").open()]
    known = {one["name"] for one in records if "name" in one and one.get("outputs")}
    results = {path.relative_to(out).as_posix() for path in out.rglob("*_mask*")}
    told = {
        "files": sum(path.is_file() for path in (folder / "in").rglob("*")),
        "done": summary.done,
        "passed_over": sum(summary.passed_over.values()),
        "failed": [reason for _, reason in summary.failed],
        "peak": peak(),
        "stray": sorted(name for name in results if not any(name.startswith(f"{one}_mask") for one in known)),
        "partial": [str(path) for path in out.rglob("*partial*")],
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
