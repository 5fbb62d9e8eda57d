"""Rows of what a network reaches and costs, against hand computation."""

import json

import pytest

from benchmarks.quality import accuracy
from benchmarks.render import rendered
from benchmarks.result_file import read_rows, write_rows
from configs import fast
from ddim_jax.config import resolve_config
from ddim_jax.models import create_model

COSTS = {"parameters": 324616, "train_step_ratio_to_unet": 0.97, "evaluation_ratio_to_unet": 1.1}


def config_of(system, **data):
    config = fast.get_config()
    config.model.name, config.train.steps = system, 9000
    config.data.update({"name": "folder", "root": "/somewhere/polyp", "augmentation": "strong", **data})
    return resolve_config(config)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run whose evaluations and costs are known, and the steps that are asked for."""

    def fake(run, split, *, output_dir, step, calibrate=None):
        assert (split, calibrate) in [("val", 0.9), ("test", None)]
        steps.append(step)
        dice = {"mean": 0.75 if split == "val" else 0.8, "low": 0.7, "high": 0.9}
        return {
            "images": 150,
            "network_evaluations_per_image": 4,
            "protocols": {"mean": {"per_image": {"dice": dice}}},
            "calibration": {"ece": 0.02},
            "bounds": {"classes": {"foreground": {"area": {"coverage": 0.91}}}},
        }, output_dir

    steps = []
    monkeypatch.setattr(accuracy, "evaluate_checkpoint", fake)
    monkeypatch.setattr(accuracy, "costs", lambda config, repeats: COSTS)
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_text(json.dumps(config_of("trunk_ddim")))
    return run, steps


def test_a_run_is_a_row_and_a_table(run, tmp_path):
    run, _ = run
    output = tmp_path / "docs/results/accuracy.json"
    output.parent.mkdir(parents=True)
    arguments = ["--runs", run, "--budget", 360, "--workdir", tmp_path / "work", "--output", output]
    for _ in range(2):  # the second replaces the first
        assert accuracy.main([str(one) for one in arguments]) == 0
    (row,) = read_rows(output)
    assert (row["dataset"], row["system"], row["size"], row["steps"], row["seed"]) == (
        "polyp", "trunk_ddim", 64, 9000, 0
    )  # fmt: skip
    assert (row["dice_mean"], row["dice_ci"], row["dice_val"]) == (0.8, [0.7, 0.9], 0.75)
    assert (row["budget_s"], row["ece"], row["area_coverage"], row["n"]) == (360.0, 0.02, 0.91, 150)
    page = rendered("<!-- table: accuracy -->\n<!-- end -->", tmp_path)
    assert (
        "| polyp | `trunk_ddim` | 64 | 360 s | 9000 | 0 | 0.800 [0.700, 0.900] | 0.750 | 0.020 | 0.91 |\n\n"
        "Parameters: `trunk_ddim` 324,616. A training step and an image by those of the small U-Net, timed in turns "
        "with it: polyp 64, `trunk_ddim` 0.97 and 1.10. Commits: in `accuracy.json`.\n" in page
    )
    again = {"seed": 1, "dice_mean": 0.9, "train_step_ratio_to_unet": None, "evaluation_ratio_to_unet": None}
    write_rows(output, {}, [row, row | again | {"ece": 0.03}, row | {"augmentation": "strong, 0.5 empty windows"}])
    page = rendered("<!-- table: accuracy -->\n<!-- end -->", tmp_path)
    assert "| 9000 | 0, 1 | 0.850 (0.800 to 0.900) | 0.750 | 0.025 (0.020 to 0.030) | 0.91 |\n" in page
    assert "| polyp | `trunk_ddim`, 0.5 empty windows | 64 | 360 s | 9000 | 0 |" in page
    assert "0.97 and 1.10; polyp 64, `trunk_ddim`, 0.5 empty windows 0.97 and 1.10. Commits" in page


def test_trainings_of_other_lengths_and_augmentations_are_rows_of_their_own(run, tmp_path):
    run, steps = run
    arguments = ["--runs", run, "--budget", 360, "--workdir", tmp_path / "work", "--output", tmp_path / "rows.json"]
    for more in ({}, {"empty_windows": 0.5}):
        (run / "config.json").write_text(json.dumps(config_of("trunk_ddim", **more)))
        assert accuracy.main([*map(str, arguments), "--checkpoint-step", "latest"]) == 0
    config = config_of("trunk_ddim")
    config["train"]["steps"] = 70
    (run / "config.json").write_text(json.dumps(config))
    assert accuracy.main([str(one) for one in arguments]) == 0
    rows = read_rows(tmp_path / "rows.json")
    expected = [("strong", 9000), ("strong, 0.5 empty windows", 9000), ("strong", 70)]
    assert [(row["augmentation"], row["steps"]) for row in rows] == expected
    assert steps == ["latest"] * 4 + ["best"] * 2


def test_the_unet_beside_it_sees_the_same_pictures():
    config = config_of("trunk_ddim", rotation_degrees=20.0, image_size=32)
    plain = accuracy.as_unet(config)
    about = plain["model"]
    assert create_model(about["name"], preset=about["preset"], **about["overrides"]) == create_model(
        "unet", preset="small"
    )
    assert plain["data"] == config["data"] and plain["train"]["batch_size"] == config["train"]["batch_size"]
    assert (plain["sample"]["steps"], plain["sample"]["samples"]) == (1, 4)


def test_without_turns_nothing_is_timed():
    found = accuracy.costs(config_of("trunk_ddim"), repeats=0)
    assert found == {"parameters": 523672, "train_step_ratio_to_unet": None, "evaluation_ratio_to_unet": None}
