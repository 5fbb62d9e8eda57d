"""docs/results.md for tables written by hand."""

import json

from PIL import Image

from benchmarks.results_figure import caption
from benchmarks.results_page import figures, results_page, write

ROW = {
    "system": "unet",
    "dataset": "lung_xray",
    "networks": "small",
    "size": 64,
    "device": "a machine",
    "budget_s": 360.0,
    "seed": 0,
    "limit": None,
    "settings": "abc",
    "parameters": 510788,
    "dtype": "float32",
    "learning_rate": 0.002,
    "train_s": 359.6,
    "steps": 3000,
    "epochs": 115.4,
    "picked_step": 2500,
    "sampling_steps": 1,
    "samples": 4,
    "flips": True,
    "clip_x0": None,
    "seconds_per_image": 0.0123,
    "n": 100,
    "n_in_split": 100,
    "ece": 0.0123,
    "kept_dice": 0.97,
}


def pair(**changes):
    """The rows of the two protocols; the calibrated Dice is .95 unless told otherwise."""
    dice = changes.pop("dice", 0.95)
    calibrated = {"recall_mean": 0.94, "dice_mean": dice, "dice_ci": [0.9, 0.99], "dice_pooled": 0.96}
    calibrated["dice_single"] = 0.9321
    paper = {"recall_mean": 0.84, "dice_mean": 0.9, "dice_ci": [0.8, 0.95], "dice_pooled": 0.91, "dice_single": 0.5}
    return [ROW | changes | {"protocol": "calibrated"} | calibrated, ROW | changes | {"protocol": "paper"} | paper]


def cells(page, start):
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in page.splitlines()
        if line.startswith(f"| {start} |")
    ]


def test_one_seed_has_its_interval_and_the_paper_its_column():
    page = results_page(pair(), [])
    scores, costs = cells(page, "`unet`")
    assert scores == [
        "`unet`",
        "0.9500 [0.9000, 0.9900]",
        "0.9400",
        "0.9600",
        "0.9321",
        "0.9000 [0.8000, 0.9500]",
        "0.8400",
        "0.9100",
        "0.0123",
        "0.9700",
        "100",
        "1",
        ".026",
    ]
    expected = ["`unet`", "510,788", "0.002", "360 s", "3000", "115.4", "2500", "no", "1 x 4 = 4, mirrored", "0.0123"]
    assert costs == expected
    assert "### lung_xray, 64 x 64, small networks, 360 s" in page
    assert "cannot be what a trained U-Net reaches" in page
    assert "What cannot" in page and "2000 epochs" in page


def test_several_seeds_have_their_spread():
    """Mean of .94, .95 and .99 is .96, their standard deviation .0265."""
    rows = [row for seed, dice in enumerate((0.94, 0.95, 0.99)) for row in pair(seed=seed, dice=dice)]
    (scores, _) = cells(results_page(rows, []), "`unet`")
    assert (scores[1], scores[11]) == ("0.9600 +- 0.0265", "3")


def test_a_field_that_was_not_recorded_is_an_empty_cell():
    old = [
        {name: value for name, value in row.items() if name not in ("dice_single", "clip_x0", "settings", "limit")}
        for row in pair()
    ]
    scores, costs = cells(results_page(old, []), "`unet`")
    assert (scores[3], scores[4], scores[5]) == ("0.9600", "", "0.9000 [0.8000, 0.9500]")
    assert (costs[6], costs[7]) == ("2500", "")


def test_what_differs_between_the_seeds_is_told():
    rows = [*pair(), *pair(seed=1, picked_step=3000, clip_x0=1.0, learning_rate=0.001)]
    (_, costs) = cells(results_page(rows, []), "`unet`")
    assert (costs[2], costs[6], costs[7]) == ("0.002, 0.001", "2500, 3000", "no, 1.0")


def test_seeds_of_another_state_of_the_code_are_not_averaged():
    rows = [*pair(seed=0, dice=0.5, settings="old"), *pair(seed=1, dice=0.94), *pair(seed=2, dice=0.96)]
    page = results_page(rows, [])
    (scores, _) = cells(page, "`unet`")
    assert (scores[1], scores[11]) == ("0.9500 +- 0.0141", "2")
    assert "`unet` on lung_xray: seed 0 has other settings (old, the others abc)" in page
    assert "left out" not in results_page(pair(), [])
    # One of each: the one that comes last stays.
    (scores, _) = cells(results_page(rows[:4], []), "`unet`")
    assert (scores[1], scores[11]) == ("0.9400 [0.9000, 0.9900]", "1")


def test_rows_of_another_state_of_the_code_are_told():
    page = results_page([*pair(), *pair(dataset="polyp", settings="old", steps=2000), *pair(system="ddim")], [])
    assert "with different options**, between data sets: `unet` abc (lung_xray), old (polyp) (digests" in page
    assert "differ between data sets or seeds: `unet` 3000 (lung_xray), 2000 (polyp)." in page
    same = results_page([*pair(), *pair(dataset="polyp")], [])
    assert "different states" not in same and "Steps under the same budget" not in same


def test_the_command_of_full_networks_without_a_gpu():
    """Without --any-device it would be refused there."""
    full = {"networks": "full", "device": "A Processor, 2 threads"}
    assert "--networks full --any-device --systems unet\n" in results_page(pair(**full), [])
    assert "--any-device" not in results_page(pair(networks="full", device="A GPU"), [])
    assert "--any-device" not in results_page(pair(device="A Processor, 2 threads"), [])


def test_the_commands():
    """All systems on lungs and polyps, one of them limited; three seeds of one on skin with an option of its own."""
    systems = ("lightweight_ddim", "unet", "ddim", "lightweight_ddim_noise", "ddim_noise")
    rows = [row for data in ("lung_xray", "polyp") for name in systems for row in pair(dataset=data, system=name)]
    rows += [row for data in ("lung_xray", "polyp") for row in pair(dataset=data, system="medsegdiff", limit=15, n=15)]
    own = ["--config.model.overrides.channel_multipliers=(1,)"]
    rows += [row for seed in range(3) for row in pair(dataset="skin_lesion", seed=seed, overrides=own)]
    block = results_page(rows, []).split("```sh\n")[1].split("```")[0]
    assert block.splitlines() == [
        "python -m benchmarks.table1 --data lung_xray polyp --budget 360 --size 64 --seeds 1 --limit medsegdiff=15",
        "python -m benchmarks.table1 --data skin_lesion --budget 360 --size 64 --seeds 3 --systems unet "
        "'--config.model.overrides.channel_multipliers=(1,)'",
    ]
    full = results_page(pair(networks="full", size=128, budget_s=240.0), [])
    assert "--data lung_xray --budget 240 --size 128 --seeds 1 --networks full --systems unet\n" in full


def test_the_software():
    new = {"jax": "1.2.3", "compiled_cpu_kernels": True}
    rows = [*pair(**new), *pair(system="ddim", **new)]
    assert "On a machine, float32, JAX 1.2.3 with the compiled CPU kernels.\n" in results_page(rows, [])
    page = results_page([*rows, *pair(system="medsegdiff")], [])
    assert "with the compiled CPU kernels (not recorded for `medsegdiff`).\n" in page
    assert "On a machine, float32.\n" in results_page(pair(), [])


def test_what_differs_in_more_than_the_system_stands_apart():
    rows = pair() + pair(size=128) + pair(budget_s=60.0) + pair(device="another") + pair(dataset="ours")
    page = results_page(rows, [])
    assert page.count("\n### ") == 5
    ours = page.split("### ours")[1].split("\n### ")[0]
    assert "the paper's Dice" not in ours and "the paper's Dice" in page


def test_the_papers_figures():
    """Those that are known, and nothing in the cells that are not."""
    systems = ("lightweight_ddim", "lightweight_ddim_noise", "ddim", "ddim_noise", "medsegdiff")
    rows = [
        row for name in ("lung_xray", "skin_lesion", "polyp") for s in systems for row in pair(dataset=name, system=s)
    ]
    page = results_page(rows, [])
    shown = {system: [row[-1] for row in cells(page, f"`{system}`")[::2]] for system in systems}
    assert shown == {
        "lightweight_ddim": ["", "", ""],
        "lightweight_ddim_noise": [".9693", ".8816", ".7681 (recall .7161)"],
        "ddim": ["", "", ""],
        "ddim_noise": [".9760", ".9131", ".8152"],
        "medsegdiff": ["", "", ""],
    }
    assert ".6345 / .7078" in page


def test_one_figure_for_all_that_may_be_compared():
    lungs, skin, large = pair(), pair(dataset="skin_lesion", system="ddim"), pair(size=128)
    assert figures([*lungs, *large, *skin]) == {"table1_1.png": [*lungs, *skin], "table1_2.png": large}
    page = results_page([*lungs, *large, *skin], [])
    assert page.count("](results/table1_1.png)") == page.count("](results/table1_2.png)") == 1


def test_what_is_not_there_yet_is_told():
    systems = ("lightweight_ddim", "ddim", "medsegdiff", "ddim_noise")
    page = results_page([row for system in systems for row in pair(system=system)], [])
    assert "Not measured: `unet`, `lightweight_ddim_noise`.\n" in page.split("## Table 2")[0]
    whole = [row for system in (*systems, "unet", "lightweight_ddim_noise") for row in pair(system=system)]
    assert "Not measured" not in results_page(whole, []).split("## Table 2")[0]


def test_a_training_that_took_longer_than_its_budget_is_told():
    page = results_page([*pair(), *pair(system="ddim", train_s=532.1), *pair(system="ddim_noise", train_s=200.0)], [])
    assert "**Not trained in 360 s** but in: `ddim` 532 s, `ddim_noise` 200 s." in page
    assert "Not trained" not in results_page(pair(train_s=400.0), [])


def test_part_of_a_split():
    (scores, _) = cells(results_page(pair(system="medsegdiff", n=20), []), "`medsegdiff`")
    assert scores[10] == "20 of 100"
    assert "`unet` on 20 of 100, spread evenly" in results_page(pair(n=20), [])
    assert "spread evenly" not in results_page(pair(), [])


def test_all_systems_on_the_same_pictures():
    """The two seeds of the U-Net have their mean and spread there too; another state of the code is not in it."""
    rows = [*pair(), *pair(seed=1), *pair(system="medsegdiff", n=20), *pair(system="ddim")]
    part = {"n": 20, "dice_ci": [0.7, 0.9]}
    parts = [{**row, **part, "dice_mean": 0.8 + 0.1 * row["seed"]} for row in rows if row["system"] == "unet"]
    parts += [{**row, **part, "dice_mean": 0.6} for row in rows if row["system"] == "medsegdiff"]
    parts += [{**row, **part, "settings": "old"} for row in rows if row["system"] == "ddim"]
    page = results_page(rows, [], parts)
    table = page.split("All systems on the same 20 pictures:")[1].split("What the budget")[0]
    assert cells(table, "`unet`") == [["`unet`", "0.8500 +- 0.0707", "0.8500 +- 0.0707", "2"]]
    assert cells(table, "`medsegdiff`") == [["`medsegdiff`", "0.6000 [0.7000, 0.9000]", "0.6000 [0.7000, 0.9000]", "1"]]
    assert "Their scores on those 20 pictures are not known here: `ddim`." in table
    assert "same 20 pictures" not in results_page(rows, [], [])
    assert "those 20 pictures are not known here: `unet`, `medsegdiff`, `ddim`" in results_page(rows, [], [])


def test_the_caption_of_the_figure():
    assert caption(pair()) == (
        "Diamond: mean over the test pictures; line: 95% bootstrap interval. Blue: calibrated; red: paper's protocol."
    )
    several = caption([*pair(), *pair(seed=1)])
    assert "the seeds" in several and "line: 95% bootstrap interval" not in several
    assert caption(pair(n=15)).endswith("Not on all test pictures: unet on 15 of 100 (lung_xray).")


def test_table_2():
    row = {
        "system": "ddim_noise",
        "size": 256,
        "device": "a CPU",
        "dtype": "float32",
        "parameters": 113672065,
        "weights_bytes": 4 * 113672065,
        "samples": 5,
        "sampling_steps": 50,
        "timed_steps": 2,
        "seconds": 12.345,
        "peak_bytes": 3 * 2**30,
    }
    page = results_page(pair(), [row])
    assert cells(page, "`ddim_noise`") == [
        # 12.345 s for 2 steps of 50
        ["`ddim_noise`", "113,672,065", "433.6", "50 x 5", "2", "12.35", "309", "3072", "433.0, 8.27"]
    ]
    assert "| s, of the steps timed | computed: s a picture |" in page
    left_out = "`lightweight_ddim`, `unet`, `ddim`, `medsegdiff`, `lightweight_ddim_noise`"
    assert f"Not measured: {left_out}.\n" in page.split("## Table 2")[1]
    assert "Measured by JAX" not in page  # not recorded
    told = results_page(pair(), [row | {"compiled_cpu_kernels": True, "jax": "1.2.3"}])
    assert "Measured by JAX 1.2.3 with the compiled CPU kernels.\n" in told.split("## Table 2")[1]
    ((*_, measured, computed, _, _),) = cells(results_page(pair(), [row | {"timed_steps": 50}]), "`ddim_noise`")
    assert (measured, computed) == ("12.35", "")


def test_a_table_2_that_was_not_measured():
    assert "Not measured: there is no `table2.json`" in results_page(pair(), []).split("## Table 2")[1]


def test_no_page_without_a_table(tmp_path):
    assert write(tmp_path) is None
    assert not (tmp_path / "docs").exists()
    folder = tmp_path / "docs" / "results"
    folder.mkdir(parents=True)
    (folder / "table1.json").write_text(json.dumps({"rules": {}, "rows": pair()}))
    assert write(tmp_path) == tmp_path / "docs" / "results.md"
    assert (tmp_path / "docs" / "results.md").read_text() == results_page(pair(), [])
    with Image.open(folder / "table1_1.png") as picture:
        assert picture.width > 600
