"""The figures of samples of known modes, and their table."""

import json

import numpy as np
import pytest

from benchmarks.quality import hypotheses as benchmark
from benchmarks.quality import trainings
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
from benchmarks.result_file import read_rows
from ddim_jax.config import resolve_config
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


def write(root, rows):
    (root / "docs/results").mkdir(parents=True)
    (root / "docs/results/hypotheses.json").write_text(json.dumps({"rows": rows}))


def test_the_table_has_the_mean_of_the_seeds(tmp_path):
    figures = figures_of(SOURCE, [drawn_truths(SOURCE, 0)])
    of_all = {"split": "test", "learning_rate": None, "train_steps": None, "commit": "abc"}
    rows = [{"system": TRUTH, "seed": None, **of_all, **figures}]
    of_all |= {"learning_rate": 0.008, "train_steps": 600}
    for seed, ged in enumerate((0.2, 0.25, 0.3)):
        own = of_all | figures | {"scores": figures["scores"] | {"ged_16": ged}}
        rows.append({"system": LEVELS, "seed": seed, "train_cpu_seconds": 60.0 + 3 * seed, **own})
        rows.append(rows[-1] | {"split": "val"})
    write(tmp_path, rows)
    lines = hypotheses(tmp_path).splitlines()
    assert len(lines) == 6 and lines[4:] == ["", "Measured at commit abc."]  # no validation rows
    assert lines[2].startswith("| ground truth |  |") and lines[2].endswith("|  |  |  |")
    assert f"| {figures['scores']['ged_16']:.3f} |" in lines[2]
    assert lines[3].startswith(f"| {LEVELS} | 3 |") and lines[3].endswith("| 600 | 0.008 | 63 |")
    assert "| 0.250 (0.200 to 0.300) |" in lines[3]


def test_rows_of_either_split_and_any_rate_are_kept_beside_each_other(tmp_path, monkeypatch):
    figures = {"mode_error": 0.1, "nearest_iou": 0.9, "modes": {}, "scores": {}}

    def rows_of(config, source, workdir):
        rate = config.train.learning_rate or 0.016
        own = {"system": config.model.name, "seed": config.seed, "learning_rate": rate}
        return [own | {"train_steps": config.train.steps, "n": len(source)} | figures]

    monkeypatch.setattr(benchmark, "rows_of", rows_of)
    monkeypatch.setattr(benchmark, "figures_of", lambda source, masks: figures)
    fixed = ["--systems", "stochastic_unet", "--seeds", "0", "--output", str(tmp_path / "rows.json")]
    for more in ([], ["--split", "val", "--learning-rate", "0.5"], ["--split", "val"], ["--split", "val"]):
        assert benchmark.main([*fixed, *more]) == 0
    found = [tuple(row[name] for name in benchmark.IDENTITY) for row in read_rows(tmp_path / "rows.json")]
    assert found == [
        (TRUTH, None, "test", None, None),
        ("stochastic_unet", 0, "test", 0.016, 1200),
        (TRUTH, None, "val", None, None),
        ("stochastic_unet", 0, "val", 0.5, 1200),
        ("stochastic_unet", 0, "val", 0.016, 1200),
    ]


def test_a_training_that_was_asked_to_stop_is_not_scored(tmp_path, monkeypatch):
    monkeypatch.setattr(trainings, "train", lambda config, run: config.train.steps - 1)
    monkeypatch.setattr(benchmark, "Segmenter", None)
    with pytest.raises(KeyboardInterrupt):
        benchmark.main(["--systems", "unet", "--workdir", str(tmp_path), "--output", str(tmp_path / "rows.json")])
    assert not (tmp_path / "rows.json").exists()


def test_a_learning_rate_of_the_command_is_that_of_the_network():
    assert config_of("stochastic_unet", 1200, 3).train.learning_rate is None
    config = config_of("stochastic_unet", 1200, 3, 0.5)
    assert (config.train.learning_rate, config.seed, config.train.steps) == (0.5, 3, 1200)


def test_each_network_of_the_config_has_the_learning_rate_that_was_chosen_for_it():
    systems = {"lightweight_ddim": 0.016, "stochastic_unet": 0.016, "unet": 0.008}
    found = {name: resolve_config(config_of(name, 600, 0))["train"]["learning_rate"] for name in systems}
    assert found == systems
