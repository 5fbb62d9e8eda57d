"""docs/reliability.md, for counts written by hand."""

import json

from benchmarks.faults_page import PARTS, faults_page, write

KILLS = {
    "n": 100,
    "failed_restarts": 0,
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
    deaths = {"n": 4, "seconds": 31.25, "unnamed": 0, "measured_in_s": 9.0}
    page = faults_page({"kills": KILLS, "flips": FLIPS, "peer_death": deaths})
    assert page.startswith("# What goes wrong, and what is left then\n")
    assert "| A training that is killed | 100 kills | all |" in page
    assert "| A checkpoint of which a byte changed | 1,000 bytes changed | 2 not noticed, not named, or wrong" in page
    assert "| 4 deaths | not known: that did not go on from the last checkpoint when started again |" in page
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


def test_what_went_wrong_is_told_one_by_one():
    inputs = {"n": 9, "starts": 5, "tracebacks": 1, "partial_outputs": 0, "unclear": 2}
    inputs["offenders"] = {"tracebacks": ["a: KeyError: `x`"], "partial_outputs": [], "unclear": ["b", "c"]}
    fuzz = {"executions": 8, "unexpected": 1, "offenders": {"mask-0-7": "ValueError: no"}}
    page = faults_page(
        {"bad_inputs": inputs, "fuzz": fuzz, "flips": FLIPS | {"offenders": {"silent": ["9/m, byte 1"]}}}
    )
    told = section(page, PARTS["bad_inputs"].title)
    assert "| programs started with them, some with many | 5 |" in told
    assert "| starts that ended in a traceback | 1 |" in told
    assert "Namely:\n\n- `tracebacks: a: KeyError: 'x'`\n- `unclear: b`\n- `unclear: c`\n" in told
    assert "| 9 inputs | 1 starts that ended in a traceback; 2 inputs without a line that names them" in page
    assert "\n- `mask-0-7: ValueError: no`\n" in section(page, PARTS["fuzz"].title)
    assert "\n- `silent: 9/m, byte 1`\n" in section(page, PARTS["flips"].title)


def test_a_part_that_could_not_be_measured():
    page = faults_page({"kills": {"failed": "status 2: damaged", "device": "cpu", "cpu": "a processor"}})
    assert "| A training that is killed | could not be measured |  |" in page
    told = section(page, "A training that is killed")
    assert (
        "Could not be measured: status 2: damaged\n" in told and "kills" not in told.split("Could")[1].split("What")[0]
    )


def test_a_count_that_is_missing_is_not_known():
    page = faults_page({"kills": {"n": 3}, "flips": {}})
    assert "| 3 kills | not known: starts after a kill that did not go on; not known: restarts that went" in page
    assert "| not known: bytes changed | not known: not noticed, not named, or wrong weights |" in page


def test_it_is_written_where_something_was_measured(tmp_path):
    assert write(tmp_path) is None
    (tmp_path / "docs" / "results").mkdir(parents=True)
    (tmp_path / "docs" / "results" / "faults.json").write_text(json.dumps({"kills": KILLS}))
    assert write(tmp_path) == tmp_path / "docs" / "reliability.md"
    assert (tmp_path / "docs" / "reliability.md").read_text() == faults_page({"kills": KILLS})
