"""sample.py from its command line to its exit status."""

import argparse
import csv
import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from segmenters import config, picture, tiny_params

from ddim_jax.checkpoints import CheckpointStore
from ddim_jax.cli.sample import describe, parse_arguments
from ddim_jax.inference.files import Summary
from ddim_jax.inference.processes import Process

PROGRAM = Path(__file__).parents[3] / "sample.py"

NOT_JUDGED = "unlike images are not flagged: not calibrated (ddim-jax evaluate --ckpt {} --split val --calibrate)"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = tmp_path_factory.mktemp("run")
    _, params = tiny_params()
    metadata = {"config": config(), "package_version": "0"}
    CheckpointStore(run / "checkpoints").save(5, state={"step": 5}, ema_params=params, metadata=metadata)
    return run


@pytest.fixture
def images(tmp_path):
    (tmp_path / "in").mkdir()
    for seed in range(2):
        Image.fromarray(picture(seed)).save(tmp_path / "in" / f"{seed}.png")
    return tmp_path / "in"


def sample(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["sample.py", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit:
        runpy.run_path(str(PROGRAM), run_name="__main__")
    return exit.value.code


def test_good_images_and_then_a_bad_one(tiny, run, images, tmp_path, monkeypatch, capsys):
    common = ("--ckpt", run, "--input", images, "--output", tmp_path / "out", "--seed", 4)
    assert sample(monkeypatch, *common, "--save", "mask,uncertainty", "--threshold", "0.4") == 0
    captured = capsys.readouterr()
    assert "2 images segmented" in captured.out
    expected = tiny.segment(picture(1), seed=4, threshold=0.4)  # the weights of `run`
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out" / "1_mask.png")), expected.mask * 255)
    assert (tmp_path / "out" / "0_uncertainty.png").exists() and not (tmp_path / "out" / "0_overlay.png").exists()

    assert "passed over" not in captured.out
    (images / "bad.png").write_bytes(b"")
    for name in ("a.XML", "b.xml", "notes"):
        (images / name).write_text("no image")
    assert sample(monkeypatch, *common, "--threshold", "0.4") == 1
    captured = capsys.readouterr()
    assert "0 images segmented" in captured.out and "2 done before, 1 failed" in captured.out
    assert "\n3 files passed over: no suffix 1, .xml 2; images end in .bmp, " in captured.out
    assert f"failed: {images / 'bad.png'}" in captured.err


def test_the_end_says_nothing_of_bounds_where_nothing_was_segmented():
    summary = Summary(2, 0, (), 9.0, 0.0, None, {}, {}, bounds="each interval", not_judged="not calibrated")
    options, process = argparse.Namespace(output="out", ckpt=["my run"]), Process.create(0, 1)
    assert describe(summary, options, process).splitlines() == [
        "2 images segmented in 9.0 s, 0 done before, 0 failed: out",
        "bounds in index.jsonl: each interval",
        NOT_JUDGED.format("'my run'"),
    ]
    none = summary._replace(done=0, failed=[("a", "a: damaged")])
    assert describe(none, options, process).splitlines() == [
        "0 images segmented in 9.0 s, 0 done before, 1 failed: out"
    ]
    one = summary._replace(done=1, bounds="", not_judged="", unlike=[("a", 2.0)], passed_over={".x": 1}, notes={"b": 1})
    told = describe(one, options, process).splitlines()
    assert told[0] == "1 image segmented in 9.0 s, 0 done before, 0 failed: out"
    assert told[1].startswith("1 of 1 image is unlike the images that the model was calibrated on: ")
    assert told[2].startswith("1 file passed over: .x 1; images end in ")
    assert told[3] == "notes in index.jsonl: b (1 image)"
    file = argparse.Namespace(output="out", ckpt=["w.safetensors"])  # whose calibration is made elsewhere
    assert describe(summary, file, process).endswith("\nunlike images are not flagged: not calibrated")


def test_processes_share_the_work_and_a_second_start_says_that_there_is_none(
    run, images, tmp_path, monkeypatch, capsys
):
    common = ("--ckpt", run, "--input", images, "--output", tmp_path / "out", "--process-count", 2, "--process-id")
    told = []
    for index in (0, 1, 0, 1):
        assert sample(monkeypatch, *common, index) == 0
        told.append(capsys.readouterr().out)
    owned = [sum(Process(index, 2).owns(name) for name in "01") for index in range(2)]
    assert sum(owned) == 2
    for index, count in enumerate(owned):
        own = "1 image" if count == 1 else f"{count} images"
        done = f"process {index} of 2: {own} segmented in " if count else f"process {index} of 2: nothing to do"
        assert told[index].startswith(done)
        assert told[index + 2].splitlines() == [
            f"process {index} of 2: nothing to do, {own} done before: {tmp_path / 'out'}",
            NOT_JUDGED.format(run),
        ]
    assert sample(monkeypatch, *common[:6]) == 0
    done = f"nothing to do, 2 images done before: {tmp_path / 'out'}"
    assert capsys.readouterr().out.splitlines() == [done, NOT_JUDGED.format(run)]
    assert sample(monkeypatch, *common, 2) == 2
    assert capsys.readouterr().err == "error: process id is 2 with process count 2; expected 0 to 1\n"


def test_doubtful_images_are_flagged_and_told(tiny, run, images, tmp_path, monkeypatch, capsys):
    common = ("--ckpt", run, "--input", images, "--output", tmp_path / "out")
    assert sample(monkeypatch, *common, "--flag-uncertain", "0.5") == 0
    *_, flagged, judged = capsys.readouterr().out.splitlines()
    assert flagged.endswith(f"/out; 1 flagged: {tmp_path / 'out' / 'flagged.csv'}") and judged == NOT_JUDGED.format(run)
    doubts = {f"{seed}": tiny.segment(picture(seed)).doubt for seed in range(2)}
    with open(tmp_path / "out" / "flagged.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["name"] == max(doubts, key=doubts.get)
    assert float(row["doubt"]) == pytest.approx(max(doubts.values()), abs=1e-6)


def test_options_reach_the_settings(run, tmp_path, monkeypatch):
    (tmp_path / "bad.png").write_bytes(b"")  # nothing to compute
    arguments = ("--ckpt", run / "checkpoints", "--input", tmp_path / "bad.png", "--output", tmp_path / "out")
    options = ("--samples", 2, "--steps", 9, "--protocol")
    options += ("paper", "--checkpoint-step", "latest", "--prefetch", 1)
    more = (
        "--size",
        "native",
        "--flips",
        "--sampler",
        "ddpm",
        "--ensemble",
        "staple",
        "--clip-x0",
        "0.75",
        "--window",
        "-600,1500",
    )
    assert sample(monkeypatch, *arguments, *options, *more) == 1
    settings = json.loads((tmp_path / "out" / "settings.json").read_text())
    del settings["checkpoint"], settings["weights"], settings["surroundings"]
    expected = {"samples": 2, "steps": 9, "seed": 0, "protocol": "paper", "threshold": 0.5, "size": "native"}
    more = {
        "flips": True,
        "sampler": "ddpm",
        "ensemble": "staple",
        "eta": 0.0,
        "clip_x0": 0.75,
        "window": [-600.0, 1500.0],
        "invert": False,
    }
    assert settings == {"step": 5, **expected, **more}
    other = ("--output", tmp_path / "other", "--eta", "0.5", "--clip-x0", "off")
    assert sample(monkeypatch, *arguments[:4], *other) == 1
    settings = json.loads((tmp_path / "other" / "settings.json").read_text())
    assert (settings["eta"], settings["clip_x0"]) == (0.5, None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--clip-x0", "-1"), "clip_x0 is -1.0; expected a number above 0, or off"),
        (("--window", "40"), "window is '40'; expected a centre and a width above 0"),
        (("--steps", "0"), "steps is 0; expected a whole number from 1"),
        (
            ("--checkpoint-step", "newest"),
            "argument --checkpoint-step: step is 'newest'; expected best, latest or a number of",
        ),
        (("--plugins", "no_such_module"), "plugins names 'no_such_module', which cannot be imported"),
        (("--flag-uncertain", "few"), "flag_uncertain is 'few'; expected a number"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_loaded(arguments, message, tmp_path, monkeypatch, capsys):
    nowhere = ("--ckpt", tmp_path / "no-run", "--input", tmp_path / "no-input", "--output", tmp_path / "out")
    assert sample(monkeypatch, *nowhere, *arguments) == 2
    assert message in capsys.readouterr().err


def test_bad_inputs_are_one_line_and_status_2(run, images, tmp_path, monkeypatch, capsys):
    common = ("--output", tmp_path / "out", "--ckpt")
    assert sample(monkeypatch, *common, tmp_path / "no-run", "--input", images) == 2
    assert sample(monkeypatch, *common, run, "--input", tmp_path / "nothing") == 2
    assert sample(monkeypatch, *common, run, "--input", images, "--steps", 101) == 2
    assert sample(monkeypatch, *common, run, "--input", images, "--protocol", "mine") == 2
    assert sample(monkeypatch, *common, run, "--input", images, "--save", "mask,image") == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 5 and all(line.startswith("error: ") for line in lines)
    assert "no-run" in lines[0] and "nothing" in lines[1] and "steps is 101" in lines[2]
    assert "protocol is 'mine'; expected one of paper, mean" in lines[3]
    assert not (tmp_path / "out").exists()


def test_ctrl_c_is_one_line(tmp_path, monkeypatch, capsys):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("ddim_jax.inference.Segmenter.load", stopped)
    assert sample(monkeypatch, "--ckpt", tmp_path, "--input", tmp_path, "--output", tmp_path / "out") == 130
    assert capsys.readouterr().err == "stopped; the same command goes on from here\n"


def test_segments_may_be_given_one_by_one():
    given = ["--ckpt", "run", "--input", "in", "--output", "out", "--segments", "right lung=Lung"]
    assert parse_arguments(None, given).segments == ["right lung=Lung"]
    assert parse_arguments(None, [*given, "--segments", "b=Lung,c=Heart"]).segments == [given[-1], "b=Lung", "c=Heart"]


def test_results_go_to_a_folder_of_that_name_unless_told_otherwise():
    given = ["--ckpt", "lung_xray", "--input", "x.png"]
    assert parse_arguments(None, given).output == "results"
    assert parse_arguments(None, [*given, "--output", "out"]).output == "out"
