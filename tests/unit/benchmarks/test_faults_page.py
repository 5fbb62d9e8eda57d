"""docs/reliability.md, for counts written by hand."""

import json

import pytest

from benchmarks.faults_page import PARTS, faults_page, short_of_ideal, write

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
    deaths = {"n": 4, "seconds": 31.25, "unnamed": 0, "before_first_step": 2, "measured_in_s": 9.0}
    page = faults_page({"kills": KILLS, "flips": FLIPS, "peer_death": deaths})
    assert page.startswith("# What goes wrong, and what is left then\n")
    assert "| A training that is killed | 100 kills | all |" in page
    assert "| A checkpoint of which a byte changed | 1,000 bytes changed | 2 not noticed, not named, or wrong" in page
    missing = (
        "not measured: of them while a checkpoint was due: in a validation or a save; not measured: that did not go on"
    )
    assert f"| 4 deaths | {missing} from the last checkpoint when started again |" in page
    assert "| A disk that is full | not measured |  |" in page
    kills = section(page, "A training that is killed")
    assert "| of them with a checkpoint half written | 41 | at least 20 |" in kills
    assert "| weights, their average and the optimiser's state equal in the end, to the bit | yes | yes |" in kills
    assert (
        "Measured by `python -m benchmarks.faults --only kills`; on cpu, a processor; in 812 s; version 1.2.\n\n"
        "- kills: at random" in kills
    )
    assert "What to do: Start the same command again." in kills
    peers = section(page, PARTS["peer_death"].title)
    assert "| seconds until the other process had ended, the longest | 31.2 | at most 60 |" in peers
    assert "| deaths | 4 |  |" in peers
    assert "| of them while a checkpoint was due: in a validation or a save | not measured | at least 1 |" in peers
    for name in ("truncations", "disk_full", "sigterm", "bad_inputs", "fuzz"):
        told = section(page, PARTS[name].title)
        assert "\nNot measured.\n" in told and "What to do: " in told and "python -m" not in told


def test_what_went_wrong_is_in_the_table_at_the_top():
    page = faults_page({"kills": KILLS | {"lost_beyond_checkpoint": 3, "bitwise_equal": False}})
    assert (
        "| A training that is killed | 100 kills | 3 restarts that went back behind a checkpoint once complete "
        "(0 expected); **no** weights, their average" in page
    )


def test_what_went_wrong_is_told_one_by_one():
    inputs = {"n": 9, "starts": 5, "tracebacks": 1, "partial_outputs": 0, "unclear": 2}
    inputs["offenders"] = {"tracebacks": ["a: KeyError: `x`"], "partial_outputs": [], "unclear": ["b", "c"]}
    fuzz = {"executions": 8, "unexpected": 1, "offenders": {"mask-0-7": "ValueError: no"}, "one_sided": 1}
    fuzz["readers"] = {"mask": {"executions": 8, "read": 0, "refused": 7, "unexpected": 1}}
    page = faults_page(
        {"bad_inputs": inputs, "fuzz": fuzz, "flips": FLIPS | {"offenders": {"silent": ["9/m, byte 1"]}}}
    )
    told = section(page, PARTS["bad_inputs"].title)
    assert "| programs started with them, some with many | 5 |  |" in told
    assert "| starts that ended in a traceback | 1 | 0 |" in told
    assert "Namely:\n\n- `tracebacks: a: KeyError: 'x'`\n- `unclear: b`\n- `unclear: c`\n" in told
    assert (
        "| 9 inputs | 9 inputs (at least 40 expected); 1 starts that ended in a traceback (0 expected); 2 inp" in page
    )
    told = section(page, PARTS["fuzz"].title)
    assert "\n- `mask-0-7: ValueError: no`\n" in told and "\n| mask | 8 | 0 | 7 | 1 |\n" in told
    assert "1 readers that read nothing, or refused nothing: they show nothing (0 expected)" in page
    assert "\n- `silent: 9/m, byte 1`\n" in section(page, PARTS["flips"].title)


def test_a_part_that_could_not_be_measured():
    page = faults_page({"kills": {"failed": "status 2: damaged", "device": "cpu", "cpu": "a processor"}})
    assert "| A training that is killed | could not be measured |  |" in page
    told = section(page, "A training that is killed")
    assert (
        "Could not be measured: status 2: damaged\n" in told and "kills" not in told.split("Could")[1].split("What")[0]
    )


@pytest.mark.parametrize(
    ("part", "key", "good", "bad", "told"),
    [
        ("kills", "n", 100, 99, "99 kills (at least 100 expected)"),
        ("kills", "saves_in_flight", 20, 19, "19 of them with a checkpoint half written (at least 20 expected)"),
        ("flips", "n", 1000, 999, "999 bytes changed (at least 1,000 expected)"),
        ("truncations", "n", 100, 99, "99 files cut short (at least 100 expected)"),
        ("disk_full", "in_a_save", 4, 3, "3 of them with the checkpoints named"),
        ("disk_full", "in_results", 4, 3, "3 of them with a result or the index named"),
        ("peer_death", "seconds", 60.0, 60.1, "60.1 seconds until"),
        ("peer_death", "while_saving", 1, 0, "0 of them while"),
        ("peer_death", "before_first_step", 1, 0, "0 of them before"),
        ("sigterm", "seconds", 10.0, 10.6, "10.6 seconds from"),
        ("sigterm", "before_first_step", 1, 0, "0 of them before"),
        ("sigterm", "while_saving", 1, 0, "0 of them while"),
        ("bad_inputs", "n", 40, 39, "39 inputs (at least 40 expected)"),
        ("fuzz", "executions", 10_000, 9_999, "9,999 inputs tried (at least 10,000 expected)"),
        ("fuzz", "one_sided", 0, 1, "1 readers that read nothing"),
        ("fuzz", "seconds", 600.0, 599.9, "599.9 seconds of trying (at least 600 expected)"),
    ],
)
def test_a_limit_that_is_missed_is_told_at_the_top(part, key, good, bad, told):
    found = {name: getattr(ideal, "limit", ideal or 0) for name, _, ideal in PARTS[part].counts}
    assert short_of_ideal(part, found | {key: good}) == []
    (missed,) = short_of_ideal(part, found | {key: bad})
    assert missed.startswith(told) and missed.endswith(" expected)")
    row = next(line for line in faults_page({part: found | {key: bad}}).splitlines() if PARTS[part].title in line)
    assert told in row and not row.endswith("| all |")
    assert f"| {PARTS[part].title} | " in faults_page({part: found}) and "| all |" in faults_page({part: found})


def test_a_count_that_is_missing_is_not_known():
    page = faults_page({"kills": {"n": 3}, "flips": {}})
    assert (
        "| 3 kills | 3 kills (at least 100 expected); not measured: of them with a checkpoint half written; not" in page
    )
    assert (
        "| not measured: bytes changed | not measured: bytes changed; not measured: not noticed, not named, or wrong"
        in page
    )


def test_it_is_written_where_something_was_measured(tmp_path):
    assert write(tmp_path) is None
    (tmp_path / "docs" / "results").mkdir(parents=True)
    (tmp_path / "docs" / "results" / "faults.json").write_text(json.dumps({"kills": KILLS}))
    assert write(tmp_path) == tmp_path / "docs" / "reliability.md"
    assert (tmp_path / "docs" / "reliability.md").read_text() == faults_page({"kills": KILLS})


def test_what_an_earlier_campaign_did_not_count_is_not_measured():
    found = {"executions": 20_000, "seconds": 601.0, "unexpected": 0}
    told = section(faults_page({"fuzz": found}), PARTS["fuzz"].title)
    assert "| inputs tried | 20,000 | at least 10,000 |" in told and "reader |" not in told
    assert "| readers that read nothing, or refused nothing: they show nothing | not measured | 0 |" in told
    assert short_of_ideal("fuzz", found) == [
        "not measured: readers that read nothing, or refused nothing: they show nothing"
    ]
