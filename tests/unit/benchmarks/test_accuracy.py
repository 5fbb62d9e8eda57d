"""Rows of what a network reaches and costs, against hand computation."""

import json

import pytest

from benchmarks.quality import accuracy
from benchmarks.render import rendered
from benchmarks.result_file import read_rows, write_rows
from configs import folder
from ddim_jax.config import resolve_config


def config_of(system, **data):
    config = folder.get_config()
    config.model.name, config.train.steps = system, 9000
    config.data.update({"root": "/somewhere/polyp", **data})
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
            "bounds": {"classes": {"foreground": {"area": area}}},
        }, output_dir

    steps = []
    area = {"coverage": 0.91, "low": 0.85, "high": 0.95, "mean_width_share": 0.0625}
    monkeypatch.setattr(accuracy, "evaluate_checkpoint", fake)
    monkeypatch.setattr(accuracy, "step_ratio", lambda *network: {("trunk_ddim", 64, 2): 0.97}[network])
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_text(json.dumps(config_of("trunk_ddim")))
    return run, steps


def test_a_run_is_a_row_and_a_table(run, tmp_path):
    run, _ = run
    output = tmp_path / "docs/results/accuracy.json"
    output.parent.mkdir(parents=True)
    arguments = ["--runs", run, "--budget", 377, "--workdir", tmp_path / "work", "--output", output]
    for _ in range(2):  # the second replaces the first
        assert accuracy.main([str(one) for one in arguments]) == 0
    (row,) = read_rows(output)
    assert (row["dataset"], row["system"], row["size"], row["stem"], row["steps"], row["seed"]) == (
        "polyp", "trunk_ddim", 64, 2, 9000, 0
    )  # fmt: skip
    assert (row["dice_mean"], row["dice_ci"], row["dice_val"]) == (0.8, [0.7, 0.9], 0.75)
    assert (row["budget_s"], row["ece"], row["parameters"], row["n"]) == (377.0, 0.02, 523672, 150)
    assert (row["area_coverage"], row["area_coverage_ci"], row["area_width_share"]) == (0.91, [0.85, 0.95], 0.0625)
    assert (row["train_step_ratio_to_unet"], row["evaluations"]) == (0.97, 4)
    page = rendered("<!-- table: accuracy -->\n<!-- end -->", tmp_path)
    assert (
        "| polyp | `trunk_ddim` | 64 / 2 | 377 s | 9000 | 0 | 0.800 [0.700, 0.900] | 0.750 | 0.020 | 0.91 | 0.062 |\n"
        "\n"
        "Parameters: `trunk_ddim`, stem 2: 523,672. Commits: in `accuracy.json`.\n" in page
    )
    page = rendered("<!-- table: choices -->\n<!-- end -->", tmp_path)
    assert page.splitlines()[3:-1] == ["| `folder`; `skin`, `polyp` | 6 |  |  | 0.800 |"]
    write_rows(output, {}, [row, row | {"budget_s": 356.0, "dice_mean": 0.85}, row | {"budget_s": 100.0}])
    other = rendered("<!-- table: choices -->\n<!-- end -->", tmp_path).splitlines()[3:-1]
    assert other[-1] == "| with `--config.train.steps=14000`, faster kernels | 6 |  |  | 0.850 |" and len(other) == 2
    again = row | {"seed": 1, "dice_mean": 0.9, "ece": 0.03}
    earlier = {name: value for name, value in row.items() if name not in ("area_coverage_ci", "area_width_share")}
    write_rows(output, {}, [row, again, earlier | {"augmentation": "strong, 0.5 empty windows"}])
    page = rendered("<!-- table: accuracy -->\n<!-- end -->", tmp_path)
    assert "| 9000 | 0, 1 | 0.850 (0.800 to 0.900) | 0.750 | 0.025 (0.020 to 0.030) | 0.91 | 0.062 |\n" in page
    assert "| polyp | `trunk_ddim`, 0.5 empty windows | 64 / 2 | 377 s | 9000 | 0 |" in page
    assert "| 0.91 |  |\n" in page  # not known of the earlier row


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


def test_the_time_of_a_step_is_that_of_the_same_network_and_size(tmp_path):
    about = {"system": "trunk_ddim", "size": 64, "stem": 2}
    rows = [about | {"evaluations": 250, "train_step": None}, about | {"evaluations": 4, "train_step": 0.97}]
    write_rows(tmp_path / "costs.json", {}, rows)
    assert accuracy.step_ratio("trunk_ddim", 64, 2, tmp_path / "costs.json") == 0.97
    for other in (("unet", 64, 2), ("trunk_ddim", 128, 2), ("trunk_ddim", 64, 4)):
        assert accuracy.step_ratio(*other, tmp_path / "costs.json") is None
