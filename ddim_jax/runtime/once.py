"""Lines of the log that are said once in a run, however often what they tell of is come by."""

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar

_SAID: ContextVar[set[str] | None] = ContextVar("said", default=None)


@contextlib.contextmanager
def saying_once() -> Iterator[None]:
    """Has `say_once` say each line once in the block, or in the one around it; decorates the functions that are a run.

    The record goes with the block: a second run in the same process says its lines again. A generator is not decorated,
    its body runs later: the block stands around what reads it.
    """
    token = _SAID.set(set()) if _SAID.get() is None else None
    try:
        yield
    finally:
        if token is not None:
            _SAID.reset(token)


def say_once(log: Callable[..., None], text: str) -> None:
    """Logs a line, unless the run that this is a part of has logged it; outside of a run always."""
    said = _SAID.get()
    if said is not None and text in said:
        return
    if said is not None:
        said.add(text)
    log("%s", text)
