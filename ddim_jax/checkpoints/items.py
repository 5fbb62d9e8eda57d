"""The parts of one step folder: the training state, the EMA weights, the metadata, the scores."""

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ddim_jax.checkpoints.manifest import read_verified
from ddim_jax.runtime.errors import CheckpointError
from ddim_jax.runtime.json_text import parse_json
from ddim_jax.runtime.values import is_number

METRIC = "dice"
"""The score that decides which step is the best: larger is better."""
_SCORES = "metrics/metrics"
_WORTH_SHARING = 2**20  # bytes
_NAMED = 5  # leaves spelt out in a message
_ADVICE = " Use the configuration it was trained with, or another directory."
_TOLD = 300  # characters of an error of Orbax, which prints its settings
_LARGEST = 2**26  # bytes of metadata
SMALL = 2**28  # bytes that may be declared in any case
COMPRESSED = 100  # times smaller than its content a file may be; trained weights hardly shrink


def read_state(folder: Path, template: Any) -> Any:
    """The training state of step folder `folder`, in the structure, dtypes and shardings of `template`.

    Raises:
      CheckpointError: leaves of the template differ from the saved ones in name, shape or dtype; some are named.
    """
    import orbax.checkpoint as ocp  # not at the head: packed weights do not need it, and it takes long to import

    with _reading(folder):
        saved = ocp.PyTreeCheckpointHandler().metadata(folder / "state").tree
    check_tree(folder, template, saved)
    check_chunks(folder / "state", saved)
    return _read_item(folder, state=ocp.args.StandardRestore(jax.tree.map(_with_placement, template)))


def check_written(folder: Path, **items: Any) -> None:
    """Opens what was saved in step folder `folder` and compares it with the `items` that it was saved from.

    Raises:
      CheckpointError: it cannot be opened, or its arrays have other names, shapes or dtypes.
    """
    import orbax.checkpoint as ocp  # not at the head: packed weights do not need it, and it takes long to import

    for name, tree in items.items():
        with _reading(folder, "it was saved"):
            saved = ocp.PyTreeCheckpointHandler().metadata(folder / name).tree
        check_tree(folder, tree, saved)
    read_metadata(folder)


def read_params(folder: Path) -> Any:
    """The EMA weights as a nested dict of NumPy arrays, which need none of the devices they were saved from.

    Raises:
      CheckpointError: they cannot be read, or say that they are far larger than their files.
    """
    import orbax.checkpoint as ocp  # not at the head: packed weights do not need it, and it takes long to import

    with _reading(folder):
        saved = ocp.PyTreeCheckpointHandler().metadata(folder / "ema_params").tree
    _check_size(folder / "ema_params", saved)
    as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), saved)
    return _read_item(folder, ema_params=ocp.args.PyTreeRestore(restore_args=as_numpy))


def check_declared(path: Path, declared: int, stored: int, most: str = "") -> None:
    """Refuses a file of a few bytes that declares terabytes.

    Args:
      path: named in the message.
      declared: bytes of memory that reading it takes.
      stored: bytes that it has.
      most: what of it takes the most of them, if that is known.

    Raises:
      CheckpointError: it declares more than `COMPRESSED` times what it has, and more than `SMALL`.
    """
    if declared > max(SMALL, COMPRESSED * stored):
        where = f", most of them in {most}" if most else ""
        raise CheckpointError(
            f"{path}: its {stored:,} bytes say that they hold {declared:,} bytes of weights{where}; expected at most "
            f"{COMPRESSED} times as many as are stored. Is it from a source that you trust?"
        )


def check_chunks(folder: Path, saved: Any) -> None:
    """Refuses arrays stored in pieces larger than they are themselves: each piece is held in memory whole.

    Raises:
      CheckpointError: names the array.
    """
    for name, leaf in _leaves(saved).items():
        chunk = getattr(getattr(leaf, "storage", None), "chunk_shape", None) or ()
        numbers, whole = math.prod(chunk), math.prod(getattr(leaf, "shape", None) or ())
        if numbers > max(1, whole):
            raise CheckpointError(
                f"{folder}: {name} has {whole:,} numbers and says that it is stored in pieces of {numbers:,}; expected "
                "at most as many. Is it from a source that you trust?"
            )


def _check_size(folder: Path, saved: Any) -> None:
    """Checks arrays and their chunks with `check_declared`; `folder` holds the files."""

    def size(leaf: Any) -> int:
        chunk = getattr(getattr(leaf, "storage", None), "chunk_shape", None)
        numbers = max(math.prod(shape or ()) for shape in (getattr(leaf, "shape", None), chunk))
        return numbers * np.dtype(getattr(leaf, "dtype", None)).itemsize

    declared = {name: size(leaf) for name, leaf in _leaves(saved).items()}
    stored = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    check_declared(folder, sum(declared.values()), stored, most=max(declared, key=declared.__getitem__, default=""))


def _read_item(folder: Path, **item: Any) -> Any:
    """Reads one part of a step through the step's folder: only that one carries the metadata Orbax looks for."""
    import orbax.checkpoint as ocp  # not at the head: packed weights do not need it, and it takes long to import

    (name,) = item
    with _reading(folder), ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as reader:
        return reader.restore(folder, ocp.args.Composite(**item))[name]


def read_metadata(folder: Path) -> dict:
    """The JSON metadata of step folder `folder`.

    Raises:
      CheckpointError: they cannot be read, or are not an object.
    """
    file = folder / "metadata" / "metadata"
    with _reading(folder):
        if file.stat().st_size > _LARGEST:
            raise ValueError(f"metadata of {file.stat().st_size:,} bytes, expected at most {_LARGEST:,}")
        metadata = parse_json(file.read_text(encoding="utf-8"))
    if not isinstance(metadata, dict):
        raise CheckpointError(f"{file}: holds {type(metadata).__name__}; expected an object with config and data")
    return metadata


def read_scores(folder: Path) -> tuple[dict[str, float], str | None]:
    """The scores of step folder `folder`, {} if it has none, and what is wrong with them or the manifest."""
    content, problem = read_verified(folder, _SCORES)
    if content is None:
        return {}, problem
    try:
        scores = parse_json(content)
    except ValueError:
        scores = None
    if isinstance(scores, dict) and all(is_number(value) and math.isfinite(value) for value in scores.values()):
        return scores, None
    return {}, f"{_SCORES}: not the scores of a step; expected names and finite numbers"


def small_by_one(tree: Any) -> Any:
    """Replicated arrays below `_WORTH_SHARING` as NumPy arrays, which process 0 writes.

    What stays, Orbax writes in slices, one by each device; cutting them compiles a program for every shape, which for a
    small network takes far longer than writing it.
    """

    def one(leaf: Any) -> Any:
        shared = isinstance(leaf, jax.Array) and len(leaf.sharding.device_set) > 1
        return np.asarray(leaf) if shared and leaf.is_fully_replicated and leaf.nbytes < _WORTH_SHARING else leaf

    return jax.tree.map(one, tree)


def _describe(leaf: Any) -> str:
    dtype = getattr(leaf, "dtype", None)
    shape = getattr(leaf, "shape", None)
    return f"{np.asarray(leaf).dtype}[]" if dtype is None else f"{dtype}{list(shape or ())}"


def _leaves(tree: Any) -> dict[str, Any]:
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in _flatten(tree)}


def _flatten(tree: Any) -> list[tuple[Any, Any]]:
    return jax.tree_util.tree_flatten_with_path(tree)[0]


def check_tree(folder: Path, template: Any, saved: Any, advice: str = _ADVICE) -> None:
    """Compares two pytrees by names, shapes and dtypes of leaves; the message names `folder` and ends in `advice`.

    Orbax would silently cast another dtype, and reports the rest without naming the leaf.

    Raises:
      CheckpointError: they differ; the first few leaves that do are named with both shapes.
    """
    expected, found = _leaves(template), _leaves(saved)
    problems = [f"{name}: only in this model ({_describe(expected[name])})" for name in expected.keys() - found.keys()]
    problems += [
        f"{name}: only in the checkpoint ({_describe(found[name])})" for name in found.keys() - expected.keys()
    ]
    for name in expected.keys() & found.keys():
        here, there = _describe(expected[name]), _describe(found[name])
        if here != there:
            problems.append(f"{name}: {there} in the checkpoint, {here} in this model")
    if problems:
        more = f" and {len(problems) - _NAMED} more" if len(problems) > _NAMED else ""
        raise CheckpointError(
            f"{folder} belongs to another model or optimiser: "
            + "; ".join(sorted(problems)[:_NAMED])
            + more
            + "."
            + advice
        )


def _with_placement(leaf: Any) -> Any:
    """A template leaf without a sharding goes to the default device, wherever the saved array was."""
    if isinstance(leaf, np.generic):  # saved, but not restored, by Orbax
        return np.asarray(leaf)
    if isinstance(leaf, jax.ShapeDtypeStruct) and leaf.sharding is None:
        device = jax.config.jax_default_device or jax.local_devices()[0]
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=jax.sharding.SingleDeviceSharding(device))
    return leaf


@contextlib.contextmanager
def _reading(folder: Path, but: str = "its checksums agree") -> Iterator[None]:
    """Orbax raises anything, down to a bare Exception, for what it cannot read; the user is told which folder it is."""
    try:
        yield
    except Exception as error:
        told = " ".join(str(error).split())[:_TOLD]
        raise CheckpointError(
            f"{folder}: {but} but it cannot be read ({type(error).__name__}: {told}); "
            "was it written by another version of this package?"
        ) from error
