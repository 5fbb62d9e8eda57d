"""Refusals: an HTTP status and one sentence for the person who sent a request."""

import errno
import re
from pathlib import Path

from starlette.exceptions import HTTPException

from ddim_jax.imageio.writers import WriterError
from ddim_jax.runtime.errors import InputError, is_out_of_memory

_VERBS = r"(?:is|has|holds|lists|lies|cannot|does|differs)\b"


class Refusal(HTTPException):
    """A request that cannot be served, `status_code` and `detail`."""

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None):
        super().__init__(status, message, headers)


def refusal_of(error: BaseException, folder: Path | None = None) -> Refusal | None:
    """The refusal that an error is for the sender of a request; None for a fault of the program.

    Args:
      error: as it was raised.
      folder: of the upload, if there is one by then. Files in it are called by their number: what they are called is
        not known here, and a path of this machine is nothing to tell.
    """
    if isinstance(error, Refusal):
        return error
    if isinstance(error, InputError) and not isinstance(error, WriterError) and folder is not None:
        return Refusal(422, without_paths(str(error), folder))
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Refusal(503, "The server has no room for it on its disk; try again later.", {"Retry-After": "60"})
    if is_out_of_memory(error):
        return Refusal(413, "It takes more memory than there is; cut or shrink it.")
    return None


def without_paths(text: str, folder: Path) -> str:
    """`text` without paths of this machine.

    A file of the upload is "file 3", the third that was sent, or "the file" if it is the only one; one of an archive is
    "member 3 of file 1", or "member 3 of the archive", by the order of the names in it. The colon behind a path goes
    where a verb follows: "The file is a report, no image."
    """

    def called(found: re.Match) -> str:
        sent, member = found[1], found[2]
        if member is None:
            return f"file {sent}" if several else "the file"
        return f"member {member} of {f'file {sent}' if several else 'the archive'}"

    place = re.escape(str(folder))
    several = len({path.name[:4] for path in (folder / "in").glob("*")}) > 1
    text = re.sub(rf"{place}/\w+/0*(\d+)(?:_0*(\d+))?(?:\.[a-z]+)*(?::(?= {_VERBS}))?", called, text)
    text = re.sub(rf"{place}(/\w+)?", "the upload", text)
    return text[:1].upper() + text[1:]
