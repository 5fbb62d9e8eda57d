"""The command `evaluate`: its arguments, and the table that it shows."""

import argparse
import time

from rich.console import Console

from ddim_jax.checkpoints.packed import SUFFIX
from ddim_jax.cli.arguments import (
    add_batch_size_argument,
    add_checkpoint_arguments,
    add_sampling_arguments,
    number,
    options_given,
)
from ddim_jax.cli.begin import begin, find_device
from ddim_jax.evaluation.calibrating import CALIBRATED
from ddim_jax.evaluation.checkpoint import evaluate_checkpoint
from ddim_jax.evaluation.intervals import COVERAGE
from ddim_jax.evaluation.options import RESOLUTIONS, EvaluationOptions
from ddim_jax.evaluation.plan import NOT_TAKEN
from ddim_jax.evaluation.tables import summary_table
from ddim_jax.runtime.errors import report_input_errors
from ddim_jax.runtime.printable import Parser, printable
from ddim_jax.runtime.values import words
from ddim_jax.sampling_options import SamplingOptions, whole


def parse_arguments(about: str | None) -> argparse.Namespace:
    """The arguments of the command line; `about` is what `--help` says of the program."""
    parser = Parser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_checkpoint_arguments(
        parser, several="the samples of several are fused; of the folds of a cross-validation each scores its own fold"
    )
    parser.add_argument(
        "--split",
        choices=("train", "val", "test", "all"),
        help="split to score; default: test, or all of a --data-root that is not divided (splits.csv, or folders "
        "called train, val and test) and not the folder of the training",
    )
    parser.add_argument("--output", metavar="DIR", help="folder of the results (default: RUN/evaluation/<split>)")
    parser.add_argument(
        "--data-root",
        metavar="DIR",
        help="data set to score, a folder with images/ and masks/ (default: the one trained on)",
    )
    parser.add_argument(
        "--resolution",
        choices=RESOLUTIONS,
        help="size at which masks are compared: that of the network (model) or each image's own (native; default)",
    )
    parser.add_argument(
        "--limit",
        type=number("limit", int, whole(1, 2**31 - 1)),
        metavar="N",
        help="evaluate N images only, spread evenly over the split",
    )
    parser.add_argument(
        "--calibrate",
        type=number("calibrate", float, lambda _, share: share),
        nargs="?",
        const=COVERAGE,
        metavar="SHARE",
        help="calibrate on the scored images, of --split val or your own: an interval of each area and a lower bound "
        "of the Dice that hold for this share of similar images, and doubts that are right on average; saved in the "
        f"run for sample and evaluate, or for packed weights in a copy, {CALIBRATED} (default of SHARE: {COVERAGE})",
    )
    add_sampling_arguments(parser, leave_out=NOT_TAKEN)
    add_batch_size_argument(parser)
    parser.add_argument(
        "--annotators",
        type=words,
        metavar="NAMES",
        help="mask folders of several annotators in --data-root, as a,b, or numbered; an empty text: one mask for each "
        "image (default: data.annotators of the training)",
    )
    parser.add_argument("--no-figures", dest="figures", action="store_false", help="write tables without figures")
    return parser.parse_args()


def run(arguments: argparse.Namespace) -> None:
    """Does what the arguments ask for and shows the summary."""
    began = time.perf_counter()
    need_less = "A lower --batch-size, fewer --samples or --size model take less."
    with report_input_errors("stopped; the same command starts over", need_less):
        begin()
        find_device()
        metrics, output_dir = evaluate_checkpoint(
            arguments.ckpt,
            output_dir=arguments.output,
            data_root=arguments.data_root,
            step=arguments.checkpoint_step,
            require_sha256=arguments.require_sha256,
            annotators=arguments.annotators,
            progress=True,
            **options_given(arguments, EvaluationOptions, SamplingOptions),
        )
    console = Console()
    console.print(summary_table(metrics))
    console.print(f"took {time.perf_counter() - began:.1f} s", highlight=False)
    packed = arguments.calibrate is not None and metrics["checkpoint"].endswith(SUFFIX)
    more = f", the weights with their calibration as {CALIBRATED}" if packed else ""
    console.print(f"Written to {printable(output_dir)}{more}", highlight=False, markup=False, soft_wrap=True)
