"""Going on with a run: its configuration and data compared, its state restored."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from absl import logging

from ddim_jax.checkpoints import CheckpointStore
from ddim_jax.config import differences, saved_config, total_steps
from ddim_jax.data.discovery import listed
from ddim_jax.data.pixels import PIXELS_FIELD, digest_of, read_pixels
from ddim_jax.fields import fields_of, value_at, with_added
from ddim_jax.ops.cpu_kernels import loaded_digest
from ddim_jax.runtime.environment import environment, warn_if_changed
from ddim_jax.runtime.errors import CheckpointError, ConfigError
from ddim_jax.runtime.processes import broadcast_from_first
from ddim_jax.runtime.values import is_whole
from ddim_jax.schema import SCHEMA
from ddim_jax.training.run_parts import RunData, RunParts
from ddim_jax.training.sharding import replicated
from ddim_jax.training.state import TrainState, create_state

_LENGTH = ("train.steps", "train.epochs", "train.schedule_steps")
_TIED = "train.warmup_steps"
"""A share of the length in some configs: whoever changes that changes this too, and has to give its first value."""


class Found(NamedTuple):
    """The checkpoint that a run goes on from.

    Attributes:
      step, folder: of it.
      metadata: as they were saved.
      config: the resolved one in them.
    """

    step: int
    folder: Path
    metadata: dict[str, Any]
    config: dict[str, Any]


def find_checkpoint(store: CheckpointStore, config: Mapping[str, Any], workdir: str, last_saved: int) -> Found | None:
    """The newest checkpoint that process 0 finds intact, or None where a run has to begin.

    Args:
      last_saved: the step that was saved last, 0 if none was or it is not known.

    Raises:
      ConfigError: the checkpoint was made with another configuration.
      CheckpointError: there are checkpoints, none of them intact; or its metadata are not those of a run; or there is
        none, although one was saved: its disk may be away.
    """
    newest = store.newest_intact() if jax.process_index() == 0 else None
    step = broadcast_from_first(-1 if newest is None else newest)
    if step < 0:
        if last_saved:
            raise CheckpointError(
                f"{store.directory}: there is no checkpoint, but the run had saved step {last_saved}. Is a disk away? "
                "Bring it back and start again; without it, use another --workdir"
            )
        return None
    folder, metadata = store.directory / str(step), store.metadata(step)
    found = Found(step, folder, metadata, check_same_config(metadata, config, workdir, folder))
    if step < last_saved:
        logging.warning("%s: goes on from step %d; the run had saved step %d", store.directory, step, last_saved)
    return found


def training_environment() -> dict[str, str]:
    """`ddim_jax.runtime.environment`, and the number of devices, over which the gradients of a batch are added up."""
    return environment(loaded_digest()) | {"devices": str(jax.device_count())}


def as_begun(config: Mapping[str, Any], found: Found) -> dict[str, Any]:
    """The config of a run that goes on, in which fields that are used at its beginning alone have their first values.

    Whoever gave another value is told that it does nothing.
    """
    for name in (name for name, field in fields_of(SCHEMA) if field.resume == "ignored"):
        begun, given = value_at(found.config, name), value_at(config, name)
        if begun != given:
            if given is not None and jax.process_index() == 0:
                logging.warning("%s is %r and does nothing: the run goes on from step %d", name, given, found.step)
            section, _, field = name.rpartition(".")
            config = {**config, section: {**config[section], field: begun}}
    return dict(config)


def changed_in_vain(saved: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """Says which fields of a finished run have other values than in `saved`, its checkpoint's metadata; "" if none."""
    before = with_added(saved["config"], SCHEMA)
    free = [name for name, field in fields_of(SCHEMA) if field.resume == "free"]
    changed = [name for name in free if value_at(before, name) != value_at(config, name)]
    if not changed:
        return ""
    sampling = any(name.startswith("sample.") for name in changed)
    instead = "; for other samples give evaluate and sample their options" if sampling else ""
    return f" Other values of {', '.join(changed)} change nothing any more{instead}."


def restore(
    found: Found, parts: RunParts, data: RunData, optimiser: optax.GradientTransformation, image_size: int
) -> TrainState:
    """The state of the checkpoint that `find_checkpoint` found in the store of `parts`, on all devices of their mesh.

    Args:
      data: the examples that the run is about to be trained on.

    Raises:
      ConfigError: it was trained on others.
      CheckpointError: the checkpoint cannot be read, or was damaged meanwhile; or its metadata are not those of a run.
    """
    workdir = str(parts.workdir)
    check_same_data(found.metadata, data.identity(), workdir, found.folder, data.ids())
    if jax.process_index() == 0:
        warn_if_changed(found.metadata.get("surroundings"), f"{workdir}: step {found.step}", training_environment())
    fresh = jax.eval_shape(lambda: create_state(parts.model, optimiser, image_size, seed=0))
    everywhere = replicated(parts.mesh)
    template = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=everywhere),
        {"step": fresh.step, "params": fresh.params, "opt_state": fresh.opt_state},
    )
    restored = parts.store.restore(template, found.step)
    return TrainState(**restored.state, ema_params=jax.tree.map(np.asarray, restored.ema_params))


def check_same_config(
    saved: Mapping[str, Any], config: Mapping[str, Any], workdir: str, step_folder: Path
) -> dict[str, Any]:
    """Compares the config in the metadata of the checkpoint in `step_folder` with that of the run that is to go on.

    Returns:
      The one in the metadata.

    Raises:
      ConfigError: they differ in what matters; every field is named with both values.
      CheckpointError: its metadata are not those of a run.
    """
    there = saved_config(_metadata_file(step_folder), saved)
    schedule_steps = _schedule_steps(there["train"], saved.get("data"))
    differing = differences(there, config, schedule_steps)
    if differing:
        told = "; ".join(f"{name}: {before!r} there, {now!r} now" for name, (before, now) in differing.items())
        longer = ""
        if schedule_steps and any(name in _LENGTH for name in differing) and differing.keys() <= {*_LENGTH, _TIED}:
            warmup = f" --config.{_TIED}={differing[_TIED][0]}" if _TIED in differing else ""
            longer = (
                " To train longer at its last learning rate, add "
                f"--config.train.schedule_steps={schedule_steps}{warmup}."
            )
        raise ConfigError(
            f"{workdir} holds a run with another configuration ({told}). "
            f"Use the same values to resume it, or begin another run with its weights: "
            f"--config.train.init_from={workdir} --workdir ANOTHER.{longer}"
        )
    return there


def _schedule_steps(train: Mapping[str, Any], data: Any) -> int:
    """The steps over which the learning rate of a saved run goes; 0 if they depend on examples it does not tell of."""
    examples = data.get("train_examples") if isinstance(data, Mapping) else None
    if train["schedule_steps"] or train["steps"]:
        return train["schedule_steps"] or train["steps"]
    return total_steps(0, train["epochs"], train["batch_size"], examples) if is_whole(examples, 1) else 0


def check_same_data(
    saved: Mapping[str, Any],
    data: Mapping[str, Any],
    workdir: str,
    step_folder: Path,
    ids: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Refuses to go on with other examples than those that the run was trained on.

    Args:
      ids: the names of the images of "train" and "val" now, of which those that differ are told.

    Raises:
      ConfigError: it was trained on others.
      CheckpointError: its metadata are not those of a run.
    """
    there = saved.get("data")
    if not isinstance(there, Mapping):
        raise CheckpointError(
            f"{_metadata_file(step_folder)}: data is {there!r}; expected a section. Was it made by `ddim-jax train`?"
        )
    differing = {name: (there.get(name), now) for name, now in data.items() if there.get(name) != now}
    if not differing:
        return
    count = there.get("train_examples")
    if not is_whole(count, 1):
        raise CheckpointError(
            f"{_metadata_file(step_folder)}: data.train_examples is {count!r}; expected the number of training images"
        )
    told = []
    if unlabelled := differing.pop("unlabelled_ids_sha256", None):
        before, now = unlabelled
        told = [
            "data.unlabelled was set there and is not now"
            if now is None
            else "data.unlabelled is set now and was not there"
            if before is None
            else "the names of images of data.unlabelled differ"
        ]
    if differing:
        told.append(f"the names of training or validation images differ{_differing_names(there, workdir, ids or {})}")
    raise ConfigError(
        f"{workdir} holds a run trained on {count} images; there are {data['train_examples']} now, and "
        f"{' and '.join(told)}. Use the same images to resume it, or another --workdir."
    )


def _differing_names(there: Mapping[str, Any], workdir: str, ids: Mapping[str, Sequence[str]]) -> str:
    """The names of images that came and went, in brackets; "" where the table of the run does not tell."""
    known = read_pixels(Path(workdir))
    if not ids or known is None or digest_of(known) != there.get(PIXELS_FIELD):
        return ""
    before = {name for name in known if "//" not in name and not name.startswith("unlabelled/")}
    # A validation that is limited to some images leaves the others out of the table.
    gone, new = before.difference(ids["train"], ids["val"]), set(ids["train"]) - before
    named = [f"{what}: {listed(sorted(names))}" for what, names in (("gone", gone), ("new", new)) if names]
    return f" ({'; '.join(named)})" if named else ""


def _metadata_file(step_folder: Path) -> Path:
    return step_folder / "metadata" / "metadata"
