"""The command `ddim-jax doctor`: facts about an installation, each followed by what to do where something is amiss."""

import argparse
import ast
import contextlib
import os
import platform
import shlex
import shutil
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import ddim_jax
from ddim_jax.cli.checkpoint_lines import checkpoint_lines
from ddim_jax.runtime.cache_folder import cache_folder
from ddim_jax.runtime.errors import InputError, install_command, report_input_errors
from ddim_jax.runtime.limits import cores
from ddim_jax.runtime.once import say_once
from ddim_jax.runtime.printable import Parser, printable
from ddim_jax.runtime.values import check_names, words

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint")
ABOUT = """Checks the installation: packages, devices, kernels, caches, with advice; or describes a run or a data set.

Exit status: 0 if the commands can work here, 1 if not, or if no checkpoint of --ckpt is intact, 2 if an argument cannot
be used.
"""

Line = tuple[str, str, str]
"""A name, what was found, and what to do about it ("" for nothing)."""


def _literal(text: str) -> object:
    """The number, list or table that a text is; else the text, which the check of its option refuses."""
    try:
        check_names(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    try:
        return ast.literal_eval(text.strip())
    except (SyntaxError, ValueError):
        return text


def _as_in_config(name: str, text: str, **how: Any) -> dict[str, Any]:
    return {"help": f"with --data: {text}; as data.{name} of a config", **how}


_OF_DATA = {
    "image_size": {
        "type": int,
        "default": 64,
        "metavar": "N",
        "help": "with --data: side in pixels to resize images to; as data.image_size of a config (default: 64)",
    },
    "labels": _as_in_config("labels", "mask values of each class", type=_literal, metavar="JSON"),
    "ignore": _as_in_config("ignore", "mask values of ignored pixels", type=_literal, metavar="VALUES"),
    "window": _as_in_config(
        "window", "grey-level window of DICOM, NIfTI and 16-bit images", type=_literal, metavar="CENTRE,WIDTH"
    ),
    "annotators": _as_in_config(
        "annotators", "mask folders of several annotators, as a,b, or numbered", type=words, default=(), metavar="NAMES"
    ),
    "groups": _as_in_config("groups", "images kept in one split", choices=("folder", "none"), default="folder"),
    "split_seed": _as_in_config("split_seed", "random seed of the split", type=int, default=0, metavar="N"),
    "folds": _as_in_config("folds", "number of cross-validation folds", type=int, default=0, metavar="N"),
    "fold": _as_in_config("fold", "index of the fold held out, from 0", type=int, default=0, metavar="K"),
    "multilabel": _as_in_config("multilabel", "classes may overlap", action="store_true"),
    "invert": _as_in_config("invert", "invert grey levels when reading", action="store_true"),
}
"""The options of --data by their names in the section `data` of a config, as argparse takes them."""


def run(arguments: list[str] | None = None) -> int:
    """Prints what the arguments ask for; returns the exit status."""
    options = _parse(arguments)
    with report_input_errors("stopped"):
        if options.ckpt is not None:
            lines, is_usable = checkpoint_lines(options.ckpt)
            _show(lines)
            return 0 if is_usable else 1
        if options.data is not None:
            _look_at_data(options)
            return 0
        return _look_at_machine(options.build_kernels)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = Parser(description=ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build-kernels", action="store_true", help="compile the CPU kernels into the cache folder")
    parser.add_argument(
        "--ckpt", metavar="RUN", help="describe a run or a file of packed weights instead of the installation"
    )
    parser.add_argument(
        "--data",
        metavar="DIR",
        help="describe a data set, a folder with images/ and masks/, instead of the installation",
    )
    for name, how in _OF_DATA.items():
        flags = [f"--{name.replace('_', '-')}"]
        if name != "image_size":  # with the name that training has for it too, which its messages tell
            flags.append(f"--config.data.{name}")
        parser.add_argument(*flags, dest=name, **how)
    options = parser.parse_args(arguments)
    asked = {"--build-kernels": options.build_kernels, "--ckpt": options.ckpt, "--data": options.data}
    if len(given := [name for name, value in asked.items() if value]) > 1:
        parser.error(f"{' and '.join(given)} are given; expected one of them, each in a call of its own")
    given = [f"--{name.replace('_', '-')}" for name in _OF_DATA if getattr(options, name) != parser.get_default(name)]
    if given and options.data is None:
        parser.error(f"{', '.join(given)} say how --data is looked at; expected --data DIR beside them")
    return options


def _look_at_data(options: argparse.Namespace) -> None:
    import jax

    from ddim_jax.cli.begin import show_log
    from ddim_jax.data.preflight import examine
    from ddim_jax.imageio.images import ReadOptions
    from ddim_jax.labels import Labels
    from ddim_jax.sampling_options import window
    from ddim_jax.schema import SCHEMA

    show_log()
    data = vars(options)
    for name in ("image_size", "split_seed", "folds", "fold"):
        SCHEMA["data"][name].check(f"--{name.replace('_', '-')}", data[name])
    if options.window is not None:
        data["window"] = window("--window", options.window)
    read = Labels.from_config(data), ReadOptions.of(data)
    given = {name: data[name] for name in ("annotators", "groups", "folds", "fold")} | {"seed": options.split_seed}
    say_once.cache_clear()
    _show(examine(options.data, options.image_size, jax.default_backend(), cores(), *read, **given))


def _look_at_machine(build_kernels: bool) -> int:
    """Prints what is installed here, after building the kernels if asked to; returns the exit status."""
    if build_kernels:
        from ddim_jax.ops import cpu_kernels

        print(f"built {printable(cpu_kernels.build())}")
    _show(_versions())
    devices = list(_devices())
    _show(devices)
    if any(device == "no device" for device, *_ in devices):
        return 1
    _show(_kernels())
    _show(_caches())
    return 0


def _show(lines: Iterator[Line] | list[Line]) -> None:
    for name, found, advice in lines:
        print(f"{name:17} {printable(found)}", flush=True)  # before an error that follows, in one file with it too
        if advice:
            print(f"{'':17} -> {printable(advice)}", flush=True)


def _versions() -> Iterator[Line]:
    yield "ddim_jax", f"{ddim_jax.__version__}, {Path(ddim_jax.__file__).parent}", ""
    yield "python", f"{platform.python_version()}, {sys.executable}", ""
    for name in PACKAGES:
        try:
            yield name, metadata.version(name), ""
        except metadata.PackageNotFoundError:
            yield name, "not installed", "pip install . in a checkout of ddim_jax brings it along"


def _devices() -> Iterator[Line]:
    import jax

    from ddim_jax.cli.begin import no_device

    if missing := no_device():
        yield "no device", *missing
        return
    devices = jax.devices()
    kinds = [device.device_kind for device in devices]
    for kind in dict.fromkeys(kinds):
        yield "device", f"{kinds.count(kind)} x {kind} ({devices[kinds.index(kind)].platform})", ""
    if devices[0].platform == "cpu":
        yield "cores", str(cores()), ""
        if shutil.which("nvidia-smi"):
            yield "GPU", "there is an NVIDIA driver, but JAX uses the CPU", install_command("cuda12")


def _kernels() -> Iterator[Line]:
    from ddim_jax.ops.cpu_kernels import library

    try:
        path, loaded, compiler = library.library_path(), library.available(), library.compiler()
    except InputError as error:
        yield "CPU kernels", "not used", str(error)
        return
    state = f"{path} cannot be loaded" if path else "not built"
    if loaded:
        yield "CPU kernels", f"{path}", ""
    elif compiler:
        told = f"{state}; everything works, slower on CPU; compiler: {shlex.join(compiler)}"
        yield "CPU kernels", told, library.BUILD
    else:
        advice = f"install a C++ compiler, for example the package g++, or name one in CXX; then {library.BUILD}"
        yield "CPU kernels", f"{state}, and no compiler was found; everything works, slower on CPU", advice


def _caches() -> Iterator[Line]:
    try:
        root = cache_folder()
    except InputError as error:
        yield "cache", "refused", str(error)
        return
    above = next(path for path in (root, *root.parents) if path.exists())
    advice = "" if os.access(above, os.W_OK) else "it cannot be written to: set XDG_CACHE_HOME to a folder that can"
    yield "cache", f"{root}, {'writable' if not advice else 'not writable'}", advice
    for folder in sorted(root.iterdir()) if root.is_dir() else ():
        size = 0
        for file in folder.rglob("*"):
            with contextlib.suppress(OSError):  # gone meanwhile
                size += file.stat().st_size if file.is_file() else 0
        yield "", f"{folder}: {size / 2**20:.1f} MiB; may be removed at any time", ""
    own = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    if own:
        yield "", f"{own}: compiled programs, by JAX_COMPILATION_CACHE_DIR", ""
