"""`ddim-jax pack`: its arguments, and the line that it prints."""

import argparse
from pathlib import Path

from ddim_jax.checkpoints.packed import DTYPES
from ddim_jax.cli.arguments import add_checkpoint_step, add_segments
from ddim_jax.cli.begin import show_log
from ddim_jax.inference.packing import pack
from ddim_jax.runtime.errors import report_input_errors
from ddim_jax.runtime.printable import Parser, printable


def parse_arguments(about: str | None, arguments: list[str] | None = None) -> argparse.Namespace:
    """The arguments of the command line; `about` is what `--help` says of the program."""
    parser = Parser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "run",
        nargs="?",
        metavar="RUN",
        help="run folder, its checkpoints folder, the folder of one step, or packed weights",
    )
    parser.add_argument("--ckpt", metavar="RUN", help="RUN, as an option")
    parser.add_argument(
        "--output", required=True, metavar="FILE.safetensors", help="file to write; an existing file is not overwritten"
    )
    parser.add_argument(
        "--dtype",
        choices=DTYPES,
        default="float32",
        help="type of the stored weights: float32 is exact, float16 halves the file (default: float32)",
    )
    add_checkpoint_step(parser)
    parser.add_argument("--note", default="", metavar="TEXT", help="description of the training data, kept in the file")
    parser.add_argument(
        "--terms", default="", metavar="TEXT", help="terms of use, kept in the file and shown at every load"
    )
    add_segments(parser)
    options = parser.parse_intermixed_args(arguments)  # a RUN behind the options, which argparse else takes for none
    if (options.run is None) == (options.ckpt is None):
        parser.error("expected the run to pack, once: RUN or --ckpt RUN")
    options.run = options.run if options.ckpt is None else options.ckpt
    return options


def run(options: argparse.Namespace) -> int:
    """Does what the arguments ask for; returns the exit status."""
    with report_input_errors("stopped; nothing was packed"):
        show_log()
        packed = pack(
            options.run,
            options.output,
            step=options.checkpoint_step,
            dtype=options.dtype,
            note=options.note,
            terms=options.terms,
            segments=options.segments,
        )
    size = Path(options.output).expanduser().stat().st_size
    calibrated = "calibrated" if packed.metadata["calibration"] else "not calibrated"
    print(
        f"{printable(options.output)}: step {packed.step}, {packed.dtype}, {size / 2**20:.1f} MiB, {calibrated}, "
        f"SHA-256 {packed.file_sha256}"
    )
    return 0
