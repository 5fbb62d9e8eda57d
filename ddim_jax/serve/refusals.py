"""Refusals: an HTTP status and one sentence for the person who sent a request."""

import re
from pathlib import Path

from starlette.exceptions import HTTPException

from ddim_jax.runtime.errors import InputError, is_out_of_memory


class Refusal(HTTPException):
    """A request that cannot be served, `status_code` and `detail`."""

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None):
        super().__init__(status, message, headers)


def refusal_of(error: Exception, folder: Path) -> Refusal | None:
    """The refusal that an error of a job is for its sender; None for a fault of the program.

    Args:
      error: as it was raised.
      folder: of the upload. Files in it are called by their number: what they are called is not known here, and a path
        of this machine is nothing to tell.
    """
    if isinstance(error, Refusal):
        return error
    if isinstance(error, InputError):
        return Refusal(422, without_paths(str(error), folder))
    if is_out_of_memory(error):
        return Refusal(413, "It takes more memory than there is; cut or shrink it.")
    return None


def without_paths(text: str, folder: Path) -> str:
    """`text` with "file 3" for the path of the third file of the upload, or "the file" for the only one."""
    place = re.escape(str(folder))
    several = sum(1 for _ in (folder / "in").glob("*")) > 1
    text = re.sub(rf"{place}/\w+/0*(\d+)(\.[a-z]+)*", r"file \1" if several else "the file", text)
    text = re.sub(rf"{place}(/\w+)?", "the upload", text)
    return text[:1].upper() + text[1:]
