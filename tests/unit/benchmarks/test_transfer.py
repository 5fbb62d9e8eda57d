"""Rows of runs on images from elsewhere, against hand computation."""

import csv
import json

import pytest

from benchmarks.quality import transfer
from benchmarks.render import rendered
from benchmarks.result_file import merged, read_rows, write_rows

FIELDS = ("id", "dice", "area", "true_area")
# A good mask, a false alarm, an empty image seen as empty, a missed structure.
PICTURES = [("a", 0.8, 90, 100), ("b", 0.0, 7, 0), ("c", 1.0, 0, 0), ("d", 0.0, 0, 50)]


def metrics(coverage):
    area = {"coverage": coverage, "low": 0.3, "high": 1.0, "mean_width_share": 0.125}
    area = {"area": area} if coverage else {}
    score = {"mean": 0.45, "low": 0.1, "high": 0.9}
    return {
        "images": 4,
        "step": 30,
        "network_evaluations_per_image": 4,
        "protocols": {"mean": {"per_image": {"dice": score, "recall": score, "precision": score}}},
        "risk_coverage": {"kept_dice": 0.6},
        "doubt": {"rank_correlation_with_dice": -0.5},
        "calibration": {"ece": 0.01},
        "bounds": {"classes": {"foreground": {"area_uncalibrated": {"coverage": 0.5}, **area}}},
    }


@pytest.fixture
def evaluated(tmp_path, monkeypatch):
    """A run, and the calls of the evaluation, which finds `PICTURES` everywhere."""
    calls = []

    def fake(run, split, *, output_dir, data_root, resolution, step):
        calls.append((split, data_root, resolution, step))
        output_dir.mkdir(parents=True)
        with open(output_dir / "per_image.csv", "w", newline="") as file:
            csv.writer(file).writerows([FIELDS, *PICTURES])
        (output_dir / "metrics.json").write_text('{"images": 1, "groups": 1}')
        return metrics(coverage=0.9 if split == "test" else None), output_dir

    monkeypatch.setattr(transfer, "evaluate_checkpoint", fake)
    return saved_run(tmp_path, "run", seed=1), calls


def saved_run(folder, name, seed):
    """A run's folder with its config."""
    run = folder / name
    run.mkdir()
    data = {"root": "/somewhere/polyp", "augmentation": "strong", "image_size": 64}
    config = {"data": data, "model": {"name": "unet"}, "train": {"steps": 30}, "seed": seed}
    (run / "config.json").write_text(json.dumps(config))
    return run


def test_both_sources_are_scored_at_their_own_size_and_replace_their_rows(evaluated, tmp_path):
    run, calls = evaluated
    output = tmp_path / "docs/results/transfer.json"
    output.parent.mkdir(parents=True)
    for step in ("best", "latest"):
        arguments = ["--runs", run, "--elsewhere", tmp_path, "--workdir", tmp_path / step, "--output", output]
        assert transfer.main([*map(str, arguments), "--checkpoint-step", step]) == 0
        assert calls[-2:] == [("test", None, "native", step), ("all", tmp_path, "native", step)]
    test, elsewhere = read_rows(output)
    assert (test["source"], elsewhere["source"]) == ("test", "elsewhere")
    about = {"dataset": "polyp", "system": "unet", "augmentation": "strong", "size": 64, "train_steps": 30, "seed": 1}
    assert test | about == test
    assert (test["empty_truths"], test["false_alarms"]) == (2, 1)
    assert (test["area_coverage"], test["area_coverage_ci"], test["area_width_share"]) == (0.9, [0.3, 1.0], 0.125)
    assert elsewhere["area_coverage"] is elsewhere["area_coverage_ci"] is elsewhere["area_width_share"] is None
    page = rendered("<!-- table: transfer -->\n<!-- end -->\n", tmp_path)
    about = "4 | `unet` | 64 / 1 | 30 | 1 | 0.450 [0.100, 0.900] | 0.450 | 0.450 | 0.600 | -0.50 | 1 of 2"
    assert page.splitlines()[3:-3] == [f"| polyp | {about} |  |  |"]  # the test split is in the table of accuracy.py
    first = elsewhere | {"area_coverage": 0.9}
    del first["area_width_share"]  # a row of earlier
    second = first | {"seed": 2, "dice_mean": 0.55, "false_alarms": 2, "area_coverage": 0.8}
    longer = elsewhere | {"train_steps": 60}
    write_rows(output, {}, [elsewhere | {"size": 32, "empty_truths": 0}, longer, second, first])
    page = rendered("<!-- table: transfer -->\n<!-- end -->\n", tmp_path)
    scores = "0.500 (0.450 to 0.550) | 0.450 | 0.450 | 0.600 | -0.50 | 1, 2 of 2 | 0.85 (0.80 to 0.90)"
    assert f"| polyp | {about.replace('30', '60')} |" in page
    assert f"| polyp | 4 | `unet` | 64 / 1 | 30 | 1, 2 | {scores} |  |\n" in page and "| -0.50 |  |  |  |\n" in page


def test_gain_of_runs_over_others_is_of_the_same_pictures_and_seeds(tmp_path, monkeypatch):
    dice = {"a0": (0.5, 0.7), "a1": (0.7, 0.9), "b0": (0.4, 0.8), "b1": (0.5, 0.5)}  # differences .1, -.1; .2, .4

    def fake(run, split, *, output_dir, data_root, resolution, step):
        output_dir.mkdir(parents=True)
        rows = [(name, value, 1, 1) for name, value in zip("pq", dice[run.name], strict=True)]
        with open(output_dir / "per_image.csv", "w", newline="") as file:
            csv.writer(file).writerows([FIELDS, *(rows if run.name[0] == "a" else reversed(rows))])
        (output_dir / "metrics.json").write_text('{"images": 2, "groups": 2}')
        return metrics(coverage=0.9), output_dir

    monkeypatch.setattr(transfer, "evaluate_checkpoint", fake)
    runs = {name: str(saved_run(tmp_path, name, seed=int(name[1]))) for name in dice}
    (tmp_path / "docs/results").mkdir(parents=True)
    files = [
        f"--{kind}={tmp_path}/docs/results/{name}.json" for kind, name in (("output", "transfer"), ("paired",) * 2)
    ]
    rest = ["--elsewhere", str(tmp_path), "--workdir", str(tmp_path / "work"), *files]
    assert transfer.main(["--runs", runs["a0"], runs["a1"], "--against", runs["b0"], runs["b1"], *rest]) == 0
    test, elsewhere = read_rows(tmp_path / "docs/results/paired.json")
    assert (test["source"], elsewhere["source"], test["seeds"], test["n"]) == ("test", "elsewhere", [0, 1], 4)
    assert test["dice_of_seeds"] == [pytest.approx([0.6, 0.8]), pytest.approx([0.6, 0.5])]
    assert test["gain"] == pytest.approx(0.15)
    # Of the pairs of seeds and of images that can be drawn, the extreme means are -.1 and .4.
    assert test["gain_ci"] == pytest.approx([-0.1, 0.4])
    # Trainings of another length have a row of their own; more seeds of these take the place of it.
    for change, rows in (({"train_steps": [60, 60]}, 2), ({"seeds": [0, 1, 2]}, 1)):
        assert len(merged([test], [test | change], transfer.PAIRED_IDENTITY)) == rows
    page = rendered("<!-- table: paired -->\n<!-- end -->\n", tmp_path)
    assert "| polyp, test | 4 | 64 / 1 | 0, 1 | `unet` - `unet` | 30 and 30 | 0.7000 | 0.5500 | +0.1500 [" in page


def test_runs_that_are_no_pairs_are_refused_before_any_is_evaluated(evaluated, tmp_path, capsys):
    run, calls = evaluated
    other = saved_run(tmp_path, "other", seed=2)
    for against in ([other], [run, run]):
        with pytest.raises(SystemExit, match="2"):
            transfer.main(["--runs", str(run), "--against", *map(str, against), "--elsewhere", str(tmp_path)])
    assert not calls
    said = capsys.readouterr().err
    assert f"{other}: seed is 2; expected 1, as of {run}" in said
    assert "--against has 2 runs and --runs 1; expected one for each" in said
