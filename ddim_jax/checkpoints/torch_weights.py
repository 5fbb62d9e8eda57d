"""Weights exchanged with PyTorch: state dicts and parameter trees, exact to the bit, and the files they come in.

A state dict is a flat mapping of names to arrays in PyTorch's layouts (convolution [out, in/groups, kh, kw], linear
[out, in]); a parameter tree is Flax's nested dict ([kh, kw, in/groups, out], [in, out]). Only names and axes differ.
PyTorch itself is needed for .pt and .pth files alone.
"""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes  # also teaches NumPy bfloat16, which safetensors then reads
import numpy as np
import safetensors.numpy
from flax.traverse_util import flatten_dict, unflatten_dict

from ddim_jax.checkpoints.items import check_declared
from ddim_jax.runtime.atomic import atomic_path
from ddim_jax.runtime.errors import CheckpointError
from ddim_jax.runtime.remote import local_path

NameTable = tuple[tuple[str, str], ...]

DENOISING_UNET: NameTable = (
    (r"temb_dense_(\d+)", r"temb.dense.\1"),
    (r"(down|up)_(\d+)_(block|attn)_(\d+)", r"\1.\2.\3.\4"),
    (r"(down|up)_(\d+)_(downsample|upsample)", r"\1.\2.\3.conv"),
    (r"mid_(block|attn)_(\d+)", r"mid.\1_\2"),
    (r"shortcut", r"nin_shortcut"),
)
"""Module names of `DenoisingUNet` and, in PyTorch, of the reference implementation of DDIM (Song et al., 2021).

A table has a (regular expression, replacement) for each module whose name differs; the first that matches the whole
name counts, and names without one stay as they are. Every model brings a table of its own.
"""

_LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias"}
_TO_TORCH = {4: (3, 2, 0, 1), 2: (1, 0)}
"""Axes of a kernel: [kh, kw, in, out] -> [out, in, kh, kw] and [in, out] -> [out, in]."""
_TO_FLAX = {4: (2, 3, 1, 0), 2: (1, 0)}
_PREFIX = "module."
_NAMED = 10  # entries spelt out in a message
_WRAPPERS = ("ema", "ema_state_dict", "ema_model", "state_dict", "model_state_dict", "model")


def to_torch(params: Mapping[str, Any], names: NameTable = DENOISING_UNET) -> dict[str, np.ndarray]:
    """The state dict of a parameter tree.

    Args:
      params: nested dict of arrays (NumPy or JAX).
      names: the name table of the model.

    Returns:
      Name -> C-contiguous NumPy array of the same dtype, in the order of the tree.
    """
    return {name: _transposed(path, np.asarray(leaf), _TO_TORCH) for name, path, leaf in _named(params, names)}


def from_torch(
    state_dict: Mapping[str, Any],
    params_template: Mapping[str, Any],
    names: NameTable = DENOISING_UNET,
    *,
    source: str | os.PathLike = "the state dict",
) -> dict[str, Any]:
    """The parameter tree of a state dict.

    Args:
      state_dict: name -> floating array or tensor of PyTorch, as from `net.state_dict()` or `net.named_parameters()`;
        `module.` before every name (DataParallel) is dropped.
      params_template: the tree to fill: nested dict whose leaves have `shape` and `dtype`, for instance
        `jax.eval_shape(model.init, ...)["params"]`.
      names: the name table of the model.
      source: what an error calls the state dict, usually its file.

    Returns:
      Nested dict of NumPy arrays with the shapes and dtypes of the template. Where the dtypes agree every bit is kept,
      half precision is widened exactly.

    Raises:
      CheckpointError: an entry is missing, is not in the model, has another shape or no floating dtype, or holds NaN or
        infinite values; the first ten are named.
    """
    given = _without_prefix(state_dict)
    wanted = {name: (path, leaf) for name, path, leaf in _named(params_template, names)}
    problems = {
        "missing": [name for name in wanted if name not in given],
        "not in this model": [name for name in given if name not in wanted],
        "of another form": [],
        "with NaN or infinite values": [],
    }
    for name in wanted.keys() & given.keys():
        path, leaf = wanted[name]
        expected, found = _torch_shape(path, leaf.shape), given[name]
        if found.shape != expected:
            problems["of another form"].append(f"{name} is {list(found.shape)}, expected {list(expected)}")
        elif not _is_floating(found.dtype):
            problems["of another form"].append(f"{name} is {found.dtype}, expected {leaf.dtype}")
        elif not np.isfinite(found).all():
            problems["with NaN or infinite values"].append(name)
    if any(problems.values()):
        raise CheckpointError(
            f"{source} does not fit this model. {_listed(problems)}. "
            "Use the configuration of the network whose weights these are."
        )
    return unflatten_dict(
        {
            path: _transposed(path, given[name], _TO_FLAX).astype(leaf.dtype, copy=False)
            for name, (path, leaf) in wanted.items()
        }
    )


def load_state_dict(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Reads a state dict from a .safetensors, .pt or .pth file.

    A .pt or .pth file may hold the state dict itself or something around it. Of a list, such as the
    [model, optimiser, epoch, step, EMA] of the reference DDIM, the last element that is a state dict counts: the EMA
    weights where they were kept, else the model's. Of a dict, the first of the keys ema, ema_state_dict, ema_model,
    state_dict, model_state_dict and model under which a state dict lies. Nothing but arrays and plain containers is
    unpickled, so a file from a stranger runs no code, and tensors far larger than the file are refused.

    Neither format has a checksum that is checked on reading: a file cut short is refused, a flipped bit is not noticed.

    Returns:
      Name -> NumPy array; bfloat16 comes as `ml_dtypes.bfloat16` from .safetensors and widened to float32 from .pt.

    Raises:
      CheckpointError: the file is not there, cannot be read, has another suffix or holds no state dict, or the library
        that reads it is not installed.
    """
    path = local_path(path, "the path of weights")
    readers = {".safetensors": _read_safetensors, ".pt": _read_pickled, ".pth": _read_pickled}
    if path.suffix.lower() not in readers:
        raise CheckpointError(f"{path}: expected a file ending in {', '.join(readers)}")
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    return readers[path.suffix.lower()](path)


def save_state_dict(path: str | os.PathLike, state_dict: Mapping[str, Any]) -> None:
    """Writes a state dict as .safetensors, which `safetensors.torch.load_file` reads; whole or not at all.

    Args:
      path: ends in .safetensors.
      state_dict: name -> array, for instance from `to_torch`.

    Raises:
      CheckpointError: another suffix.
      OSError: the disk is full or not writable.
    """
    path = local_path(path, "the path of weights")
    if path.suffix.lower() != ".safetensors":
        raise CheckpointError(f"{path}: state dicts are written as .safetensors; choose such a name")
    # The library writes the memory of an array as it lies there, so anything but C order would be saved scrambled.
    arrays = {name: np.asarray(array, order="C") for name, array in state_dict.items()}
    with atomic_path(path) as temporary:
        safetensors.numpy.save_file(arrays, temporary)


def _named(params: Mapping[str, Any], names: NameTable) -> Iterator[tuple[str, tuple[str, ...], Any]]:
    """(name in PyTorch, path in the tree, leaf) of every leaf."""
    for path, leaf in flatten_dict(params).items():
        *modules, last = path
        renamed = [_rename(module, names) for module in modules]
        yield ".".join([*renamed, _LEAVES.get(last, last)]), path, leaf


def _rename(module: str, names: NameTable) -> str:
    for pattern, replacement in names:
        match = re.fullmatch(pattern, module)
        if match:
            return match.expand(replacement)
    return module


def _transposed(path: tuple[str, ...], array: np.ndarray, axes: Mapping[int, tuple[int, ...]]) -> np.ndarray:
    if path[-1] == "kernel":
        array = array.transpose(axes[array.ndim])
    return np.asarray(array, order="C")


def _torch_shape(path: tuple[str, ...], shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(shape[axis] for axis in _TO_TORCH[len(shape)]) if path[-1] == "kernel" else tuple(shape)


def _is_floating(dtype: np.dtype) -> bool:
    return np.issubdtype(dtype, np.floating) or dtype == ml_dtypes.bfloat16


def _without_prefix(state_dict: Mapping[str, Any]) -> dict[str, np.ndarray]:
    prefix = _PREFIX if all(name.startswith(_PREFIX) for name in state_dict) else ""
    return {name.removeprefix(prefix): _array(array) for name, array in state_dict.items()}


def _array(value: Any) -> np.ndarray:
    if hasattr(value, "detach"):  # a tensor of PyTorch, which need not be imported here
        value = value.detach().cpu()
        # NumPy by itself has no bfloat16; float32 holds every one of its values.
        value = (value.float() if str(value.dtype) == "torch.bfloat16" else value).numpy()
    return np.asarray(value)


def _listed(problems: Mapping[str, list[str]]) -> str:
    """Each kind of problem with the number of entries that have it, and `_NAMED` of them in all."""
    found = {kind: sorted(entries) for kind, entries in problems.items() if entries}
    each = _NAMED // len(found)
    return "; ".join(
        f"{kind} ({len(entries)}): {', '.join(entries[:each])}"
        + (f" and {len(entries) - each} more" if len(entries) > each else "")
        for kind, entries in found.items()
    )


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    try:
        return safetensors.numpy.load_file(path)
    except Exception as error:  # of several kinds, by what is wrong
        raise _unreadable(path, error) from error


def _read_pickled(path: Path) -> dict[str, np.ndarray]:
    try:
        import torch
    except ImportError as error:
        raise CheckpointError(
            f"{path}: needs PyTorch to be read; install it with `pip install torch`, or save the file as .safetensors "
            "where PyTorch is installed"
        ) from error
    try:
        content = torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # anything from EOFError to UnpicklingError
        raise _unreadable(path, error) from error

    def is_state_dict(value: Any) -> bool:
        if not isinstance(value, Mapping) or not value:
            return False
        return all(isinstance(name, str) and torch.is_tensor(item) for name, item in value.items())

    candidates = [content]
    if isinstance(content, list | tuple):
        candidates = list(reversed(content))
    elif isinstance(content, Mapping):
        candidates += [content.get(key) for key in _WRAPPERS]
    found = next((candidate for candidate in candidates if is_state_dict(candidate)), None)
    if found is None:
        raise CheckpointError(
            f"{path}: holds no state dict (names and tensors), neither by itself nor in a list nor under one of the "
            f"keys {', '.join(_WRAPPERS)}; save the model's state_dict() alone"
        )
    # One number in the file can be a tensor of any shape, as `expand` makes it.
    declared = {name: tensor.numel() * tensor.element_size() for name, tensor in found.items()}
    check_declared(path, sum(declared.values()), path.stat().st_size, most=max(declared, key=declared.__getitem__))
    return {name: _array(tensor) for name, tensor in found.items()}


def _unreadable(path: Path, error: Exception) -> CheckpointError:
    reason = (str(error).splitlines() or ["no reason given"])[0]
    return CheckpointError(f"{path}: cannot be read ({type(error).__name__}: {reason}); was it copied to the end?")
