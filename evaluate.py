"""Scores a checkpoint on a split of its data set: tables, numbers per image and figures.

python evaluate.py --ckpt RUN --split test
"""

import argparse

from rich.console import Console

from ddim_jax.checkpoints import which_step
from ddim_jax.diffusion import SAMPLERS
from ddim_jax.evaluation import RESOLUTIONS, evaluate_checkpoint, summary_table
from ddim_jax.inference import SIZES
from ddim_jax.io.arguments import bound, checked
from ddim_jax.io.compile_cache import keep_compiled_programs
from ddim_jax.io.errors import report_input_errors
from ddim_jax.metrics import ENSEMBLES


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
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


def main() -> None:
    arguments = parse_arguments()
    with report_input_errors("stopped; the same command starts over", "Fewer --samples or --size model take less."):
        keep_compiled_programs()
        metrics, output_dir = evaluate_checkpoint(
            arguments.ckpt,
            arguments.split,
            output_dir=arguments.output,
            data_root=arguments.data_root,
            step=arguments.step,
            seed=arguments.seed,
            samples=arguments.samples,
            steps=arguments.steps,
            flips=arguments.flips,
            sampler=arguments.sampler,
            ensemble=arguments.ensemble,
            eta=arguments.eta,
            clip_x0=arguments.clip_x0,
            size=arguments.size,
            resolution=arguments.resolution,
            figures=not arguments.no_figures,
            limit=arguments.limit,
            progress=True,
        )
    console = Console()
    console.print(summary_table(metrics))
    console.print(f"Written to {output_dir}", highlight=False, markup=False, soft_wrap=True)


if __name__ == "__main__":
    main()
