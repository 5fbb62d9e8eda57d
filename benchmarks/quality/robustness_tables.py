"""The tables of docs/results/robustness.json, as `benchmarks.render` puts them into the pages."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.quality.adversary import EPSILONS
from benchmarks.quality.corruptions import CORRUPTIONS, MIDDLE
from benchmarks.quality.robustness import RUN, is_of_page, is_packaged
from benchmarks.result_file import identity, read_rows
from benchmarks.tables import Columns, Row, table, with_augmentation

_STRONG = 4
_ABOUT: Columns = {"images": "{dataset}", "network": with_augmentation, "input size": "{size}", "n": "{n}"}
_SCORES: Columns = {
    "Dice": "{dice_mean:.3f}",
    "retained Dice": "{share:.2f}",
    "Dice drop": "{lost:.3f} [{lost_ci[0]:.3f}, {lost_ci[1]:.3f}]",
    "doubt": "{doubt_mean:.3f}",
}
_CHANGED: Columns = {"change": "{change}"} | _SCORES
_CHANGED |= {
    "Spearman's rho, doubt and Dice": "{doubt_correlation:.2f}",
    "flagged": lambda row: f"{row['flagged']:.0%}" if _flags(row) else "",
}


def robustness(root: Path) -> str:
    """Corruptions at middle severity, of the networks of the page, from docs/results/robustness.json."""
    shown = [row for row in _tested(root) if is_of_page(row) and _corrupted(row) and row["severity"] in (0, MIDDLE)]
    return table(_ABOUT | _CHANGED, shown)


def robustness_attacks(root: Path) -> str:
    """PGD on the packaged networks and the U-Nets."""
    shown = [row for row in _tested(root) if is_of_page(row) and row["change"] == "pgd"]
    return table(_ABOUT | {"largest change": "{severity}/255"} | _SCORES | {"doubt, clean": "{doubt_clean:.3f}"}, shown)


def robustness_adversarial(root: Path) -> str:
    """Networks trained on adversarial images, each kind after the network that was not."""
    rows = [row for row in _rows(root) if row["steps"] == 1]
    alike = ("dataset", "system", "augmentation", "size", "seed")
    kinds = {identity(row, alike) for row in rows if row["adversarial_epsilon"]}
    tested = [row for row in rows if row["split"] != "val"]
    shown = [row for row in tested if row["change"] == "none" and identity(row, alike) in kinds]
    shown.sort(
        key=lambda row: (
            identity(row, alike),
            row["adversarial_epsilon"] > 0,
            row["adversarial_share"],
            row["train_steps"],
            row["interpolated"],
        )
    )

    def beside(form: str, **change: Any) -> Callable[[Row], str]:
        return lambda row: form.format_map(_beside(rows, row, **change))

    columns: Columns = {
        "images": "{dataset}",
        "network": with_augmentation,
        "input size": "{size}",
        "seed": "{seed}",
        "steps": "{train_steps}",
        "adversarial images": _adversarial_images,
        "n": "{n}",
        "of them attacked": beside("{n}", change="pgd"),
        "clean": "{dice_mean:.3f}",
        **{f"PGD {level}/255": beside("{dice_mean:.3f}", change="pgd", severity=level) for level in EPSILONS},
        f"contrast, severity {_STRONG}": beside("{dice_mean:.3f}", change="contrast", severity=_STRONG),
        "validation: clean": beside("{dice_mean:.3f}", split="val", change="none"),
        "validation: PGD 2/255": beside("{dice_mean:.3f}", split="val", change="pgd", severity=2),
    }
    return table(columns, shown)


def _flags(row: Row) -> bool:
    """True for the packaged networks: others were calibrated before their references saw noise, on the same images."""
    return is_packaged(row) and row["flagged"] is not None


def _adversarial_images(row: Row) -> str:
    way = "" if row["interpolated"] == 1 else f", weights {row['interpolated']:g} of the way"
    return (f"{row['adversarial_share']:.0%}" if row["adversarial_epsilon"] else "none") + way


def _rows(root: Path) -> list[dict[str, Any]]:
    rows = read_rows(root / "docs" / "results" / "robustness.json")
    return sorted(rows, key=lambda row: (row["dataset"], row["system"]))


def _beside(rows: Sequence[Row], row: Row, **wanted: Any) -> Row:
    """The row of the same network and split with other values of some fields, {} without one."""
    same = identity(row | wanted, RUN)
    return next((one for one in rows if identity(one, RUN) == same and wanted.items() <= one.items()), {})


def _tested(root: Path) -> list[dict[str, Any]]:
    """The rows of the test split."""
    return [row for row in _rows(root) if row["split"] != "val"]


def _corrupted(row: Row) -> bool:
    return row["change"] == "none" or row["change"] in CORRUPTIONS
