"""The config of a run as a config file: `--config RUN/config.json` is get_config("RUN/config.json") of this one."""

from pathlib import Path

from ml_collections import ConfigDict

from ddim_jax.config import override_fields, saved_config
from ddim_jax.data.augmentation import AUGMENTATIONS
from ddim_jax.fields import fields_of, leaves, section_dict, value_at
from ddim_jax.runtime.errors import ConfigError
from ddim_jax.runtime.json_text import parse_json
from ddim_jax.schema import SCHEMA


def get_config(file: str) -> ConfigDict:
    """The fields that a run was trained with, to be set anew like those of any config file.

    The ranges of `data.augment` stay those of `data.augmentation` where nothing else was said, so that another one
    brings its own.

    Raises:
      ConfigError: the file is no JSON.
      CheckpointError: it does not hold a config, or a field cannot work; the file and the field are named.
    """
    try:
        saved = parse_json(Path(file).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"--config: {file}: {error}; expected the config.json of a run, or a .py file") from error
    saved = saved_config(Path(file), {"config": saved})
    named = {f"data.{name}": value for name, value in leaves(AUGMENTATIONS.get(saved["data"]["augmentation"], {}))}
    config = section_dict(SCHEMA)
    for name, _ in fields_of(SCHEMA):
        section, _, field = name.rpartition(".")
        value = value_at(saved, name)
        value_at(config, section)[field] = None if named.get(name, ...) == value else value
    config.model.overrides = section_dict(override_fields(), unset=True)
    config.model.overrides.update(saved["model"]["overrides"])
    return config.lock()
