"""Which runs and which images the figures beside Table 1 show."""

from pathlib import Path

import pytest

from benchmarks.table_figures import Trained, choose, find_runs
from ddim_jax.io.errors import InputError


def leave_run(workdir, name, dice):
    folder = workdir / "lungs" / name / "evaluation" / "test"
    folder.mkdir(parents=True)
    lines = [f"{image},{value}" for image, value in dice.items()]
    (folder / "per_image.csv").write_text("\n".join(["id,calibrated_dice", *lines]) + "\n")


def test_runs_of_one_size_budget_and_seed_in_the_order_of_the_systems(tmp_path):
    leave_run(tmp_path, "unet-64-360s-seed0-abc", {"a": 0.5})
    leave_run(tmp_path, "lightweight_ddim-64-360s-seed0-abc", {"a": 0.75})
    leave_run(tmp_path, "lightweight_ddim_noise-64-360s-seed0-abc", {"a": 0.25})
    for other in ("ddim-32-360s-seed0-abc", "ddim-64-36s-seed0-abc", "ddim-64-360s-seed1-abc"):
        leave_run(tmp_path, other, {"a": 0.1})
    (tmp_path / "lungs" / "medsegdiff-64-360s-seed0-abc").mkdir()  # not evaluated
    runs = find_runs(tmp_path, "lungs", 64, 360.0, 0)
    assert [(run.system, run.dice) for run in runs] == [
        ("lightweight_ddim", {"a": 0.75}),
        ("unet", {"a": 0.5}),
        ("lightweight_ddim_noise", {"a": 0.25}),
    ]
    leave_run(tmp_path, "unet-64-360s-seed0-def", {"a": 0.5})
    with pytest.raises(InputError, match="2 runs unet-64-360s-seed0"):
        find_runs(tmp_path, "lungs", 64, 360.0, 0)
    with pytest.raises(InputError, match=r"no evaluated run of 128 x 128.*benchmarks\.table1"):
        find_runs(tmp_path, "lungs", 128, 360.0, 0)


def test_images_by_the_mean_over_systems():
    first = {f"i{k:02}": k / 20 for k in range(21)}
    second = {name: dice + (0.5 if name == "i00" else 0.0) for name, dice in first.items() if name != "i20"}
    side, failures = choose([Trained("unet", Path(), first), Trained("ddim", Path(), second)])
    # i20 was not scored by both; i00 has (0 + .5) / 2 and comes between i04 and i05, which has as much.
    assert failures == ["i01", "i02", "i03", "i04"]
    assert side == ["i19", "i10", "i03"]
    with pytest.raises(InputError, match="no image was scored by all"):
        choose([Trained("unet", Path(), {"a": 1.0}), Trained("ddim", Path(), {"b": 1.0})])
