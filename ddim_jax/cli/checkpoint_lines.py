"""The lines of `ddim-jax doctor --ckpt`: the checkpoints of a run, or a file of packed weights."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ddim_jax.runtime.errors import CheckpointError

Line = tuple[str, str, str]
"""A name, what was found, and what to do about it ("" for nothing)."""


def checkpoint_lines(run: str) -> tuple[list[Line], bool]:
    """The content of the checkpoints of a run, and if one of them is intact."""
    from ddim_jax.checkpoints import CheckpointStore, locate
    from ddim_jax.checkpoints.weights import packed_file

    file, known = packed_file(run)
    if file is not None:
        return _packed(file, known)
    folder, chosen = locate(run)
    store = CheckpointStore(folder)
    steps = store.steps() if chosen is None else [chosen]
    lines, config = [], None
    for step in steps:
        try:
            line, found = _step(store, step)
        except (CheckpointError, OSError):
            if chosen is not None or step in store.steps():
                raise
            continue
        if chosen is None and step not in store.steps():
            continue  # a training has removed it meanwhile, which is no damage
        lines.append(line)
        config = config if found is None else found
    if config is None and chosen is None and not set(steps) <= set(store.steps()):
        return checkpoint_lines(run)  # there are later ones
    if config is None:
        left = "no intact one is left" if steps else "no complete one"
        lines.append(("checkpoints", f"{folder}: {left}", "train with this --workdir, or give another run"))
        return lines, False
    return lines + _sections(config), True


def _step(store: Any, step: int) -> tuple[Line, dict | None]:
    """The line of a step, and its config; None if it is damaged.

    Raises:
      CheckpointError, OSError: it was removed meanwhile.
    """
    from ddim_jax.checkpoints.manifest import describe_damage, manifest_digest
    from ddim_jax.checkpoints.weights import open_weights
    from ddim_jax.inference.loading import weights_digest

    place = store.directory / str(step)
    if damage := store.damage(step):
        return (f"step {step}", describe_damage(place, damage), "restore these files from a copy"), None
    size = sum(file.stat().st_size for file in place.rglob("*") if file.is_file())
    told = f"intact, {size / 2**20:.1f} MiB, SHA-256 of its manifest {manifest_digest(place)}"
    told += f", of its averaged weights {weights_digest(open_weights(place).params)}"
    return (f"step {step}", told, ""), store.metadata(step).get("config") or {}


def _packed(file: Path, known: str | None) -> tuple[list[Line], bool]:
    """The content of a file of packed weights, and if it is intact."""
    from ddim_jax.checkpoints.packed import read_packed

    try:
        packed = read_packed(file, known)
    except CheckpointError as error:
        return [("weights", str(error), "")], False
    size = file.stat().st_size / 2**20
    told = f"{file}: intact, step {packed.step}, {packed.dtype}, {size:.1f} MiB, SHA-256 {packed.file_sha256}"
    texts = [(name, packed.metadata["data"].get(name, ""), "") for name in ("note", "terms")]
    record = packed.metadata["calibration"]
    texts.append(("calibration", f"coverage {record.get('coverage')}, {record.get('about')}" if record else "none", ""))
    if record:
        texts.append(("unlike images", "are flagged" if record.get("unlikeness") else "not judged", ""))
    return [("weights", told, ""), *(line for line in texts if line[1]), *_sections(packed.metadata["config"])], True


def _sections(config: object) -> list[Line]:
    """The lines on the network, the images and the sampling of a config."""
    lines = []
    for section in ("model", "data", "sample"):
        fields = config.get(section) if isinstance(config, dict) else None
        if isinstance(fields, dict):
            lines.append((section, ", ".join(f"{name} {value}" for name, value in _set(fields)), ""))
    return lines


def _set(fields: dict, prefix: str = "") -> Iterator[tuple[str, object]]:
    """The fields that are set, those of sections by their names with dots."""
    for name, value in fields.items():
        if isinstance(value, dict):
            yield from _set(value, f"{prefix}{name}.")
        elif value is not None and value != "":
            yield prefix + name, value
