"""An exported file: written, checked against JAX on images, and only then given its name."""

import itertools
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from absl import logging

import ddim_jax
from ddim_jax.checkpoints.weights import TRAINED_IN
from ddim_jax.config import without_paths
from ddim_jax.diffusion.reverse import draw
from ddim_jax.export.formats import FORMATS
from ddim_jax.export.program import OUTPUTS, Program, create_program
from ddim_jax.inference.loading import LoadedNetwork
from ddim_jax.inference.segmentation import fuse, starting_noise
from ddim_jax.inference.segmenter import Segmenter
from ddim_jax.models import create_model
from ddim_jax.preprocessing import normalise
from ddim_jax.runtime.atomic import errors_naming
from ddim_jax.runtime.errors import InputError
from ddim_jax.runtime.pinned import pinned
from ddim_jax.runtime.process_folder import ProcessFolder
from ddim_jax.runtime.remote import local_path
from ddim_jax.runtime.values import quantity
from ddim_jax.sampling_options import SamplingOptions

TOLERANCE = 1e-4
"""The largest difference of a probability or an uncertainty from that of JAX."""
_FORMAT_VERSION = 1


class Exported(NamedTuple):
    """The result of an export.

    Attributes:
      path: the file.
      bytes: its size, with that of the files beside it.
      pictures: how many it was checked on.
      differences: for each output the largest difference from JAX; of the mask the number of pixels that differ.
    """

    path: Path
    bytes: int
    pictures: int
    differences: Mapping[str, float]


def in_float32(network: LoadedNetwork) -> LoadedNetwork:
    """The network with arithmetic in float32, which every runtime has; weights are float32 anyway."""
    about = network.config["model"]
    if (about["overrides"] or {}).get("dtype", "float32") == "float32":
        return network
    about = about | {"overrides": {**about["overrides"], "dtype": "float32"}}
    channels = getattr(network.model, "mask_channels", 1)
    model = create_model(about["name"], preset=about["preset"], mask_channels=channels, **about["overrides"])
    return network._replace(model=model, config=network.config | {"model": about}, programs=None)


@pinned()
def export_checkpoint(
    network: LoadedNetwork,
    options: SamplingOptions,
    kind: str,
    output: str | os.PathLike,
    *,
    batch: int | None = 1,
    pictures: Iterable[np.ndarray],
) -> Exported:
    """Writes a network with its sampling and fusion as one program, after it has been checked against JAX.

    The check compares the file, run by its own runtime, with `Segmenter` on the same noise: no probability and no
    uncertainty may differ by `TOLERANCE` or more, and no pixel of a mask.

    Args:
      network: as `ddim_jax.inference.loading.load_network` makes it, in float32.
      options: checked, with the size "model".
      kind: a key of `FORMATS`.
      output: the file, which is not there yet; its name ends in the suffix of the format.
      batch: images in a call; None for any number.
      pictures: uint8 [H, W, 3] to check with, of any size, at least one; as many as `batch` are held at a time.

    Raises:
      InputError: something cannot be exported, a library is missing, the file is there, or the check failed; nothing
        is left behind.
    """
    wanted, output = FORMATS[kind], local_path(output, "output")
    check_output(output, kind)
    program = create_program(network, options)
    segmenter = Segmenter(**network._asdict())
    about = json.dumps(_about(segmenter, program, options, batch), sort_keys=True, allow_nan=False)
    pictures = iter(pictures)
    # One that cannot be read, or none, is told before the conversion.
    if (first := next(pictures, None)) is None:
        raise InputError("there is no image to check the program with; expected at least one")
    pictures = itertools.chain([first], pictures)
    output.parent.mkdir(parents=True, exist_ok=True)
    # In a folder of its own: some formats are several files that know each other by name.
    with errors_naming(output), ProcessFolder(".ddim-jax-export-", output.parent) as folder:
        made = folder / output.name
        work = f"{quantity(options.steps, 'step')} of {quantity(options.samples, 'sample')}"
        logging.info("converting the program: %s", work)
        wanted.write(program, batch, about, made)
        logging.info("checking %d bytes, by JAX and by the file", made.stat().st_size)
        differences, count = _compare(wanted.run(made), segmenter, program, options, batch, pictures)
        wrong = {name: found for name, found in differences.items() if not found < (1 if name == "mask" else TOLERANCE)}
        if wrong:
            raise InputError(
                f"{output} is not written: on {quantity(count, 'image')} the {kind} program differs from JAX: "
                f"{in_words(wrong)}; expected less than {TOLERANCE:g}, and no pixel of a mask"
            )
        check_output(output, kind)  # another process may have made it meanwhile
        parts = [made.with_suffix(suffix) for suffix in (*wanted.beside, wanted.suffix)]
        total = 0
        for part in parts:  # the file itself last
            total += part.stat().st_size
            with open(part, "rb+") as file:
                os.fsync(file.fileno())
            shutil.move(part, output.with_suffix(part.suffix))
    return Exported(output, total, count, differences)


def check_output(output: Path, kind: str) -> None:
    """Refuses another suffix than the format's, and to write over anything.

    Raises:
      InputError: says which.
    """
    wanted = FORMATS[kind]
    if output.suffix != wanted.suffix:
        raise InputError(f"{output}: expected a name that ends in {wanted.suffix} for {kind}")
    for suffix in (wanted.suffix, *wanted.beside):
        if os.path.lexists(output.with_suffix(suffix)):
            raise InputError(f"{output.with_suffix(suffix)} is there already; remove it or choose another name")


def in_words(differences: Mapping[str, float]) -> str:
    """Words differences: "probability 2.1e-06, uncertainty 1.9e-06, mask 0 pixels"."""
    return ", ".join(
        f"{name} {found:.0f} pixels" if name == "mask" else f"{name} {found:.1e}" for name, found in differences.items()
    )


def inputs_of(
    segmenter: Segmenter, program: Program, options: SamplingOptions, picture: np.ndarray
) -> dict[str, np.ndarray]:
    """The inputs with which a program repeats what `Segmenter` computes of one image, without the batch in front."""
    prepared = segmenter.prepare(picture, options)
    inputs = {"image": np.asarray(normalise(prepared.pixels), np.float32)}
    if "noise" in program.inputs:
        samples, *shape = program.inputs["noise"]
        noise, keys = starting_noise(np.uint32(options.seed), prepared.identity, samples, tuple(shape))
        inputs["noise"] = np.asarray(noise)
        if "step_noise" in program.inputs:
            steps = [np.asarray(draw(keys, jnp.int32(index), noise)) for index in range(options.steps)]
            inputs["step_noise"] = np.stack(steps, axis=1)
    return inputs


def _compare(
    run: Any,
    segmenter: Segmenter,
    program: Program,
    options: SamplingOptions,
    batch: int | None,
    pictures: Iterable[np.ndarray],
) -> tuple[dict[str, float], int]:
    """The largest differences on the images, and their number.

    They are given `batch` at a time, the last call filled up with others; of a program for any number of
    images one call has one of them, and one has two.
    """
    worst = dict.fromkeys(OUTPUTS, 0.0)
    pictures, done = iter(pictures), 0
    while now := list(itertools.islice(pictures, batch or (2 if done else 1))):
        done += len(now)
        given = [inputs_of(segmenter, program, options, picture) for picture in now]
        filled = [*given, *[given[0]] * ((batch or 0) - len(given))]
        found = run({name: np.stack([one[name] for one in filled]) for name in program.inputs})
        for place, picture in enumerate(now):
            prepared = segmenter.prepare(picture, options)
            prepared = prepared._replace(is_constant=False)  # of which the program knows nothing
            samples = segmenter.fetch(segmenter.start(prepared, options))
            expected = fuse(samples, samples.shape[1:3], options, segmenter.labels)
            for name, values in zip(OUTPUTS, found, strict=True):
                wanted, got = getattr(expected, name), values[place]
                if got.shape != wanted.shape or got.dtype != wanted.dtype:
                    raise InputError(
                        f"the program gives {name} as {got.dtype} {list(got.shape)}; "
                        f"expected {wanted.dtype} {list(wanted.shape)}"
                    )
                if name == "mask":
                    worst[name] += float(np.count_nonzero(got != wanted))
                else:  # NaN is kept: it is no number below the tolerance
                    worst[name] = float(np.maximum(worst[name], np.abs(got - wanted).max()))
    return worst, done


def _about(segmenter: Segmenter, program: Program, options: SamplingOptions, batch: int | None) -> dict[str, Any]:
    """The metadata of the file: JSON-serialisable, without the paths of the machine of the training."""
    config = without_paths(segmenter.config)
    calibration, why_not = segmenter.calibration(options)
    reference, _ = segmenter.reference()
    calibrated = None
    if calibration is not None:
        names = segmenter.labels.class_names
        quantiles = {name: one._asdict() for name, one in zip(names, calibration.quantiles, strict=True)}
        doubt = calibration.doubt.as_record(segmenter.labels)
        calibrated = calibration._asdict() | {"quantiles": quantiles, "about": dict(calibration.about), "doubt": doubt}
    return {
        "format": "ddim_jax program",
        "format_version": _FORMAT_VERSION,
        "package_version": ddim_jax.__version__,
        "step": segmenter.step,
        "fingerprint": segmenter.fingerprint(),
        "config": config,
        "training_data": {name: told for name, told in segmenter.training_data.items() if name != TRAINED_IN},
        "classes": list(segmenter.labels.class_names),
        "multilabel": segmenter.labels.multilabel,
        "options": options.as_dict(),
        "inputs": {name: [batch, *shape] for name, shape in program.inputs.items()},
        "outputs": list(OUTPUTS),
        "preprocessing": "RGB resized to [h, w] (bilinear, antialiased where it shrinks), value / 127.5 - 1",
        "calibration": calibrated,
        "unlikeness": None if reference is None else reference.as_record(),
        "not_calibrated": None if calibrated else why_not.partition(":")[0],
    }
