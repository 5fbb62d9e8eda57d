"""docs/reliability.md, for counts written by hand."""

import json

from benchmarks.faults_page import PARTS, faults_page, write

KILLS = {
    "n": 100,
    "lost_beyond_checkpoint": 0,
    "bitwise_equal": True,
    "saves_in_flight": 41,
    "rules": {"kills": "at random"},
    "device": "cpu",
    "cpu": "a processor",
    "measured_in_s": 812.4,
    "package_version": "1.2",
}
FLIPS = {"n": 1000, "silent": 2, "named": 998, "fell_back": 400}


def section(page, title):
    return page.split(f"## {title}\n")[1].split("\n## ")[0]


def test_the_counts_and_what_was_not_measured():
    page = faults_page({"kills": KILLS, "flips": FLIPS, "peer_death": {"seconds": 31.25, "measured_in_s": 9.0}})
    assert page.startswith("# What goes wrong, and what is left then\n")
    assert "| A training that is killed | 100 kills | all |" in page
    assert "| A checkpoint of which a byte changed | 1,000 bytes changed | 2 not noticed, not named, or wrong" in page
    assert "| A disk that is full | not measured |  |" in page
    kills = section(page, "A training that is killed")
    assert "| of them with a checkpoint half written | 41 |" in kills
    assert "| weights, their average and the optimiser's state equal in the end, to the bit | yes |" in kills
    assert (
        "Measured by `python -m benchmarks.faults --only kills`; on cpu, a processor; in 812 s; version 1.2.\n\n"
        "- kills: at random" in kills
    )
    assert "What to do: Start the same command again." in kills
    assert "| seconds until the other process had ended, at most | 31.2 |" in section(page, PARTS["peer_death"].title)
    for name in ("truncations", "disk_full", "sigterm", "bad_inputs", "fuzz"):
        told = section(page, PARTS[name].title)
        assert "\nNot measured.\n" in told and "What to do: " in told and "python -m" not in told


def test_what_went_wrong_is_in_the_table_at_the_top():
    page = faults_page({"kills": KILLS | {"lost_beyond_checkpoint": 3, "bitwise_equal": False}})
    assert (
        "| A training that is killed | 100 kills | 3 restarts that went back behind a checkpoint once complete; **no** "
        "weights, their average" in page
    )


def test_it_is_written_where_something_was_measured(tmp_path):
    assert write(tmp_path) is None
    (tmp_path / "docs" / "results").mkdir(parents=True)
    (tmp_path / "docs" / "results" / "faults.json").write_text(json.dumps({"kills": KILLS}))
    assert write(tmp_path) == tmp_path / "docs" / "reliability.md"
    assert (tmp_path / "docs" / "reliability.md").read_text() == faults_page({"kills": KILLS})
