"""The configs that travel with the package, by name: `--config demo` is `--config configs/demo.py` of a checkout."""

import os
import sys
import types
from pathlib import Path

import ddim_jax
from ddim_jax.cli import saved_run
from ddim_jax.runtime.errors import ConfigError

_PACKAGE = Path(ddim_jax.__file__).parent
FOLDER = next((path for path in (_PACKAGE / "configs", _PACKAGE.parent / "configs") if path.is_dir()), None)
"""In an installed package inside it, in a checkout beside it; None where the package was copied without them."""


def names() -> list[str]:
    """The names of the configs of this package, in alphabetical order."""
    return sorted(path.stem for path in FOLDER.glob("*.py")) if FOLDER else []


def config_file(given: str) -> str:
    """The file that `--config` means, with the argument behind its colon, as ml_collections reads it.

    A file that exists is meant as it stands, or, if it ends in .json, for the config of a run. Otherwise the name of a
    config of this package, with or without `.py`. Their folder can be imported from as `configs` from now on, by
    whatever config file.

    Raises:
      ConfigError: there is neither such a file nor such a config.
    """
    if FOLDER:
        # Not by sys.path: of all that lies in the folder above, `configs` alone is meant.
        package = types.ModuleType("configs")
        package.__path__ = [str(FOLDER)]
        sys.modules.setdefault("configs", package)
    given = os.path.expanduser(given)
    file, colon, argument = given.partition(":")
    if Path(file).is_file():
        if not file.endswith(".json"):
            return given
        saved_run.get_config(given)  # says what is wrong before ml_collections, which would wrap it
        return f"{saved_run.__file__}:{given}"
    name = file.removesuffix(".py")
    if name in names():
        return f"{FOLDER / name}.py{colon}{argument}"
    raise ConfigError(f"--config: there is no file {file}; expected one, or a name of: {', '.join(names())}")
