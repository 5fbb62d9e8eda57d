"""The figures of samples of known modes, and their table."""

import json

import numpy as np
import pytest

from benchmarks.quality.hypotheses import (
    LEVELS,
    SAMPLES,
    TRUTH,
    config_of,
    drawn_truths,
    figures_of,
    hypotheses,
    level_sets,
)
from ddim_jax.data.datasets.ambiguous import MODES, AmbiguousSource

SOURCE = AmbiguousSource("test", seed=0, size=16, count=20)


def test_one_mode_alone_is_seen_as_such():
    figures = figures_of(SOURCE, [SOURCE.modes(row)[[2] * SAMPLES] for row in range(3)])
    assert figures["modes"] == {"inner": 0, "outer": 0, "inner and spot": 1, "outer and spot": 0}
    assert figures["mode_error"] == pytest.approx(1 - MODES["inner and spot"])
    assert figures["nearest_iou"] == 1
    assert set(figures["scores"]) == {f"{name}_16" for name in ("ged", "matched_iou", "d_max", "best_dice")}


def test_the_floor_is_near_the_truth():
    figures = figures_of(SOURCE, [drawn_truths(SOURCE, row) for row in range(20)])
    assert figures["mode_error"] < 0.1  # 320 masks: three standard deviations
    assert figures["nearest_iou"] == 1
    alone = figures_of(SOURCE, [SOURCE.modes(row)[[2] * SAMPLES] for row in range(20)])
    assert figures["scores"]["ged_16"] < alone["scores"]["ged_16"]


def test_level_sets_are_nested():
    class Ramp:
        def sample(self, image, samples):
            return np.linspace(-1, 1, 16)[None, None].astype(np.float32)

    masks = level_sets(Ramp(), None)
    assert masks.shape == (SAMPLES, 1, 16)
    assert (np.diff(masks.sum(axis=(1, 2)).astype(int)) <= 0).all()
    assert masks[0].sum() == 15 and masks[-1].sum() == 1


def test_the_table_has_the_mean_of_the_seeds(tmp_path):
    figures = figures_of(SOURCE, [drawn_truths(SOURCE, 0)])
    rows = [{"system": TRUTH, "seed": None, **figures}]
    for seed, ged in enumerate((0.2, 0.25, 0.3)):
        scores = figures["scores"] | {"ged_16": ged}
        rows.append({"system": LEVELS, "seed": seed, "train_cpu_seconds": 60.0 + 3 * seed, **figures, "scores": scores})
    (tmp_path / "docs/results").mkdir(parents=True)
    (tmp_path / "docs/results/hypotheses.json").write_text(json.dumps({"rows": rows}))
    lines = hypotheses(tmp_path).splitlines()
    assert lines[2].startswith(f"| {TRUTH} |  |") and lines[2].endswith("|  |")
    assert f"| {figures['scores']['ged_16']:.3f} |" in lines[2]
    assert lines[3].startswith(f"| {LEVELS} | 3 |") and lines[3].endswith("| 63 |")
    assert "| 0.250 (0.200 to 0.300) |" in lines[3]


def test_a_learning_rate_of_the_command_is_that_of_the_network():
    assert config_of("stochastic_unet", 1200, 3).train.learning_rate is None
    config = config_of("stochastic_unet", 1200, 3, 0.5)
    assert (config.train.learning_rate, config.seed, config.train.steps) == (0.5, 3, 1200)
