"""Large images in bands of some rows, so that what is made on the way does not have their size."""

from collections.abc import Iterator

_PIXELS = 2**18


def bands(height: int, width: int) -> Iterator[slice]:
    """The rows of an image in parts, of about 2^18 pixels each."""
    step = max(1, _PIXELS // max(width, 1))
    for top in range(0, height, step):
        yield slice(top, min(top + step, height))
