"""Step folders that are taken out of the way, by one process."""

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from absl import logging

from ddim_jax.checkpoints.manifest import MANIFEST, describe_damage, is_complete


def remove(folder: Path) -> None:
    """Removes a step folder; without its manifest, one whose removal is interrupted is incomplete and not damaged."""
    (folder / MANIFEST).unlink(missing_ok=True)
    shutil.rmtree(folder)


@contextlib.contextmanager
def may_stay(folder: Path) -> Iterator[None]:
    """A step folder that the block cannot take away is named in a warning.

    Over NFS, that is so while another machine reads it: what is removed there stays as `.nfs...` until it is closed.
    """
    try:
        yield
    except OSError as error:
        logging.warning("%s: cannot be taken away (%s); the next save tries again", folder, error.strerror or error)


def take_away(folder: Path, damage: Sequence[str], *, only_remains: bool) -> None:
    """Takes a step folder that cannot be used out of the way, and says so.

    Args:
      folder: of the step.
      damage: what is wrong with it.
      only_remains: whether no intact step is there. What has no manifest is removed where there is one, for it is what
        an interrupted save or removal left. Everything else is renamed to `<step>.damaged`: somebody may look at it.
    """
    if not is_complete(folder) and not only_remains:
        logging.warning("%s: removed, %s is missing: saving or removing it was interrupted", folder, MANIFEST)
        remove(folder)
        return
    names = (f"{folder.name}.damaged{suffix}" for suffix in ("", *(f"-{number}" for number in range(2, 1000))))
    aside = next(path for path in map(folder.with_name, names) if not path.exists())
    logging.warning("%s; moved to %s", describe_damage(folder, damage), aside)
    folder.rename(aside)
