"""The table of trainings with few labelled pictures, by rows written by hand."""

import json

import pytest

from benchmarks.quality.unlabelled import gap_closed, means, unlabelled

ROW = {"dataset": "polyp", "system": "trunk_ddim", "labelled": 50, "pictures": 500, "size": 64, "steps": 2000}
ROW |= {"dice_ci": [0.5, 0.7], "dice_val": 0.61, "train_cpu_seconds": None, "commit": "abc"}


def rows(name, *dice, **more):
    return [ROW | {"row": name, "seed": seed, "dice_mean": one} | more for seed, one in enumerate(dice)]


FEW, MORE, ALL = rows("few", 0.6, 0.62), rows("few and unlabelled", 0.65, 0.67), rows("all", 0.79, 0.83)
BEFORE = rows("pre-trained", 0.7, 0.72, pretrain_steps=1500, train_cpu_seconds=12.3)


def test_the_gap_is_of_the_means_over_the_same_seeds():
    assert gap_closed(FEW + MORE + ALL, "few and unlabelled") == pytest.approx(0.05 / 0.2)
    assert gap_closed(BEFORE[::-1] + FEW + ALL, "pre-trained") == pytest.approx(0.1 / 0.2)
    assert gap_closed(FEW + MORE[:1] + ALL, "few and unlabelled") is None
    assert gap_closed(FEW + ALL, "pre-trained") is None
    other = [row | {"dataset": "lung"} for row in FEW]
    found = [(row["dataset"], row["row"], row["seeds"], row["gap_closed"]) for row in means(FEW + MORE[:1] + other)]
    assert found == [("polyp", "few", 2, None), ("polyp", "few and unlabelled", 1, None), ("lung", "few", 2, None)]


def test_the_table(tmp_path):
    (tmp_path / "docs/results").mkdir(parents=True)
    assert unlabelled(tmp_path) == "Not yet measured.\n"
    content = {"rules": {}, "rows": FEW + MORE + BEFORE + ALL}
    (tmp_path / "docs/results/unlabelled.json").write_text(json.dumps(content))
    lines = unlabelled(tmp_path).splitlines()
    about = "| `trunk_ddim` | 64 | 2000 |"
    for line in (
        f"| polyp, 50 labelled {about} 2 | 0.610 |  |",
        f"| polyp, 50 labelled, 450 unlabelled beside them {about} 2 | 0.660 | 25% |",
        f"| polyp, 50 labelled, after 1500 steps on 450 unlabelled {about} 2 | 0.710 | 50% |",
        f"| polyp, 500 labelled {about} 2 | 0.810 |  |",
        f"| polyp, 50 labelled, after 1500 steps on 450 unlabelled {about} 1 | 0.720 [0.500, 0.700] | 0.610 | 12 |",
        f"| polyp, 500 labelled {about} 0 | 0.790 [0.500, 0.700] | 0.610 |  |",
        "Measured at commit abc.",
    ):
        assert line in lines, (line, lines)
