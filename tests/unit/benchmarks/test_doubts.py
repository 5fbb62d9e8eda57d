"""The table of doubts from files written here."""

import json

from benchmarks.quality.tables import doubts


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
