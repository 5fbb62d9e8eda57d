"""From a configuration to complete, checked, plain values."""

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from ddim_jax.aggregation import PROTOCOLS
from ddim_jax.registry import ENSEMBLES, SAMPLERS
from ddim_jax.runtime.errors import ConfigError
from ddim_jax.runtime.remote import refuse_remote
from ddim_jax.runtime.values import is_whole
from ddim_jax.training.optimiser import create_optimiser, learning_rate_schedule

SECTIONS = {"lightweight_ddim": "ddim", "ddim": "ddim", "unet": "unet", "medsegdiff": "medsegdiff"}
"""The section of a config with the settings of each model; the other sections of this list are not its own."""

_LARGEST_IMAGE = 2**14  # far beyond what fits on any device, and too little to fill the host's memory by mistake
_POSITIVE = (
    "data.image_size",
    "train.accumulate",
    "train.batch_size",
    "train.checkpoint_every",
    "train.keep_latest",
    "train.log_every",
    "train.validation_images",
    "train.validation_steps",
    "sample.steps",
    "sample.samples",
)


def plain_config(config: Any) -> dict[str, Any]:
    """A config (ml_collections or a mapping) as JSON would give it back: dicts, lists, numbers, strings, None.

    Raises:
      ConfigError: it is no mapping, or holds something else.
    """
    content = config.to_dict() if hasattr(config, "to_dict") else config
    if not isinstance(content, Mapping):
        raise ConfigError(f"the configuration is {type(config).__name__}; expected fields and sections")
    try:
        return json.loads(json.dumps(content, allow_nan=False))
    except (TypeError, ValueError) as error:
        what = next(_unwritable(content, ()), "the configuration")
        raise ConfigError(f"{what} cannot be written as JSON ({error})") from error


def _unwritable(content: Any, path: tuple[str, ...]) -> Iterator[str]:
    """The fields, with their values, that JSON does not have."""
    if isinstance(content, Mapping):
        for name, value in content.items():
            yield from _unwritable(value, (*path, str(name)))
        return
    try:
        json.dumps(content, allow_nan=False)
    except (TypeError, ValueError):
        yield f"{'.'.join(path)} is {content!r}, which"


def resolve_system(config: Mapping[str, Any]) -> dict[str, Any]:
    """Fills in what belongs to the system that `model.name` names.

    Each system (a network with the way it is trained and sampled) has a section, such as `config["unet"]`, laid out as
    the config itself. What is None in the config takes the value from there; what is set, stays. The sections are not
    part of the result, so that one value stands for each field.

    Args:
      config: plain; without a section for the system it comes back as it is.

    Raises:
      ConfigError: a section is something else, or there is none that names the model.
    """
    if not isinstance(config.get("model"), Mapping) or not isinstance(config["model"].get("name"), str):
        raise ConfigError(f"model.name is missing or no text; expected one of {', '.join(SECTIONS)}")
    own = config.get(SECTIONS.get(config["model"]["name"]), {})
    if not isinstance(own, Mapping):
        raise ConfigError(f"{SECTIONS[config['model']['name']]} is {own!r}; expected a section")
    return _filled({name: value for name, value in config.items() if name not in SECTIONS.values()}, own)


def _filled(fields: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """`fields` with the values of `own` where there is None or nothing, at every depth."""
    filled = dict(fields)
    for name, value in own.items():
        if isinstance(value, Mapping):
            section = fields.get(name, {})
            if not isinstance(section, Mapping):
                raise ConfigError(f"{name} is {section!r}; expected a section")
            filled[name] = _filled(section, value)
        elif fields.get(name) is None:
            filled[name] = value
    return filled


def check_config(config: Mapping[str, Any]) -> None:
    """Checks of a resolved config, whose form is right (`check_form`), what no other part checks when it is built.

    Raises:
      ConfigError: a value cannot work; the field is named.
      InputError: a path is of remote storage.
    """
    for field in _POSITIVE:
        section, name = field.split(".")
        value = config[section][name]
        if not is_whole(value, 1):
            raise ConfigError(f"{field} is {value!r}; expected a whole number from 1")
    if config["data"]["image_size"] > _LARGEST_IMAGE:
        raise ConfigError(f"data.image_size is {config['data']['image_size']}; expected at most {_LARGEST_IMAGE}")
    train, sample, data = config["train"], config["sample"], config["data"]
    refuse_remote(train["init_from"], "train.init_from")
    if not is_whole(train["steps"], 0):
        raise ConfigError(f"train.steps is {train['steps']!r}; expected a whole number, 0 to count in train.epochs")
    if not 0.0 <= train["epochs"] < math.inf:
        raise ConfigError(f"train.epochs is {train['epochs']}; expected a number, 0 to count in train.steps")
    if (train["steps"] > 0) == (train["epochs"] > 0):
        raise ConfigError(
            f"train.steps is {train['steps']} and train.epochs is {train['epochs']}; expected one of them above 0, "
            "the other 0"
        )
    if not 0.0 <= train["ema_decay"] < 1.0:
        raise ConfigError(f"train.ema_decay is {train['ema_decay']}; expected a number from 0 to below 1")
    if not 0.0 <= data["rotation_degrees"] <= 180.0:
        raise ConfigError(f"data.rotation_degrees is {data['rotation_degrees']}; expected degrees from 0 to 180")
    if not is_whole(train["warmup_steps"], 0):
        raise ConfigError(f"train.warmup_steps is {train['warmup_steps']!r}; expected a whole number from 0")
    # Where the length is given in epochs, it is known when the pictures are counted; until then any warm-up is shorter.
    steps = train["steps"] or train["warmup_steps"] + 1
    rate = learning_rate_schedule(train["lr_schedule"], train["learning_rate"], train["warmup_steps"], steps)
    create_optimiser(rate, beta1=train["beta1"], beta2=train["beta2"], gradient_clip=train["gradient_clip"])
    if not is_whole(data["resident_bytes"], 0):
        raise ConfigError(f"data.resident_bytes is {data['resident_bytes']!r}; expected a whole number from 0")
    total = config["diffusion"].get("num_train_timesteps")  # None: no diffusion, one pass
    for field, steps in (("sample.steps", sample["steps"]), ("train.validation_steps", train["validation_steps"])):
        if total is None and steps != 1:
            raise ConfigError(f"{field} is {steps}; expected 1, since {config['model']['name']} works in one pass")
        if total is not None and steps > total:
            raise ConfigError(f"{field} is {steps}; expected at most diffusion.num_train_timesteps, {total}")
    if sample["protocol"] not in PROTOCOLS:
        raise ConfigError(f"sample.protocol is {sample['protocol']!r}; expected one of {', '.join(PROTOCOLS)}")
    samplers = (None,) if total is None else SAMPLERS
    if sample["sampler"] not in samplers:
        raise ConfigError(f"sample.sampler is {sample['sampler']!r}; expected {' or '.join(map(str, samplers))}")
    if sample["ensemble"] not in ENSEMBLES:
        raise ConfigError(f"sample.ensemble is {sample['ensemble']!r}; expected one of {', '.join(ENSEMBLES)}")
    if not 0.0 <= sample["eta"] <= 1.0:
        raise ConfigError(f"sample.eta is {sample['eta']}; expected a number from 0 to 1")
    if sample["flips"] and not data["flips"]:
        raise ConfigError(
            "sample.flips is True and data.flips is False: samples would see mirrored pictures, which training "
            "never shows; expected both True, or sample.flips=False as well"
        )
    if sample["clip_x0"] is not None and not sample["clip_x0"] > 0.0:
        raise ConfigError(f"sample.clip_x0 is {sample['clip_x0']}; expected null (off) or a positive bound")
    for field, seed in (("seed", config["seed"]), ("data.split_seed", data["split_seed"])):
        if not is_whole(seed, 0) or seed >= 2**32:
            raise ConfigError(f"{field} is {seed!r}; expected a whole number from 0 to {2**32 - 1}")


def total_steps(steps: int, epochs: float, batch_size: int, examples: int) -> int:
    """The length of a run in steps: `steps` where it is above 0, else `epochs` passes over `examples`."""
    return steps if steps > 0 else max(1, round(epochs * examples / batch_size))
