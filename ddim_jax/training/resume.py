"""Whether a run directory may be continued with a configuration."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ddim_jax.io.errors import CheckpointError, ConfigError
from ddim_jax.io.values import is_whole

MAY_DIFFER = (
    "name",
    "data.root",  # the same pictures may lie elsewhere; their names are compared
    "data.cache_dir",
    "data.resident_bytes",
    "model.overrides.remat",  # what is kept and what is computed again has the same values
    "sample.ensemble",
    "sample.eta",
    "sample.flips",
    "sample.protocol",
    "sample.sampler",
    "sample.samples",
    "sample.steps",
    "train.checkpoint_every",
    "train.init_from",  # what a run began with is in its weights already
    "train.keep_latest",
    "train.log_every",
)
"""Fields that change neither what a run computes from here on nor how its checkpoints are ranked."""


ADDED = {
    "diffusion.schedule": "linear",
    "diffusion.zero_terminal_snr": False,
    "diffusion.loss_weight": "plain",
    "train.accumulate": 1,
}
"""Fields that runs of earlier versions do not have, with the value that is what they did."""


def check_same_run(saved: Mapping[str, Any], current: Mapping[str, Any], workdir: str, step_folder: Path) -> None:
    """Compares the metadata of the checkpoint in `step_folder` with those of the run that is to go on from it.

    Raises:
      ConfigError: it was made with another configuration or from other training images.
      CheckpointError: its metadata are not those of a run.
    """
    file = step_folder / "metadata" / "metadata"
    for name, value in (("config", saved.get("config")), ("data", saved.get("data"))):
        if not isinstance(value, Mapping):
            raise CheckpointError(f"{file}: {name} is {value!r}; expected a section. Was it made by train.py?")
    if not isinstance(saved["config"].get("train"), Mapping):
        raise CheckpointError(f"{file}: its config has no section train. Was it made by train.py?")
    check_resumable(saved["config"], current["config"], workdir)
    if saved["data"] != current["data"]:
        count = saved["data"].get("train_examples")
        if not is_whole(count, 1):
            raise CheckpointError(f"{file}: data.train_examples is {count!r}; expected the number of training images")
        raise ConfigError(
            f"{workdir} holds a run trained on {count} images; there are {current['data']['train_examples']} now, and "
            "the names of training or validation images differ. Use the same images to resume it, or another --workdir."
        )


def check_resumable(saved: Mapping[str, Any], current: Mapping[str, Any], workdir: str) -> None:
    """Compares the config of the run in `workdir` with the one it is to go on with.

    With a constant learning rate the length of the run (train.steps, train.epochs) may differ as well; with another
    schedule it decides the learning rate of every step.

    Raises:
      ConfigError: they differ in what matters; every field is named with both values.
    """
    may_differ = MAY_DIFFER
    if saved.get("train", {}).get("schedule") == "constant":
        may_differ = (*may_differ, "train.steps", "train.epochs")
    before, now = _flatten(saved), _flatten(current)
    before = {field: value for field, value in ADDED.items() if now.get(field) is not None} | before
    differing = [
        f"{field}: {before.get(field, 'absent')!r} there, {now.get(field, 'absent')!r} now"
        for field in sorted(before.keys() | now.keys())
        if before.get(field) != now.get(field) and not _covered(field, may_differ)
    ]
    if differing:
        raise ConfigError(
            f"{workdir} holds a run with another configuration ({'; '.join(differing)}). "
            "Use the same values to resume it, or another --workdir."
        )


def _covered(field: str, names: tuple[str, ...]) -> bool:
    return any(field == name or field.startswith(name + ".") for name in names)


def _flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = list(value) if isinstance(value, tuple) else value
    return flat
