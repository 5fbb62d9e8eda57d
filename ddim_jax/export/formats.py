"""The kinds of exported files: how each is written and run. Each needs its own library, named where it is missing."""

import contextlib
import importlib
import logging
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import export as jax_export

from ddim_jax.export.program import OUTPUTS, Program
from ddim_jax.runtime.errors import InputError, install_command

ABOUT = "ddim_jax"
"""The name under which a file holds its metadata, JSON."""
BATCH = "batch"
_PROGRAM, _METADATA = "program.jax", "metadata.json"

Run = Callable[[Mapping[str, np.ndarray]], list[np.ndarray]]
"""Inputs by name, with the batch in front -> the outputs in the order of `OUTPUTS`."""


class Format(NamedTuple):
    """A kind of exported file.

    Attributes:
      suffix: its name ends in it.
      write: (program, batch, about, path): writes the file; batch None is any number of images.
      run: path -> a function that runs the file on this machine's CPU.
      beside: the suffixes of further files that belong to it.
    """

    suffix: str
    write: Callable[[Program, int | None, str, Path], None]
    run: Callable[[Path], Run]
    beside: tuple[str, ...] = ()


def needed(module: str, extra: str) -> Any:
    """Imports a library of an extra.

    Raises:
      InputError: it is not installed; the extra is named.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(f"{module} cannot be imported ({error}); {install_command(extra)}") from error


def openvino() -> Any:
    """The module `openvino`, kept from calling out: its telemetry is not imported, here or by what it imports later."""
    sys.modules.setdefault("openvino_telemetry", None)  # as if it was not installed, which OpenVINO provides for
    return needed("openvino", "openvino")


def _write_stablehlo(program: Program, batch: int | None, about: str, path: Path) -> None:
    leading = jax_export.symbolic_shape(BATCH)[0] if batch is None else batch
    shapes = [jax.ShapeDtypeStruct((leading, *shape), np.float32) for shape in program.inputs.values()]
    # Nothing in a program of portable operations is of one platform, so it may run on any.
    anywhere = [jax_export.DisabledSafetyCheck.platform()]
    exported = jax_export.export(jax.jit(program.function), platforms=["cpu"], disabled_checks=anywhere)(*shapes)
    with zipfile.ZipFile(path, "w") as archive:  # stored, not compressed: weights do not shrink
        for name, content in ((_PROGRAM, bytes(exported.serialize())), (_METADATA, about.encode())):
            archive.writestr(zipfile.ZipInfo(name), content)  # with a fixed date: the same content, the same bytes


def _run_stablehlo(path: Path) -> Run:
    with zipfile.ZipFile(path) as archive:
        exported = jax_export.deserialize(bytearray(archive.read(_PROGRAM)))
    call = jax.jit(exported.call)
    return lambda inputs: [np.asarray(value) for value in call(*inputs.values())]


@contextlib.contextmanager
def _without_equinox() -> Iterator[None]:
    """Keeps jax2onnx from importing its converters of Equinox, which nothing here uses.

    They make dozens of layers as they are imported, each by small programs that XLA compiles: 16 s of 18. A process
    that has imported Equinox keeps them.
    """
    if "equinox" in sys.modules:
        yield
        return
    told = logging.getLogger("jax2onnx")
    level = told.level
    told.setLevel(logging.ERROR)  # it warns of each converter that it passes over
    sys.modules["equinox"] = None  # as if it was not installed, which jax2onnx provides for
    try:
        yield
    finally:
        del sys.modules["equinox"]
        told.setLevel(level)


def _onnx_model(program: Program, batch: int | None, about: str) -> Any:
    """The program as an `onnx.ModelProto`."""
    jax2onnx = needed("jax2onnx", "export")
    logging.getLogger("onnx_ir").setLevel(logging.ERROR)  # it warns of each shape that hangs on the batch
    leading = BATCH if batch is None else batch
    try:
        with _without_equinox():
            model = jax2onnx.to_onnx(
                program.function,
                [(leading, *shape) for shape in program.inputs.values()],
                input_names=list(program.inputs),
                output_names=list(OUTPUTS),
                model_name=ABOUT,
            )
    except Exception as error:  # of a network of somebody else; what a converter cannot do, it says in many ways
        told = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        raise InputError(f"jax2onnx cannot convert this network ({told}); --format stablehlo takes any") from error
    graphs = _graphs(model.graph)
    read = {name for graph in graphs for node in graph.node for name in node.input}
    for graph in graphs:  # the converter leaves some that are read nowhere, of which onnxruntime would warn, one by one
        used = read | {output.name for output in graph.output}
        kept = [one for one in graph.initializer if one.name in used]
        del graph.initializer[:]
        graph.initializer.extend(kept)
    entry = model.metadata_props.add()
    entry.key, entry.value = ABOUT, about
    return model


def _graphs(graph: Any) -> list[Any]:
    """The graph and those of the loops within it."""
    inner = [attribute.g for node in graph.node for attribute in node.attribute if attribute.HasField("g")]
    return [graph, *(one for part in inner for one in _graphs(part))]


def _write_onnx(program: Program, batch: int | None, about: str, path: Path) -> None:
    path.write_bytes(_onnx_model(program, batch, about).SerializeToString(deterministic=True))


def _run_onnx(path: Path) -> Run:
    runtime = needed("onnxruntime", "export")
    options = runtime.SessionOptions()
    options.log_severity_level = 3  # errors; it warns of each constant that it folds
    session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda inputs: session.run(list(OUTPUTS), dict(inputs))


def _write_openvino(program: Program, batch: int | None, about: str, path: Path) -> None:
    ov = openvino()
    model = ov.Core().read_model(model=_onnx_model(program, batch, about).SerializeToString())
    model.set_rt_info(about, [ABOUT])
    ov.save_model(model, str(path), compress_to_fp16=False)


def _run_openvino(path: Path) -> Run:
    # On some processors it would compute in bfloat16 unless told otherwise.
    compiled = openvino().Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def run(inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        found = compiled(dict(inputs))
        return [np.array(found[name]) for name in OUTPUTS]

    return run


FORMATS = {
    "stablehlo": Format(".zip", _write_stablehlo, _run_stablehlo),
    "onnx": Format(".onnx", _write_onnx, _run_onnx),
    "openvino": Format(".xml", _write_openvino, _run_openvino, beside=(".bin",)),
}
