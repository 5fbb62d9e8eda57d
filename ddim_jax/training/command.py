"""What train.py needs around the training itself: arguments that are refused in one line, output without clutter."""

import logging
import re
import traceback
from pathlib import Path

import absl.logging
from absl import flags

import ddim_jax
from ddim_jax.io.errors import ConfigError, report_input_errors

_PACKAGE = str(Path(ddim_jax.__file__).parent)


def parse_flags(arguments: list[str]) -> list[str]:
    """Parses the command line, for `app.run(main, flags_parser=parse_flags)`.

    An argument that cannot be used ends the program with `error: ...` and exit status 2. Of what is logged, warnings
    are shown, and information where it comes from this package: Orbax alone writes dozens of lines for a checkpoint.
    """
    handler = absl.logging.get_absl_handler()
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    handler.addFilter(_worth_showing)
    with report_input_errors():
        return _parse(arguments)


def _parse(arguments: list[str]) -> list[str]:
    try:
        rest = flags.FLAGS(arguments)
        flags.FLAGS["config"].value.to_dict  # noqa: B018, only asking for something tells that the file was not read
    except flags.Error as error:
        raise ConfigError(str(error)) from error
    except OSError as error:
        raise ConfigError(f"--config: {' '.join(str(error.__cause__ or error).split())}") from error
    except (AttributeError, KeyError) as error:
        if "ml_collections" not in traceback.extract_tb(error.__traceback__)[-1].filename:
            raise  # a mistake in the program of a config file
        raise ConfigError(_unknown_field(error)) from error
    if rest[1:]:
        raise ConfigError(f"unexpected argument {rest[1]!r}; a field is set as --config.train.steps=100")
    return rest


def _unknown_field(error: AttributeError | KeyError) -> str:
    """ml_collections names the field first and the one that was probably meant in the last line, if it has an idea."""
    text = str(error.args[0].args[0] if isinstance(error.args[0], KeyError) else error.args[0])
    quoted = re.search(r"""["'](\w+)["']""", text)
    name = quoted[1] if quoted else text
    hint = text.rpartition("\n")[2] if "Did you mean" in text else "configs/base.py has all of them"
    return f"the configuration has no field {name!r}; {hint[0].lower()}{hint[1:]}"


def _worth_showing(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING or record.pathname.startswith(_PACKAGE)
