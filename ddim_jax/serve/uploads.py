"""The content of a request: its files, in a private folder under names made here, and its fields.

A file is known by its content. Of its name the suffix alone is looked at, for formats without such a mark; the name may
be a patient's, so nothing keeps it.
"""

import asyncio
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.requests import Request

from ddim_jax.imageio.archives import SUFFIX, Archive, TooManyFiles
from ddim_jax.imageio.images import image_suffixes, suffix_of
from ddim_jax.imageio.signatures import suffix_of_content, told_of
from ddim_jax.serve.limits import Limits
from ddim_jax.serve.refusals import Refusal

_COMMON = (
    ".csv", ".doc", ".docx", ".exe", ".gif", ".gz", ".heic", ".htm", ".html", ".inf", ".ini", ".json", ".log", ".md",
    ".mha", ".npy", ".nrrd", ".pdf", ".rtf", ".svg", ".txt", ".webp", ".xls", ".xlsx", ".xml", SUFFIX,
)  # fmt: skip
_FIELD_BYTES = 4096
_FIELDS = 16


class Received(NamedTuple):
    """The content of a request.

    Attributes:
      fields: those of the address among them.
      left_out: how many files are of no kind that can be read, by their suffix.
    """

    fields: dict[str, str]
    left_out: Counter[str]


async def receive(request: Request, folder: Path, limits: Limits) -> Received:
    """Writes the files of a request into `folder`, called by their number: 0001.png.

    A body is a form with files (multipart/form-data) or one file as it is.

    Raises:
      Refusal: there is no file and no example, no file is of a kind that can be read, a field is there twice, the body
        stands still, or the form is damaged.
    """

    receive_any_time = request.receive

    async def receive_in_time() -> Any:
        try:
            async with asyncio.timeout(limits.idle_seconds):
                return await receive_any_time()
        except TimeoutError:
            raise Refusal(408, f"For {limits.idle_seconds:g} seconds nothing of the upload came.") from None

    request = Request(request.scope, receive_in_time)
    fields, left_out = [], Counter()
    if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        fields, left_out = await _receive_form(request, folder, limits)
    else:
        await _receive_body(request, folder)
    fields += request.query_params.multi_items()
    if len(once := dict(fields)) < len(fields):
        raise Refusal(422, "A field is there twice; expected each once, in the form or in the address.")
    there = any(folder.iterdir())
    if there and "example" in once:
        raise Refusal(422, "There are a file and an example; expected one of them.")
    if not there and "example" not in once:
        raise Refusal(422, "There is no file; expected an image, a DICOM or a NIfTI file.")
    return Received(once, left_out)


async def _receive_form(request: Request, folder: Path, limits: Limits) -> tuple[list[tuple[str, str]], Counter[str]]:
    fields: list[tuple[str, str]] = []
    left_out: Counter[str] = Counter()
    number, kept, refused = 0, 0, None
    async with request.form(max_files=limits.upload_files, max_fields=_FIELDS, max_part_size=_FIELD_BYTES) as form:
        for name, value in form.multi_items():
            if not isinstance(value, UploadFile):
                fields.append((name, value))
            elif value.size or value.filename:
                number += 1
                try:
                    await run_in_threadpool(_keep, value.file, value.filename or "", folder / f"{number:04d}")
                    kept += 1
                except Refusal as refusal:
                    refused = refused or refusal
                    left_out[_kind_in_words(value.filename or "")] += 1
                await value.close()  # frees its room
    if refused is not None and not kept:
        raise refused if number == 1 else Refusal(415, f"None of the {number} files is of a kind that can be read.")
    return fields, left_out


async def _receive_body(request: Request, folder: Path) -> None:
    """Writes a body that is a file, if there is one."""
    path = folder / "body"
    with open(path, "w+b") as file:
        async for chunk in request.stream():
            file.write(chunk)
        if file.tell():
            path.rename(folder / f"0001{kind_of(file)}")
        else:
            path.unlink()


def _keep(file: BinaryIO, name: str, path: Path) -> None:
    with open(path.with_name(path.name + kind_of(file, name)), "xb") as kept:
        shutil.copyfileobj(file, kept)


def known_suffixes() -> tuple[str, ...]:
    """Suffixes that say what a file is, the longest first; what else stands behind a dot may be a patient's name."""
    return tuple(sorted({*image_suffixes(), *_COMMON}, key=len, reverse=True))


def _kind_in_words(name: str) -> str:
    """The suffix of a name, where it is a known one."""
    return next((suffix for suffix in known_suffixes() if name.lower().endswith(suffix)), "others")


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
    if known := suffix_of_content(start):
        return known
    suffix = suffix_of(name, image_suffixes()).lower()
    if suffix in image_suffixes():
        return suffix
    raise Refusal(
        415, f"The file is of no kind that can be read{told_of(start)}; expected PNG, JPEG, TIFF, BMP, DICOM, NIfTI or "
        "a zip."
    )  # fmt: skip


def unpack(folder: Path, limits: Limits, check: Callable[[], None]) -> tuple[list[Path], Counter[str]]:
    """Replaces the archives in `folder` by the files in them, called by both numbers: 0001_0003.dcm.

    Args:
      folder: of the upload.
      limits: of the files in archives.
      check: called before each of them; what it raises ends this.

    Returns:
      All files, sorted; and how many of those in archives are of no kind that can be read, by their suffix.

    Raises:
      Refusal: they are too many, too large when they are unpacked, or none can be read.
      DataError: an archive is damaged, encrypted or empty.
    """
    left, left_out = limits.upload_bytes, Counter()
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        try:
            archive = Archive(path, limits.upload_files)
        except TooManyFiles:
            raise Refusal(413, f"The archive holds too many files; expected at most {limits.upload_files}.") from None
        with archive:
            for number, name in enumerate(archive.names, start=1):
                check()
                member = folder / f"{path.stem}_{number:04d}"
                with archive.open(name, called=member) as file:
                    left -= file.seek(0, 2)
                    if left < 0:
                        raise Refusal(413, f"The archive holds more than {limits.upload_bytes} bytes when unpacked.")
                    try:
                        suffix = kind_of(file, name)
                    except Refusal:
                        suffix = SUFFIX
                    if suffix == SUFFIX:
                        left_out[_kind_in_words(name)] += 1
                    else:
                        member.with_suffix(suffix).write_bytes(file.read())
        path.unlink()
    files = sorted(folder.iterdir())
    if not files:
        raise Refusal(422, "The archive holds nothing that can be read.")
    return files, left_out
