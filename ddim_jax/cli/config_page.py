"""The page "Configuration" of the reference, made from the schema: python -m ddim_jax.config."""

import json
from typing import Any

from ddim_jax.config import override_fields
from ddim_jax.data.augmentation import AUGMENTATIONS
from ddim_jax.fields import Field, fields_of, leaves, value_at
from ddim_jax.models import model_spec
from ddim_jax.registry import MODELS
from ddim_jax.schema import SCHEMA


def markdown() -> str:
    """The page "Configuration" of the reference."""
    changes = {
        "same": "no",
        "length": "with a constant learning rate, or the same `train.schedule_steps`",
        "free": "yes",
        "ignored": "yes; no effect any more",
    }
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
            default = "augmentation's" if field.of_augmentation else _shown(field.default)
            default = "model's" if field.of_model else default
            lines += _row(f"`{name}`", field.expected(), default, field.help, changes[field.resume])[:1]
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


def _row(*cells: str) -> list[str]:
    """A row of a table, and the line that has to follow it where it is the head."""
    return [f"| {' | '.join(cells)} |", "| --- " * len(cells) + "|"]


def _shown(value: Any) -> str:
    return "" if value is None else f"`{json.dumps(value)}`"
