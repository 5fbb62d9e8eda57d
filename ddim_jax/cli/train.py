"""The command that trains: arguments refused in one line, output without clutter."""

import ast
import contextlib
import functools
import re
import sys
import textwrap
import traceback
from collections.abc import Mapping
from typing import Any, NamedTuple, NoReturn

from absl import app, flags
from ml_collections import config_flags

from ddim_jax.cli import configs
from ddim_jax.cli.begin import begin, find_device, log_in_lines
from ddim_jax.fields import fields_of
from ddim_jax.registry import import_plugins
from ddim_jax.runtime.distributed import initialise
from ddim_jax.runtime.errors import ConfigError, InputError, report_input_errors
from ddim_jax.runtime.signals import StopRequest
from ddim_jax.runtime.values import check_names, words
from ddim_jax.schema import SCHEMA
from ddim_jax.training import train

_UNNAMED = ("config_config", "__main__")
"""Modules that no import finds again: a config file, as ml_collections calls it, and the program."""
NEED_LESS = (
    "Raise train.accumulate, lower data.image_size or train.batch_size, or set model.overrides.remat, which "
    "lightweight_ddim, ddim and medsegdiff have."
)


def run(request: StopRequest, description: str) -> NoReturn:
    """Trains as the command line says, until `request` says stop; ends the program with the exit status."""
    config = config_flags.DEFINE_config_file("config", None, "The configuration: a name or a file, as configs/demo.py.")
    workdir = flags.DEFINE_string(
        "workdir", None, "Folder of the run, which is resumed if it exists; runs/<config.name> by default."
    )
    coordinator = flags.DEFINE_string(
        "coordinator-address", None, "HOST:PORT of process 0, for several processes without a launcher such as srun."
    )
    processes = flags.DEFINE_integer("process-count", None, "Number of processes that train together.")
    process = flags.DEFINE_integer("process-id", None, "Index of this process, from 0.")

    def main(_) -> int:
        stopped = "stopped; the same command goes on from the last checkpoint, if there is one"
        with report_input_errors(stopped, NEED_LESS):
            begin()
            initialise(coordinator.value, processes.value, process.value)
            find_device()
            train(config.value, workdir.value or f"runs/{config.value.name}", request)
        return request.exit_status

    for holder in (config, workdir, coordinator, processes, process):  # what --help shows of the program
        flags.FLAGS.register_key_flag_for_module(sys.argv[0], flags.FLAGS[holder.name])
    app.run(main, flags_parser=functools.partial(parse_flags, description=description))


def parse_flags(arguments: list[str], description: str, required: tuple[str, ...] = ()) -> list[str]:
    """Parses the command line, for `app.run(main, flags_parser=...)`.

    An argument that cannot be used, or is missing, ends the program with `error: ...` and exit status 2.

    Args:
      arguments: the command line with the program.
      description: the beginning of the help.
      required: the flags that have to be given besides --config.
    """
    if {"-h", "--help"} & set(arguments[1:]):
        print(_help(description))
        sys.exit(0)
    log_in_lines()
    with report_input_errors("stopped before training began"):
        return _parse(arguments, required)


def _parse(arguments: list[str], required: tuple[str, ...]) -> list[str]:
    given = _read(arguments, required)
    if given.file is None:
        raise ConfigError(f"--config is missing; expected a file, or a name of: {', '.join(configs.names())}")
    for name in required:
        if name not in given.names:
            raise ConfigError(f"--{name} is missing; expected {flags.FLAGS[name].help}")
    file = given.file
    import_plugins(given.plugins)  # the fields of their networks are known then
    try:
        rest = flags.FLAGS(given.arguments)
        config = flags.FLAGS["config"].value
        if not hasattr(config, "to_dict"):  # asking for something tells that the file was not read
            raise ConfigError(f"--config: get_config() of {file} gave {type(config).__name__}; expected fields")
        for name in sorted(given.unset):
            section, _, field = name.rpartition(".")
            (config[section] if section else config)[field] = None
        _check_registered(config.to_dict(), file)
    except flags.Error as error:
        raise ConfigError(_refused_flag(error) or _without_traceback(str(error))) from error
    except OSError as error:
        raise ConfigError(f"--config: {' '.join(str(error.__cause__ or error).split())}") from error
    except SyntaxError as error:
        place = f"{error.filename}, line {error.lineno}" if error.filename else file
        raise ConfigError(f"--config: {place}: {error.msg}; expected a file of Python, as in configs/") from error
    except (AttributeError, KeyError) as error:
        if getattr(error, "name", None) == "get_config":
            raise ConfigError(f"--config: {file} has no get_config(); expected one as in configs/") from error
        if "ml_collections" not in traceback.extract_tb(error.__traceback__)[-1].filename:
            raise  # a mistake in the program of a config file
        raise ConfigError(_unknown_field(error, arguments)) from error
    except ValueError as error:
        if (
            isinstance(error, InputError)
            or "ml_collections" not in traceback.extract_tb(error.__traceback__)[-1].filename
        ):
            raise
        raise ConfigError(f"{error}; a field is set as --config.train.steps=100") from error
    if rest[1:]:
        raise ConfigError(f"unexpected argument {rest[1]!r}; a field is set as --config.train.steps=100")
    return rest


def _check_registered(config: Mapping[str, Any], file: str) -> None:
    """Refuses what a config file, or a module that it imports, registered and the import of `plugins` would not.

    The checkpoints would not say where it is, and no other command would find it.
    """
    plugins = tuple(config.get("plugins") or ())
    system = config.get("systems", {}).get(config.get("model", {}).get("name"), {})
    for name, field in fields_of(SCHEMA):
        if not hasattr(registry := field.choices, "imports"):
            continue
        section, _, key = name.partition(".")
        values = (part.get(section, {}).get(key) for part in (config, system))
        found = next((value for value in values if value is not None), None)
        for one in found if isinstance(found, tuple | list) else [found]:
            module, *importers = registry.imports(one) or ["ddim_jax."]
            if module in _UNNAMED:
                raise ConfigError(
                    f"--config: {file}: {name} is {one!r}, which this file registers itself, so that no checkpoint "
                    "would say where it is; expected it in a module of its own, named in config.plugins"
                )
            known = {module, *importers}.difference(_UNNAMED).intersection(plugins)
            if not module.startswith("ddim_jax.") and not known:
                expected = ", ".join(f'"{plugin}"' for plugin in (*plugins, module))
                raise ConfigError(
                    f"--config: {file}: {name} is {one!r} of the module {module}, which plugins does not name, so that "
                    f"no checkpoint would say where it is; expected config.plugins = ({expected}{',' * (not plugins)})"
                )


_FIRST_FIELDS = (
    "data.root",
    "data.labels",
    "data.image_size",
    "data.augmentation",
    "data.rotation_degrees",
    "model.name",
    "train.steps",
    "train.batch_size",
    "train.learning_rate",
    "seed",
)
"""Fields that a first training changes; `ddim-jax fields` lists all."""
_FIND_FIELDS = "`ddim-jax fields WORD` lists those with WORD in their names or meanings"


def _help(description: str) -> str:
    """The help of the command: its own flags, the configs, and the fields that a first training changes."""
    schema = dict(fields_of(SCHEMA))
    own = flags.FLAGS.get_key_flags_for_module(sys.argv[0])
    rows = [(f"--{flag.name}", flag.help) for flag in own if flag.name != "config"]
    fields = [(f"--config.{name}=", schema[name].help) for name in _FIRST_FIELDS]
    return "\n".join(
        [
            description.replace("%(prog)s", sys.argv[0]),
            *textwrap.wrap(
                f"--config NAME|FILE is one of {', '.join(configs.names())}; or a file of your own; or the config.json "
                "of a run.",
                100,
            ),
            "",
            *(f"  {name:22} {text}" for name, text in rows),
            "",
            "Any field of the config can be set; `ddim-jax fields` lists all, `ddim-jax fields WORD` those with WORD",
            "in their names or meanings. The most common:",
            "",
            *(f"  {name:32} {text}" for name, text in fields),
        ]
    )


class _Given(NamedTuple):
    """A command line, read.

    Attributes:
      arguments: for absl: with the file that --config means, and without those that set a field to none, for which
        absl has no type.
      file: the one that --config means; None where it is not given.
      plugins: the modules that --config.plugins names.
      unset: the fields that are none. Of several arguments for one field the last one counts.
      names: of the flags that were read and have a value.
    """

    arguments: list[str]
    file: str | None
    plugins: tuple[str, ...]
    unset: set[str]
    names: set[str]


def _read(arguments: list[str], required: tuple[str, ...]) -> _Given:
    """Goes through the command line once.

    Raises:
      ConfigError: there is no such config, or data.labels gives a name twice.
    """
    can_be = {name for name, field in fields_of(SCHEMA) if field.optional or field.of_model or field.of_augmentation}
    lists = {f"config.{name}" for name, field in fields_of(SCHEMA) if field.type is tuple and field.items is str}
    file, plugins = None, []
    unset: set[str] = set()
    names: set[str] = set()
    following = iter(arguments)
    kept = [next(following)]
    for argument in following:
        name, equals, value = argument.lstrip("-").partition("=")
        setting = name.removeprefix("config.")  # with the system that it is of
        field = re.sub(r"^systems\.\w+\.", "", setting)
        may_be_none = name != setting and (field in can_be or field.startswith("model.overrides."))
        if not argument.startswith("-") or not (may_be_none or name in ("config", *lists, *required)):
            kept.append(argument)
            continue
        value = value if equals else next(following, None)
        if value is None:
            kept.append(argument)
            continue
        names.add(name)
        if may_be_none and value in ("none", "None"):
            unset.add(setting)
            continue
        unset.discard(setting)
        if name == "config":
            value = file = configs.config_file(value)
        elif name in lists:
            listed = _listed(value)
            plugins += listed if name == "config.plugins" else []
            value = repr(listed)
        elif name == "config.data.labels":
            try:
                check_names(value)
            except ValueError as error:
                raise ConfigError(f"data.labels is {value}: {error}") from error
        kept.append(f"--{name}={value}")
    return _Given(kept, file, tuple(plugins), unset, names)


def _listed(text: str) -> list[str]:
    """The texts in a value of a field that is a list of them: with commas between them, or as a tuple of Python."""
    value: Any = words(text)
    with contextlib.suppress(SyntaxError, ValueError):
        value = ast.literal_eval(text)
    return [str(one) for one in (value if isinstance(value, tuple | list) else [value])]


def _refused_flag(error: flags.Error) -> str:
    """A field without its --config, or with a value that it cannot have, in words; "" for what else absl refuses."""
    schema = dict(fields_of(SCHEMA))
    if isinstance(error, flags.UnrecognizedFlagError) and error.flagname in schema:
        return f"there is no --{error.flagname}; a field is set as --config.{error.flagname}=VALUE"
    found = re.match(r"flag --config\.(?:systems\.\w+\.)?([\w.]+)=(.*?): ", str(error), re.DOTALL)
    if isinstance(error, flags.IllegalFlagValueError) and found and found[1] in schema:
        return f"{found[1]} is {found[2]!r}; expected {schema[found[1]].expected()}"
    return ""


def _without_traceback(text: str) -> str:
    """ml_collections puts a traceback into what it says of a TypeError or a ValueError in a config file."""
    if "Traceback (most recent call last)" not in text:
        return text
    places = [place for place in re.findall(r'File "([^"]+)", line (\d+)', text) if "/ml_collections/" not in place[0]]
    where = f"{places[-1][0]}, line {places[-1][1]}: " if places else ""
    return f"--config: {where}{text.strip().splitlines()[-1]}"


def _unknown_field(error: AttributeError | KeyError, arguments: list[str]) -> str:
    """The field without its section, which ml_collections names first, is looked for in the arguments; a field that was
    probably meant is in its last line."""
    text = str(error.args[0].args[0] if isinstance(error.args[0], KeyError) else error.args[0])
    found = re.search(r"lookup: (\S+)", text) or re.search(r"""["'](\w+)["']""", text)
    name = found[1] if found else text
    given = (found[1] for argument in arguments if (found := re.match(r"-+config\.([^=]+)", argument)))
    path = next((one for one in given if name in re.split(r"[.\[]", one)), name)
    hint = text.rpartition("\n")[2] if "Did you mean" in text else _FIND_FIELDS
    return f"the configuration has no field {path!r}; {hint[0].lower()}{hint[1:]}"
