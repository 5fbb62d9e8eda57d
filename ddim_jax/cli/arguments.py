"""Values of options that several commands have, and those that functions for callers in Python check."""

import argparse
import dataclasses
import functools
import typing
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from ddim_jax.checkpoints import which_step
from ddim_jax.pretrained import SHA256
from ddim_jax.registry import import_plugins
from ddim_jax.runtime.errors import InputError
from ddim_jax.runtime.values import words
from ddim_jax.sampling_options import A_WINDOW, SamplingOptions, check_batch_size, option_type, window

_Value = TypeVar("_Value")


def checked(check: Callable[[str], _Value]) -> Callable[[str], _Value]:
    """`check` as the `type` of an option of argparse, which then shows the message of an `InputError`."""

    @functools.wraps(check)
    def parse(text: str) -> _Value:
        try:
            return check(text)
        except InputError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return parse


def add_checkpoint_step(parser: argparse.ArgumentParser) -> None:
    """Adds the argument that chooses one of the steps of a run."""
    parser.add_argument(
        "--checkpoint-step",
        type=checked(which_step),
        default="best",
        metavar="STEP",
        help="checkpoint to take: best, latest or a number of training steps (default: best)",
    )


def add_segments(parser: argparse.ArgumentParser) -> None:
    """Adds the argument that says what the classes are."""
    parser.add_argument(
        "--segments",
        type=words,
        action="extend",
        default=[],
        metavar="NAME=CONCEPT",
        help="SNOMED CT concept of each class, for DICOM-SEG, such as lung=Lung,heart=Heart, or Lung for a single "
        "class (default: those of the packaged weights, or data.segments of the config)",
    )


def add_checkpoint_arguments(parser: argparse.ArgumentParser, several: str = "") -> None:
    """Adds the arguments that name a checkpoint and `--plugins`, which are imported at once.

    With `several`, which says what comes of them, a list of checkpoints is taken.
    """
    parser.add_argument(
        "--ckpt",
        required=True,
        nargs="+" if several else None,
        metavar="RUN",
        help="run folder, its checkpoints folder, the folder of one step, a file of ddim-jax pack, or the name of "
        "packaged weights: " + (", ".join(SHA256) or "none") + (several and f"; {several}"),
    )
    add_checkpoint_step(parser)
    parser.add_argument(
        "--require-sha256",
        metavar="HEX",
        help="refuse the checkpoint unless its manifest, or the file of packed weights, has this SHA-256, which "
        "`ddim-jax doctor --ckpt RUN` shows",
    )
    parser.add_argument(
        "--plugins",
        type=checked(_imported),
        default=(),
        metavar="MODULES",
        help="Python modules to import, comma-separated, that register samplers, data sets, readers, writers, metrics "
        "or ensembles",
    )


def _imported(text: str) -> tuple[str, ...]:
    import_plugins(words(text))
    return words(text)


def add_sampling_arguments(parser: argparse.ArgumentParser, leave_out: Sequence[str] = ()) -> None:
    """Adds one argument for each field of `SamplingOptions`, None where it is not given; its range is checked here.

    Args:
      parser: gets the arguments; `options_given` reads them back.
      leave_out: fields that the command does not take.
    """
    for field in dataclasses.fields(SamplingOptions):
        if field.name in leave_out:
            continue
        flag = "--" + field.name.replace("_", "-")
        kind = option_type(field.name)
        text = f"{field.metadata['help']} (default: {field.metadata['otherwise']})"
        common = {"dest": field.name, "default": None, "help": text}
        if kind is bool:
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, **common)
        elif field.name == "window":
            parser.add_argument(flag, type=checked(_window), metavar="C,W", **common)
        elif typing.get_origin(kind) is typing.Literal:
            parser.add_argument(flag, choices=typing.get_args(kind), **common)
        elif kind is str:
            # Checked with the checkpoint, whose config may name modules that register more.
            names = ", ".join(field.metadata["check"].names)
            parser.add_argument(flag, metavar="NAME", **common | {"help": f"{names}: {text}"})
        else:
            metavar = "X|off" if field.name == "clip_x0" else {int: "N", float: "X"}[kind]
            parse = number(field.name, kind, field.metadata["check"])
            parser.add_argument(flag, type=parse, metavar=metavar, **common)


def add_batch_size_argument(parser: argparse.ArgumentParser) -> None:
    """Adds `--batch-size`, None where it is not given."""
    parser.add_argument(
        "--batch-size",
        type=number("batch_size", int, lambda _, size: check_batch_size(size)),
        metavar="N",
        help="images of a batch; on a CPU results do not depend on it, elsewhere a program is compiled for that size "
        "(default: up to 64, by network and device)",
    )


def number(name: str, kind: type, check: Callable[[str, Any], _Value]) -> Callable[[str], _Value]:
    """The `type` of an option that is a number, int or float, and is checked as `check(name, value)`."""

    def parse(text: str) -> _Value:
        if name == "clip_x0" and text == "off":
            return text
        try:
            value = kind(text)
        except ValueError as error:
            raise InputError(f"{name} is {text!r}; expected a {'whole ' if kind is int else ''}number") from error
        return check(name, value)

    return checked(parse)


def _window(text: str) -> tuple[float, float]:
    try:
        return window("window", [float(part) for part in text.split(",")])
    except ValueError as error:  # an InputError is one
        raise InputError(f"window is {text!r}; expected {A_WINDOW}, as in 40,400") from error


def options_given(arguments: argparse.Namespace, *kinds: type) -> dict[str, Any]:
    """The fields of these dataclasses, such as `SamplingOptions`, that the command line gave."""
    names = [field.name for kind in kinds for field in dataclasses.fields(kind)]
    return {name: value for name in names if (value := getattr(arguments, name, None)) is not None}
