"""Checkpoints and weights that cannot be used."""

import json
import os
import pickle
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from ddim_jax.checkpoints.manifest import write_manifest
from tests.slow.trials.bad_paths import Arguments, put_stray
from tests.slow.trials.bad_pictures import put_data
from tests.slow.trials.judge import Input, Make, Start
from tests.slow.trials.tiny import make_run, run_config


def loaded(run: Path) -> Iterator[tuple[str, Make]]:
    """Checkpoints, for sample.py and evaluate.py in turn.

    Args:
      run: one that works.
    """
    for number, (name, (change, arguments, told)) in enumerate(_runs().items()):
        yield name, _loading(run, change, arguments, told, evaluates=number % 2 == 1)


def _loading(
    run: Path, change: Callable[[Path], object], arguments: tuple[str, ...], told: tuple[str, ...], *, evaluates: bool
) -> Make:
    def make(folder: Path) -> Start:
        shutil.copytree(run, folder / "run")
        change(folder / "run")
        inputs = (Input("", told),)
        if evaluates:
            return Start("evaluate.py", ("--ckpt", "run", "--output", "out", *arguments), inputs)
        put_stray(folder / "in")
        return Start("sample.py", ("--ckpt", "run", "--input", "in", "--output", "out", *arguments), inputs)

    return make


def _runs() -> dict[str, tuple[Callable[[Path], object], tuple[str, ...], tuple[str, ...]]]:
    """Name -> what is done to a run, further arguments, and what the message holds."""

    def nothing(run: Path) -> None:
        pass

    def file(run: Path) -> None:
        shutil.rmtree(run)
        run.write_text("weights")

    def empty(run: Path) -> None:
        shutil.rmtree(run / "checkpoints")

    def flipped(run: Path) -> None:
        path = max((run / "checkpoints/5/ema_params").rglob("*"), key=lambda path: path.stat().st_size * path.is_file())
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(bytes(data))

    def other_model(run: Path) -> None:
        shutil.rmtree(run)
        make_run(run, says_channels=16)

    def changed_config(**sections) -> Callable[[Path], object]:
        def change(run: Path) -> None:
            step = run / "checkpoints/5"
            (step / "metadata/metadata").write_text(json.dumps({"config": run_config() | sections}))
            write_manifest(step)

        return change

    def without(name: str) -> Callable[[Path], object]:
        return lambda run: (run / "checkpoints/5" / name).unlink()

    def cut(name: str) -> Callable[[Path], object]:
        def change(run: Path) -> None:
            path = run / "checkpoints/5" / name
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

        return change

    return {
        "missing": (shutil.rmtree, (), ("run", "no such folder")),
        "a-file": (file, (), ("run", "no file of packed weights")),
        "no-checkpoints": (empty, (), ("run", "holds no checkpoints")),
        "no-such-step": (nothing, ("--checkpoint-step", "7"), ("checkpoints/7", "there are: 5")),
        "no-such-user": (
            nothing,
            ("--ckpt", "~nobody-here/run"),
            ("~nobody-here/run", "no such folder"),
        ),
        "remote": (nothing, ("--ckpt", "gs://bucket/run"), ("gs://bucket/run",)),
        "flipped-bit": (flipped, (), ("checkpoints/5", "content changed")),
        "other-model": (other_model, (), ("checkpoints/5", "in this model")),
        "no-manifest": (without("manifest.json"), (), ("checkpoints/5", "manifest.json")),
        "cut-manifest": (cut("manifest.json"), (), ("checkpoints/5", "manifest.json")),
        "no-metadata": (without("metadata/metadata"), (), ("checkpoints/5", "metadata/metadata: missing")),
        "cut-metadata": (cut("metadata/metadata"), (), ("checkpoints/5", "metadata/metadata", "bytes")),
        "config-without-model": (changed_config(model=None), (), ("model",)),
        "config-of-a-later-version": (
            changed_config(diffusion={**run_config()["diffusion"], "foresight": 1}),
            (),
            ("foresight",),
        ),
        "unknown-model": (changed_config(model={"name": "transformer"}), (), ("'transformer'",)),
    }


def begun_with(arguments: Arguments) -> Iterator[tuple[str, Make]]:
    """train.py with weights of another program to start from, and in the folder of another run."""
    torch_errors = {
        "pickle.npz": (_pickled_arrays, ".safetensors"),
        "pickle.npy": (_pickled_arrays, ".safetensors"),
        "code.pt": (lambda path: path.write_bytes(pickle.dumps(_Code())), "cannot be read"),
        "text.pt": (lambda path: path.write_text("weights"), "cannot be read"),
        "empty.pth": (lambda path: path.write_bytes(b""), "cannot be read"),
        "cut.safetensors": (_cut_safetensors, "cannot be read"),
        "other.safetensors": (_other_safetensors, "does not fit this model"),
        "huge_header.safetensors": (lambda path: path.write_bytes(b"\xff" * 64), "cannot be read"),
        "none.safetensors": (lambda path: None, "no such file"),
        "folder.pt": (lambda path: path.mkdir(), "folder.pt: holds no checkpoints"),
    }
    for name, (write, told) in torch_errors.items():
        yield name, _beginning(name, write, told, arguments)


def _beginning(name: str, write: Callable[[Path], object], told: str, arguments: Arguments) -> Make:
    def make(folder: Path) -> Start:
        put_data(folder)
        write(folder / name)
        given = (*arguments(folder), f"--config.train.init_from={name}")
        return Start("train.py", given, (Input("", (name, told)),))

    return make


class _Code:
    """Unpickled, it would make a folder: what is left behind shows that it ran."""

    def __reduce__(self):
        return os.mkdir, ("unpickled",)


def _pickled_arrays(path: Path) -> None:
    array = np.array([_Code()], dtype=object)
    with open(path, "wb") as file:
        np.savez(file, weight=array) if path.suffix == ".npz" else np.save(file, array, allow_pickle=True)


def _other_safetensors(path: Path) -> None:
    header = {"weight": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(24))


def _cut_safetensors(path: Path) -> None:
    _other_safetensors(path)
    path.write_bytes(path.read_bytes()[:-9])
