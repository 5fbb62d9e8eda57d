"""Rows of runs on pictures from elsewhere, against hand computation."""

import csv
import json

import pytest

from benchmarks.quality import transfer
from benchmarks.render import rendered
from benchmarks.result_file import read_rows

FIELDS = ("id", "dice", "area", "true_area")
# A good mask, a false alarm, an empty picture seen as empty, a missed structure.
PICTURES = [("a", 0.8, 90, 100), ("b", 0.0, 7, 0), ("c", 1.0, 0, 0), ("d", 0.0, 0, 50)]


def metrics(coverage):
    area = {"area": {"coverage": coverage}} if coverage else {}
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

    def fake(run, split, *, output_dir, data_root, resolution):
        calls.append((split, data_root, resolution))
        output_dir.mkdir(parents=True)
        with open(output_dir / "per_image.csv", "w", newline="") as file:
            csv.writer(file).writerows([FIELDS, *PICTURES])
        return metrics(coverage=0.9 if split == "test" else None), output_dir

    monkeypatch.setattr(transfer, "evaluate_checkpoint", fake)
    run = tmp_path / "run"
    run.mkdir()
    data = {"root": "/somewhere/polyp", "augmentation": "strong", "image_size": 64}
    config = {"data": data, "model": {"name": "unet"}, "train": {"steps": 30}, "seed": 1}
    (run / "config.json").write_text(json.dumps(config))
    return run, calls


def test_both_sources_are_scored_at_their_own_size_and_replace_their_rows(evaluated, tmp_path):
    run, calls = evaluated
    output = tmp_path / "docs/results/transfer.json"
    output.parent.mkdir(parents=True)
    for attempt in "12":
        arguments = ["--runs", run, "--elsewhere", tmp_path, "--workdir", tmp_path / attempt, "--output", output]
        assert transfer.main([str(one) for one in arguments]) == 0
    assert calls == 2 * [("test", None, "native"), ("all", tmp_path, "native")]
    test, elsewhere = read_rows(output)
    assert (test["source"], elsewhere["source"]) == ("test", "elsewhere")
    about = {"dataset": "polyp", "system": "unet", "augmentation": "strong", "size": 64, "train_steps": 30, "seed": 1}
    assert test | about == test
    assert (test["empty_truths"], test["false_alarms"]) == (2, 1)
    assert test["dice_of_structures"] == pytest.approx(0.4)
    assert (test["area_coverage"], elsewhere["area_coverage"]) == (0.9, None)
    page = rendered("<!-- table: transfer -->\n<!-- end -->\n", tmp_path)
    assert (
        "| polyp, test | 4 | `unet` | strong | 64 | 1 | 0.450 [0.100, 0.900] | 0.450 | 0.450 | 0.600 | -0.50 | 1 of 2"
        in page
    )
    assert "| 1 of 2 | 0.90 |\n" in page
    assert "| polyp, elsewhere |" in page
