"""`ddim-jax export`: its arguments, and the line that it prints."""

import argparse
from collections.abc import Iterable

import numpy as np
from absl import logging

from ddim_jax.cli.arguments import (
    add_checkpoint_arguments,
    add_sampling_arguments,
    number,
    options_given,
)
from ddim_jax.cli.begin import begin, find_device
from ddim_jax.data.datasets.phantom import draw_phantom
from ddim_jax.export import FORMATS, export_checkpoint
from ddim_jax.export.file import check_output, in_float32, in_words
from ddim_jax.imageio.images import ReadOptions, read_image
from ddim_jax.imageio.listing import list_images
from ddim_jax.inference.loading import LoadedNetwork, load_network
from ddim_jax.runtime.errors import report_input_errors
from ddim_jax.runtime.printable import Parser, printable
from ddim_jax.runtime.remote import local_path
from ddim_jax.runtime.signals import cleaned_up_on_sigterm
from ddim_jax.runtime.values import quantity
from ddim_jax.sampling_options import SamplingOptions, whole

_PHANTOMS, _MANY_EVALUATIONS = 4, 32
_LARGEST_BATCH = 4096


def parse_arguments(about: str | None, arguments: list[str] | None = None) -> argparse.Namespace:
    """The arguments of the command line; `about` is what `--help` says of the program."""
    parser = Parser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_checkpoint_arguments(parser, several="export takes one")
    suffixes = ", ".join(f"{name} {kind.suffix}" for name, kind in FORMATS.items())
    parser.add_argument("--format", required=True, choices=FORMATS, help="format of the exported program")
    parser.add_argument(
        "--output",
        required=True,
        metavar="FILE",
        help=f"file to write, not an existing one; suffix by format: {suffixes}",
    )
    parser.add_argument(
        "--batch",
        type=_batch,
        default=1,
        metavar="N|dynamic",
        help="images of one call of the program, or dynamic for any number (default: 1)",
    )
    parser.add_argument(
        "--input",
        nargs="+",
        default=[],
        metavar="PATH",
        help="image files, folders or globs to check the file with against JAX (default: "
        f"{_PHANTOMS} phantoms; with more than {_MANY_EVALUATIONS} evaluations of the network an image 1, or 3 for "
        "--batch dynamic)",
    )
    add_sampling_arguments(parser)
    options = parser.parse_args(arguments)
    if len(options.ckpt) > 1:
        parser.error(f"--ckpt: {len(options.ckpt)} given, expected one; export each, and average their probabilities")
    options.ckpt = options.ckpt[0]
    return options


def _batch(text: str) -> int | None:
    return None if text == "dynamic" else number("batch", int, whole(1, _LARGEST_BATCH))(text)


def run(options: argparse.Namespace) -> int:
    """Does what the arguments ask for; returns the exit status."""
    need_less = "Lower --batch, --samples or --steps."
    stopped = "stopped; nothing was exported"
    with cleaned_up_on_sigterm(stopped), report_input_errors(stopped, need_less):
        begin()
        logging.set_verbosity(logging.INFO)
        check_output(local_path(options.output, "output"), options.format)
        find_device()
        network = load_network(options.ckpt, options.checkpoint_step, None, options.require_sha256)
        sampling = SamplingOptions.create(network.config, **{"size": "model"} | options_given(options, SamplingOptions))
        as_trained = network
        network = in_float32(network)
        if network is not as_trained:
            logging.warning("the network computes in bfloat16; it is exported, and checked, with float32")
        done = export_checkpoint(
            network,
            sampling,
            options.format,
            options.output,
            batch=options.batch,
            pictures=_pictures(options.input, network, sampling, options.batch),
        )
    checked = quantity(done.pictures, "image" if options.input else "phantom")
    print(
        f"{printable(done.path)}: {done.bytes / 2**20:.1f} MiB; checked on {checked}, "
        f"largest difference from JAX: {in_words(done.differences)}"
    )
    return 0


def _pictures(
    paths: list[str], network: LoadedNetwork, sampling: SamplingOptions, batch: int | None
) -> Iterable[np.ndarray]:
    """The images to check with; those of files are read one by one.

    Raises:
      InputError: a file cannot be read; each is tried at once, for the conversion may take long.
    """
    if paths:
        reading = ReadOptions(sampling.window, sampling.invert)
        files = [file for path in paths for file in list_images(local_path(path, "input"))]
        for file in files:
            read_image(file, reading)
        return (read_image(file, reading) for file in files)
    size = int(network.config["data"]["image_size"])
    count = _PHANTOMS
    if sampling.steps * sampling.samples > _MANY_EVALUATIONS:  # each takes minutes, by JAX and by the file
        count = 3 if batch is None else 1  # of one and of two in a call
    return [draw_phantom("test", 0, index, size)[0] for index in range(count)]
