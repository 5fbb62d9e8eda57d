"""The fields of a config that do nothing with the values of others."""

from collections.abc import Mapping
from typing import Any

from ddim_jax.diffusion import DirectProcess
from ddim_jax.fields import leaves, value_at
from ddim_jax.models import model_spec
from ddim_jax.registry import DATASETS, SAMPLERS
from ddim_jax.runtime.errors import ConfigError
from ddim_jax.schema import SCHEMA


def refuse_unused(config: Mapping[str, Any]) -> None:
    """Refuses a field that was set and does nothing with the values of others; for a new run.

    Raises:
      ConfigError: names the field and the reason.
    """
    own = dict(leaves(model_spec(config["model"]["name"]).defaults))
    for name, reason in unused_fields(config).items():
        value, default = value_at(config, name), own.get(name, value_at(SCHEMA, name).default)
        if value != default:
            change = f"change that, or leave {name} at {default}"
            raise ConfigError(f"{name} is {value} and {reason}, so it does nothing; {change}")


def unused_fields(config: Mapping[str, Any]) -> dict[str, str]:
    """The fields of a resolved config that do nothing with the values of others, each with the reason."""
    about, data, train, sampler = config["model"]["name"], config["data"], config["train"], config["sample"]["sampler"]
    direct = issubclass(model_spec(about).process, DirectProcess)
    constant = train["lr_schedule"] == "constant" and "train.lr_schedule is constant"
    cosine = config["diffusion"]["noise_schedule"] == "cosine" and "diffusion.noise_schedule is cosine"
    one_pass = direct and f"{about} works in one pass"
    used = () if direct else getattr(SAMPLERS.get(sampler), "uses", ())
    load, named = DATASETS.get(data["name"]), f"data.name is {data['name']}, which "
    generated = getattr(load, "generated", False) and f"{named}has no files"
    found = {
        **dict.fromkeys(("data.window", "data.invert", "data.groups"), generated),
        **{name: f"{named}{reason}" for name, reason in getattr(load, "unused", {}).items()},
        "data.fold": not data["folds"] and "data.folds is not set",
        "diffusion.beta_start": cosine,
        "diffusion.beta_end": cosine,
        "sample.clip_x0": one_pass,
        "sample.eta": one_pass or ("eta" not in used and f"the sampler {sampler} has none"),
        "train.adversarial_epsilon": not train["adversarial_share"] and "train.adversarial_share is 0",
        "train.adversarial_share": not train["adversarial_epsilon"] and "train.adversarial_epsilon is not set",
        "train.schedule_steps": constant,
        "train.unlabelled_weight": not data["unlabelled"] and "data.unlabelled is not set",
    }
    return {name: reason for name, reason in found.items() if reason}
