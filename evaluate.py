"""Scores a checkpoint on a split of its data set: tables, numbers per image and figures.

python evaluate.py --ckpt RUN --split test
"""

import argparse

from rich.console import Console

from ddim_jax.diffusion import SAMPLERS
from ddim_jax.evaluation import evaluate_checkpoint, summary_table
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
        type=parse_bound,
        metavar="X|off",
        help="bound on the estimates of x_0; default: the checkpoint's config",
    )
    parser.add_argument("--ensemble", choices=ENSEMBLES, help="how samples are fused; default: the checkpoint's config")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the noise; default: 0")
    parser.add_argument("--data-root", metavar="DIR", help="where the data set lies; default: the checkpoint's config")
    parser.add_argument(
        "--resolution",
        default="model",
        choices=("model", "native"),
        help="score at the network's working size (default) or at each picture's own size",
    )
    parser.add_argument("--step", default="best", type=parse_step, metavar="best|latest|N", help="default: best")
    parser.add_argument("--limit", type=int, metavar="N", help="evaluate N images only, spread evenly over the split")
    parser.add_argument("--no-figures", action="store_true", help="write the numbers only")
    return parser.parse_args()


def parse_bound(text: str) -> float | str:
    return text if text == "off" else float(text)


def parse_step(text: str) -> str | int:
    if text in ("best", "latest"):
        return text
    if text.isdigit():
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not best, latest or a step number")


def main() -> None:
    arguments = parse_arguments()
    with report_input_errors("stopped; the same command starts over", "Fewer --samples take less."):
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
