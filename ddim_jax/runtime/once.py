"""Lines of the log that a run says once, however often what they tell of is come by."""

import functools
from collections.abc import Callable


@functools.cache
def say_once(log: Callable[..., None], text: str) -> None:
    """Logs a line by `log`, such as `absl.logging.warning`, unless this process has logged it since its run began.

    What begins a run calls `say_once.cache_clear()`: a second run in the same process says its lines again.
    """
    log("%s", text)
