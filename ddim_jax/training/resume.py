"""Whether a run directory may be continued with a configuration."""

from collections.abc import Mapping
from typing import Any

from ddim_jax.io.errors import ConfigError

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


def check_resumable(saved: Mapping[str, Any], current: Mapping[str, Any], workdir: str) -> None:
    """Compares the config of the run in `workdir` with the one it is to go on with.

    With a constant learning rate the length of the run (train.steps, train.epochs) may differ as well; with another
    schedule it decides the learning rate of every step.

    Raises:
      ConfigError: they differ in what matters; every field is named with both values.
    """
    before, now = _flatten(saved), _flatten(current)
    may_differ = MAY_DIFFER
    if before.get("train.schedule") == "constant":
        may_differ = (*may_differ, "train.steps", "train.epochs")
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
