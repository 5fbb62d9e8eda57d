"""Work that is started before the results of earlier work are taken."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any


def start_ahead(start: Callable[[Any], Any], items: Iterable[Any], count: int) -> Iterator[Any]:
    """Yields `start(item)` in order; up to `count` of them have been started and not yet taken at any time."""
    waiting = deque()
    for item in items:
        waiting.append(start(item))
        if len(waiting) == count:
            yield waiting.popleft()
    while waiting:
        yield waiting.popleft()
