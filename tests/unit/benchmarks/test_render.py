"""Tables of the pages: by rows written by hand, and by the committed files."""

import json
import re

import pytest

from benchmarks import render
from benchmarks.faults import PARTS, short_of_limits
from benchmarks.tables import table


@pytest.fixture
def root(tmp_path):
    """The folder of the result files of a test."""
    for folder in ("docs/results", "benchmarks/results"):
        (tmp_path / folder).mkdir(parents=True)
    return tmp_path


def write(path, content):
    path.write_text(json.dumps(content))


def test_a_table_is_a_row_of_formats_and_functions():
    columns = {"a": "{a:.2f}", "twice": lambda row: f"{2 * row['a']:g}", "b": "{b[0]}"}
    assert table(columns, [{"a": 1.25, "b": ["x"]}, {"a": 3.0}, {"a": None}]) == (
        "| a | twice | b |\n| --- | --- | --- |\n| 1.25 | 2.5 | x |\n| 3.00 | 6 |  |\n|  |  |  |\n"
    )


def test_what_stands_between_the_marks_is_written_anew(monkeypatch, tmp_path):
    monkeypatch.setattr(render, "TABLES", {"one": lambda root: f"| {root} |\n"})
    page = "# A page\n<!-- table: one -->\nold\n<!-- end -->\nmore\n"
    written = render.rendered(page, "r")
    assert written == "# A page\n<!-- table: one -->\n| r |\n<!-- end -->\nmore\n"
    assert render.rendered(written, "r") == written
    with pytest.raises(ValueError, match="there is no table two"):
        render.rendered(page.replace("one", "two"), "r")
    with pytest.raises(ValueError, match="no <!-- end -->"):
        render.rendered(page + "<!-- table: one -->\n", "r")


def test_the_pages_of_the_repository_are_as_their_files_say():
    assert render.main(["--check"]) == 0
    text = "".join(path.read_text(encoding="utf-8") for path in (render.ROOT / "docs").rglob("*.md"))
    assert set(re.findall(r"<!-- table: (\S+) -->", text)) == render.TABLES.keys()


ROW = {"system": "unet", "dataset": "lung_xray", "networks": "small", "size": 64, "device": "a machine", "seed": 0}
ROW |= {"budget_s": 360.0, "limit": None, "settings": "abc", "parameters": 510788, "dtype": "float32", "clip_x0": None}
ROW |= {"learning_rate": 0.002, "train_s": 359.6, "steps": 3000, "epochs": 115.4, "picked_step": 2500, "flips": True}
ROW |= {"sampling_steps": 1, "samples": 4, "seconds_per_image": 0.0123, "n": 20, "n_in_split": 100, "ece": 0.0123}
ROW |= {"kept_dice": 0.97, "recall_mean": 0.94, "dice_pooled": 0.96, "dice_single": 0.9321, "dice_ci": [0.9, 0.99]}


def both(**changes):
    dice = changes.pop("dice", 0.95)
    return [ROW | {"dice_mean": d, "protocol": p} | changes for d, p in ((dice, "mean"), (0.9, "paper"))]


def table1_of(root, rows):
    write(root / "docs/results/table1.json", {"rows": rows, "on_the_same_pictures": [], "leads": []})
    return render.table1(root).splitlines()


def test_several_seeds_have_their_spread_and_those_of_another_state_are_left_out(root):
    """Mean of .94, .95 and .99 is .96, their standard deviation .0265."""
    rows = [row for seed, dice in enumerate((0.94, 0.95, 0.99)) for row in both(seed=seed, dice=dice, n=100)]
    rows = [*both(seed=3, dice=0.1, settings="old"), *rows, *both(seed=0, dataset="ours", learning_rate=0.5)]
    lines = table1_of(root, rows)
    assert any(line.startswith("| `unet` | 0.9600 +- 0.0265 | 0.9400 |") for line in lines)
    assert any(line.endswith("| 100 | 3 |") for line in lines)
    ours = lines[lines.index("### ours, 64 x 64, small networks, 360 s") :]
    assert any("| 0.5 |" in line for line in ours)


def test_table_2_multiplies_what_was_timed(root):
    row = {"system": "ddim_noise", "size": 256, "device": "a CPU", "dtype": "float32", "parameters": 113672065}
    row |= {"weights_bytes": 4 * 113672065, "samples": 5, "sampling_steps": 50, "timed_steps": 2, "seconds": 12.345}
    write(root / "docs/results/table2.json", {"rows": [row | {"peak_bytes": 3 * 2**30}]})
    assert render.table2(root).splitlines()[-3:] == [
        "| `ddim_noise` | 113,672,065 | 433.6 | 50 x 5 | 2 | 12.35 | 309 | 3072 | 871.2, 433.0, 8.27 |",
        *("", "Code: commit not recorded."),
    ]


@pytest.mark.parametrize(
    ("part", "field", "good", "bad", "told"),
    [
        ("kills", "n", 100, 99, "99 kills (at least 100 expected)"),
        ("kills", "saves_in_flight", 20, 19, "19 of them with a checkpoint half written (at least 20 expected)"),
        ("kills", "bitwise_equal", True, False, "**no** weights, average"),
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
    ],
)
def test_a_limit_that_is_missed_is_told(root, part, field, good, bad, told):
    found = {count.field: count.limit.value if count.limit else 0 for count in PARTS[part]} | {"measured_in_s": 1.0}
    assert short_of_limits(part, found | {field: good}) == []
    (missed,) = short_of_limits(part, found | {field: bad})
    assert missed.startswith(told) and missed.endswith(" expected)")
    write(root / "docs/results/faults.json", {part: found | {field: bad, "commit": "abc"}})
    assert told in render.faults(root) and render.faults(root).endswith(" expected) | commit abc |\n")
    less = {name: value for name, value in found.items() if name != field}
    assert short_of_limits(part, less)[0].startswith("not measured: ")


def test_what_went_wrong_is_told_one_by_one(root):
    found = {count.field: 0 for count in PARTS["troubles"]} | {"n": 8, "unclear": 1, "measured_in_s": 2.0}
    found |= {"offenders": {"failed": [], "unclear": ["003_moved: no line"]}, "rules": {"n": "kills"}}
    write(root / "docs/results/faults.json", {"troubles": found, "kills": {"failed": "status 2: damaged"}})
    told = render.faults_of(root, "troubles")
    assert "\n- `unclear: 003_moved: no line`\n" in told and "failed:" not in told and "n: kills" not in told
    assert "with a traceback, or with a file written meanwhile | 1 | 0 |" in told
    assert "`python -m tests.slow.trials troubles` measures it again.\n" in told
    assert render.faults_of(root, "flips") == "Not measured.\n"
    assert render.faults_of(root, "kills") == "Could not be measured: status 2: damaged\n"
    assert "| kills |  | could not be measured: status 2: damaged |" in render.faults(root)
