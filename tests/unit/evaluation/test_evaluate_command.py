import json
import runpy
import sys
from pathlib import Path

import pytest
from evaluation_fakes import CONFIG, hand_case

from ddim_jax.cli.evaluate import parse_arguments
from ddim_jax.data import ids_digest
from ddim_jax.evaluation import checkpoint, evaluate_checkpoint
from ddim_jax.imageio.images import ReadOptions
from ddim_jax.labels import Labels
from ddim_jax.registry import ENSEMBLES
from ddim_jax.runtime.errors import CheckpointError, InputError

PROGRAM = Path(__file__).parents[3] / "evaluate.py"


@pytest.fixture
def loaded(monkeypatch, tmp_path):
    """Replaces what reads checkpoints and data by the hand case; records what they were asked for."""
    segmenter, source = hand_case()
    segmenter.checkpoint = str(tmp_path / "RUN/checkpoints/800")
    asked = {}

    def load_checkpoints(paths, step="best", require_sha256=None):
        (path,) = paths
        if "missing" in str(path):
            raise CheckpointError(f"{path}: no such folder")
        asked.update(path=path, step=step)
        return segmenter

    def load_dataset(name, split, **options):
        asked.update(name=name, split=split, **options)
        return source

    monkeypatch.setattr(checkpoint, "load_checkpoints", load_checkpoints)
    monkeypatch.setattr(checkpoint, "load_dataset", load_dataset)
    return asked


def run(monkeypatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["evaluate.py", *arguments])
    try:
        runpy.run_path(str(PROGRAM), run_name="__main__")
    except SystemExit as exit:
        if exit.code:
            raise


def test_the_data_set_is_the_one_of_the_checkpoint(loaded, tmp_path):
    metrics, output = evaluate_checkpoint(tmp_path / "RUN", "val", figures=False)
    assert output == tmp_path / "RUN/evaluation/val"
    assert json.loads((output / "metrics.json").read_text()) == metrics
    assert loaded == {
        "path": tmp_path / "RUN",
        "step": "best",
        "name": "folder",
        "split": "val",
        "root": "/data/lungs",
        "seed": CONFIG["data"]["split_seed"],
        "image_size": 4,
        "read_only": True,
        "labels": Labels(),
        "reading": ReadOptions(),
    }


def test_all_of_the_data_set_of_a_training_is_refused_with_what_to_give(loaded, tmp_path):
    told = "trained on: give --split test, or --data-root DIR with images that were not trained on"
    with pytest.raises(InputError, match=told):
        evaluate_checkpoint(tmp_path / "RUN", "all", figures=False)
    assert "split" not in loaded


def test_a_training_split_that_has_changed_is_refused(loaded, tmp_path):
    segmenter, source = checkpoint.load_checkpoints(["RUN"]), checkpoint.load_dataset("folder", "train")
    segmenter.training_data = {"train_ids_sha256": ids_digest(source)}
    evaluate_checkpoint(tmp_path / "RUN", figures=False, output_dir=tmp_path / "same")

    segmenter.training_data = {"train_ids_sha256": "of other images"}
    with pytest.raises(
        InputError, match=r"/data/lungs: its training split is not the one .*RUN/checkpoints/800 was trained on"
    ):
        evaluate_checkpoint(tmp_path / "RUN", figures=False, output_dir=tmp_path / "other")
    assert not (tmp_path / "other").exists()
    evaluate_checkpoint(tmp_path / "RUN", figures=False, output_dir=tmp_path / "named", data_root=tmp_path)


def test_a_module_that_brings_what_an_evaluation_names(loaded, monkeypatch, tmp_path, capsys):
    (tmp_path / "own_ensemble.py").write_text(
        "from ddim_jax import register\n\n"
        "@register.ensemble('largest')\ndef largest(samples, protocol):\n"
        "    '''The largest sample.'''\n    return (samples.max(axis=0) > 0) * 1.0\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(ENSEMBLES, "_entries", dict(ENSEMBLES.items()))
    arguments = ("--ckpt", f"{tmp_path}/RUN", "--ensemble", "largest", "--no-figures")
    with pytest.raises(SystemExit):
        run(monkeypatch, *arguments)
    assert f"ensemble is 'largest'; expected one of {', '.join(ENSEMBLES)}" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run(monkeypatch, *arguments, "--plugins", "own_ensemble,no_such_module")
    assert "--plugins: plugins names 'no_such_module', which cannot be imported" in capsys.readouterr().err
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "lungs").mkdir()
    (tmp_path / "lungs/splits.csv").touch()
    run(monkeypatch, *arguments, "--plugins", "own_ensemble", "--output", "~/out", "--data-root", "~/lungs")
    assert str(loaded["root"]) == f"{tmp_path}/lungs"
    written = json.loads((tmp_path / "out/metrics.json").read_text())
    assert (written["ensemble"], written["rules"]["ensemble"]) == ("largest", "The largest sample.")


def test_the_program_passes_its_arguments_and_prints_both_protocols(loaded, monkeypatch, tmp_path, capsys):
    (tmp_path / "splits.csv").touch()
    arguments = [
        "--ckpt",
        "RUN",
        "--split",
        "train",
        "--output",
        str(tmp_path / "out"),
        "--steps",
        "4",
        "--samples",
        "1",
    ]
    arguments += ["--seed", "3", "--data-root", str(tmp_path), "--checkpoint-step", "800"]
    arguments += ["--limit", "2", "--no-figures"]
    run(monkeypatch, *arguments, "--resolution", "native", "--eta", "0.5", "--clip-x0", "0.9")
    assert (loaded["root"], loaded["split"], loaded["step"]) == (tmp_path, "train", 800)
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    said = {"steps": 4, "samples": 1, "seed": 3, "images": 2, "resolution": "native", "split": "train"}
    said |= {"eta": 0.5, "clip_x0": 0.9}
    assert {key: metrics[key] for key in said} == said
    printed = capsys.readouterr().out
    assert "paper (> 0.9)" in printed and "mean (> 0.5)" in printed and str(tmp_path / "out") in printed
    assert "calibration error" in printed and "dice, 80% kept" in printed
    # With its first sample alone image a is right; c is a false alarm of the paper's protocol.
    assert "0.5000" in printed and "1.0000" in printed


def test_pictures_are_read_and_scored_with_another_window(loaded, monkeypatch, tmp_path):
    run(
        monkeypatch,
        "--ckpt",
        "RUN",
        "--output",
        str(tmp_path / "out"),
        "--no-figures",
        "--window",
        "-600,1500",
        "--invert",
    )
    assert (loaded["reading"].window, loaded["reading"].invert) == ((-600.0, 1500.0), True)
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    assert (metrics["window"], metrics["invert"]) == ([-600.0, 1500.0], True)


def test_the_size_reaches_the_segmenter(loaded, monkeypatch, tmp_path, capsys):
    run(monkeypatch, "--ckpt", "RUN", "--output", str(tmp_path / "out"), "--size", "native", "--no-figures")
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    assert (metrics["size"], metrics["resolution"]) == ("native", "native")
    assert "native size" in capsys.readouterr().out


def test_what_the_user_can_mend_is_one_line_and_status_two(loaded, monkeypatch, capsys):
    with pytest.raises(SystemExit) as caught:
        run(monkeypatch, "--ckpt", "missing")
    assert caught.value.code == 2
    assert capsys.readouterr().err == "error: missing: no such folder\n"


@pytest.mark.parametrize(
    ("argument", "value", "told"),
    [
        ("--checkpoint-step", "newest", "step is 'newest'; expected best, latest or a number of training steps"),
        ("--limit", "0", "limit is 0; expected a whole number from 1 to 2147483647"),
        ("--limit", "ten", "limit is 'ten'; expected a whole number"),
    ],
)
def test_an_argument_that_cannot_be_meant(loaded, monkeypatch, capsys, argument, value, told):
    with pytest.raises(SystemExit) as caught:
        run(monkeypatch, "--ckpt", "RUN", argument, value)
    assert caught.value.code == 2
    assert f": error: argument {argument}: {told}; see " in capsys.readouterr().err


def test_annotators_are_named_with_or_without_blanks(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["evaluate.py", "--ckpt", "RUN", "--annotators", "anna, ben "])
    assert parse_arguments(None).annotators == ("anna", "ben")
    sys.argv[-1] = ""
    assert parse_arguments(None).annotators == ()


def test_ctrl_c_is_one_line(monkeypatch, capsys):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("ddim_jax.cli.evaluate.evaluate_checkpoint", stopped)
    with pytest.raises(SystemExit) as exit:
        run(monkeypatch, "--ckpt", "RUN")
    assert exit.value.code == 130
    assert capsys.readouterr().err == "stopped; the same command starts over\n"
