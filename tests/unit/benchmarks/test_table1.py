"""The comparison as it is started: what is run and in which order, what a second call still does, what is refused."""

import json
from pathlib import Path

import pytest
from fake_machine import ABOUT, FakeMachine

import configs.table1
from benchmarks.quality import runs as table_run
from benchmarks.quality import table1
from benchmarks.quality.runs import Run, RunFailed
from configs.table1 import SYSTEMS
from ddim_jax.fields import Field
from ddim_jax.runtime.atomic import write_json
from ddim_jax.schema import SCHEMA


def test_a_trial(monkeypatch, tmp_path):
    """train.py, told by its own files: 8 images a step at 16, 32 and 64 a second are .125 s a step at the fastest."""
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
            for name in ("paper", "mean")
        ]

    monkeypatch.setattr(table1, "carry_out", carry_out)
    monkeypatch.setattr(table1, "draw_table1", lambda folder, rows: None)
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
    assert [run.system for run in runs[:3]] == ["lightweight_ddim", "unet", "trunk_ddim"]


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


def test_the_settings_of_a_run_are_what_its_own_system_changes(monkeypatch):
    def settings():
        systems = ("unet", "ddim")
        return [Run(system, Path("lungs"), "small", 64, 9.0, 0, None, "a machine").settings for system in systems]

    unet, ddim = settings()
    assert unet != ddim and all(len(text) == 12 for text in (unet, ddim))
    plain = configs.table1.get_config

    def changed(system):
        config = plain(system)
        config.systems["ddim"].train.learning_rate = 0.5
        return config

    monkeypatch.setattr(configs.table1, "get_config", changed)
    assert settings()[0] == unet and settings()[1] != ddim
    monkeypatch.setattr(configs.table1, "get_config", plain)
    monkeypatch.setitem(SCHEMA["train"], "invented", Field(float, 1.0, "a field that was added since", added=True))
    assert settings() == [unet, ddim]


def test_a_run_that_fails_does_not_stop_the_others(recorded, call, tmp_path, capsys):
    runs, failing = recorded
    failing.append("unet")
    assert call("--seeds", "1") == 1
    assert len(runs) == 2 * len(SYSTEMS)
    rows = json.loads((tmp_path / "table1.json").read_text())["rows"]
    assert {row["system"] for row in rows} == set(SYSTEMS) - {"unet"}
    assert "error: lungs unet seed 0: it was not to be" in capsys.readouterr().err


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
        (["--data", ".", "../" + Path.cwd().name], "are not distinct"),
    ],
)
def test_refused(more, said, recorded, call, capsys):
    with pytest.raises(SystemExit) as stopped:
        call(*more)
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err
    assert not recorded[0]
