"""docs/results.md for tables written by hand."""

import json

from PIL import Image

from benchmarks.results_page import figures, results_page, write

ROW = {
    "system": "unet",
    "dataset": "lung_xray",
    "networks": "small",
    "size": 64,
    "device": "a machine",
    "budget_s": 360.0,
    "seed": 0,
    "parameters": 510788,
    "dtype": "float32",
    "train_s": 359.6,
    "steps": 3000,
    "epochs": 115.4,
    "sampling_steps": 1,
    "samples": 4,
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
    paper = {"recall_mean": 0.84, "dice_mean": 0.9, "dice_ci": [0.8, 0.95], "dice_pooled": 0.91}
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
        "0.9000 [0.8000, 0.9500]",
        "0.8400",
        "0.9100",
        "0.0123",
        "0.9700",
        "100",
        "1",
        ".026",
    ]
    assert costs == ["`unet`", "510,788", "360 s", "3000", "115.4", "1 x 4 = 4", "0.0123"]
    assert "### lung_xray, 64 x 64, small networks, 360 s" in page
    assert "cannot be what a trained U-Net reaches" in page
    assert "What cannot" in page and "2000 epochs" in page


def test_several_seeds_have_their_spread():
    """Mean of .94, .95 and .99 is .96, their standard deviation .0265."""
    rows = [row for seed, dice in enumerate((0.94, 0.95, 0.99)) for row in pair(seed=seed, dice=dice)]
    (scores, _) = cells(results_page(rows, []), "`unet`")
    assert (scores[1], scores[10]) == ("0.9600 +- 0.0265", "3")


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
    assert "Not measured: `unet`, `lightweight_ddim_noise`.\n" in page
    whole = [row for system in (*systems, "unet", "lightweight_ddim_noise") for row in pair(system=system)]
    assert "Not measured" not in results_page(whole, [])


def test_a_training_that_took_longer_than_its_budget_is_told():
    page = results_page([*pair(), *pair(system="ddim", train_s=532.1)], [])
    assert "**Not trained in 360 s** but in: `ddim` 532 s." in page
    assert "Not trained" not in results_page(pair(train_s=400.0), [])


def test_part_of_a_split():
    (scores, _) = cells(results_page(pair(system="medsegdiff", n=20), []), "`medsegdiff`")
    assert scores[9] == "20 of 100"
    assert "spread evenly" in results_page(pair(n=20), [])
    assert "spread evenly" not in results_page(pair(), [])


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
        ["`ddim_noise`", "113,672,065", "433.6", "50 x 5", "2", "12.35", "3072", "433.0, 8.27"]
    ]
    assert "not of the whole sampling" in page
    assert "not of the whole sampling" not in results_page(pair(), [row | {"timed_steps": 50}])


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
