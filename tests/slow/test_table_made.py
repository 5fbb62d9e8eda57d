"""A small table, really trained and evaluated: what is written, and what is read from it later."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from fake_machine import FakeMachine
from PIL import Image

from benchmarks.quality import runs as table_run
from benchmarks.quality import steps, table1
from benchmarks.quality.rows import run_folder
from benchmarks.quality.runs import Run
from ddim_jax import Segmenter
from ddim_jax.runtime.atomic import write_json

TINY = [
    "--config.model.overrides.base_channels=8",
    "--config.model.overrides.channel_multipliers=(1,)",
    "--config.model.overrides.norm_groups=4",
    "--config.train.batch_size=4",
]


def write_pairs(root, splits):
    """Discs on noise, bright inside, 32 x 32: {"train": 12, ...} images of each split."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:32, :32]
    lines = ["stem,split"]
    for split, count in splits.items():
        for number in range(count):
            y, x = rng.integers(10, 22, 2)
            mask = (rows - y) ** 2 + (columns - x) ** 2 < 64
            image = np.uint8(rng.integers(0, 60, (32, 32)) + 150 * mask)
            for kind, pixels in (("images", image), ("masks", np.uint8(255 * mask))):
                (root / kind).mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(root / kind / f"{split}{number}.png")
            lines.append(f"{split}{number},{split}")
    (root / "splits.csv").write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def made(tmp_path_factory, environment):
    """A table of two systems, made once: (arguments, output, workdir). Their trials were made before."""
    folder = tmp_path_factory.mktemp("table")
    write_pairs(folder / "discs", {"train": 12, "val": 4, "test": 5})
    output, workdir = folder / "docs" / "results" / "table1.json", folder / "runs"
    arguments = ["--data", str(folder / "discs"), "--budget", "0.5", "--size", "16", "--seeds", "1"]
    arguments += ["--systems", "unet", "lightweight_ddim", "--limit", "unet=3", *TINY]
    arguments += ["--output", str(output), "--workdir", str(workdir)]
    for system, step_s in (("lightweight_ddim", 0.02), ("unet", 0.01)):
        tried = Run(system, folder / "discs", "small", 16, 0.5, 0, None, "a machine", tuple(TINY))
        write_json(workdir / "trials" / f"{system}-{tried.settings}.json", {"step_s": step_s, "parameters": 77})
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.setattr(table_run, "Worker", FakeMachine)
        assert table1.main(arguments) == 0
    return arguments, output, workdir


def test_the_rows_are_those_of_the_evaluations(made):
    _, output, workdir = made
    rows = json.loads(output.read_text())["rows"]
    assert [(row["system"], row["protocol"]) for row in rows] == [
        ("lightweight_ddim", "paper"),
        ("lightweight_ddim", "mean"),
        ("unet", "paper"),
        ("unet", "mean"),
    ]
    for row in rows:
        (run,) = (workdir / "discs").glob(f"{row['system']}-16-0.5s-seed0-*")
        metrics = json.loads((run / "evaluation" / "test" / "metrics.json").read_text())
        scores = metrics["protocols"][row["protocol"]]
        assert metrics["split"] == "test" and metrics["image_size"] == 16
        assert row["dice_mean"] == scores["per_image"]["dice"]["mean"]
        assert row["recall_mean"] == scores["per_image"]["recall"]["mean"]
        assert row["dice_ci"] == [scores["per_image"]["dice"][end] for end in ("low", "high")]
        assert row["dice_pooled"] == scores["pooled"]["dice"]
        assert (row["n"], row["n_in_split"]) == ((3 if row["system"] == "unet" else 5), 5)
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        validation = {line["step"]: line["validation_dice"] for line in lines if "validation_dice" in line}
        assert validation[row["picked_step"]] == max(validation.values()) == row["validation_dice"]
        assert row["steps"] == max(validation)
        assert row["epochs"] == pytest.approx(row["steps"] * 4 / 12, abs=0.01)
        assert (row["dataset"], row["size"], row["budget_s"], row["seed"]) == ("discs", 16, 0.5, 0)
        assert row["prediction"] == {"unet": None, "lightweight_ddim": "x0"}[row["system"]]
        assert row["dice_single"] == scores["per_image"]["dice_single"]["mean"]
        assert row["clip_x0"] == metrics["clip_x0"]
        assert (row["compiled_cpu_kernels"], row["jax"], row["overrides"]) == (True, "1.2.3", TINY)


def test_all_systems_on_the_pictures_of_the_limited_one(made):
    """The U-Net was scored on three images of five: the first, the middle one and the last."""
    _, output, workdir = made
    table = json.loads(output.read_text())
    parts = {(entry["system"], entry["protocol"]): entry for entry in table["on_the_same_pictures"]}
    assert {entry["n"] for entry in parts.values()} == {3}
    assert sorted(parts) == sorted((row["system"], row["protocol"]) for row in table["rows"])
    for row in table["rows"]:
        lines = (run_folder(workdir, row) / "evaluation" / "test" / "per_image.csv").read_text().splitlines()
        column = {"mean": "dice", "paper": "paper_dice"}[row["protocol"]]
        scores = {line["id"]: float(line[column]) for line in csv.DictReader(lines)}
        expected = np.mean([scores[f"test{number}"] for number in (0, 2, 4)])
        assert parts[row["system"], row["protocol"]]["dice_mean"] == pytest.approx(expected)


def test_a_point_of_the_curve_over_steps(made):
    """The light network's own setting, scored again by `benchmarks.quality.steps`: what the table says of it."""
    arguments, output, workdir = made
    run = Run("lightweight_ddim", Path(arguments[1]), "small", 16, 0.5, 0, None, "a machine", tuple(TINY))
    folder = run.folder(workdir)
    curve, setting = steps.Curve("x0", run, "test", None), steps.Setting("ddim", 1, 4)
    row = steps.measure(curve, setting, Segmenter.load(folder), folder)
    (expected,) = (
        row
        for row in json.loads(output.read_text())["rows"]
        if (row["system"], row["protocol"]) == ("lightweight_ddim", "mean")
    )
    same = ("dice_mean", "dice_ci", "n", "n_in_split", "train_s", "picked_step", "validation_dice", "prediction")
    assert {name: row[name] for name in same} == {name: expected[name] for name in same}
    assert row["ece"] == pytest.approx(expected["ece"], rel=1e-6)  # compiled differently
    assert (row["train_steps"], row["evaluations"], row["flips"]) == (expected["steps"], 4, True)
    assert (row["loss"], row["mask_scale"], row["timestep_power"]) == ("bce_dice", 0.1, 8.0)
    assert (row["channel_shuffle"], row["clip_x0"]) == (True, None)
    assert row["seconds_per_image"] > 0 and 0 <= row["dice_single"] <= 1
    assert steps.Setting("ddim", 1, 4) not in curve.missing([row]) and len(curve.missing([row])) == 35


def test_the_length_of_a_run_is_what_the_trial_says(made):
    light, _, unet, _ = json.loads(made[1].read_text())["rows"]
    assert (light["steps"], unet["steps"], unet["parameters"]) == (25, 50, 77)


def test_a_second_call_runs_nothing(made, monkeypatch, capsys):
    arguments, output, _ = made
    before = output.read_bytes()
    monkeypatch.setattr(table1, "carry_out", lambda *_: pytest.fail("a run was repeated"))
    monkeypatch.setattr(table_run, "Worker", FakeMachine)
    assert table1.main(arguments) == 0
    assert output.read_bytes() == before
    assert capsys.readouterr().out.count("already") == 2
