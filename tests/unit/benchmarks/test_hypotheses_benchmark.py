"""The figures of samples of known modes, and their table."""

import json

import numpy as np
import pytest

from benchmarks.quality.hypotheses import LEVELS, SAMPLES, drawn_truths, figures_of, hypotheses, level_sets
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


def test_the_table_says_what_the_file_says(tmp_path):
    row = {"system": LEVELS} | figures_of(SOURCE, [drawn_truths(SOURCE, 0)])
    (tmp_path / "docs/results").mkdir(parents=True)
    (tmp_path / "docs/results/hypotheses.json").write_text(json.dumps({"rows": [row]}))
    lines = hypotheses(tmp_path).splitlines()
    assert "GED" in lines[0]
    assert lines[2].startswith(f"| {LEVELS} |")
    assert f"| {row['scores']['ged_16']:.3f} |" in lines[2]
