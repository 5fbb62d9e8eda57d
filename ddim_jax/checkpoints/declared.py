"""What a file says it holds, against its size: memory is taken for it before anything of it is read."""

from pathlib import Path

from ddim_jax.runtime.errors import CheckpointError

SMALL = 2**28  # bytes that may be declared in any case
COMPRESSED = 100  # times smaller than its content a file may be; trained weights hardly shrink


def check_declared(path: Path, declared: int, stored: int, most: str = "") -> None:
    """Refuses a file of a few bytes that declares terabytes.

    Args:
      path: named in the message.
      declared: bytes of memory that reading it takes.
      stored: bytes that it has.
      most: what of it takes the most of them, if that is known.

    Raises:
      CheckpointError: it declares more than `COMPRESSED` times what it has, and more than `SMALL`.
    """
    if declared > max(SMALL, COMPRESSED * stored):
        where = f", most of them in {most}" if most else ""
        raise CheckpointError(
            f"{path}: its {stored:,} bytes say that they hold {declared:,} bytes of weights{where}; expected at most "
            f"{COMPRESSED} times as many as are stored. Is it from a source that you trust?"
        )
