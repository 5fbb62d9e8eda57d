"""Formats by their first bytes: to know a file without its name, or to say of one that cannot be read which it is."""

_SIGNATURES = (  # offset, bytes there, name, suffix by which the readers know it or None
    (128, b"DICM", "DICOM", ".dcm"),  # before others: what stands in front may be the beginning of a TIFF file
    (0, b"\x89PNG\r\n\x1a\n", "PNG", ".png"),
    (0, b"\xff\xd8\xff", "JPEG", ".jpg"),
    (0, b"II*\0", "TIFF", ".tif"),
    (0, b"MM\0*", "TIFF", ".tif"),
    (0, b"II+\0", "BigTIFF", ".tif"),
    (0, b"MM\0+", "BigTIFF", ".tif"),
    (0, b"BM", "BMP", ".bmp"),
    (0, b"GIF8", "GIF", None),
    (8, b"WEBP", "WebP", None),
    (4, b"ftypheic", "HEIC", None),
    (4, b"ftypheix", "HEIC", None),
    (4, b"ftypmif1", "HEIC", None),
    (4, b"ftypavif", "AVIF", None),
    (0, b"\0\0\0\x0cjP  ", "JPEG 2000", None),
    (0, b"\xffO\xffQ", "JPEG 2000", None),
    (0, b"%PDF", "PDF", None),
    (0, b"%!PS", "PostScript", None),
    (0, b"\x1f\x8b", "gzip", ".nii.gz"),
    (0, b"PK\x03\x04", "zip", ".zip"),
    (0, b"\x89HDF\r\n\x1a\n", "HDF5", None),
    (0, b"\x93NUMPY", "NumPy", None),
    (0, b"NRRD", "NRRD", None),
    (344, b"n+1\0", "NIfTI", ".nii"),
    (4, b"n+2\0", "NIfTI", ".nii"),
    (0, b"version https://git-lfs", "Git LFS pointer", None),
)
_PAGES = (b"<!doctype html", b"<html")


def told_of(start: bytes) -> str:
    """The format that a file begins as, in brackets behind a blank, " (it is a GIF file)"; "" for one not known here.

    Args:
      start: its first bytes, 348 or more of them where it has so many.
    """
    kinds = (name for place, magic, name, _ in _SIGNATURES if start[place:].startswith(magic))
    page = "web page" if start.lstrip()[:20].lower().startswith(_PAGES) else None
    kind = next(kinds, page)
    return f" (it is a {kind} file)" if kind else ""


def suffix_of_content(start: bytes) -> str | None:
    """The suffix by which readers know a file that begins as `told_of` has it; None for formats without a reader."""
    return next((suffix for place, magic, _, suffix in _SIGNATURES if start[place:].startswith(magic)), None)
