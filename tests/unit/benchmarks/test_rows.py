"""The arithmetic of Table 1 against numbers worked out by hand, and scores on equal images from folders made here."""

import json
import statistics

import pytest

from benchmarks.quality.rows import (
    IDENTITY,
    leads,
    on_the_same_pictures,
    picture_scores,
    rows_of,
    step_seconds,
    training_seconds,
)
from benchmarks.result_file import merged
from ddim_jax.metrics import bootstrap_interval
from ddim_jax.runtime.errors import InputError

ABOUT = {
    "system": "unet",
    "dataset": "polyp",
    "networks": "small",
    "size": 64,
    "device": "a machine",
    "budget_s": 30.0,
    "seed": 1,
    "limit": None,
    "settings": "abc",
    "parameters": 7,
}


def test_seconds_of_a_step_are_the_median():
    """0.5, 0.25 and 4 s a step; a run that was held up once is not slow."""
    lines = [{"step": 1, "images_per_second": speed} for speed in (16.0, 32.0, 2.0)] + [{"step": 1, "loss": 1.0}]
    assert step_seconds(lines, 8) == 0.5


def test_seconds_of_a_training():
    """20 steps of 8 images at 16 a second, 10 at 8, one without a speed at the usual 0.5 s; no validation."""
    lines = [
        {"step": 20, "loss": 1.0, "images_per_second": 16.0},
        {"step": 20, "validation_loss": 1.0, "validation_dice": 0.5},
        {"step": 30, "loss": 1.0, "images_per_second": 8.0},
        {"step": 40, "loss": 1.0, "images_per_second": 16.0},
        {"step": 41, "loss": 1.0},
    ]
    assert training_seconds(lines, 8) == 20 * 0.5 + 10 * 1.0 + 10 * 0.5 + 0.5


def found(mean):
    per_image = {"recall": {"mean": mean - 0.1}, "dice": {"mean": mean, "low": mean - 0.2, "high": mean + 0.2}}
    per_image["dice_single"] = {"mean": mean - 0.15}
    return {"per_image": per_image, "pooled": {"dice": mean + 0.05}}


def test_rows_of_a_run():
    config = {
        "model": {"overrides": {"dtype": None}},
        "diffusion": {"prediction": None},
        "train": {"batch_size": 8, "steps": 41, "learning_rate": 1e-3},
    }
    lines = [
        {"step": 20, "loss": 1.0, "images_per_second": 16.0},
        {"step": 20, "validation_loss": 1.0, "validation_dice": 0.5},
        {"step": 41, "loss": 1.0, "images_per_second": 16.0},
        {"step": 41, "validation_loss": 1.0, "validation_dice": 0.4},
    ]
    metrics = {
        "step": 20,
        "steps": 1,
        "samples": 4,
        "sampler": None,
        "flips": True,
        "clip_x0": 1.0,
        "images": 3,
        "images_in_split": 5,
        "seconds_per_image": {"median_of_the_rest": 0.25},
        "protocols": {"paper": found(0.6), "mean": found(0.7)},
        "calibration": {"ece": 0.01},
        "risk_coverage": {"kept_dice": 0.8},
    }
    rows = rows_of(ABOUT, config, lines, 50, metrics)
    assert [row["protocol"] for row in rows] == ["paper", "mean"]
    assert rows[1] == ABOUT | {
        "prediction": None,
        "dtype": "float32",
        "learning_rate": 1e-3,
        "batch_size": 8,
        "train_s": 20.5,
        "steps": 41,
        "epochs": 6.56,  # 41 x 8 / 50
        "picked_step": 20,
        "validation_dice": 0.5,
        "sampler": None,
        "sampling_steps": 1,
        "samples": 4,
        "flips": True,
        "clip_x0": 1.0,
        "seconds_per_image": 0.25,
        "n": 3,
        "n_in_split": 5,
        "ece": 0.01,
        "kept_dice": 0.8,
        "protocol": "mean",
        "recall_mean": pytest.approx(0.6),
        "dice_mean": 0.7,
        "dice_ci": pytest.approx([0.5, 0.9]),
        "dice_single": pytest.approx(0.55),
        "dice_pooled": 0.75,
    }


def test_a_new_row_takes_the_place_of_the_one_it_repeats():
    rows = [ABOUT | {"protocol": name, "dice_mean": 0.1} for name in ("paper", "mean")]
    again = rows[0] | {"settings": "new", "dice_mean": 0.2}
    other = rows[0] | {"seed": 2}
    assert merged(rows, [again, other], IDENTITY) == [again, rows[1], other]


DICE = {"a": 0.1, "b": 0.4, "c": 0.7, "d": 1.0}


def leave_run(workdir, system, dice, protocol="mean", settings="abc", groups=None, **fields):
    """The files of a run's evaluation, and its row."""
    folder = workdir / "lungs" / f"{system}-64-360s-seed0-{settings}" / "evaluation" / "test"
    folder.mkdir(parents=True)
    lines = [f"{name},{value}" for name, value in dice.items()]
    (folder / "per_image.csv").write_text(
        "\n".join([f"id,{'' if protocol == 'mean' else protocol + '_'}dice", *lines]) + "\n"
    )
    (folder / "metrics.json").write_text(json.dumps({"images": len(dice), "groups": groups or len(dice)}))
    row = {"system": system, "dataset": "lungs", "networks": "small", "size": 64, "device": "a machine"}
    row |= {"budget_s": 360.0, "seed": 0, "protocol": protocol, "settings": settings}
    return row | {"n": len(dice), "n_in_split": 4, "dice_mean": statistics.fmean(dice.values())} | fields


def test_all_on_the_part_that_one_is_limited_to(tmp_path):
    """The second and the last of .1, .4, .7 and 1: .7, with an interval from .4 to 1."""
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
    assert (unet["dataset"], unet["protocol"], unet["settings"], unet["size"]) == ("lungs", "mean", "abc", 64)
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


def test_the_interval_of_a_lead_is_of_the_images_in_the_order_of_their_names(tmp_path):
    """In that of a set it would be another one in each process."""
    own, others = ({f"{k:02d}": (factor * k % 25) / 25 for k in range(25)} for factor in (7, 4))
    rows = [leave_run(tmp_path, "lightweight_ddim", own), leave_run(tmp_path, "unet", dict(reversed(others.items())))]
    differences = [own[name] - others[name] for name in sorted(own)]
    assert leads(rows, tmp_path)[0]["lead_ci"] == list(bootstrap_interval(differences))
    assert bootstrap_interval(differences) != bootstrap_interval(differences[::-1])


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


def test_images_of_fewer_groups_are_not_compared(tmp_path):
    rows = [leave_run(tmp_path, name, DICE, groups=3) for name in ("lightweight_ddim", "unet")]
    with pytest.raises(InputError, match=r"test: 4 images of 3 groups \(patients, folders, volumes\); expected one"):
        leads(rows, tmp_path)
