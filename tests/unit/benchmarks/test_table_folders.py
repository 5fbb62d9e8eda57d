"""Scores on equal pictures, from folders written by hand."""

import json
import statistics

import pytest

from benchmarks.results_page import _leads
from benchmarks.table_folders import completed, leads, on_the_same_pictures, picture_scores
from ddim_jax.metrics import bootstrap_interval

DICE = {"a": 0.1, "b": 0.4, "c": 0.7, "d": 1.0}


def leave_run(workdir, system, dice, protocol="calibrated", settings="abc", **fields):
    """The per_image.csv of a run, and its row."""
    folder = workdir / "lungs" / f"{system}-64-360s-seed0-{settings}" / "evaluation" / "test"
    folder.mkdir(parents=True)
    lines = [f"{name},{value}" for name, value in dice.items()]
    (folder / "per_image.csv").write_text("\n".join([f"id,{protocol}_dice", *lines]) + "\n")
    row = {"system": system, "dataset": "lungs", "networks": "small", "size": 64, "device": "a machine"}
    row |= {"budget_s": 360.0, "seed": 0, "protocol": protocol, "settings": settings}
    return row | {"n": len(dice), "n_in_split": 4, "dice_mean": statistics.fmean(dice.values())} | fields


def test_all_on_the_part_that_one_is_limited_to(tmp_path):
    """Of .1, .4, .7 and 1 the second and the last: .7, with an interval from .4 to 1."""
    rows = [leave_run(tmp_path, "unet", DICE), leave_run(tmp_path, "medsegdiff", {"b": 0.5, "d": 0.3})]
    rows.append(leave_run(tmp_path, "ddim", {"a": 1.0}))  # another part
    other = rows[0] | {"size": 128}  # not compared with these
    found = {(entry["system"], entry["n"]): entry for entry in on_the_same_pictures([*rows, other], tmp_path)}
    assert {key: entry["dice_mean"] for key, entry in found.items()} == {
        ("unet", 2): pytest.approx(0.7),
        ("medsegdiff", 2): pytest.approx(0.4),
        ("unet", 1): pytest.approx(0.1),
        ("ddim", 1): pytest.approx(1.0),
    }
    unet = found["unet", 2]
    assert unet["dice_ci"] == list(bootstrap_interval([0.4, 1.0])) == [0.4, 1.0]
    assert (unet["dataset"], unet["protocol"], unet["settings"], unet["size"]) == ("lungs", "calibrated", "abc", 64)
    assert on_the_same_pictures(rows[:1], tmp_path) == []


def test_the_lead_is_of_the_pictures_that_both_have(tmp_path):
    """.1, .4, .7, 1 against .5 and .3 for the second and the last: behind by .1, ahead by .7."""
    rows = [leave_run(tmp_path, "lightweight_ddim", DICE), leave_run(tmp_path, "medsegdiff", {"b": 0.5, "d": 0.3})]
    rows += [leave_run(tmp_path, "unet", {"a": 1.0}, settings="new"), rows[0] | {"system": "ddim", "size": 128}]
    found = leads(rows, tmp_path)
    assert [(lead["system"], lead["n"], lead["lead"]) for lead in found] == [
        ("medsegdiff", 2, pytest.approx(0.3)),
        ("unet", 1, pytest.approx(-0.9)),
    ]
    assert found[0]["lead_ci"] == pytest.approx([-0.1, 0.7])
    assert leads(rows, tmp_path / "elsewhere", found) == found
    assert leads([rows[0] | {"settings": "new"}, *rows[1:]], tmp_path / "elsewhere", found) == []
    shown = "\n".join(_leads(rows, found))
    assert "| `medsegdiff` | +0.3000 [-0.1000, +0.7000] | 2 | 0 |" in shown and "| `unet` | -0.9000" in shown
    assert _leads([rows[0] | {"settings": "new"}, *rows[1:]], found) == []


def test_what_was_known_stays_where_the_folders_are_gone(tmp_path):
    rows = [leave_run(tmp_path, "unet", DICE), leave_run(tmp_path, "medsegdiff", {"b": 0.5})]
    before = on_the_same_pictures(rows, tmp_path)
    assert len(before) == 2
    assert on_the_same_pictures(rows, tmp_path / "elsewhere", before) == before
    assert on_the_same_pictures(rows, tmp_path / "elsewhere") == []
    retrained = [rows[0] | {"settings": "new"}, rows[1]]
    assert [entry["system"] for entry in on_the_same_pictures(retrained, tmp_path / "elsewhere", before)] == [
        "medsegdiff"
    ]


def test_scores_of_another_evaluation_are_not_those_of_the_row(tmp_path):
    row = leave_run(tmp_path, "unet", DICE)
    assert picture_scores(row, tmp_path) == DICE
    for change in ({"n": 3}, {"dice_mean": 0.6}, {"settings": "new"}, {"seed": 1}):
        assert picture_scores(row | change, tmp_path) is None


def test_fields_that_came_later(tmp_path):
    row = leave_run(tmp_path, "unet", DICE)
    assert completed(row, tmp_path) == row
    scores = {"dice": {"mean": row["dice_mean"]}, "dice_single": {"mean": 0.4}}
    metrics = {"images": 4, "clip_x0": 1.0, "protocols": {"calibrated": {"per_image": scores}}}
    (path,) = [file.with_name("metrics.json") for file in tmp_path.rglob("per_image.csv")]
    path.write_text(json.dumps(metrics))
    assert completed(row, tmp_path) == row | {"dice_single": 0.4, "clip_x0": 1.0}
    assert completed(row | {"dice_mean": 0.9}, tmp_path) == row | {"dice_mean": 0.9}  # scored again since
    assert completed(row | {"dice_single": 0.2, "clip_x0": None}, tmp_path)["dice_single"] == 0.2
    path.write_text(json.dumps({name: value for name, value in metrics.items() if name != "clip_x0"}))
    assert completed(row, tmp_path) == row | {"dice_single": 0.4}
