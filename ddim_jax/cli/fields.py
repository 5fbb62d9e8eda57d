"""`ddim-jax fields`: the fields of a config, from the schema; all of them make the page "Configuration"."""

import argparse
import json
from typing import Any

from ddim_jax.config import override_fields
from ddim_jax.data.augmentation import AUGMENTATIONS
from ddim_jax.fields import Field, fields_of, leaves, value_at
from ddim_jax.models import model_spec
from ddim_jax.registry import MODELS
from ddim_jax.runtime.errors import ConfigError, report_input_errors
from ddim_jax.runtime.printable import Parser
from ddim_jax.schema import SCHEMA

_MAY_CHANGE = {
    "same": "no",
    "length": "with a constant learning rate, or the same `train.schedule_steps`",
    "free": "yes",
    "ignored": "yes; no effect any more",
}


def markdown() -> str:
    """The page "Configuration" of the reference."""
    lines = [
        "# Configuration",
        "",
        "A config is a file with a function `get_config()`, as those in `configs/`; any field can be set on the "
        "command line, as `--config.train.steps=1000`. Fields with the default *model's* take it from the table below; "
        "`config.systems.<model>` replaces it for one network, whichever is chosen later. The last column says whether "
        "a run may go on (same `--workdir`) with another value. Fields with the default *augmentation's* take it from "
        "the table of the names of `data.augmentation` at the end.",
    ]
    sections = [("", [(name, field) for name, field in SCHEMA.items() if isinstance(field, Field)])]
    sections += [
        (name, list(fields_of(section, f"{name}."))) for name, section in SCHEMA.items() if isinstance(section, dict)
    ]
    for section, fields in sections:
        lines += ["", f"## {section or 'The run'}", "", *_row("field", "values", "default", "meaning", "may change")]
        for name, field in fields:
            lines += _row(f"`{name}`", field.expected(), _default(field), field.help, _MAY_CHANGE[field.resume])[:1]
    models = {name: model_spec(name) for name in MODELS}
    lines += ["", "## model.overrides", "", "Fields of the network, with their defaults; none keeps the preset's.", ""]
    lines += _row("field", "values", "meaning", *models)
    for name, field in override_fields().items():
        defaults = (_shown(spec.fields[name].default) if name in spec.fields else "" for spec in models.values())
        lines += _row(f"`{name}`", field.expected(), field.help, *defaults)[:1]
    lines += ["", "## Defaults of the models", "", *_row("field", *models)]
    for name, field in fields_of(SCHEMA):
        if field.of_model:
            own = (dict(leaves(spec.defaults)) for spec in models.values())
            lines += _row(f"`{name}`", *(_shown(values[name]) if name in values else "" for values in own))[:1]
    lines += ["", "## Names of data.augmentation", "", *_row("field", *AUGMENTATIONS)]
    for name, field in fields_of(SCHEMA):
        if field.of_augmentation:
            values = (value_at({"data": ranges}, name) for ranges in AUGMENTATIONS.values())
            lines += _row(f"`{name}`", *map(_shown, values))[:1]
    return "\n".join(lines) + "\n"


def described(part: str) -> str:
    """The fields of a config with `part` in their names, then those with it in their meaning alone, a paragraph each.

    Raises:
      ConfigError: there is none.
    """
    every = [(name, field, _default(field) or "none") for name, field in fields_of(SCHEMA)]
    every += [(f"model.overrides.{name}", field, "the preset's") for name, field in override_fields().items()]
    found = [row for row in every if part in row[0]]
    found += [row for row in every if part not in row[0] and part in row[1].help]
    if not found:
        raise ConfigError(f"no field of a config has {part!r} in its name or meaning; `ddim-jax fields` lists all")
    return "\n".join(
        f"{name}\n    {field.help}\n    {field.expected()}; default: {default}; "
        f"may change when a run goes on: {_MAY_CHANGE[field.resume]}\n".replace("`", "")
        for name, field, default in found
    )


def parse_arguments(description: str) -> argparse.Namespace:
    """The arguments of the command line."""
    parser = Parser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "part",
        nargs="*",
        help="part of the name or meaning of a field, such as augment or train.steps (default: all fields)",
    )
    return parser.parse_args()


def run(arguments: argparse.Namespace) -> int:
    """Prints the fields; returns the exit status."""
    with report_input_errors():
        print("\n".join(map(described, arguments.part)) if arguments.part else markdown(), end="")
    return 0


def _default(field: Field) -> str:
    if field.of_model:
        return "model's"
    return "augmentation's" if field.of_augmentation else _shown(field.default)


def _row(*cells: str) -> list[str]:
    """A row of a table, and the line that has to follow it where it is the head."""
    return [f"| {' | '.join(cells)} |", "| --- " * len(cells) + "|"]


def _shown(value: Any) -> str:
    return "" if value is None else f"`{json.dumps(value)}`"
