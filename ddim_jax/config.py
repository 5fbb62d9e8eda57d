"""The configuration of a run: every field with its type, default, range and help, and what is made from that.

`SCHEMA` states each field once. From it come the config that the files of configs/ build on (`create_config`), its
checks (`resolve_config`), the reading back of a saved one (`saved_config`), the comparison when a run goes on
(`differences`) and the page "Configuration" of the reference (`python -m ddim_jax.config`).

The networks of `ddim_jax.models` differ in how they are trained and sampled. A field that is None in a config takes its
value from the section of its network in `systems`, where that was changed, or from what the network declares
(`ddim_jax.models.ModelSpec`); the name in `data.augmentation` fills its ranges likewise. A resolved config has
one value for each field and no section `systems`.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from ddim_jax.aggregation import PROTOCOLS
from ddim_jax.data.augmentation import AUGMENTATIONS
from ddim_jax.diffusion import PREDICTIONS, SCHEDULES, DirectProcess
from ddim_jax.diffusion.process import LOSS_WEIGHTS, LOSSES
from ddim_jax.fields import (
    Field,
    check_sections,
    fields_of,
    leaves,
    plain_config,
    section_dict,
    value_at,
    with_defaults,
)
from ddim_jax.labels import Labels
from ddim_jax.models import model_spec
from ddim_jax.registry import DATASETS, ENSEMBLES, MODELS, SAMPLERS, import_plugins
from ddim_jax.runtime.errors import CheckpointError, ConfigError
from ddim_jax.runtime.remote import refuse_remote
from ddim_jax.runtime.values import is_whole

_MANY = 10**9
_SEEDS = {"low": 0, "high": 2**32 - 1}

SCHEMA: dict[str, Any] = {
    "name": Field(str, "base", "the run goes to runs/<name>, unless --workdir says otherwise", resume="free"),
    "seed": Field(int, 0, "of the initial weights, the order of the pictures, the noise", **_SEEDS),
    "plugins": Field(
        tuple, (), "modules to import, which register networks, samplers, data sets", items=str, resume="free"
    ),
    "model": {
        "name": Field(str, "lightweight_ddim", "the network", choices=MODELS),
        "preset": Field(str, None, "its size: small, or none for the network's own", optional=True),
        "overrides": {},  # the fields of the network
    },
    "diffusion": {
        "prediction": Field(str, help="what the network estimates", choices=PREDICTIONS, of_model=True),
        "loss": Field(str, help="bce_dice is for x0 alone", choices=LOSSES, of_model=True),
        "loss_weight": Field(str, help="weight of each timestep's loss", choices=LOSS_WEIGHTS, of_model=True),
        "mask_scale": Field(float, help="the mask enters as +- this", above=0, high=1, of_model=True),
        "timestep_power": Field(
            float, help="timesteps are drawn with a density of t^(this - 1): 1 is uniform", low=1, of_model=True
        ),
        "num_train_timesteps": Field(int, help="timesteps of the process", low=1, high=10**5, of_model=True),
        "noise_schedule": Field(str, help="cosine is without the betas", choices=SCHEDULES, of_model=True),
        "beta_start": Field(float, help="first beta of the linear schedule", above=0, below=1, of_model=True),
        "beta_end": Field(float, help="last beta of the linear schedule", above=0, below=1, of_model=True),
        "zero_terminal_snr": Field(bool, help="end in pure noise; x0 and v only", of_model=True),
    },
    "data": {
        "name": Field(str, "folder", "the data set", choices=DATASETS),
        "root": Field(str, "", "its folder; on resume the pictures' names are compared", optional=True, resume="free"),
        "labels": Field(
            dict, None, "stored values of each class; none: one class, the brighter of two levels", optional=True
        ),
        "segments": Field(
            tuple,
            (),
            "what each class is in SNOMED CT, for DICOM-SEG: NAME=Lung, NAME=Tissue/Artery",
            items=str,
            lengths=(0, 254),
            resume="free",
        ),
        "ignore": Field(tuple, (), "stored values that count nowhere", low=-(2**15), high=2**16 - 1, lengths=(0, 256)),
        "multilabel": Field(bool, False, "classes may overlap: a stored value belongs to all that list it"),
        "annotators": Field(
            tuple,
            (),
            "folders of masks, one for each of several annotators, or numbered: x_mask_1, x_mask_2 of each picture; "
            "none: one truth, numbered masks are parts of it",
            items=str,
        ),
        "image_size": Field(int, 256, "side in pixels that pictures are resized to", low=1, high=2**14),
        "window": Field(
            tuple,
            None,
            "centre and width of the values of DICOM and NIfTI that are shown; none: the file's own window",
            items=float,
            lengths=(2, 2),
            optional=True,
        ),
        "crop": Field(
            int,
            0,
            "train on squares of that side at the pictures' own scale; image_size follows; 0: resize",
            low=0,
            high=2**14,
        ),
        "invert": Field(bool, False, "files store pictures inverted, white as the smallest value: turn them round"),
        "allow_damaged": Field(
            bool,
            False,
            "read JPEG files with a hole or no end as far as they go, and name them; false: refuse",
        ),
        "augmentation": Field(
            str,
            "paper",
            "pictures are changed in training: the values of rotation_degrees and augment that are none",
            choices=AUGMENTATIONS,
        ),
        "rotation_degrees": Field(
            float,
            None,
            "pictures are turned by up to that in training; 180 where they have no upper side",
            low=0,
            high=180,
            of_augmentation=True,
        ),
        "flips": Field(bool, True, "pictures are mirrored in training"),
        "augment": {
            name: Field(float, None, help, low=0, high=high, of_augmentation=True)
            for name, high, help in (
                ("zoom", 1, "pictures are larger or smaller by up to e^this"),
                ("aspect", 1, "height by width changes by up to e^this"),
                ("shear", 1, "a row moves by up to that for each row of distance from the centre"),
                ("shift", 0.5, "pictures move along each axis by up to that part of their side"),
                ("contrast", 2, "distances from the mean grow or shrink by up to e^this"),
                ("brightness", 1, "is added or subtracted, up to that; 1 is from black to white"),
                ("saturation", 2, "distances of the channels from their mean grow or shrink by up to e^this"),
                ("tint", 1, "as brightness, for each channel by itself"),
                ("gamma", 2, "values from 0 to 1 are raised to powers of up to e^+-this"),
                ("blur", 0.1, "standard deviation of a Gaussian, up to that part of the longer side"),
                ("noise", 1, "standard deviation of noise, up to that; 1 is from black to white"),
            )
        },
        "groups": Field(
            str,
            "folder",
            "what stays together in a drawn split: the first folder below images/, a patient; or none",
            choices=("folder", "none"),
        ),
        "folds": Field(int, 0, "of a cross-validation, 3 or more, instead of a split; 0 for none", low=0, high=1000),
        "fold": Field(int, 0, "the fold that is held out, from 0", low=0, high=999),
        "split_seed": Field(int, 0, "of phantoms, and of the split of a folder without splits.csv", **_SEEDS),
        "cache_dir": Field(str, None, "for indices and splits; none: ~/.cache/ddim_jax", optional=True, resume="free"),
        "counts": {
            split: Field(int, count, f"phantoms of the {split} split", low=1, high=10**7)
            for split, count in (("train", 512), ("val", 64), ("test", 64))
        },
        "same_pixels": Field(
            bool, True, "go on only with the pixels of before; false: say which pairs changed", resume="free"
        ),
        "resident_bytes": Field(
            int, 2 * 1024**3, "data sets up to this size are held on the device", low=0, high=2**50, resume="free"
        ),
    },
    "train": {
        "batch_size": Field(int, 20, "examples of a step, on all devices together", low=1, high=2**20),
        "accumulate": Field(int, 1, "parts of a batch: less memory, more time", low=1, high=2**20),
        "steps": Field(int, 0, "length of the run; 0 to count in epochs", low=0, high=_MANY, resume="length"),
        "epochs": Field(float, 2000.0, "length of the run; 0 to count in steps", low=0, high=_MANY, resume="length"),
        "learning_rate": Field(float, help="of Adam, after the warm-up", above=0, of_model=True),
        "lr_schedule": Field(str, "constant", "cosine falls to 1% at the end", choices=("constant", "cosine")),
        "schedule_steps": Field(
            int,
            0,
            "length of lr_schedule, whose last rate stays; 0: that of the run",
            low=0,
            high=_MANY,
            resume="length",
        ),
        "init_from": Field(
            str,
            None,
            "a run, packed weights, or PyTorch weights (.safetensors, .pt), to start from",
            optional=True,
            resume="ignored",
        ),
        "warmup_steps": Field(int, 0, "steps in which the learning rate rises from 0", low=0, high=_MANY),
        "beta1": Field(float, 0.9, "of Adam", low=0, below=1),
        "beta2": Field(float, 0.999, "of Adam", low=0, below=1),
        "gradient_clip": Field(float, 0.0, "largest norm of the gradient; 0 for none", low=0),
        "adversarial_epsilon": Field(
            float,
            0.0,
            "train on pictures changed by up to that so that their loss rises: against attacks, in twice the time; "
            "1 is from black to white, 0.0078 is 2 levels; 0: not",
            low=0,
            high=0.5,
        ),
        "ema_decay": Field(float, 0.9999, "of the moving average of the weights, which samples are of", low=0, below=1),
        "log_every": Field(int, 50, "steps between lines of metrics", low=1, high=_MANY, resume="free"),
        "checkpoint_every": Field(
            int, 1000, "steps between checkpoints, with a validation each time", low=1, high=_MANY, resume="free"
        ),
        "keep_latest": Field(int, 2, "checkpoints kept, besides the best", low=1, high=10**6, resume="free"),
        "validation_images": Field(int, 64, "pictures of a validation, at most", low=1, high=_MANY),
        "validation_steps": Field(int, help="sampling steps of a validation", low=1, high=10**6, of_model=True),
    },
    "sample": {
        "sampler": Field(str, help="how samples are drawn", choices=SAMPLERS, of_model=True, resume="free"),
        "steps": Field(int, help="network evaluations of a sample", low=1, high=10**6, of_model=True, resume="free"),
        "samples": Field(int, help="samples of a picture", low=1, high=2**16, of_model=True, resume="free"),
        "eta": Field(float, 0.0, "noise in the steps of DDIM: 1 is as much as DDPM", low=0, high=1, resume="free"),
        "flips": Field(bool, help="samples see the picture mirrored in turn", of_model=True, resume="free"),
        "clip_x0": Field(
            float, help="bound on the estimates of x_0; none for no bound", above=0, optional=True, of_model=True
        ),
        "protocol": Field(
            str,
            help="how sample.py makes a mask of samples; evaluate.py reports all",
            choices=PROTOCOLS,
            of_model=True,
            resume="free",
        ),
        "ensemble": Field(str, "mean", "how samples are fused", choices=ENSEMBLES, resume="free"),
    },
}
"""Sections and fields. Fields `of_model` and `of_augmentation` are None in a config until they are set or resolved."""

_NO_DIFFUSION = ("diffusion.", "sample.sampler")
"""Fields that a network without diffusion has no value for."""


def create_config() -> ConfigDict:
    """The base of every config: the paper's setting, with a section of `systems` for every network that there is.

    It is locked, so that a misspelt field is refused; so are the fields of `model.overrides`, which are those of the
    networks that are registered now: import your own first.
    """
    config = section_dict(SCHEMA)
    config.model.overrides = section_dict(override_fields(), unset=True)
    config.systems = ConfigDict({name: _system(name) for name in MODELS})
    return config.lock()


def resolve_config(config: Any) -> dict[str, Any]:
    """A config with one value for each field, checked.

    Args:
      config: of ml_collections or a mapping. Without a section `systems` it is taken for a resolved one.

    Returns:
      dicts, lists, numbers, texts and None, as JSON would give them back; `model.overrides` has what is set alone.

    Raises:
      ConfigError: a field is unknown, missing or cannot work; it is named, with what was found and what was expected.
      InputError: a path is of remote storage.
    """
    plain = plain_config(config)
    if "plugins" in plain:
        SCHEMA["plugins"].check("plugins", plain["plugins"])
        import_plugins(plain["plugins"])
    if not isinstance(plain.get("model"), Mapping):
        raise ConfigError(f"model is {plain.get('model')!r}; expected a section")
    spec = model_spec(plain["model"].get("name"))
    if "systems" in plain:
        systems = plain.pop("systems")
        _check_systems(systems)
        name = plain["model"]["name"]
        own = with_defaults(f"systems.{name}", systems.get(name, {}), spec.defaults, none_is_set=True)
        plain = with_defaults("", plain, own)
    data = plain.get("data")
    if isinstance(data, Mapping) and isinstance(data.get("augmentation"), str):
        plain["data"] = with_defaults("data", data, AUGMENTATIONS.get(data["augmentation"], {}))
    if isinstance(plain["model"].get("overrides"), Mapping):
        overrides = plain["model"]["overrides"]
        plain["model"] = plain["model"] | {"overrides": {k: v for k, v in overrides.items() if v is not None}}
    if is_whole(plain.get("data", {}).get("crop"), 1):
        plain["data"] = plain["data"] | {"image_size": plain["data"]["crop"]}
    check_config(plain)
    plain["data"] |= Labels.from_config(plain["data"]).as_config()
    return plain


def check_config(config: Mapping[str, Any]) -> None:
    """Checks a resolved config; errors as `resolve_config`."""
    if not isinstance(config.get("model"), Mapping):
        raise ConfigError(f"model is {config.get('model')!r}; expected a section")
    spec = model_spec(config["model"].get("name"))  # before what an unknown one leaves unset
    direct = issubclass(spec.process, DirectProcess)
    check_sections(config, SCHEMA, "")
    about, train, sample, data = (config[name] for name in ("model", "train", "sample", "data"))
    for name, field in fields_of(SCHEMA):
        value = value_at(config, name)
        if direct and name.startswith(_NO_DIFFUSION):
            if value is not None:
                raise ConfigError(f"{name} is {value!r}; expected none, since {about['name']} works in one pass")
        else:
            field.check(name, value)
    labels = Labels.from_config(data)
    refuse_remote(train["init_from"], "train.init_from")
    if (train["steps"] > 0) == (train["epochs"] > 0):
        raise ConfigError(
            f"train.steps is {train['steps']} and train.epochs is {train['epochs']}; expected one of them above 0, "
            "the other 0"
        )
    if train["steps"] and train["warmup_steps"] >= train["steps"]:
        raise ConfigError(
            f"train.warmup_steps is {train['warmup_steps']}; expected 0 to below the {train['steps']} steps of the run"
        )
    if data["window"] is not None and data["window"][1] <= 0:
        raise ConfigError(f"data.window is {data['window']!r}; expected a centre and a width above 0")
    total = config["diffusion"]["num_train_timesteps"]
    for field, steps in (("sample.steps", sample["steps"]), ("train.validation_steps", train["validation_steps"])):
        if direct and steps != 1:
            raise ConfigError(f"{field} is {steps}; expected 1, since {about['name']} works in one pass")
        if not direct and steps > total:
            raise ConfigError(f"{field} is {steps}; expected at most diffusion.num_train_timesteps, {total}")
    if sample["flips"] and not data["flips"]:
        raise ConfigError(
            "sample.flips is True and data.flips is False: samples would see mirrored pictures, which training "
            "never shows; expected both True, or sample.flips=False as well"
        )
    model = spec.create(about["preset"], about["overrides"], labels.channels)
    if data["image_size"] % model.size_multiple:
        raise ConfigError(f"data.image_size is {data['image_size']}; expected a multiple of {model.size_multiple}")
    spec.process.create(**config["diffusion"])


def saved_config(file: Path, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The resolved config in the metadata of a checkpoint, checked; the modules that it names are imported.

    Args:
      file: the metadata's, for messages.

    Raises:
      CheckpointError: there is none, or a field cannot work; the file and the field are named.
    """
    config, data = metadata.get("config"), metadata.get("data")
    if not isinstance(config, Mapping):
        raise CheckpointError(f"{file}: config is {config!r}; expected a section. Was it made by train.py?")
    if not isinstance(data, Mapping | None):
        raise CheckpointError(f"{file}: data is {data!r}; expected a section about the training images")
    if "plugins" not in config:
        raise CheckpointError(
            f"{file}: its config has no plugins, so it is of a run of ddim_jax 0.1.0; use that version, or train again"
        )
    if isinstance(config.get("data"), Mapping) and "augmentation" not in config["data"]:  # there was the paper's alone
        paper = {"augmentation": "paper", "augment": AUGMENTATIONS["paper"]["augment"]}
        config = {**config, "data": {**config["data"], **paper}}
    if isinstance(config.get("data"), Mapping):  # there was no such choice
        config = {**config, "data": {"allow_damaged": False, "annotators": [], **config["data"]}}
    if isinstance(config.get("train"), Mapping):
        config = {**config, "train": {"adversarial_epsilon": 0.0, **config["train"]}}
    try:
        SCHEMA["plugins"].check("plugins", config["plugins"])
        import_plugins(config["plugins"])
        check_config(config)
    except ConfigError as error:
        raise CheckpointError(f"{file}: {error}") from error
    return dict(config)


def differences(saved: Mapping[str, Any], current: Mapping[str, Any], schedule_steps: int = 0) -> list[str]:
    """The fields with other values in `current` than in `saved` with which a run cannot go on, with both values.

    Args:
      saved, current: resolved configs, checked.
      schedule_steps: over which the learning rate of `saved` runs, if that is known.
    """
    may = {"free", "ignored"}
    if saved["train"]["lr_schedule"] == "constant" or (
        schedule_steps and current["train"]["schedule_steps"] == schedule_steps
    ):
        may.add("length")
    before, now = dict(leaves(saved)), dict(leaves(current))
    rules = {name: field.resume for name, field in fields_of(SCHEMA)}
    fields = model_spec(current["model"]["name"]).fields
    rules |= {f"model.overrides.{name}": field.resume for name, field in fields.items()}
    return [
        f"{name}: {before.get(name)!r} there, {now.get(name)!r} now"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name) and rules.get(name) not in may
    ]


def total_steps(steps: int, epochs: float, batch_size: int, examples: int) -> int:
    """The length of a run in steps: `steps` where it is above 0, else `epochs` passes over `examples`."""
    return steps if steps > 0 else max(1, round(epochs * examples / batch_size))


def override_fields() -> dict[str, Field]:
    """The fields of all networks that are registered, by name; of any type where two networks differ in it."""
    fields: dict[str, Field] = {}
    for model in MODELS:
        for name, field in model_spec(model).fields.items():
            if fields.setdefault(name, field).type is not field.type:
                fields[name] = dataclasses.replace(field, type=object)
    return fields


def _system(name: str) -> ConfigDict:
    """The declaration of a network, to be changed: the values of its fields, and its `model.overrides`, unset."""
    spec = model_spec(name)
    section = ConfigDict()
    section.model = ConfigDict({"overrides": section_dict(spec.fields, unset=True)})
    for part, values in spec.defaults.items():
        section[part] = section_dict({field: SCHEMA[part][field] for field in values})
        section[part].update(values)
    return section


def _check_systems(systems: Any) -> None:
    """Refuses a section of `systems` for a network that there is not, and fields that a network does not decide."""
    if not isinstance(systems, Mapping):
        raise ConfigError(f"systems is {systems!r}; expected a section for each network")
    decided = {name for name, field in fields_of(SCHEMA) if field.of_model}
    for model, own in systems.items():
        if model not in MODELS:
            raise ConfigError(f"systems has {model!r}; expected some of {', '.join(MODELS)}")
        if not isinstance(own, Mapping):
            raise ConfigError(f"systems.{model} is {own!r}; expected a section")
        for name, value in leaves(own):
            known = decided | {f"model.overrides.{field}" for field in model_spec(model).fields}
            if value is not None and name not in known:
                raise ConfigError(f"systems.{model} has {name!r}, which is no field that a network has a default for")


if __name__ == "__main__":
    from ddim_jax.cli.config_page import markdown  # it imports this module

    print(markdown(), end="")
