"""The tables of doubts and bounds from files written here."""

import json

from benchmarks.quality.tables import bounds, doubts


def test_doubts_stand_beside_what_is_missed(tmp_path):
    folder = tmp_path / "docs/results/pretrained"
    folder.mkdir(parents=True)
    for name, dice in (("a_b_elsewhere", 0.75), ("a_b_val", 0.9)):
        metrics = {
            "images": 7,
            "protocols": {"mean": {"per_image": {"dice": {"mean": dice}}}},
            "doubt": {"mean": 0.125, "rank_correlation_with_dice": None if dice == 0.9 else -0.5},
        }
        (folder / f"{name}.json").write_text(json.dumps(metrics))
    assert doubts(tmp_path).splitlines()[2:] == [
        "| `a_b` | val | 7 | 0.100 | 0.125 |  |",
        "| `a_b` | external | 7 | 0.250 | 0.125 | -0.50 |",
    ]


def test_bounds_are_told_of_images_that_were_not_calibrated_on(tmp_path):
    folder = tmp_path / "docs/results/pretrained"
    folder.mkdir(parents=True)
    for name, same in (("a_b_elsewhere", False), ("a_b_val", True), ("a_b_test", False)):
        share = {"coverage": 0.75, "low": 0.5, "high": 0.875, "mean_width_share": 0.125, "mean": 0.25}
        classes = {"foreground": {"area": share, "area_uncalibrated": share | {"coverage": 0.625}, "dice_low": share}}
        metrics = {"images": 7, "bounds": {"same_pictures": same, "classes": classes}}
        (folder / f"{name}.json").write_text(json.dumps(metrics))
    held = "0.750 [0.500, 0.875] | 0.125 | 0.625 [0.500, 0.875] | 0.125 | 0.750 [0.500, 0.875] | 0.250"
    assert bounds(tmp_path).splitlines()[2:] == [f"| `a_b` | {one} | 7 | {held} |" for one in ("test", "external")]
