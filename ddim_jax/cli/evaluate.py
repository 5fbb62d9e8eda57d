"""What evaluate.py needs around the evaluation: its arguments, and the table that it shows."""

import argparse

from rich.console import Console

from ddim_jax.aggregation import ENSEMBLES
from ddim_jax.checkpoints import which_step
from ddim_jax.cli.arguments import bound, checked
from ddim_jax.diffusion import SAMPLERS
from ddim_jax.evaluation.checkpoint import evaluate_checkpoint
from ddim_jax.evaluation.run import RESOLUTIONS, EvaluationOptions
from ddim_jax.evaluation.tables import summary_table
from ddim_jax.inference import SIZES
from ddim_jax.runtime import allocator, compile_cache
from ddim_jax.runtime.errors import report_input_errors


def parse_arguments(about: str | None) -> argparse.Namespace:
    """The arguments of the command line; `about` is what `--help` says of the program."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ckpt", required=True, metavar="RUN", help="run directory, its checkpoints, or one step")
    parser.add_argument("--split", default="test", choices=("train", "val", "test"), help="default: test")
    parser.add_argument("--output", metavar="DIR", help="default: RUN/evaluation/<split>")
    parser.add_argument("--steps", type=int, metavar="N", help="sampling steps; default: the checkpoint's config")
    parser.add_argument("--samples", type=int, metavar="N", help="samples per image; default: the checkpoint's config")
    parser.add_argument(
        "--flips",
        action=argparse.BooleanOptionalAction,
        help="let the samples see the picture mirrored in turn; default: the checkpoint's config",
    )
    parser.add_argument("--sampler", choices=SAMPLERS, help="default: the checkpoint's config")
    parser.add_argument(
        "--eta", type=float, metavar="E", help="noise in the steps of ddim, 0 to 1; default: the checkpoint's config"
    )
    parser.add_argument(
        "--clip-x0",
        type=bound,
        metavar="X|off",
        help="bound on the estimates of x_0; default: the checkpoint's config",
    )
    parser.add_argument("--ensemble", choices=ENSEMBLES, help="how samples are fused; default: the checkpoint's config")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the noise; default: 0")
    parser.add_argument("--data-root", metavar="DIR", help="where the data set lies; default: the checkpoint's config")
    parser.add_argument(
        "--size",
        choices=SIZES,
        default="model",
        help="model: the network sees the pictures at the size it was trained at; native: at their own size, as "
        "sample.py --size native (default: model)",
    )
    parser.add_argument(
        "--resolution",
        choices=RESOLUTIONS,
        help="score at the size the network works at (model) or at each picture's own size (native); default: --size",
    )
    parser.add_argument(
        "--step", default="best", type=checked(which_step), help="best, latest or a training step (default: best)"
    )
    parser.add_argument("--limit", type=int, metavar="N", help="evaluate N images only, spread evenly over the split")
    parser.add_argument("--no-figures", action="store_true", help="write the numbers only")
    return parser.parse_args()


def run(arguments: argparse.Namespace) -> None:
    """Does what the arguments ask for and shows the summary."""
    with report_input_errors("stopped; the same command starts over", "Fewer --samples or --size model take less."):
        compile_cache.keep_compiled_programs()
        allocator.keep_freed_memory()
        metrics, output_dir = evaluate_checkpoint(
            arguments.ckpt,
            arguments.split,
            output_dir=arguments.output,
            data_root=arguments.data_root,
            step=arguments.step,
            resolution=arguments.resolution,
            figures=not arguments.no_figures,
            limit=arguments.limit,
            progress=True,
            **{name: getattr(arguments, name) for name in EvaluationOptions.__annotations__},
        )
    console = Console()
    console.print(summary_table(metrics))
    console.print(f"Written to {output_dir}", highlight=False, markup=False, soft_wrap=True)
