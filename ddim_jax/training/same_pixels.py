"""The pixels that a run is trained on: their digests are written with it and compared when it goes on."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from absl import logging

from ddim_jax.data.discovery import listed
from ddim_jax.data.pixels import read_pixels, table_of
from ddim_jax.runtime.errors import ConfigError

FIELD = "pixels_sha256"
"""In the metadata of a checkpoint, section data: `digest_of` all pairs."""


def digest_of(digests: Mapping[str, str]) -> str:
    """One SHA-256 over the names and the digests of all pairs."""
    return hashlib.sha256(table_of(digests).encode()).hexdigest()


def check_same_pixels(saved: Mapping[str, Any], digests: Mapping[str, str], workdir: Path, *, refuse: bool) -> None:
    """Compares the pixels with those that the checkpoint with the metadata `saved` was trained on.

    Raises:
      ConfigError: they differ, and `refuse`; the pairs are named, up to ten. Otherwise that is logged.
    """
    before = saved["data"].get(FIELD)
    if before in (None, digest_of(digests)):
        return
    known = read_pixels(workdir)
    changed = []
    if known is not None and digest_of(known) == before:
        changed = [name for name in digests if known.get(name) != digests[name]]
    which = f"of {listed(changed)} ({len(changed)} of {len(digests)} pairs)" if changed else "of some pairs"
    text = f"{workdir} holds a run trained on other pixels: image or mask {which} changed since"
    if refuse:
        raise ConfigError(
            f"{text}. Bring the files back, or use another --workdir; data.same_pixels=false goes on with what is "
            "there now, as after a change of the library that decodes them."
        )
    logging.warning("%s; the run goes on with what is there now", text)
