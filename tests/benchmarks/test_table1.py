"""The comparison as it is started: what is run and in which order, what is written, what a second call still does."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import results_page, steps, table1, table_figures, table_run
from benchmarks.table_rows import run_folder
from benchmarks.table_run import Run, RunFailed
from configs.table1 import SYSTEMS
from ddim_jax import Segmenter
from ddim_jax.data import load_dataset
from ddim_jax.io.atomic import write_json

TINY = [
    "--config.model.overrides.base_channels=8",
    "--config.model.overrides.channel_multipliers=(1,)",
    "--config.model.overrides.norm_groups=4",
    "--config.train.batch_size=4",
]


def write_pairs(root, splits):
    """Discs on noise, bright inside, 32 x 32: {"train": 12, ...} pictures of each split."""
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


ABOUT = {"device": "a machine", "platform": "cpu", "compiled_cpu_kernels": True, "jax": "1.2.3"}


class FakeMachine:
    """In the place of the worker that looks at the device and the networks."""

    def __init__(self, *_, **__):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def call(self, method, *_):
        return {"about": ABOUT, "parameters": 1234}[method]


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
        ("lightweight_ddim", "calibrated"),
        ("unet", "paper"),
        ("unet", "calibrated"),
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
    """The U-Net was scored on three pictures of five: the first, the middle one and the last."""
    _, output, workdir = made
    table = json.loads(output.read_text())
    parts = {(entry["system"], entry["protocol"]): entry for entry in table["on_the_same_pictures"]}
    assert {entry["n"] for entry in parts.values()} == {3}
    assert sorted(parts) == sorted((row["system"], row["protocol"]) for row in table["rows"])
    for row in table["rows"]:
        lines = (run_folder(workdir, row) / "evaluation" / "test" / "per_image.csv").read_text().splitlines()
        scores = {line["id"]: float(line[f"{row['protocol']}_dice"]) for line in csv.DictReader(lines)}
        expected = np.mean([scores[f"test{number}"] for number in (0, 2, 4)])
        assert parts[row["system"], row["protocol"]]["dice_mean"] == pytest.approx(expected)


def test_the_figures(made, capsys):
    arguments, output, workdir = made
    data = arguments[1]
    asked = ["--data", data, "--budget", "0.5", "--size", "16", "--workdir", str(workdir), "--table", str(output)]
    assert table_figures.main(asked) == 0
    left_out = "medsegdiff, lightweight_ddim_noise, ddim_noise"
    assert f"holds no run of a row of Table 1: ddim, {left_out}" in capsys.readouterr().out
    for name, rows in (("side_by_side", 6), ("failures", 3)):
        with Image.open(workdir / "figures" / f"discs_{name}.png") as picture:
            assert min(picture.size) > 100 * rows and np.asarray(picture.convert("L")).std() > 10
    rows = json.loads(output.read_text())["rows"]
    runs, _ = table_figures.find_runs(workdir, rows, "discs", "small", 16, 0.5, 0)
    assert [run.system for run in runs] == ["lightweight_ddim", "unet"]
    # Sampled again, an image scores what the evaluation says.
    source = load_dataset("folder", "test", root=data)
    for run, drawn in zip(runs, (5, 4), strict=True):
        (case,) = table_figures.make_cases(run, source, ["test2"])
        assert case.dice == run.dice["test2"]
        # Both are scored with four samples: the uncertainty is theirs, whatever is drawn besides.
        assert len(case.samples) == drawn
        np.testing.assert_allclose(case.uncertainty, case.samples[:4].std(axis=0), atol=1e-6)


def test_a_point_of_the_curve_over_steps(made):
    """The light network's own setting, scored again by `benchmarks.steps`: what the table says of it."""
    arguments, output, workdir = made
    run = Run("lightweight_ddim", Path(arguments[1]), "small", 16, 0.5, 0, None, "a machine", tuple(TINY))
    folder = run.folder(workdir)
    curve, setting = steps.Curve("x0", run, "test", None), steps.Setting("ddim", 1, 4)
    row = steps.measure(curve, setting, Segmenter.load(folder), folder)
    (expected,) = (
        row
        for row in json.loads(output.read_text())["rows"]
        if (row["system"], row["protocol"]) == ("lightweight_ddim", "calibrated")
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


def test_a_trial(monkeypatch, tmp_path):
    """train.py, told by its own files: 8 pictures a step at 16, 32 and 64 a second are .125 s a step at the fastest."""
    programs = []

    def program(arguments, folder):
        programs.append(arguments)
        lines = [{"step": 10 * n, "loss": 1.0, "images_per_second": 8.0 * 2**n} for n in (1, 2, 3)]
        lines.append({"step": table_run.TRIAL_STEPS, "validation_dice": 0.5})
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        write_json(folder / "config.json", {"model": {"name": "unet"}, "train": {"batch_size": 8}})

    monkeypatch.setattr(table_run, "_program", program)
    monkeypatch.setattr(table_run, "Worker", FakeMachine)
    run = Run("unet", tmp_path / "lungs", "small", 64, 9.0, 0, None, "a machine", ("--config.train.batch_size=8",))
    for _ in range(2):  # the second time it is looked up
        assert table_run._trial(run, tmp_path, print) == {"step_s": 0.125, "parameters": 1234}
    assert len(programs) == 1
    for part in ("--config.train.steps=40", "--config.train.batch_size=8", "--config.data.image_size=64"):
        assert part in programs[0]
    assert programs[0][2].endswith("configs/table1.py:unet")


@pytest.mark.parametrize(("status", "raised"), [(75, KeyboardInterrupt), (130, KeyboardInterrupt), (2, RunFailed)])
def test_a_program_that_was_asked_to_stop_did_not_finish_and_did_not_fail(monkeypatch, tmp_path, status, raised):
    monkeypatch.setattr(table_run, "ROOT", tmp_path)
    (tmp_path / "train.py").write_text("import sys\nprint('said')\nsys.exit(int(sys.argv[1]))\n")
    table_run._program(["train.py", "0"], tmp_path)
    with pytest.raises(raised):
        table_run._program(["train.py", str(status)], tmp_path)
    assert (tmp_path / "log.txt").read_text() == "said\nsaid\n"


def test_a_second_call_runs_nothing(made, monkeypatch, capsys):
    arguments, output, _ = made
    before = output.read_bytes()
    monkeypatch.setattr(table1, "carry_out", lambda *_: pytest.fail("a run was repeated"))
    monkeypatch.setattr(table_run, "Worker", FakeMachine)
    assert table1.main(arguments) == 0
    assert output.read_bytes() == before
    # A table of before there were these fields gets them from the folders of its runs.
    table = json.loads(before)
    later = ("dice_single", "clip_x0")
    rows = [{name: value for name, value in row.items() if name not in later} for row in table["rows"]]
    write_json(output, {"rules": {}, "rows": rows})
    assert table1.main(arguments) == 0
    assert json.loads(output.read_text()) == table
    assert capsys.readouterr().out.count("already") == 4


def test_its_page(made):
    _, output, _ = made
    row = json.loads(output.read_text())["rows"][3]
    page = results_page.write(output.parents[2]).read_text()
    assert f"| {row['dice_mean']:.4f} [{row['dice_ci'][0]:.4f}, {row['dice_ci'][1]:.4f}] |" in page
    assert "| 3 of 5 | 1 |" in page


@pytest.fixture
def recorded(monkeypatch):
    """The runs that are carried out, in order; none is. What is in `failing` fails."""
    runs, failing = [], []

    def carry_out(run, workdir, say):
        runs.append(run)
        if run.system in failing:
            raise RunFailed("it was not to be")
        (run.folder(workdir) / "checkpoints").mkdir(parents=True, exist_ok=True)
        return [
            run.about | {"protocol": name, "dice_mean": 0.5, "epochs": 1.0, "train_s": 1.0, "n": 9, "n_in_split": 9}
            for name in ("paper", "calibrated")
        ]

    monkeypatch.setattr(table1, "carry_out", carry_out)
    monkeypatch.setattr(table_run, "Worker", FakeMachine)
    return runs, failing


@pytest.fixture
def call(tmp_path):
    for name in ("lungs", "skin"):
        (tmp_path / name).mkdir()
    fixed = ["--data", str(tmp_path / "lungs"), str(tmp_path / "skin"), "--budget", "9", "--size", "64"]
    fixed += ["--workdir", str(tmp_path / "runs"), "--output", str(tmp_path / "table1.json")]
    return lambda *more: table1.main([*fixed, *more])


def test_systems_before_data_sets_before_seeds(recorded, call):
    runs, _ = recorded
    assert call("--seeds", "2") == 0
    expected = [(seed, name, system) for seed in (0, 1) for name in ("lungs", "skin") for system in SYSTEMS]
    assert [(run.seed, run.dataset, run.system) for run in runs] == expected
    assert [run.system for run in runs[:4]] == ["lightweight_ddim", "unet", "ddim", "medsegdiff"]


def test_an_interrupted_table_goes_on(recorded, call, monkeypatch):
    runs, _ = recorded
    whole = table1.carry_out

    def interrupted(run, workdir, say):
        if len(runs) == 3:
            raise KeyboardInterrupt
        return whole(run, workdir, say)

    monkeypatch.setattr(table1, "carry_out", interrupted)
    with pytest.raises(KeyboardInterrupt):
        call("--seeds", "1")
    monkeypatch.setattr(table1, "carry_out", whole)
    assert call("--seeds", "1") == 0
    assert len(runs) == 2 * len(SYSTEMS) == len({(run.dataset, run.system) for run in runs})


def test_other_settings_are_measured_anew(recorded, call, tmp_path):
    runs, _ = recorded
    assert call("--seeds", "1", "--systems", "unet") == 0
    assert call("--seeds", "1", "--systems", "unet", "--config.train.learning_rate=0.1") == 0
    assert call("--seeds", "1", "--systems", "unet", "--limit", "unet=9") == 0
    assert [run.limit for run in runs] == [None, None, None, None, 9, 9]
    assert runs[0].folder(tmp_path) != runs[2].folder(tmp_path)
    assert runs[0].folder(tmp_path) == runs[4].folder(tmp_path)  # scored again, not trained again
    rows = json.loads((tmp_path / "table1.json").read_text())["rows"]
    assert len(rows) == 4 and {row["limit"] for row in rows} == {9}


def test_a_run_that_fails_does_not_stop_the_others(recorded, call, tmp_path, capsys):
    runs, failing = recorded
    failing.append("unet")
    assert call("--seeds", "1") == 1
    assert len(runs) == 2 * len(SYSTEMS)
    rows = json.loads((tmp_path / "table1.json").read_text())["rows"]
    assert {row["system"] for row in rows} == set(SYSTEMS) - {"unet"}
    assert "error: lungs unet seed 0: it was not to be" in capsys.readouterr().err


def test_checkpoints_are_removed_where_asked(recorded, call, tmp_path):
    runs, _ = recorded
    assert call("--seeds", "1", "--systems", "unet") == 0
    assert (runs[0].folder(tmp_path / "runs") / "checkpoints").is_dir()
    assert call("--seeds", "1", "--systems", "ddim", "--discard") == 0
    assert not (runs[2].folder(tmp_path / "runs") / "checkpoints").exists()


def test_full_networks_want_a_gpu(recorded, call, monkeypatch, capsys):
    runs, _ = recorded
    full = ["--seeds", "1", "--systems", "unet", "--networks", "full"]
    with pytest.raises(SystemExit) as stopped:
        call(*full)
    assert stopped.value.code == 2 and not runs
    assert "needs a GPU, and JAX finds a cpu (a machine); give --networks small" in capsys.readouterr().err
    assert call(*full, "--any-device") == 0
    monkeypatch.setitem(ABOUT, "platform", "gpu")
    monkeypatch.setitem(ABOUT, "device", "a GPU")
    assert call(*full) == 0
    assert [run.device for run in runs] == ["a machine", "a machine", "a GPU", "a GPU"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--limit", "unet=0"], "unet=0"),
        (["--limit", "vnet=3"], "vnet=3"),
        (["--stepz", "3"], "--stepz"),
        (["--budget", "0"], "--budget"),
        (["--data", "nowhere"], "nowhere is not a folder"),
    ],
)
def test_refused(more, said, recorded, call, capsys):
    with pytest.raises(SystemExit) as stopped:
        call(*more)
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err
    assert not recorded[0]
