"""Which runs and which images the figures beside Table 1 show, and what is drawn of them."""

import json
import statistics
from pathlib import Path

import numpy as np
import pytest

from benchmarks import table_figures
from benchmarks.table_figures import Trained, choose, draw_failures, draw_side_by_side, find_runs
from ddim_jax.data import Example
from ddim_jax.evaluation.pictures import make_case
from ddim_jax.evaluation.scoring import score_image
from ddim_jax.runtime.errors import InputError


def leave_run(workdir, system, dice, size=64, budget_s=360.0, seed=0, settings="abc", device="a machine"):
    """The folder of a run that was scored, and its row."""
    name = f"{system}-{size}-{budget_s:g}s-seed{seed}-{settings}"
    folder = workdir / "lungs" / name / "evaluation" / "test"
    folder.mkdir(parents=True)
    lines = [f"{image},{value}" for image, value in dice.items()]
    (folder / "per_image.csv").write_text("\n".join(["id,calibrated_dice", *lines]) + "\n")
    row = {"system": system, "dataset": "lungs", "networks": "small", "size": size, "device": device}
    row |= {"budget_s": budget_s, "seed": seed, "settings": settings, "protocol": "calibrated"}
    return row | {"n": len(dice), "n_in_split": 4, "dice_mean": statistics.fmean(dice.values())}


def find(workdir, rows, size=64):
    return find_runs(workdir, rows, "lungs", "small", size, 360.0, 0)


def test_runs_of_one_size_budget_and_seed_in_the_order_of_the_systems(tmp_path):
    rows = [
        leave_run(tmp_path, "unet", {"a": 0.5}),
        leave_run(tmp_path, "lightweight_ddim", {"a": 0.75}),
        leave_run(tmp_path, "lightweight_ddim_noise", {"a": 0.25}),
        *(
            leave_run(tmp_path, "ddim", {"a": 0.1}, **other)
            for other in ({"size": 32}, {"budget_s": 36.0}, {"seed": 1})
        ),
    ]
    rows.append(rows[0] | {"system": "medsegdiff"})  # a row, but no folder
    runs, missing = find(tmp_path, rows)
    assert [(run.system, run.dice) for run in runs] == [
        ("lightweight_ddim", {"a": 0.75}),
        ("unet", {"a": 0.5}),
        ("lightweight_ddim_noise", {"a": 0.25}),
    ]
    assert missing == ["ddim", "medsegdiff", "ddim_noise"]
    with pytest.raises(InputError, match=r"no evaluated run of a row of lungs with small networks, 128 x 128.*table1"):
        find(tmp_path, rows, size=128)


def test_the_run_of_the_row_and_never_an_older_one(tmp_path):
    leave_run(tmp_path, "unet", {"a": 0.5}, settings="old")
    row = leave_run(tmp_path, "unet", {"a": 0.75}, settings="new")
    ((run,), _) = find(tmp_path, [row])
    assert run.folder.name == "unet-64-360s-seed0-new" and run.dice == {"a": 0.75}
    for other in ({"settings": "newer"}, {"dice_mean": 0.5}, {"n": 2}):  # not trained here; scored otherwise since
        with pytest.raises(InputError, match="no evaluated run"):
            find(tmp_path, [row | other])


def test_runs_of_two_devices_are_not_put_together(tmp_path):
    rows = [leave_run(tmp_path, "unet", {"a": 0.5}), leave_run(tmp_path, "ddim", {"a": 0.5}, device="another")]
    with pytest.raises(InputError, match=r"several devices \(a machine, another\)"):
        find(tmp_path, rows)


def test_images_by_the_median_over_systems():
    """A system that is far off, here the third, chooses nothing; i20 was not scored by all."""
    first = {f"i{k:02}": k / 20 for k in range(21)}
    second = {name: dice for name, dice in first.items() if name != "i20"}
    third = {name: 0.0 if name == "i19" else 1.0 for name in first}
    side, failures, among = choose([Trained("a system", Path(), dice) for dice in (first, second, third)])
    # The medians are those of the first two, but for i19, whose three values are .95, .95 and 0.
    assert failures == ["i00", "i01", "i02", "i03"]
    assert (side, among) == (["i19", "i10", "i02"], 20)
    with pytest.raises(InputError, match="no image was scored by all"):
        choose([Trained("unet", Path(), {"a": 1.0}), Trained("ddim", Path(), {"b": 1.0})])


def test_a_system_that_saw_few_pictures_limits_the_choice():
    all_of_them = {f"i{k}": k / 10 for k in range(8)}
    side, failures, among = choose(
        [
            Trained("unet", Path(), all_of_them),
            Trained("medsegdiff", Path(), {name: 0.5 for name in ("i1", "i4", "i6")}),
        ]
    )
    assert (side, failures, among) == (["i6", "i4", "i1"], ["i1", "i4", "i6"], 3)


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are saved, in place of files."""
    figures = []
    monkeypatch.setattr(table_figures, "save_figure", lambda figure, path: figures.append(figure))
    return figures


def case(samples):
    rng = np.random.default_rng(0)
    example = Example(
        id="a", image=rng.integers(0, 255, (8, 8, 3), np.uint8), mask=rng.integers(0, 2, (8, 8)).astype(np.uint8)
    )
    estimates = rng.uniform(-1, 1, (samples, 8, 8)).astype(np.float32)
    return make_case(example, estimates, score_image("a", estimates, example.mask, "mean"))


def test_five_samples_of_each_network_with_diffusion(drawn):
    """Row by row: the samples of five, of a U-Net with its four mirror images, of a system with more than five."""
    cases = {"medsegdiff": [case(5)], "unet": [case(4)], "ddim": [case(7)]}
    draw_side_by_side(Path("side.png"), cases, "of 15 pictures")
    (figure,) = drawn
    rows = np.reshape(figure.axes, (3, 9))
    filled = [[bool(cell.images) for cell in row[2:-2]] for row in rows]
    assert filled == [[True] * 5, [True] * 4 + [False], [True] * 5]
    for row, (own,) in zip(rows, cases.values(), strict=True):
        for cell, sample in zip(row[2:6], own.samples[:4], strict=True):
            np.testing.assert_array_equal(cell.images[0].get_array(), sample)
    assert [row[2].get_ylabel().split("\n")[0] for row in rows] == list(cases)
    assert figure.get_suptitle() == "of 15 pictures"


def test_failures_of_all_systems(drawn):
    draw_failures(Path("failures.png"), {"medsegdiff": [case(5)], "unet": [case(4)]}, "the hardest")
    (figure,) = drawn
    assert len(figure.axes) == 3 and all(cell.images for cell in figure.axes)


def test_the_title_says_among_how_many_was_chosen(drawn, monkeypatch, tmp_path):
    rows = [leave_run(tmp_path, "unet", {name: 0.5 for name in "abcd"}), leave_run(tmp_path, "medsegdiff", {"a": 0.25})]
    (tmp_path / "table1.json").write_text(json.dumps({"rows": rows}))
    monkeypatch.setattr(table_figures, "load_dataset", lambda *_, **__: None)
    monkeypatch.setattr(table_figures, "make_cases", lambda run, source, names: [case(5) for _ in names])
    (tmp_path / "data" / "lungs").mkdir(parents=True)
    asked = ["--data", str(tmp_path / "data" / "lungs"), "--budget", "360", "--size", "64"]
    assert table_figures.main([*asked, "--workdir", str(tmp_path), "--table", str(tmp_path / "table1.json")]) == 0
    assert len(drawn) == 2
    for figure in drawn:
        assert "by the median Dice of the systems, among 1 picture that all were scored on" in figure.get_suptitle()
