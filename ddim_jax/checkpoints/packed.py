"""Files of packed weights: what segmenting needs of a checkpoint, in one .safetensors file.

The tensors are the EMA weights, named by their place in the parameter tree with dots. The metadata of the file hold
`config`, `training_data` and, if there is one, `calibration` (JSON; the classes are in `data.labels` of the config, the
defaults of sampling in `sample`), `step`, `package_version`, `format` and `format_version`, the texts `note` and
`terms`, and `sha256`, over the weights and all the other metadata. Nothing in such a file is run.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import safetensors.numpy
from flax.traverse_util import flatten_dict, unflatten_dict

from ddim_jax.runtime.atomic import atomic_path, check_place
from ddim_jax.runtime.errors import CheckpointError, InputError
from ddim_jax.runtime.json_text import parse_json
from ddim_jax.runtime.values import is_whole

SUFFIX = ".safetensors"
FORMAT, FORMAT_VERSION = "ddim_jax weights", 1
PRETRAINING = "pretraining_examples"
"""In the metadata, section data, of weights of `ddim_jax.training.pretraining`: the number of its images."""
DTYPES = {"float32": np.float32, "float16": np.float16}
_STORED = ("F32", "F16")
_LARGEST_HEADER = 2**26  # bytes
_NAMED = 5
MAKE = f"make one with `ddim-jax pack RUN --output FILE{SUFFIX}`"


class Packed(NamedTuple):
    """The content of a file of packed weights.

    Attributes:
      step: training steps taken.
      params: nested dict of float32 NumPy arrays, the EMA weights.
      metadata: as that of a checkpoint (config, data, package_version) with `calibration`, a dict or None; `data` has
        `note` and `terms` besides.
      digest: SHA-256 over names, shapes, dtypes and bytes of the weights as they are stored.
      dtype: in which they are stored, float32 or float16.
      file_sha256: of the file as a whole.
    """

    step: int
    params: Any
    metadata: dict[str, Any]
    digest: str
    dtype: str
    file_sha256: str


def is_packed(path: Path) -> bool:
    """Returns True if `path` is a file that says of itself that it is one of packed weights."""
    try:
        with open(path, "rb") as file:
            return _about(_header(path, file)).get("format") == FORMAT
    except (CheckpointError, OSError):
        return False


def write_packed(
    path: Path, params: Any, *, step: int, metadata: Mapping[str, Any], dtype: str = "float32", note: str, terms: str
) -> Packed:
    """Writes a file of packed weights, whole or not at all, and reads it again; the same content gives the same bytes.

    Args:
      path: a file that is not there yet, ending in .safetensors.
      params: nested dict of float32 arrays.
      step, metadata: as those of a checkpoint; `config`, `data`, `package_version` and `calibration` are
        kept.
      dtype: float32 keeps every bit; float16 halves the file and rounds each weight.
      note: what the images were that the weights were trained on.
      terms: under which the weights may be used.

    Raises:
      InputError: the name ends in something else, or the file is there.
      CheckpointError: a weight is not finite, or too large for float16.
      OSError: the file cannot be written.
    """
    check_output(path)
    with np.errstate(over="ignore"):  # told below
        tensors = {name: np.asarray(leaf, DTYPES[dtype], order="C") for name, leaf in _flat(params).items()}
    _check_finite(path, tensors, "; pack another step of the run" + (" or take float32" if dtype == "float16" else ""))
    about = {
        "format": FORMAT,
        "format_version": str(FORMAT_VERSION),
        "package_version": str(metadata.get("package_version", "")),
        "step": str(step),
        "config": json.dumps(metadata["config"], sort_keys=True),
        "training_data": json.dumps(metadata.get("data") or {}, sort_keys=True),
        "note": note,
        "terms": terms,
    }
    if metadata.get("calibration"):
        about["calibration"] = json.dumps(metadata["calibration"], sort_keys=True)
    about["sha256"] = _sha256(_weights_digest(tensors), about)
    with atomic_path(path) as temporary:
        temporary.write_bytes(_in_order(safetensors.numpy.save(tensors, about)))
        written = read_packed(temporary)
        if written.digest != _weights_digest(tensors):
            raise CheckpointError(f"{path}: other weights were read than were written; is the disk at fault?")
        check_output(path)  # another process may have made it meanwhile
    return written


def check_output(path: Path) -> None:
    """Refuses to write a file of packed weights under another suffix, over anything, or where it cannot be written.

    Raises:
      InputError: says which.
    """
    if path.suffix != SUFFIX:
        raise InputError(f"{path}: packed weights end in {SUFFIX}; choose such a name")
    if path.is_symlink() or path.exists():
        raise InputError(f"{path}: is there already and is not written over; remove it or choose another name")
    check_place(path.parent)


def read_packed(path: Path, require_sha256: str | None = None) -> Packed:
    """Reads and checks a file of packed weights.

    Args:
      path: of the file.
      require_sha256: of the whole file; any other is refused before its configuration is looked at.

    Raises:
      CheckpointError: it is no such file, was cut short or changed, is of a later format, has weights that are not
        finite, or has another SHA-256.
    """
    try:
        with open(path, "rb") as file:
            header = _header(path, file)
            about = _about(header)
            _check_kind(path, about)
            end, size = file.tell() + _check_tensors(path, header), os.fstat(file.fileno()).st_size
            if size != end:
                raise CheckpointError(
                    f"{path}: {size:,} bytes, its header speaks of {end:,}; copy the file again, to the end"
                )
            file.seek(0)
            content = file.read()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from error
    file_sha256 = hashlib.sha256(content).hexdigest()
    if require_sha256 is not None and file_sha256 != require_sha256.lower():
        raise CheckpointError(f"{path}: its SHA-256 is {file_sha256}, not {require_sha256.lower()} as required")
    try:
        tensors = safetensors.numpy.load(content)
    except Exception as error:  # of several kinds, by what is wrong
        raise CheckpointError(f"{path}: cannot be read ({_first_line(error)}); copy the file again") from error
    digest = _weights_digest(tensors)
    if about.get("sha256") != _sha256(digest, {name: text for name, text in about.items() if name != "sha256"}):
        raise CheckpointError(f"{path}: changed after it was packed (its SHA-256 differs); copy the file again")
    _check_finite(path, tensors, "; pack another step of the run")
    try:
        config, data, step = parse_json(about["config"]), parse_json(about["training_data"]), int(about["step"])
        calibration = parse_json(about.get("calibration", "null"))
        # float32 holds every float16 exactly.
        wide = {name: array.astype(np.float32, copy=False) for name, array in tensors.items()}
        params = unflatten_dict(wide, sep=".")
        if not (isinstance(data, dict) and is_whole(step, 0) and isinstance(calibration, dict | None)):
            raise ValueError("training_data, step or calibration is of another kind")
    except (LookupError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: its metadata cannot be read ({_first_line(error)}); {MAKE}") from error
    data |= {name: about[name] for name in ("note", "terms") if about.get(name)}
    metadata = {"config": config, "data": data, "package_version": about.get("package_version")}
    metadata["calibration"] = calibration
    dtypes = sorted({str(array.dtype) for array in tensors.values()})
    return Packed(step, params, metadata, digest, " and ".join(dtypes), file_sha256)


def _header(path: Path, file: BinaryIO) -> dict[str, Any]:
    """The header of a safetensors file: a length (8 bytes, little-endian) and JSON."""
    length = int.from_bytes(file.read(8), "little")
    foreign = f"{path}: no file of packed weights; {MAKE}"
    if not 2 <= length <= _LARGEST_HEADER:
        raise CheckpointError(foreign)
    text = file.read(length)
    if len(text) != length and text[:1] == b"{":
        raise CheckpointError(f"{path}: ends within its header; copy the file again, to the end")
    try:
        header = parse_json(text)
    except ValueError as error:
        raise CheckpointError(foreign) from error
    if not isinstance(header, dict):
        raise CheckpointError(foreign)
    return header


def _about(header: Mapping[str, Any]) -> dict[str, str]:
    about = header.get("__metadata__")
    return about if isinstance(about, dict) and all(isinstance(text, str) for text in about.values()) else {}


def _check_kind(path: Path, about: Mapping[str, str]) -> None:
    if about.get("format") != FORMAT:
        raise CheckpointError(
            f"{path}: holds weights without a configuration of this package; {MAKE}. Weights of PyTorch can begin a "
            "training: --config.train.init_from"
        )
    version = about.get("format_version", "")
    if version != str(FORMAT_VERSION):
        later = version.isascii() and version.isdecimal() and len(version) < 9 and int(version) > FORMAT_VERSION
        todo = "upgrade ddim_jax to read it" if later else MAKE
        raise CheckpointError(f"{path}: its format is {version or 'none'}, expected {FORMAT_VERSION}; {todo}")


def _check_tensors(path: Path, header: Mapping[str, Any]) -> int:
    """The bytes of all tensors together; what else is wrong with their places safetensors finds itself."""
    total = 0
    for name, tensor in header.items():
        if name == "__metadata__":
            continue
        dtype = tensor.get("dtype") if isinstance(tensor, dict) else None
        offsets = tensor.get("data_offsets") if isinstance(tensor, dict) else None
        if str(dtype) not in _STORED:
            raise CheckpointError(f"{path}: {name} is {dtype}, expected float32 or float16; {MAKE}")
        if not (isinstance(offsets, list) and len(offsets) == 2 and all(is_whole(place, 0) for place in offsets)):
            raise CheckpointError(f"{path}: {name} has no place in the file; copy the file again")
        total = max(total, *offsets)
    return total


def _check_finite(path: Path, tensors: Mapping[str, np.ndarray], todo: str) -> None:
    wrong = [name for name, array in tensors.items() if not np.isfinite(array).all()]
    if wrong:
        more = f" and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
        raise CheckpointError(f"{path}: NaN or infinite weights in {', '.join(wrong[:_NAMED])}{more}{todo}")


def _flat(params: Any) -> dict[str, np.ndarray]:
    return flatten_dict(params, sep=".")


def _weights_digest(tensors: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        array = tensors[name]
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _sha256(weights: str, about: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps([weights, about], sort_keys=True).encode()).hexdigest()


def _in_order(content: bytes) -> bytes:
    """The file with its header sorted, which safetensors writes in any order."""
    length = int.from_bytes(content[:8], "little")
    text = json.dumps(json.loads(content[8 : 8 + length]), sort_keys=True, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the weights begin at a multiple of 8
    return len(text).to_bytes(8, "little") + text + content[8 + length :]


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0][:200]}"
