"""What could not be segmented, and why, where that may be everything."""

from collections.abc import Iterator

from ddim_jax.inference.paths import PathList


class Failures:
    """Paths with reasons, in the order they were added; iterating gives (path, reason).

    A reason begins with its path as a rule, and paths begin as those before them: both are held as a `PathList` holds
    paths.
    """

    def __init__(self):
        self._texts = PathList()

    def append(self, path: str, reason: str) -> None:
        """Adds an image; a zero in the reason, which no message has, would be shown as U+FFFD."""
        self._texts.append(path)
        self._texts.append(reason.replace("\0", "\N{REPLACEMENT CHARACTER}"))

    def __len__(self) -> int:
        return len(self._texts) // 2

    def __iter__(self) -> Iterator[tuple[str, str]]:
        texts = iter(self._texts)
        return zip(texts, texts, strict=True)
