"""Measures Dice and doubt on corrupted and on attacked images.

python -m benchmarks.quality.robustness --ckpt RUN_OR_NAME... [--data-root DIR] [--count N] [--attacked N]

RUN_OR_NAME is a run, a file of weights or a packaged name; its images are the test split of what it was trained on,
which lies at DIR where it does not say where. `--split val` is for choosing, as of `--share`. Corruptions (table in
`benchmarks.quality.corruptions`) are made of the image at its own size, before it is prepared; attacks
(`benchmarks.quality.adversary`) at the size of the network. The noise that the samples start from is that of the clean
image. Writes rows into docs/results/robustness.json and of the test split a figure for each data set beside it (of the
packaged networks and U-Nets, where they are among them); `python -m benchmarks.render` puts the tables into the pages.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks.machine import ROOT, measured_on
from benchmarks.quality.adversary import EPSILONS, PGD_RESTARTS, PGD_STEPS, attacks
from benchmarks.quality.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from benchmarks.quality.figures import draw_robustness
from benchmarks.quality.rows import about_training, check_groups
from benchmarks.result_file import merged, read_rows, result_parser, write_rows
from ddim_jax.data import Example
from ddim_jax.data.sources import groups_of
from ddim_jax.evaluation import open_split
from ddim_jax.evaluation.plan import choose_images
from ddim_jax.evaluation.summary import rank_correlation
from ddim_jax.inference import Segmenter
from ddim_jax.inference.loading import LoadedNetwork, load_network, weights_digest
from ddim_jax.inference.segmentation import fuse
from ddim_jax.metrics import bootstrap_interval, class_counts, dice
from ddim_jax.preprocessing import Prepared
from ddim_jax.pretrained import SHA256
from ddim_jax.runtime.errors import InputError, report_input_errors
from ddim_jax.sampling_options import SamplingOptions

OUTPUT = ROOT / "docs" / "results" / "robustness.json"
_TRAINING = ("dataset", "system", "augmentation", "size", "stem", "train_steps", "seed")
RUN = (*_TRAINING, "packaged", "adversarial_epsilon", "adversarial_share", "interpolated", "step", "steps", "split")
IDENTITY = (*RUN, "change", "through", "severity")
RULES = {
    "packaged": "true: the weights that the package brings, by their name",
    "step": "of the checkpoint, of the train_steps that its training has",
    "change": "a corruption, an attack, or none: the clean images; severity: of a corruption 1 to 5, of an attack "
    "the largest change of a level, of 255",
    "through": "the gradient of an attack: sampler, of all steps of the sampler; one step, of one evaluation at the "
    "last timestep; the masks are made by all steps in both",
    "dice_mean": "at each image's own size, over the n images; share: of the mean on the same images, clean",
    "lost": "mean of the differences clean - changed, image by image; lost_ci: its 95% bootstrap interval",
    "doubt_correlation": "Spearman's, of the doubt of the changed image with its Dice; none: fewer than "
    "3 images, or equal values",
    "doubt": "with a calibration as that scales it (`ddim_jax.metrics.DoubtScale`); in rows of commits before 01b5ded "
    "of the probability at a temperature",
    "doubt_clean": "mean doubt of the same images, clean; attacks may be of fewer images than the rest",
    "flagged": "share of the images that are told to be unlike those of the calibration; none: no calibration, or an "
    "attack, which is made at the size of the network",
    "interpolated": "0.7: the weights lie that share of the way from those of the network that the training began with "
    "to its own; 1: they are its own",
    "pgd": f"{PGD_STEPS} steps, {PGD_RESTARTS} random starts, the worst of them by the loss",
}


class Judged(NamedTuple):
    """One image segmented: Dice (of several classes their mean), doubt, and if it is flagged."""

    dice: float
    doubt: float
    flagged: bool | None


def judge(segmenter: Segmenter, prepared: Prepared, options: SamplingOptions, truth: np.ndarray) -> Judged:
    """Segments one prepared image, and says nothing of flagging."""
    calibration, _ = segmenter.calibration(options)
    samples = segmenter.fetch(segmenter.start(prepared, options))
    found = fuse(samples, truth.shape, options, segmenter.labels, calibration)
    scores = [dice(counts) for counts in class_counts(found.mask, truth, segmenter.labels)]
    return Judged(float(np.mean(scores)), found.doubt, None)


def figures_of(judged: Sequence[Judged], clean: Sequence[Judged]) -> dict[str, Any]:
    """The figures of a row, from the same images changed and clean."""
    dices, doubts, own = ([one[k] for one in some] for some, k in ((judged, 0), (judged, 1), (clean, 0)))
    lost = np.subtract(own, dices)
    known = [one.flagged for one in judged if one.flagged is not None]
    return {
        "n": len(judged),
        "dice_mean": float(np.mean(dices)),
        "share": float(np.mean(dices) / np.mean(own)) if np.mean(own) else None,
        "lost": float(lost.mean()),
        "lost_ci": list(bootstrap_interval(lost)),
        "doubt_mean": float(np.mean(doubts)),
        "doubt_clean": float(np.mean([one.doubt for one in clean])),
        "doubt_correlation": rank_correlation(doubts, dices),
        "flagged": float(np.mean(known)) if known else None,
    }


def corrupted_rows(
    segmenter: Segmenter, examples: Sequence[Example], options: SamplingOptions
) -> tuple[list[Judged], list[dict[str, Any]]]:
    """The clean images as they are judged, and a row for them and for each corruption and severity."""

    def judged(image: np.ndarray, example: Example, identity: np.uint32 | None = None) -> Judged:
        prepared = segmenter.prepare(image, options)
        prepared = prepared if identity is None else prepared._replace(identity=identity)
        unlike = segmenter.unlikeness(image)
        return judge(segmenter, prepared, options, example.mask)._replace(
            flagged=None if unlike is None else unlike > 1
        )

    clean = [judged(example.image, example) for example in examples]
    identities = [segmenter.prepare(example.image, options).identity for example in examples]
    rows = [{"change": "none", "through": None, "severity": 0, **figures_of(clean, clean)}]
    for name in CORRUPTIONS:
        for severity in SEVERITIES:
            changed = [
                judged(corrupt(example.image, name, severity, int(identity)), example, identity)
                for example, identity in zip(examples, identities, strict=True)
            ]
            rows.append({"change": name, "through": None, "severity": severity, **figures_of(changed, clean)})
    return clean, rows


def attacked_rows(
    network: LoadedNetwork,
    segmenter: Segmenter,
    examples: Sequence[Example],
    options: SamplingOptions,
    clean: Sequence[Judged],
    say: Callable[[str], None],
) -> list[dict[str, Any]]:
    """A row for each attack and epsilon, through the sampler and, where that has several steps, through one."""
    rows = []
    for through in ("sampler", "one step")[: 1 if options.steps == 1 else 2]:
        for name, attack in attacks(network, options, one_step=through == "one step").items():
            for epsilon in EPSILONS:
                judged = []
                for example in examples:
                    prepared = segmenter.prepare(example.image, options)
                    pixels = attack(prepared, example.mask, epsilon)
                    judged.append(judge(segmenter, prepared._replace(pixels=pixels), options, example.mask))
                rows.append({"change": name, "through": through, "severity": epsilon, **figures_of(judged, clean)})
                say(f"{name} {epsilon}/255 through {through}: Dice {rows[-1]['dice_mean']:.3f}")
    return rows


def interpolated(first: LoadedNetwork, second: LoadedNetwork, share: float) -> LoadedNetwork:
    """The second network with the weights (1 - share) first + share second, without a calibration.

    Weights between a network and what was trained from it are often better than both where their aims differ (Wortsman
    et al., Robust fine-tuning of zero-shot models, CVPR 2022).

    Raises:
      InputError: the networks have other weights, or the share is not in [0, 1].
    """
    shapes = [jax.tree.map(np.shape, one.params) for one in (first, second)]
    if shapes[0] != shapes[1]:
        raise InputError(f"{first.checkpoint} and {second.checkpoint} have other weights; expected one network")
    if not 0 <= share <= 1:
        raise InputError(f"the share is {share}; expected 0 to 1")
    params = jax.tree.map(lambda a, b: (1 - share) * np.asarray(a) + share * np.asarray(b), first.params, second.params)
    return second._replace(params=params, weights=weights_digest(params), calibration=None)


def rows_of(
    ckpt: str,
    data_root: Path | None,
    count: int | None,
    attacked: int | None,
    given: dict[str, Any],
    say: Callable[[str], None],
    begun: tuple[str, float] | None = None,
    which: tuple[str, str | None] = ("best", None),
) -> list[dict[str, Any]]:
    """The rows of one checkpoint.

    Args:
      ckpt, data_root, count, attacked: as on the command line.
      given: fields of `SamplingOptions`.
      begun: a checkpoint, and the share of the way from there to `ckpt` at which the weights lie that are measured.
      say: called with lines of progress.
      which: the step of `ckpt`, and the split; None: the test split.

    Raises:
      InputError: the checkpoint or its images cannot be used, or these are of fewer groups; or it works on images of
        any size.
    """
    network, share = load_network(ckpt, which[0], None), 1.0
    if begun is not None:
        start, share = begun
        network = interpolated(load_network(start, "best", None), network, share)
    segmenter, config = Segmenter(**network._asdict()), network.config
    options = segmenter.options(**given)
    if options.size != "model":
        raise InputError(
            f"{ckpt} segments at the size {options.size!r}; expected 'model', since attacks are made there"
        )
    source, split = open_split(segmenter, which[1], data_root)
    chosen = choose_images(len(source), count)
    check_groups(len(chosen), len({groups_of(source)[row] for row in chosen}), source.name)
    examples = [source[row] for row in chosen]
    say(f"{ckpt}: {len(examples)} of {len(source)} images of {source.name}, {split}")
    about = {
        "dataset": source.name,
        "split": split,
        "packaged": ckpt in SHA256 and begun is None,
        **about_training(config),
        "step": network.step,
        "adversarial_epsilon": config["train"].get("adversarial_epsilon", 0.0),
        "adversarial_share": config["train"].get("adversarial_share", 1.0),
        "interpolated": share,
        "sampler": options.sampler,
        "steps": options.steps,
        "samples": options.samples,
        "flips": options.flips,
    }
    clean, rows = corrupted_rows(segmenter, examples, options)
    say(f"corruptions: Dice {rows[0]['dice_mean']:.3f} clean")
    chosen = choose_images(len(examples), attacked)
    examples, clean = ([some[place] for place in chosen] for some in (examples, clean))
    rows += attacked_rows(network, segmenter, examples, options, clean, say)
    return [about | row for row in rows]


def is_packaged(row: Mapping[str, Any]) -> bool:
    """True for rows of the packaged networks, one step of the sampler."""
    return row["packaged"] and row["steps"] == 1


def is_of_page(row: Mapping[str, Any]) -> bool:
    """True for rows of the networks that the page compares: the packaged ones, and the others of their size."""
    return is_packaged(row) or row["system"] in ("unet", "lightweight_ddim")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = result_parser(__doc__, OUTPUT)
    parser.add_argument(
        "--ckpt", nargs="+", required=True, metavar="RUN", help="runs, files of weights, packaged names"
    )
    parser.add_argument("--data-root", type=Path, metavar="DIR", help="default: where the images of the training lay")
    parser.add_argument("--count", type=int, metavar="N", help="images, spread over the split; default: all")
    parser.add_argument("--attacked", type=int, metavar="N", help="of these, spread alike; default: all")
    parser.add_argument("--begun", metavar="RUN", help="what --ckpt was trained from, for --share")
    parser.add_argument("--share", type=float, default=1.0, metavar="X", help="of the way from --begun to --ckpt")
    parser.add_argument(
        "--checkpoint-step", default="best", metavar="STEP", help="best, latest or a number (default: %(default)s)"
    )
    parser.add_argument("--split", choices=("val", "test"), help="default: test")
    parser.add_argument("--steps", type=int, metavar="N", help="of the sampler; default: the checkpoint's")
    given = parser.parse_args(arguments)
    for name in ("count", "attacked"):
        if getattr(given, name) is not None and getattr(given, name) < 1:
            parser.error(f"--{name} is {getattr(given, name)}; expected 1 or more")
    if (given.begun is None) != (given.share == 1):
        parser.error("--begun and --share go together")
    begun = None if given.begun is None else (given.begun, given.share)
    with report_input_errors("stopped"):
        machine = measured_on()
        for ckpt in given.ckpt:
            chosen = given.data_root, given.count, given.attacked
            which = given.checkpoint_step, given.split
            new = rows_of(ckpt, *chosen, {"steps": given.steps}, lambda line: print(line, flush=True), begun, which)
            rows = merged(read_rows(given.output), [row | machine for row in new], IDENTITY)
            write_rows(given.output, RULES, rows)
            if given.split == "val":
                continue
            dataset = new[0]["dataset"]
            own = [row for row in rows if row["dataset"] == dataset and row["split"] != "val"]
            shown = [row for row in own if is_of_page(row)] or own  # of a set of yours all networks
            draw_robustness(given.output.with_name(f"{given.output.stem}_{dataset}.png"), shown)
    return 0


if __name__ == "__main__":
    sys.exit(main())
