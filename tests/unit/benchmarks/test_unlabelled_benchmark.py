"""Trainings with few labelled images: what each is trained on, and the table, by rows written by hand."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.quality import trainings
from benchmarks.quality import unlabelled as benchmark
from benchmarks.quality.unlabelled import copied, gap_closed, means, unlabelled
from benchmarks.result_file import read_rows
from ddim_jax.data import load_dataset

SPLITS = {"train": [f"a/{number}" for number in range(6)], "val": ["b/0", "b/1"], "test": ["c/0", "c/1", "c/2"]}
ROW = {
    "dataset": "polyp",
    "system": "trunk_ddim",
    "labelled": 50,
    "pictures": 500,
    "size": 64,
    "steps": 2000,
    "pretrain_steps": None,
}
ROW |= {"recall_mean": 0.62, "precision_mean": 0.63}
ROW |= {"dice_ci": [0.5, 0.7], "dice_val": 0.61, "train_cpu_seconds": None, "commit": "abc"}


def rows(name, *dice, **more):
    return [ROW | {"row": name, "seed": seed, "dice_mean": one} | more for seed, one in enumerate(dice)]


FEW, MORE, ALL = rows("few", 0.6, 0.62), rows("few and unlabelled", 0.65, 0.67), rows("all", 0.79, 0.83)
BEFORE = rows("pre-trained", 0.7, 0.72, pretrain_steps=1500, train_cpu_seconds=12.3)


def test_the_gap_is_of_the_means_over_the_same_seeds():
    assert gap_closed(FEW, MORE, ALL) == pytest.approx(0.05 / 0.2)
    assert gap_closed(FEW, BEFORE[::-1], ALL) == pytest.approx(0.1 / 0.2)
    assert gap_closed(FEW, MORE[:1], ALL) is None
    assert gap_closed(FEW, MORE, []) is None
    assert gap_closed(FEW, MORE, FEW) is None
    other = [row | {"dataset": "lung"} for row in FEW]
    found = [(row["dataset"], row["row"], row["seeds"], row["gap_closed"]) for row in means(FEW + MORE[:1] + other)]
    assert found == [("polyp", "few", 2, None), ("polyp", "few and unlabelled", 1, None), ("lung", "few", 2, None)]


def test_pre_trainings_of_different_lengths_are_rows_of_their_own():
    longer = rows("pre-trained", 0.75, 0.77, pretrain_steps=6000)
    found = means([*FEW, *BEFORE, *longer, *ALL])
    assert [(row["row"], row["pretrain_steps"], row["seeds"]) for row in found] == [
        ("few", None, 2), ("pre-trained", 1500, 2), ("pre-trained", 6000, 2), ("all", None, 2)
    ]  # fmt: skip
    assert [row["gap_closed"] for row in found[1:3]] == pytest.approx([0.5, 0.75])


def test_the_table(tmp_path):
    (tmp_path / "docs/results").mkdir(parents=True)
    content = {"rules": {}, "rows": FEW + MORE + BEFORE + ALL}
    (tmp_path / "docs/results/unlabelled.json").write_text(json.dumps(content))
    lines = unlabelled(tmp_path).splitlines()
    about, scores = "| `trunk_ddim` | 64 | 2000 |", "[0.500, 0.700] | 0.620 | 0.630 | 0.610"
    for line in (
        f"| polyp, 50 labelled {about} 2 | 0.610 |  |",
        f"| polyp, 50 labelled, 450 unlabelled beside them {about} 2 | 0.660 | 25% |",
        f"| polyp, 50 labelled, after 1500 steps on 450 unlabelled {about} 2 | 0.710 | 50% |",
        f"| polyp, 500 labelled {about} 2 | 0.810 |  |",
        f"| polyp, 50 labelled, after 1500 steps on 450 unlabelled {about} 1 | 0.720 {scores} | 12 s |",
        f"| polyp, 500 labelled {about} 0 | 0.790 {scores} |  |",
        "Measured at commit abc.",
    ):
        assert line in lines, (line, lines)


@pytest.fixture
def data(tmp_path):
    """A folder of pairs, each in its own colour, in three splits and folders of their own."""
    root = tmp_path / "polyp"
    names = [name for own in SPLITS.values() for name in own]
    for number, name in enumerate(names):
        for kind, pixels in (("images", np.full((8, 8, 3), number)), ("masks", np.eye(8) * 255)):
            file = root / kind / f"{name}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(file)
    lines = [f"{name},{split}\n" for split, own in SPLITS.items() for name in own]
    (root / "splits.csv").write_text("stem,split\n" + "".join(lines))
    return root


@pytest.mark.parametrize("seed", [0, 1])
def test_the_copies_leak_nothing(data, tmp_path, seed):
    few, others = copied(data, 2, seed, tmp_path / "work")
    of_split = {split: load_dataset("folder", split, root=few, read_only=True).ids for split in SPLITS}
    rest = [str(file.relative_to(others).with_suffix("")) for file in others.rglob("*.png")]
    assert len(of_split["train"]) == 2 and len(rest) == 4
    assert sorted([*of_split["train"], *rest]) == SPLITS["train"]
    assert all(sorted(of_split[split]) == SPLITS[split] for split in ("val", "test"))
    assert len([*few.rglob("*.png")]) == 2 * (2 + 2 + 3)
    for place in (others, few / "images", few / "masks"):  # each is the file of its name
        own = data / "masks" if place.name == "masks" else data / "images"
        assert all(file.read_bytes() == (own / file.relative_to(place)).read_bytes() for file in place.rglob("*.png"))


def test_the_labelled_pictures_are_drawn_by_the_seed(data, tmp_path):
    drawn = {tuple(load_dataset("folder", "train", root=copied(data, 2, seed, tmp_path)[0]).ids) for seed in range(5)}
    assert len(drawn) > 1


def test_each_row_is_trained_on_its_own_pictures(data, tmp_path, monkeypatch):
    trained, pretrained = [], []

    def fake_train(config, run):
        place = lambda path: Path(path).name if path else path  # noqa: E731
        data = config.data
        trained.append((place(data.root), place(data.unlabelled), place(config.train.init_from), data.rotation_degrees))
        (run / "checkpoints").mkdir(parents=True, exist_ok=True)
        lines = [{"step": 8, "validation_dice": 0.7}, {"step": 40, "validation_dice": 0.6}, {"step": 40, "loss": 1.0}]
        (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return config.train.steps

    def fake_pretrain(config, file):
        pretrained.append((Path(config.data.root).name, Path(config.data.unlabelled).name, config.train.steps))
        file.write_text("")

    def fake_evaluate(run, split, *, output_dir, resolution):
        assert (split, resolution) == ("test", "native")
        output_dir.mkdir(exist_ok=True)
        of_picture = [0.7, 0.8, 0.75] if "_few_and_" in run.name else [0.65, 0.6, 0.55]
        lines = [f"{name},{one}\n" for name, one in zip(SPLITS["test"], of_picture, strict=True)]
        (output_dir / "per_image.csv").write_text("id,dice\n" + "".join(lines))
        (output_dir / "metrics.json").write_text('{"images": 3, "groups": 3}')
        dice = {"mean": 0.75, "low": 0.7, "high": 0.8}
        scores = {"dice": dice, "recall": {"mean": 0.6}, "precision": {"mean": 0.9}}
        return {"step": 8, "images": 3, "protocols": {"mean": {"per_image": scores}}}, None

    monkeypatch.setattr(trainings, "train", fake_train)
    monkeypatch.setattr(benchmark, "pretrain", fake_pretrain)
    monkeypatch.setattr(benchmark, "evaluate_checkpoint", fake_evaluate)
    fixed = [
        "--data",
        data,
        "--labels",
        2,
        "--steps",
        40,
        "--workdir",
        tmp_path / "work",
        "--output",
        tmp_path / "o.json",
    ]
    fixed = [str(one) for one in fixed]
    for more in ([], ["--rows", "pre-trained", "--pretrain-steps", "90"]):
        assert benchmark.main([*fixed, *more]) == 0
    assert trained == [
        ("labelled", "", None, 180.0),
        ("labelled", "unlabelled", None, 180.0),
        ("labelled", "", "trunk_ddim_pre-trained_64_40.safetensors", 180.0),
        ("polyp", "", None, 180.0),
        ("labelled", "", "trunk_ddim_pre-trained_64_90.safetensors", 180.0),
    ]
    assert pretrained == [("labelled", "unlabelled", 40), ("labelled", "unlabelled", 90)]
    found = read_rows(tmp_path / "o.json")
    assert [(row["row"], row["pretrain_steps"]) for row in found] == [
        ("few", None), ("few and unlabelled", None), ("pre-trained", 40), ("all", None), ("pre-trained", 90)
    ]  # fmt: skip
    expected = {"pictures": 6, "labelled": 2, "step": 8, "dice_val": 0.7, "dice_mean": 0.75, "dice_ci": [0.7, 0.8]}
    expected |= {"recall_mean": 0.6, "precision_mean": 0.9}
    assert all(expected.items() <= row.items() and row["train_cpu_seconds"] is not None for row in found)
    assert (found[0]["gain"], found[0]["gain_ci"], found[3]["gain"]) == (None, None, 0)
    assert found[1]["gain"] == pytest.approx(0.15)  # .05, .2, .2
    assert found[1]["gain_ci"] == pytest.approx([0.05, 0.2])
    assert benchmark.main([*fixed, "--rows", "few"]) == 0  # it is there: how long it took is not known
    assert read_rows(tmp_path / "o.json")[0]["train_cpu_seconds"] is None


@pytest.mark.parametrize("labels", [0, 6])
def test_as_many_labels_as_pictures_are_refused(data, tmp_path, labels, monkeypatch, capsys):
    monkeypatch.setattr(trainings, "train", None)
    with pytest.raises(SystemExit) as stopped:
        benchmark.main(["--data", str(data), "--labels", str(labels), "--workdir", str(tmp_path / "work")])
    assert stopped.value.code == 2
    assert f"--labels is {labels}; expected 1 to below the 6 training images" in capsys.readouterr().err
