"""docs/results/steps.md and the names of its figures, for rows written by hand."""

import json

from benchmarks.steps_figure import draw_curves, figure_name
from benchmarks.steps_page import steps_page, write

ROW = {
    "dataset": "lungs",
    "split": "test",
    "size": 64,
    "networks": "small",
    "device": "a machine",
    "budget_s": 360.0,
    "seed": 0,
    "limit": None,
    "target": "x0",
    "prediction": "x0",
    "loss": "bce_dice",
    "mask_scale": 0.1,
    "timestep_power": 8.0,
    "channel_shuffle": True,
    "clip_x0": None,
    "train_steps": 5000,
    "train_s": 372.4,
    "picked_step": 4000,
    "validation_dice": 0.91234,
    "sampler": "ddim",
    "steps": 1,
    "samples": 1,
    "evaluations": 1,
    "flips": True,
    "dice_mean": 0.9,
    "dice_ci": [0.85, 0.95],
    "dice_single": 0.875,
    "ece": 0.0123,
    "seconds_per_image": 0.0123,
    "n": 100,
    "n_in_split": 100,
}
FOUR = ROW | {"samples": 4, "evaluations": 4, "dice_mean": 0.92}
MANY = ROW | {"steps": 10, "samples": 5, "evaluations": 50, "dice_mean": 0.93, "sampler": "dpm++"}
NOISE = MANY | {"target": "noise", "prediction": "noise", "flips": False, "dice_mean": 0.8, "seconds_per_image": None}
NOISE |= {"loss": "mse", "mask_scale": 1.0, "timestep_power": 1.0, "channel_shuffle": None, "clip_x0": 1.0}


def test_the_page():
    page = steps_page([NOISE, ROW, MANY, FOUR, ROW | {"dataset": "skin", "n": 9, "limit": 9, "split": "val"}])
    lines = page.splitlines()
    assert [line for line in lines if line.startswith("#")] == [
        "# Dice against network evaluations",
        "## lungs, 64 x 64, test split",
        "## skin, 64 x 64, val split",
    ]
    assert "small networks, 360 s of training each, seed 0, on a machine; 100 pictures." in lines
    assert "small networks, 360 s of training each, seed 0, on a machine; 9 of 100 pictures." in lines
    assert "![Dice against evaluations and seconds](steps_lungs_64_a-machine_360s.png)" in lines
    assert "![Dice against evaluations and seconds](steps_skin_64_a-machine_360s_val_9-pictures.png)" in lines
    assert "- noise: highest Dice at all 0.8000 (dpm++ 10 x 5)" in lines
    assert (
        "- x0: highest Dice at all 0.9300 (dpm++ 10 x 5), with at most 4 evaluations 0.9200 (ddim 1 x 4), "
        "with one 0.9000 (ddim 1 x 1)" in lines
    )
    table = [line for line in lines if line.startswith(("| x0", "| noise"))]
    assert table[:6] == [
        "| noise | noise | mse | 1 | even | no | +-1 | no | 5000 | 372 s | 4000 | 0.9123 |",
        "| x0 | x0 | bce_dice | 0.1 | t^7 | yes | no | yes | 5000 | 372 s | 4000 | 0.9123 |",
        "| x0 | ddim | 1 x 1 | 1 | 0.9000 [0.8500, 0.9500] | 0.8750 | 0.0123 | 0.0123 |",
        "| x0 | ddim | 1 x 4 | 4 | 0.9200 [0.8500, 0.9500] | 0.8750 | 0.0123 | 0.0123 |",
        "| noise | dpm++ | 10 x 5 | 50 | 0.8000 [0.8500, 0.9500] | 0.8750 | 0.0123 |  |",
        "| x0 | dpm++ | 10 x 5 | 50 | 0.9300 [0.8500, 0.9500] | 0.8750 | 0.0123 | 0.0123 |",
    ]


def test_it_is_written_beside_the_figures_it_shows(tmp_path):
    assert write(tmp_path) is None
    folder = tmp_path / "docs" / "results"
    folder.mkdir(parents=True)
    rows = [ROW, FOUR, NOISE]
    (folder / "steps.json").write_text(json.dumps({"rows": rows}))
    assert write(tmp_path) == folder / "steps.md"
    assert (folder / "steps.md").read_text() == steps_page(rows)
    assert draw_curves(folder, rows) == [folder / figure_name(ROW)]
    assert (folder / figure_name(ROW)).stat().st_size > 10_000


def test_rows_that_cannot_be_compared_have_figures_of_their_own(tmp_path):
    others = {
        "budget_s": 90.0,
        "seed": 1,
        "device": "a GPU",
        "networks": "full",
        "limit": 20,
        "split": "val",
        "size": 32,
    }
    rows = [ROW, *(ROW | {name: value} for name, value in others.items())]
    assert len(set(draw_curves(tmp_path, rows))) == len(rows)
    assert steps_page(rows).count("## lungs") == len(rows)
