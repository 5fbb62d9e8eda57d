"""The content of a request: its files, in a private folder under names made here, and its fields.

A file is known by its content. Of its name the suffix alone is looked at, for formats without such a mark; the name may
be a patient's, so nothing keeps it.
"""

import asyncio
import re
import shutil
from pathlib import Path
from typing import BinaryIO
from urllib.parse import parse_qsl

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.requests import Request

from ddim_jax.imageio.archives import SUFFIX, members, open_binary
from ddim_jax.imageio.images import image_suffixes, suffix_of
from ddim_jax.serve.limits import Limits
from ddim_jax.serve.refusals import Refusal

_MARKS = (
    (128, b"DICM", ".dcm"),  # before others: what stands there may be the beginning of a TIFF file
    (0, b"\x89PNG\r\n\x1a\n", ".png"),
    (0, b"\xff\xd8\xff", ".jpg"),
    (0, b"II*\0", ".tif"),
    (0, b"MM\0*", ".tif"),
    (0, b"II+\0", ".tif"),
    (0, b"MM\0+", ".tif"),
    (0, b"BM", ".bmp"),
    (0, b"PK\x03\x04", SUFFIX),
    (344, b"n+1\0", ".nii"),
    (4, b"n+2\0", ".nii"),
    (0, b"\x1f\x8b", ".nii.gz"),
)
_FIELD_BYTES = 4096
_FIELDS = 16


async def receive(request: Request, folder: Path, limits: Limits) -> dict[str, str]:
    """Writes the files of a request into `folder`; returns its fields, those of the address among them.

    A body is a form with files (multipart/form-data) or one file as it is.

    Raises:
      Refusal: there is no file and no example, a file is of no kind that can be read, it comes too slowly, or the form
        is damaged.
    """
    fields = dict(request.query_params)
    try:
        async with asyncio.timeout(limits.upload_seconds):
            if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
                fields |= await _receive_form(request, folder, limits)
            else:
                fields |= await _receive_body(request, folder)
    except TimeoutError:
        raise Refusal(408, f"The upload took longer than {limits.upload_seconds:g} seconds.") from None
    there = any(folder.iterdir())
    if there and "example" in fields:
        raise Refusal(422, "There are a file and an example; expected one of them.")
    if not there and "example" not in fields:
        raise Refusal(422, "There is no file; expected a picture, a DICOM or a NIfTI file.")
    return fields


async def _receive_form(request: Request, folder: Path, limits: Limits) -> dict[str, str]:
    fields: dict[str, str] = {}
    async with request.form(max_files=limits.upload_files, max_fields=_FIELDS, max_part_size=_FIELD_BYTES) as form:
        for name, value in form.multi_items():
            if not isinstance(value, UploadFile):
                if name in fields:
                    raise Refusal(422, "A field is there twice; expected each once.")
                fields[name] = value
            elif value.size or value.filename:
                await run_in_threadpool(_keep, value.file, value.filename or "", folder)
    return fields


async def _receive_body(request: Request, folder: Path) -> dict[str, str]:
    """Writes a body that is a file; fields in its place, as `curl -d` sends them, are returned."""
    path = folder / "body"
    with open(path, "w+b") as file:
        async for chunk in request.stream():
            file.write(chunk)
        size = file.tell()
        if not size:
            path.unlink()
            return {}
        try:
            path.rename(folder / f"0001{kind_of(file)}")
        except Refusal:
            # The type is no sign of fields: curl has it for files as well.
            file.seek(0)
            text = file.read(_FIELD_BYTES).decode("ascii", "replace")
            path.unlink()
            if size >= _FIELD_BYTES or not re.fullmatch(r"[a-z]+=[\w.,%+-]*(&[a-z]+=[\w.,%+-]*)*", text):
                raise
            return dict(parse_qsl(text))
    return {}


def _keep(file: BinaryIO, name: str, folder: Path) -> None:
    suffix = kind_of(file, name)
    with open(folder / f"{sum(1 for _ in folder.iterdir()) + 1:04d}{suffix}", "xb") as kept:
        shutil.copyfileobj(file, kept)


def kind_of(file: BinaryIO, name: str = "") -> str:
    """The suffix by which the readers know a file of this content or, without a mark, of this name.

    Raises:
      Refusal: there is no reader for it.
    """
    file.seek(0)
    start = file.read(512)
    file.seek(0)
    if not start:
        raise Refusal(422, "The file is empty (0 bytes).")
    for offset, mark, suffix in _MARKS:
        if start[offset:].startswith(mark):
            return suffix
    suffix = suffix_of(name, image_suffixes()).lower()
    if suffix in image_suffixes():
        return suffix
    raise Refusal(415, "The file is of no kind that can be read; expected PNG, JPEG, TIFF, BMP, DICOM, NIfTI or a zip.")


def unpack(folder: Path, limits: Limits) -> list[Path]:
    """Replaces the archives in `folder` by the files in them, under numbers; returns all files, sorted.

    Files of an archive that nothing reads are left out.

    Raises:
      Refusal: they are too many, or too large when they are unpacked.
      DataError: an archive is damaged, encrypted or empty.
    """
    left = limits.upload_bytes
    for archive in sorted(folder.glob(f"*{SUFFIX}")):
        names = members(archive)
        if len(names) > limits.upload_files:
            raise Refusal(413, f"The archive holds {len(names)} files; expected at most {limits.upload_files}.")
        for number, name in enumerate(names):
            with open_binary(archive / name) as file:
                left -= file.seek(0, 2)
                if left < 0:
                    raise Refusal(413, f"The archive holds more than {limits.upload_bytes} bytes when it is unpacked.")
                try:
                    suffix = kind_of(file, name)
                except Refusal:
                    continue
                if suffix != SUFFIX:
                    (folder / f"{archive.stem}{number + 1:04d}{suffix}").write_bytes(file.read())
        archive.unlink()
    files = sorted(folder.iterdir())
    if not files:
        raise Refusal(422, "The archive holds nothing that can be read.")
    return files
