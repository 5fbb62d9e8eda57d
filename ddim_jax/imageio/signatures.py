"""Formats by their first bytes, to say of a file that cannot be read which one it is."""

_SIGNATURES = (
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (0, b"II+\0", "BigTIFF"),
    (0, b"MM\0+", "BigTIFF"),
    (0, b"BM", "BMP"),
    (0, b"GIF8", "GIF"),
    (8, b"WEBP", "WebP"),
    (4, b"ftypheic", "HEIC"),
    (4, b"ftypheix", "HEIC"),
    (4, b"ftypmif1", "HEIC"),
    (4, b"ftypavif", "AVIF"),
    (0, b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (0, b"\xffO\xffQ", "JPEG 2000"),
    (0, b"%PDF", "PDF"),
    (0, b"%!PS", "PostScript"),
    (0, b"\x1f\x8b", "gzip"),
    (0, b"PK\x03\x04", "zip"),
    (0, b"\x89HDF\r\n\x1a\n", "HDF5"),
    (0, b"\x93NUMPY", "NumPy"),
    (0, b"NRRD", "NRRD"),
    (128, b"DICM", "DICOM"),
    (344, b"n+1\0", "NIfTI"),
    (0, b"version https://git-lfs", "Git LFS pointer"),
)
_PAGES = (b"<!doctype html", b"<html")


def told_of(start: bytes) -> str:
    """The format that a file begins as, in brackets behind a blank, " (it is a GIF file)"; "" for one not known here.

    Args:
      start: its first bytes, 348 or more of them where it has so many.
    """
    kinds = (name for place, magic, name in _SIGNATURES if start[place:].startswith(magic))
    page = "web page" if start.lstrip()[:20].lower().startswith(_PAGES) else None
    kind = next(kinds, page)
    return f" (it is a {kind} file)" if kind else ""
