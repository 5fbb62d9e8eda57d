"""The arithmetic of Table 1 against numbers worked out by hand."""

import pytest

from benchmarks.result_file import merged
from benchmarks.table_rows import IDENTITY, rows_of, step_seconds, steps_for, training_seconds

ABOUT = {
    "system": "unet",
    "dataset": "polyp",
    "networks": "small",
    "size": 64,
    "device": "a machine",
    "budget_s": 30.0,
    "seed": 1,
    "limit": None,
    "settings": "abc",
    "parameters": 7,
}


@pytest.mark.parametrize(("budget", "step", "steps"), [(360.0, 0.12, 3000), (1.0, 0.3, 3), (0.1, 5.0, 1)])
def test_steps_that_a_budget_buys(budget, step, steps):
    assert steps_for(budget, step) == steps


def test_seconds_of_a_step_are_the_median():
    """0.5, 0.25 and 4 s a step; a run that was held up once is not slow."""
    lines = [{"step": 1, "images_per_second": speed} for speed in (16.0, 32.0, 2.0)] + [{"step": 1, "loss": 1.0}]
    assert step_seconds(lines, 8) == 0.5


def test_seconds_of_a_training():
    """20 steps of 8 pictures at 16 a second, 10 at 8, one without a speed at the usual 0.5 s; no validation."""
    lines = [
        {"step": 20, "loss": 1.0, "images_per_second": 16.0},
        {"step": 20, "validation_loss": 1.0, "validation_dice": 0.5},
        {"step": 30, "loss": 1.0, "images_per_second": 8.0},
        {"step": 40, "loss": 1.0, "images_per_second": 16.0},
        {"step": 41, "loss": 1.0},
    ]
    assert training_seconds(lines, 8) == 20 * 0.5 + 10 * 1.0 + 10 * 0.5 + 0.5


def found(mean):
    per_image = {"recall": {"mean": mean - 0.1}, "dice": {"mean": mean, "low": mean - 0.2, "high": mean + 0.2}}
    per_image["dice_single"] = {"mean": mean - 0.15}
    return {"per_image": per_image, "pooled": {"dice": mean + 0.05}}


def test_rows_of_a_run():
    config = {
        "model": {"overrides": {"dtype": None}},
        "diffusion": {"prediction": None},
        "train": {"batch_size": 8, "steps": 41, "learning_rate": 1e-3},
    }
    lines = [
        {"step": 20, "loss": 1.0, "images_per_second": 16.0},
        {"step": 20, "validation_loss": 1.0, "validation_dice": 0.5},
        {"step": 41, "loss": 1.0, "images_per_second": 16.0},
        {"step": 41, "validation_loss": 1.0, "validation_dice": 0.4},
    ]
    metrics = {
        "step": 20,
        "steps": 1,
        "samples": 4,
        "sampler": None,
        "flips": True,
        "clip_x0": 1.0,
        "images": 3,
        "images_in_split": 5,
        "seconds_per_image": {"median_of_the_rest": 0.25},
        "protocols": {"paper": found(0.6), "calibrated": found(0.7)},
        "calibration": {"ece": 0.01},
        "risk_coverage": {"kept_dice": 0.8},
    }
    rows = rows_of(ABOUT, config, lines, 50, metrics)
    assert [row["protocol"] for row in rows] == ["paper", "calibrated"]
    assert rows[1] == ABOUT | {
        "prediction": None,
        "dtype": "float32",
        "learning_rate": 1e-3,
        "batch_size": 8,
        "train_s": 20.5,
        "steps": 41,
        "epochs": 6.56,  # 41 x 8 / 50
        "picked_step": 20,
        "validation_dice": 0.5,
        "sampler": None,
        "sampling_steps": 1,
        "samples": 4,
        "flips": True,
        "clip_x0": 1.0,
        "seconds_per_image": 0.25,
        "n": 3,
        "n_in_split": 5,
        "ece": 0.01,
        "kept_dice": 0.8,
        "protocol": "calibrated",
        "recall_mean": pytest.approx(0.6),
        "dice_mean": 0.7,
        "dice_ci": pytest.approx([0.5, 0.9]),
        "dice_single": pytest.approx(0.55),
        "dice_pooled": 0.75,
    }


def test_a_new_row_takes_the_place_of_the_one_it_repeats():
    rows = [ABOUT | {"protocol": name, "dice_mean": 0.1} for name in ("paper", "calibrated")]
    again = rows[0] | {"settings": "new", "dice_mean": 0.2}
    other = rows[0] | {"seed": 2}
    assert merged(rows, [again, other], IDENTITY) == [again, rows[1], other]
