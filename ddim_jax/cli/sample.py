"""`ddim-jax sample`: its arguments, the lines it prints at the end, its exit status."""

import argparse
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from ddim_jax.checkpoints.packed import SUFFIX
from ddim_jax.cli.arguments import (
    add_batch_size_argument,
    add_checkpoint_arguments,
    add_sampling_arguments,
    add_segments,
    number,
    options_given,
)
from ddim_jax.cli.begin import begin, find_device
from ddim_jax.imageio.images import image_suffixes
from ddim_jax.inference.calibration import NOT_CALIBRATED
from ddim_jax.inference.ensemble import load_checkpoints
from ddim_jax.inference.file_options import FileOptions
from ddim_jax.inference.files import Summary, segment_files
from ddim_jax.inference.flagging import FLAGGED, check_share
from ddim_jax.inference.parts import INDEX
from ddim_jax.inference.processes import Process
from ddim_jax.registry import WRITERS
from ddim_jax.runtime.errors import report_input_errors
from ddim_jax.runtime.printable import Parser, printable
from ddim_jax.runtime.values import quantity, words
from ddim_jax.sampling_options import SamplingOptions, whole

_OUTPUT = "results"
_JUDGED_TOGETHER = 5  # images from which a share of unlike ones tells of the folder
_NAMED = 10  # unlike images in the last lines; the index has all


def parse_arguments(about: str | None, arguments: list[str] | None = None) -> argparse.Namespace:
    """The arguments of the command line; `about` is what `--help` says of the program."""
    parser = Parser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add_checkpoint_arguments(parser, several="the samples of several are fused")
    add("--input", required=True, nargs="+", metavar="PATH", help="image files, folders (searched recursively), globs")
    add("--output", default=_OUTPUT, metavar="DIR", help=f"folder of the results (default: {_OUTPUT})")
    add_sampling_arguments(parser)
    add(
        "--flag-uncertain",
        type=number("flag_uncertain", float, lambda _, share: check_share(share) and share),
        metavar="Q",
        help=f"list images to be reviewed in {FLAGGED}: the most doubtful share Q, 0 < Q < 1, of all with results in "
        "the output folder, and those unlike the images of the calibration",
    )
    add(
        "--prefetch",
        type=number("prefetch", int, whole(1, 2**31 - 1)),
        default=FileOptions.prefetch,
        metavar="N",
        help=f"largest number of images on the device at once, at least two batches (default: {FileOptions.prefetch})",
    )
    add_batch_size_argument(parser)
    add(
        "--save",
        # Checked with the checkpoint, whose config may name modules that register more.
        type=words,
        default=FileOptions.save,
        metavar="KINDS",
        help=f"kinds of results to write, comma-separated: {','.join(WRITERS)} (default: mask)",
    )
    add("--process-id", type=int, metavar="I", help="index of this process, from 0")
    add(
        "--process-count",
        type=int,
        metavar="N",
        help="number of processes that divide the images, all started with the same arguments; by default both numbers "
        "come from srun, mpirun or an indexed Kubernetes Job (the index alone), and without them it is one process",
    )
    add_segments(parser)
    return parser.parse_args(arguments)


def describe(summary: Summary, options: argparse.Namespace, process: Process) -> str:
    """The lines at the end."""
    whose = "" if process.count == 1 else f"{process}: "
    if summary.done or summary.failed:
        text = (
            f"{whose}{quantity(summary.done, 'image')} segmented in {summary.seconds:.1f} s, "
            f"{summary.kept} done before, {len(summary.failed)} failed: {printable(options.output)}"
        )
    else:
        text = f"{whose}nothing to do, {quantity(summary.kept, 'image')} done before: {printable(options.output)}"
    if summary.flagged is not None:
        text += f"; {summary.flagged} flagged: {printable(Path(options.output, FLAGGED))}"
    there = summary.done + summary.kept + summary.in_part
    nothing = summary.failed and not there
    if summary.bounds and not nothing:
        text += f"\nbounds in {INDEX}: {printable(summary.bounds)}"
    if summary.unlike:
        named = sorted(summary.unlike, key=lambda one: -one[1])
        shown = ", ".join(f"{printable(file)} ({unlikeness:.3g})" for file, unlikeness in named[:_NAMED])
        more = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
        text += (
            f"\n{len(named)} of {quantity(there, 'image is', 'images are')} unlike the images that the model was "
            f"calibrated on: intervals do not hold there (unlikeness in {INDEX}, 1 is the limit): {shown}{more}"
        )
        if there >= _JUDGED_TOGETHER and 2 * len(named) > there:
            text += "\nmore than half are unlike: check the masks before using this model here"
    if summary.not_judged and not nothing:
        text += f"\nunlike images are not flagged: {printable(summary.not_judged)}"
        if summary.not_judged == NOT_CALIBRATED and not str(options.ckpt[0]).endswith(SUFFIX):
            run = printable(shlex.quote(str(options.ckpt[0])))
            text += f" (ddim-jax evaluate --ckpt {run} --split val --calibrate)"
    if summary.passed_over:
        text += (
            f"\n{quantity(sum(summary.passed_over.values()), 'file')} passed over: {counted(summary.passed_over)}; "
            f"images end in {', '.join(image_suffixes())}"
        )
    if summary.notes:
        told = (f"{printable(kind)} ({quantity(number, 'image')})" for kind, number in sorted(summary.notes.items()))
        text += f"\nnotes in {INDEX}: {', '.join(told)}"
    return text


def counted(numbers: Mapping[str, int]) -> str:
    """Words numbers of files: ".gif 2, no suffix 1"."""
    return ", ".join(f"{printable(name) or 'no suffix'} {number}" for name, number in sorted(numbers.items()))


def run(options: argparse.Namespace) -> int:
    """Does what the arguments ask for; returns the exit status."""
    need_less = (
        "Lower --batch-size, --prefetch or, with --size native, the size of the images; the same command goes on "
        "from here."
    )
    with report_input_errors("stopped; the same command goes on from here", need_less):
        cache = begin()
        find_device()
        process = Process.find(options.process_id, options.process_count)
        summary = segment_files(
            load_checkpoints(
                options.ckpt,
                step=options.checkpoint_step,
                programs=cache and cache / "traced",
                require_sha256=options.require_sha256,
            ),
            options.input,
            options.output,
            process=process,
            progress=sys.stderr.isatty(),
            **options_given(options, FileOptions, SamplingOptions),
        )
    for _, reason in summary.failed:
        print(f"failed: {printable(reason)}", file=sys.stderr, flush=True)
    print(describe(summary, options, process))
    return 1 if summary.failed else 0
