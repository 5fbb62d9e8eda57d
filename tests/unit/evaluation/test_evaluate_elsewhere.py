"""Folders that a checkpoint was not trained on: what is scored, and that nothing is written there."""

import io
import json
import os
from types import SimpleNamespace

import numpy as np
import pytest
from evaluation_fakes import FakeSegmenter, hand_case, rows
from PIL import Image
from rich.console import Console
from rich.progress import Progress

from ddim_jax.data import ids_digest, load_dataset
from ddim_jax.data.facts import image_digest
from ddim_jax.data.pixels import write_pixels
from ddim_jax.evaluation import checkpoint, evaluate, summary_table
from ddim_jax.evaluation.reading import read_all
from ddim_jax.labels import Labels
from ddim_jax.registry import DATASETS
from ddim_jax.runtime.errors import DataError, InputError


def make_folder(root, count=12):
    for kind in ("images", "masks"):
        (root / kind).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(np.full((4, 4), 255 * (number % 2), np.uint8)).save(root / kind / f"{number:02d}.png")
    return root


@pytest.fixture
def scored(monkeypatch, tmp_path):
    """A function that evaluates a checkpoint and gives the ids, the split and the folder of the results."""

    def score(data, trained_on=None, is_packed=False, **given):
        config = {"data": {"image_size": 4, "cache_dir": str(tmp_path / "cache"), **data}}
        place = str(tmp_path / "run/checkpoints/8")
        about = {"checkpoint": place, "checkpoints": (place,), "others": (), "is_packed": is_packed}
        about["options"] = lambda options, **read: SimpleNamespace(**read)
        loaded = SimpleNamespace(config=config, training_data={"train_ids_sha256": trained_on}, **about)
        monkeypatch.setattr(checkpoint, "load_checkpoints", lambda paths, **_: loaded)
        monkeypatch.setattr(checkpoint, "evaluate", lambda segmenter, source, *_, split, **given: (source, split))
        (source, split), output = checkpoint.evaluate_checkpoint("run", **given)
        score.note = getattr(source, "note", "")
        return source.ids, split, output.relative_to(tmp_path).as_posix()

    return score


ALL = tuple(f"{number:02d}" for number in range(12))


@pytest.mark.parametrize("name", ["folder", "phantom", "rsua", "polypdb"])
def test_a_folder_without_a_table_is_scored_whole_and_nothing_is_written(scored, tmp_path, name):
    root = make_folder(tmp_path / "hospital")
    data = {"name": name, "root": "/nowhere", "counts": {"train": 3, "val": 1, "test": 1}}
    assert scored(data, "of other images", data_root=root) == (ALL, "all", "run/evaluation/hospital_all")
    assert sorted(os.listdir(root)) == ["images", "masks"] and not (tmp_path / "cache").exists()
    with pytest.raises(InputError, match=r"hospital has no splits\.csv, so there is no split val"):
        scored(data, data_root=root, split="val")
    (root / "splits.csv").write_text("stem,split\n" + "".join(f"{i},{'val' if i > '08' else 'test'}\n" for i in ALL))
    assert scored(data, data_root=root, split="val") == (ALL[9:], "val", "run/evaluation/hospital_val")
    assert scored(data, data_root=root)[:2] == (ALL[:9], "test")
    assert scored(data, data_root=root, split="all")[:2] == (ALL, "all")


def test_a_folder_is_not_passed_over_for_a_data_set_without_files(scored, tmp_path, monkeypatch):
    monkeypatch.setitem(DATASETS._entries, "drawn", lambda split, options: SimpleNamespace(name="drawn", ids=(split,)))
    (tmp_path / "hospital").mkdir()
    assert scored({"name": "drawn", "root": "/nowhere"}, data_root=tmp_path / "hospital")[0] == ("test",)
    with pytest.raises(DataError, match="hospital has no folder images and no folder masks"):
        scored({"name": "drawn", "root": ""}, data_root=tmp_path / "hospital")
    packed = {"is_packed": True, "output_dir": tmp_path / "out"}  # which do not tell whether it had files
    with pytest.raises(DataError, match="hospital has no folder images and no folder masks"):
        scored({"name": "drawn", "root": ""}, data_root=tmp_path / "hospital", **packed)
    make_folder(tmp_path / "hospital")
    assert scored({"name": "drawn", "root": ""}, data_root=tmp_path / "hospital", **packed)[:2] == (ALL, "all")


@pytest.mark.parametrize("name", ["rsua", "isbi2016", "polypdb"])
def test_packed_weights_of_a_published_set_find_it_unpacked_elsewhere(scored, tmp_path, monkeypatch, name):
    monkeypatch.setitem(DATASETS._entries, name, lambda split, options: SimpleNamespace(name=name, ids=(split,)))
    packed = {"is_packed": True, "output_dir": tmp_path / "out"}
    (tmp_path / "unpacked").mkdir()
    assert scored({"name": name, "root": ""}, data_root=tmp_path / "unpacked", **packed)[:2] == (("test",), "test")


def divided(root, **parts):
    """Moves the images of `make_folder` with these numbers below folders of these names."""
    for kind in ("images", "masks"):
        for part, numbers in parts.items():
            (root / kind / part).mkdir()
            for number in numbers:
                (root / kind / f"{number:02d}.png").rename(root / kind / part / f"{number:02d}.png")
    return root


def test_folders_called_after_splits_are_the_split(scored, tmp_path, caplog):
    data = {"name": "folder", "root": "/nowhere"}
    root = divided(make_folder(tmp_path / "a"), train=range(7), Val=(7, 8), testing=range(9, 12))
    ids = tuple(f"testing/{number:02d}" for number in (9, 10, 11))
    assert scored(data, data_root=root, split="test") == (ids, "test", "run/evaluation/a_test")
    assert scored(data, data_root=root)[:2] == (ids, "test")
    assert scored(data, data_root=root, split="val")[0] == ("Val/07", "Val/08")
    assert len(scored(data, data_root=root, split="all")[0]) == 12
    assert sorted(os.listdir(root)) == ["images", "masks"] and not (tmp_path / "cache").exists()
    in_part = divided(make_folder(tmp_path / "b"), test=range(3))
    assert len(scored(data, data_root=in_part)[0]) == 12  # as the others are in no split
    with pytest.raises(DataError, match="images/test is called after a split, and other images are in no such folder"):
        scored(data, data_root=in_part, split="test")
    without = divided(make_folder(tmp_path / "c"), train=range(6), val=range(6, 12))
    assert scored(data, data_root=without)[1] == "all"
    told = "all of its pairs are scored, those of folders called after splits (train, val) among them; --split scores"
    assert told in caplog.text
    one = divided(make_folder(tmp_path / "d"), test=range(12))
    assert scored(data, data_root=one)[1] == "all"
    assert scored(data, data_root=one, split="test")[:2] == (tuple(f"test/{i}" for i in ALL), "test")
    with pytest.raises(InputError, match=r"d has no splits\.csv, so there is no split val"):
        scored(data, data_root=one, split="val")


def test_a_table_of_groups_alone_is_refused_with_what_to_do(scored, tmp_path):
    root = make_folder(tmp_path / "hospital")
    (root / "splits.csv").write_text("stem,group\n" + "".join(f"{i},p{int(i) // 2}\n" for i in ALL))
    told = r"splits\.csv: has a column group and no column split, .* that is only evaluated, with test in each"
    with pytest.raises(DataError, match=told):
        scored({"name": "folder", "root": "/nowhere"}, data_root=root)


def test_a_folder_that_is_named_relative_to_where_training_began_is_told(monkeypatch, tmp_path):
    made = {"train_ids_sha256": "ab", "trained_in": "/home/ada"}
    run = SimpleNamespace(checkpoint="runs/a/checkpoints/8", checkpoints=("a",), others=(), training_data=made)
    run.config = {"data": {"name": "folder", "root": "lungs", "cache_dir": str(tmp_path / "cache")}}
    monkeypatch.chdir(tmp_path)
    said = "data.root of runs/a/checkpoints/8 is lungs: no such folder here; in training it was /home/ada/lungs; give"
    with pytest.raises(DataError, match=f"{said} --data-root DIR"):
        checkpoint.open_split(run, "val")
    run.config["data"]["root"] = "/gone/lungs"
    with pytest.raises(DataError, match="is /gone/lungs: no such folder; give --data-root DIR"):
        checkpoint.open_split(run, "val")
    with pytest.raises(DataError, match=f"data.root is lungs: no such folder in {tmp_path}; expected"):
        load_dataset("folder", "all", root="lungs")


def test_packed_weights_find_a_data_set_that_needs_no_folder(monkeypatch):
    packed = SimpleNamespace(checkpoint="w.safetensors", checkpoints=("w.safetensors",), others=(), training_data={})
    packed.config = {"data": {"name": "squares", "root": ""}}
    monkeypatch.setitem(
        DATASETS._entries, "squares", lambda split, options: SimpleNamespace(name="squares", ids=(split,))
    )
    source, split = checkpoint.open_split(packed)
    assert (source.name, source.ids, split) == ("squares", ("test",), "test")
    for name in ("folder", "rsua"):
        packed.config["data"]["name"] = name
        with pytest.raises(InputError, match=r"^w.safetensors does not say where its images lie; give --data-root"):
            checkpoint.open_split(packed)


def test_two_folders_of_one_name_do_not_replace_each_other(scored, tmp_path):
    roots = [make_folder(tmp_path / site / "data") for site in "ab"]
    places = [load_dataset("folder", "all", root=root).place for root in roots]
    assert len(set(places)) == 2 and load_dataset("folder", "test", root=roots[0], read_only=True).place == places[0]
    there = tmp_path / "run/evaluation/data_all/metrics.json"
    there.parent.mkdir(parents=True)
    data = {"name": "folder", "root": "/nowhere"}
    for content in ({"package": "ddim_jax", "place": places[0]}, {"package": "ddim_jax"}, {"place": "of somebody"}):
        there.write_text(json.dumps(content))
        scored(data, data_root=roots[0])
    there.write_text(json.dumps({"package": "ddim_jax", "place": places[0]}))
    with pytest.raises(InputError, match=r"data_all holds the evaluation of another folder called data.*--output DIR"):
        scored(data, data_root=roots[1])
    assert scored(data, data_root=roots[1], output_dir=tmp_path / "b")[2] == "b"


@pytest.mark.parametrize("folds", [0, 3])
def test_the_folder_of_the_training_elsewhere_keeps_its_split(scored, tmp_path, folds):
    root = make_folder(tmp_path / "moved")
    about = {"root": root, "folds": folds, "read_only": True, "cache_dir": tmp_path / "cache"}
    ids = {split: load_dataset("folder", split, **about).ids for split in ("train", "test")}
    digest = ids_digest(SimpleNamespace(ids=ids["train"]))
    data = {"name": "folder", "root": "/nowhere", "folds": folds}
    assert scored(data, digest, data_root=root)[:2] == (ids["test"], "test")
    assert scored.note == (
        "taken for the folder that was trained on by its names alone, as the checkpoint does not know the pixels. Its "
        "split is that of the training: scored is its test part, "
        f"{len(ids['test'])} of 12 images; --split all scores all"
    )
    assert scored(data, "of other images", data_root=root)[:2] == (ALL, "all")
    assert sorted(os.listdir(root)) == ["images", "masks"]


def test_packed_weights_are_not_calibrated_on_the_images_of_their_training(scored, tmp_path):
    """With `--split all` they were, without a word: the file knows the names of its training alone."""
    root = make_folder(tmp_path / "moved")
    train = load_dataset("folder", "train", root=root, read_only=True, cache_dir=tmp_path / "cache")
    data, packed = {"name": "folder", "root": ""}, {"is_packed": True, "output_dir": tmp_path / "out", "split": "all"}
    with pytest.raises(InputError, match=r"calibrate: .* trained on by its names alone.* Give --split val, or --data"):
        scored(data, ids_digest(train), data_root=root, calibrate=0.9, **packed)
    assert scored(data, ids_digest(train), data_root=root, **packed)[:2] == (ALL, "all")
    assert scored.note.endswith("the images of its training are among those scored, and the scores are too good")
    assert scored(data, "of other images", data_root=root, calibrate=0.9, **packed)[1] == "all" and not scored.note


def test_a_folder_with_the_names_of_the_training_is_another_by_its_pixels(scored, tmp_path, caplog):
    """Twelve images called as those of the training; one of those that go into the training split is another."""
    root = make_folder(tmp_path / "moved")
    train = load_dataset("folder", "train", root=root, read_only=True, cache_dir=tmp_path / "cache")
    known = {name: image_digest(train[row].image).hexdigest() for row, name in enumerate(train.ids)}
    write_pixels(tmp_path / "run", known, known)
    data, digest = {"name": "folder", "root": "/nowhere"}, ids_digest(train)
    assert scored(data, digest, data_root=root)[1] == "test"
    assert scored(data, digest, data_root=root, invert=True)[1] == "test"  # compared as it was read then
    said = "this is the folder that was trained on, by names and pixels. Its split is that of the training"
    assert scored.note == f"{said}: scored is its test part, 1 of 12 images; --split all scores all"
    assert scored(data, digest, data_root=root, split="all")[1] == "all" and scored.note == ""
    Image.fromarray(np.full((4, 4), 7, np.uint8)).save(root / f"images/{train.ids[-1]}.png")
    assert scored(data, digest, data_root=root)[:2] == (ALL, "all")
    assert f"and other pixels, such as those of {train.ids[-1]}: it is taken for another folder" in caplog.text
    with pytest.raises(InputError, match=r"moved has no splits\.csv, so there is no split val"):
        scored(data, digest, data_root=root, split="val")


def test_a_copy_of_the_folder_of_the_training_with_its_table_is_told_too(scored, tmp_path):
    """The table that a training wrote goes along with a copy."""
    root = make_folder(tmp_path / "copy")
    train = load_dataset("folder", "train", root=root, cache_dir=tmp_path / "cache")
    assert (root / "splits.csv").is_file()
    known = {name: image_digest(train[row].image).hexdigest() for row, name in enumerate(train.ids)}
    write_pixels(tmp_path / "run", known, known)
    data, digest = {"name": "folder", "root": "/nowhere"}, ids_digest(train)
    assert len(scored(data, digest, data_root=root)[0]) == 1 and "by names and pixels" in scored.note
    assert scored(data, "of other images", data_root=root)[1] == "test" and scored.note == ""


@pytest.mark.parametrize(
    ("split", "limit", "said"),
    [
        ("all", None, "all images of lungs, 12"),
        ("test", None, "the test part of lungs, 3 of its 12 images, by splits.csv"),
        ("train", 4, "the train part of lungs, 8 of its 12 images, by splits.csv; of these 4, spread evenly"),
    ],
)
def test_the_screen_and_the_file_say_which_images_were_scored(tmp_path, caplog, split, limit, said):
    root = make_folder(tmp_path / "lungs")
    parts = 8 * ["train"] + ["val"] + 3 * ["test"]
    (root / "splits.csv").write_text("stem,split\n" + "".join(map("{},{}\n".format, ALL, parts)))
    source = load_dataset("folder", split, root=root)
    source.note = "as in the training"
    segmenter = FakeSegmenter({key: [rows(1, 1, -1, -1)] * 2 for key in (0, 255)})
    metrics = evaluate(segmenter, source, tmp_path / "out", split=split, limit=limit, figures=False)
    assert metrics["scored"] == said and "lungs: as in the training" in caplog.text
    console = Console(width=120, file=io.StringIO())
    console.print(summary_table(metrics))
    printed = " ".join(console.file.getvalue().split())
    assert f"scored: {said} scored at" in printed and printed.endswith("as in the training")
    assert json.loads((tmp_path / "out/metrics.json").read_text())["scored"] == said


@pytest.mark.parametrize("folds", [0, 3])
def test_a_division_says_its_rule(tmp_path, folds):
    root = make_folder(tmp_path / "lungs")
    drawn = load_dataset("folder", "test", root=root, seed=5, folds=folds, cache_dir=tmp_path / "cache").division
    assert drawn.rule == ("fold 0 of 3 by seed 5" if folds else "drawn by seed 5")
    if not folds:  # written down by then
        assert load_dataset("folder", "test", root=root, seed=6).division.rule == "drawn by seed 5"


def test_training_pairs_that_cannot_be_read_do_not_stop_the_scoring_of_others(scored, tmp_path, caplog):
    root = make_folder(tmp_path / "moved")
    train = load_dataset("folder", "train", root=root, read_only=True, cache_dir=tmp_path / "cache")
    known = {name: image_digest(train[row].image).hexdigest() for row, name in enumerate(train.ids)}
    assert image_digest(train.read_image(3)).hexdigest() == known[train.ids[3]]
    write_pixels(tmp_path / "run", known, known)
    data, digest = {"name": "folder", "root": "/nowhere"}, ids_digest(train)
    for name in train.ids:  # masks are not read
        (root / f"masks/{name}.png").write_bytes(b"no mask")
    whole = {name: (root / f"images/{name}.png").read_bytes() for name in train.ids}
    (root / f"images/{train.ids[0]}.png").write_bytes(whole[train.ids[0]][:42])
    assert scored(data, digest, data_root=root)[1] == "test"
    told = f"1 of {len(known)} images of the training split of {root} cannot be read, and are not compared with those"
    assert told in caplog.text and f"images/{train.ids[0]}.png" in caplog.text
    assert scored.note.startswith("this is the folder that was trained on, by names and pixels")
    Image.fromarray(np.full((4, 4), 7, np.uint8)).save(root / f"images/{train.ids[-1]}.png")
    assert scored(data, digest, data_root=root)[:2] == (ALL, "all")
    caplog.clear()
    for name, content in whole.items():
        (root / f"images/{name}.png").write_bytes(content[:42])
    assert scored(data, digest, data_root=root)[1] == "test"
    assert "by its names alone, as none of these images can be read. Its split" in scored.note


def test_a_folder_is_not_looked_through_for_a_training_that_is_not_known(scored, tmp_path, monkeypatch):
    splits = []
    load = checkpoint.load_dataset
    monkeypatch.setattr(checkpoint, "load_dataset", lambda **given: splits.append(given["split"]) or load(**given))
    assert scored({"name": "folder", "root": "/"}, None, data_root=make_folder(tmp_path / "a"))[:2] == (ALL, "all")
    assert splits == ["all"]


def test_a_folder_too_small_for_a_split_is_no_training_that_is_not_known(scored, tmp_path):
    root = make_folder(tmp_path / "few", count=2)
    assert scored({"name": "folder", "root": "/nowhere"}, None, data_root=root)[:2] == (("00", "01"), "all")


def test_without_a_folder_given_nothing_is_written_either(scored, tmp_path):
    data = {"name": "folder", "root": str(make_folder(tmp_path / "own"))}
    ids, split, output = scored(data)
    assert (len(ids), split, output) == (1, "test", "run/evaluation/test")
    assert sorted(os.listdir(tmp_path / "own")) == ["images", "masks"]
    with pytest.raises(InputError, match="the split all would score the images that were trained on"):
        scored(data, split="all")
    with pytest.raises(DataError, match="nowhere: no such folder"):
        scored(data, data_root=tmp_path / "nowhere")
    (tmp_path / "d1.zip").touch()
    with pytest.raises(DataError, match=r"d1\.zip: is a file; unpack it, and give the folder"):
        scored(data, data_root=tmp_path / "d1.zip")


def test_masks_with_several_foregrounds_are_not_scored_as_one(tmp_path):
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
        for value in (1, 2):
            Image.fromarray(np.repeat([0, value], 8).reshape(4, 4).astype(np.uint8)).save(
                tmp_path / folder / f"{value}.png"
            )
    source = load_dataset("folder", "all", root=tmp_path)
    with pytest.raises(DataError, match=r"2 masks have one value each .* 1 \(8 pixels .* 2 \(8 pixels"):
        read_all(source, Progress(), Labels())


def test_label_maps_are_said_to_have_to_be_of_the_classes_of_the_checkpoint(tmp_path):
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
        for name in "ab":
            Image.fromarray(np.repeat([0, 1, 2, 3], 4).reshape(4, 4).astype(np.uint8)).save(
                tmp_path / folder / f"{name}.png"
            )
    segmenter, _ = hand_case()
    source = load_dataset("folder", "all", root=tmp_path)
    with pytest.raises(DataError, match="2 of 2 masks are label maps") as caught:
        evaluate(segmenter, source, tmp_path / "out", split="all")
    *_, facts, advice = caught.value.args
    assert facts.endswith("; expected 0 and one other.")  # and nothing of fields of a training
    assert advice == (
        "An evaluation is of the checkpoint's classes, foreground (one, by its level): give a copy of the folder with "
        "masks of 0 and one other value"
    )
