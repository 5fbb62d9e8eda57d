"""The start of a run: what it refuses before anything is written, and what it makes of its images."""

import csv
import hashlib
import shutil

import jax
import numpy as np
import pytest
from PIL import Image
from tiny_runs import SIZE, assert_same_bits, checkpoint, tiny_config, unet_config

from ddim_jax.checkpoints import CheckpointStore
from ddim_jax.data import Example
from ddim_jax.data.facts import image_digest
from ddim_jax.data.generated import COUNTS
from ddim_jax.data.pixels import read_trained_on
from ddim_jax.evaluation import evaluate_checkpoint
from ddim_jax.imageio.images import read_image
from ddim_jax.registry import DATASETS
from ddim_jax.runtime.errors import ConfigError, DataError, InputError
from ddim_jax.training import loop, setup, train
from ddim_jax.training.announcements import announcements

on_cpu = pytest.mark.skipif(jax.default_backend() != "cpu", reason="bits are promised on CPUs")


@pytest.mark.parametrize(
    ("section", "field", "value", "message"),
    [
        ("data", "image_size", 15, "data.image_size is 15; expected a multiple of 2"),
        ("train", "accumulate", 3, "train.batch_size is 8; expected a multiple of .*lower train.accumulate"),
        ("data", "name", "mnist", "data.name is 'mnist'"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_written(section, field, value, message, tmp_path):
    config = tiny_config()
    config["model"]["overrides"]["channel_multipliers"] = [1, 1]
    config[section][field] = value
    with pytest.raises(ConfigError, match=message):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def folder_config(folder, **train_fields):
    """A config of three pairs that are written into `folder`, without a split."""
    for name in "abc":
        for kind, shape in (("images", (SIZE, SIZE, 3)), ("masks", (SIZE, SIZE))):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.zeros(shape, np.uint8)).save(folder / kind / f"{name}.png")
    config = unet_config(**train_fields)
    config["data"] |= {
        "name": "folder",
        "root": str(folder),
        "cache_dir": str(folder.parent / "cache"),
        "counts": COUNTS,
    }
    return config


def test_a_run_on_a_fold_writes_the_folds_of_all_pictures(tmp_path, monkeypatch):
    """Before its first step, which is not made here."""
    config = folder_config(tmp_path / "data")
    config["data"] |= {"folds": 3, "fold": 1}
    monkeypatch.setattr(loop, "create_reporter", lambda *_, **__: (_ for _ in ()).throw(TimeoutError))
    with pytest.raises(TimeoutError):
        train(config, tmp_path / "run")
    assert not (tmp_path / "data/splits.csv").exists()
    rows = [line.split(",") for line in (tmp_path / "run/folds.csv").read_text().splitlines()]
    assert rows[0] == ["stem", "split", "fold"] and [row[0] for row in rows[1:]] == ["a", "b", "c"]
    assert sorted(row[1:] for row in rows[1:]) == [["test", "1"], ["train", "0"], ["val", "2"]]


def test_a_split_that_was_drawn_by_another_seed_stops_a_new_run(tmp_path):
    config = folder_config(tmp_path / "data")
    (tmp_path / "data/splits.csv").write_text("stem,split,seed\na,train,7\nb,val,7\nc,test,7\n")
    with pytest.raises(
        DataError, match=r"splits\.csv: was drawn by seed 7, and data\.split_seed is 0\. Ask for the same"
    ):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_empty_windows_are_trained_on_and_are_no_pictures_of_the_data_set(tmp_path, capsys):
    config = folder_config(tmp_path / "data", steps=2, warmup_steps=0)
    (tmp_path / "data/splits.csv").write_text("stem,split\na,train\nb,train\nc,val\n")
    config["data"] |= {"empty_windows": 1.0}
    assert train(config, tmp_path / "run") == 2
    said = capsys.readouterr().err
    assert "2 training and 1 validation images" in said
    assert "2 parts of training images without a structure beside them" in said and "; 2 were wanted" in said
    found = CheckpointStore(tmp_path / "run/checkpoints").metadata(2)["data"]
    assert found["annotators"] == 0
    assert (found["train_examples"], found["train_ids_sha256"]) == (2, hashlib.sha256(b"a\nb").hexdigest())
    pixels = (tmp_path / "run/pixels.csv").read_text().splitlines()[1:]
    assert sorted(line.split(",")[0] for line in pixels) == ["a", "a//empty", "b", "b//empty", "c"]
    metrics, _ = evaluate_checkpoint(tmp_path / "run", "val", figures=False)  # the training split is still that one
    assert metrics["images"] == 1
    # In two parts it is the same run.
    for steps in (1, 2):
        config["train"]["steps"] = steps
        assert train(config, tmp_path / "parts") == steps
    assert_same_bits(checkpoint(tmp_path / "parts", 2), checkpoint(tmp_path / "run", 2))


@pytest.mark.parametrize(
    ("flips", "sample_flips", "told"),
    [
        (True, True, "are trained on; set data.flips=False and sample.flips=False to tell left from right"),
        (True, False, "are trained on; set data.flips=False to tell left from right"),
        (False, False, ""),
    ],
)
def test_classes_that_mirror_images_exchange_are_told_of(tmp_path, monkeypatch, flips, sample_flips, told):
    """Before the first step, which is not made here."""
    lines = []

    def stop(*of_run):
        lines.extend(announcements(*of_run))
        raise TimeoutError

    monkeypatch.setattr(loop, "announcements", stop)
    config = folder_config(tmp_path / "data")
    (tmp_path / "data/splits.csv").write_text("stem,split\na,train\nb,train\nc,val\n")
    config["data"] |= {"labels": {"left": 1, "right": 2}, "flips": flips}
    config["sample"] |= {"flips": sample_flips}
    with pytest.raises(TimeoutError):
        train(config, tmp_path / "run")
    said = [line for line in lines if "left and right" in line]
    assert said == ([f"left and right: mirror images exchange them and {told}"] if told else [])


def test_erased_pictures_are_trained_on_and_told_of(tmp_path, capsys):
    config = folder_config(tmp_path / "data", steps=1, warmup_steps=0)
    config["data"] |= {"erased": 1.0}
    (tmp_path / "data/splits.csv").write_text("stem,split\na,train\nb,train\nc,val\n")
    mask = np.zeros((SIZE, SIZE), np.uint8)
    mask[4:6, 4:6] = 255
    for name in "ab":
        Image.new("RGB", (SIZE, SIZE), (90, 80, 70)).save(tmp_path / f"data/images/{name}.png")
        Image.fromarray(mask).save(tmp_path / f"data/masks/{name}.png")
    assert train(config, tmp_path / "run") == 1
    names = [line.split(",")[0] for line in (tmp_path / "run/pixels.csv").read_text().splitlines()[1:]]
    assert names[:2] == ["a", "a//erased"] and "b//erased" in names and sum("//repaired" in name for name in names) == 1
    told = "2 training images with their structures erased beside them, and an empty mask; 2 were wanted; 1 repaired"
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"steps": 2, "warmup_steps": 2}, "train.warmup_steps is 2; expected 0 to below the 2 steps"),
        ({"adversarial_share": 0.5}, "train.adversarial_share is 0.5 and train.adversarial_epsilon is not set"),
        ({"unlabelled_weight": 2.0}, "train.unlabelled_weight is 2.0 and data.unlabelled is not set"),
        (
            {"adversarial_epsilon": 0.1, "adversarial_share": 0.0},
            "train.adversarial_epsilon is 0.1 and train.adversarial_share is 0, so it does nothing",
        ),
        ({"init_from": "nowhere.safetensors"}, "nowhere.safetensors: no such file"),
    ],
)
def test_a_config_is_refused_before_the_data_are_touched(fields, message, tmp_path):
    config = folder_config(tmp_path / "data", **fields)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match=message):
        train(config, tmp_path / "runs" / "mine")
    assert sorted(tmp_path.rglob("*")) == before


def test_the_config_of_another_run_is_refused_before_the_data_are_touched(plain, tmp_path):
    shutil.copytree(plain, tmp_path / "run")
    config = folder_config(tmp_path / "data")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ConfigError, match=r"data\.name: 'phantom' there, 'folder' now"):
        train(config, tmp_path / "run")
    assert sorted(tmp_path.rglob("*")) == before


def test_data_that_cannot_be_used_leave_no_run_behind(tmp_path):
    config = folder_config(tmp_path / "data")
    (tmp_path / "data/masks/b.png").write_bytes(b"")
    (tmp_path / "data/splits.csv").write_text("stem,split\na,train\nb,train\nc,val\n")
    with pytest.raises(DataError, match=r"1 of 3 pairs.*\n.*masks/b.png: the file is empty"):
        train(config, tmp_path / "runs" / "mine")
    assert not (tmp_path / "runs").exists()


def test_a_refused_start_draws_no_split_and_says_the_same_again(tmp_path):
    config = folder_config(tmp_path / "data")
    for name in "abc":
        (tmp_path / f"data/masks/{name}.png").write_bytes(b"")
    before, told = sorted(tmp_path.rglob("*")), []
    for _ in range(2):
        with pytest.raises(DataError) as error:
            train(config, tmp_path / "runs" / "mine")
        told.append(str(error.value))
        assert sorted(tmp_path.rglob("*")) == before
    assert told[0] == told[1]


@pytest.mark.parametrize("crop", [0, 8])
def test_a_picture_that_is_trained_on_and_validated_is_told(crop, tmp_path, monkeypatch, capsys):
    config = folder_config(tmp_path / "data")
    config["data"]["crop"] = crop
    (tmp_path / "data/splits.csv").write_text("stem,split\na,train\nb,train\nc,val\n")
    monkeypatch.setattr(loop, "_make_steps", lambda *_: 0)
    for values, told in (((40, 80, 80), True), ((40, 80, 90), False)):
        for name, value in zip("abc", values, strict=True):
            pixels = np.zeros((SIZE, SIZE, 3), np.uint8)
            pixels[3:] = value
            Image.fromarray(pixels).save(tmp_path / f"data/images/{name}.png")
        train(config, tmp_path / f"run{told}")
        said = capsys.readouterr()
        assert ("1 image is in more than one split: scores there are too good" in said.out + said.err) is told
        # The digests of the images that are trained on, and of no others, are kept.
        with open(tmp_path / f"run{told}/pixels.csv", newline="") as file:
            rows = {row["id"]: row["trained_on"] for row in csv.DictReader(file)}
        trained = {image_digest(read_image(tmp_path / f"data/images/{name}.png")).hexdigest() for name in "ab"}
        assert rows["c"] == "" and {rows["a"], rows["b"]} == trained
        assert read_trained_on(tmp_path / f"run{told}") == {"a": rows["a"], "b": rows["b"]}


def test_a_data_set_whose_splits_share_pictures_is_told_one(tmp_path, monkeypatch, capsys):
    class Shared:
        """Two images in each split; the first two are one."""

        name = "shared"

        def __init__(self, split):
            self.ids = (f"{split}_0", f"{split}_1")

        def __len__(self):
            return 2

        def __getitem__(self, index):
            pixels = np.zeros((SIZE, SIZE, 3), np.uint8)
            pixels[3:] = 40 if index == 0 else 1 + self.ids[0].encode()[0]
            return Example(self.ids[index], pixels, (pixels[..., 0] > 0).astype(np.uint8))

    monkeypatch.setitem(DATASETS._entries, "shared", lambda split, options: Shared(split))
    monkeypatch.setattr(loop, "_make_steps", lambda *_: 0)
    config = unet_config()
    config["data"]["name"] = "shared"
    train(config, tmp_path / "run")
    told = "1 image is in more than one split, such as train_0 of train = val_0 of val: scores there are too good."
    said = capsys.readouterr().err
    assert told in said and "label more\n" in said  # and no folds, which are of folders


def test_a_data_set_whose_splits_share_ids_is_refused_before_anything_is_read(tmp_path, monkeypatch):
    """The digest of the training pair of that id would not be kept, and a change of it not seen."""

    class Numbered:
        name, __len__ = "numbered", lambda self: len(self.ids)

        def __init__(self, split):
            self.ids = ("0001", "0002", "0003") if split == "train" else ("0003", "0002")

    monkeypatch.setitem(DATASETS._entries, "numbered", lambda split, options: Numbered(split))
    config = unet_config()
    config["data"]["name"] = "numbered"
    message = r"the data set numbered: '0002' names a pair of train and one of val \(2 such ids\).*as in 'val_0002'"
    with pytest.raises(DataError, match=message):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@on_cpu
@pytest.mark.parametrize("kind", ["crops", "attacked"])
def test_a_run_on_crops_or_under_attack_goes_on_to_the_bit(kind, tmp_path, capsys):
    def config(**fields):
        if kind == "attacked":
            fields |= {"adversarial_epsilon": 0.05, "adversarial_share": 0.5}
        config = folder_config(tmp_path / "data", checkpoint_every=8, warmup_steps=1, **fields)
        config["data"]["crop"] = 8 if kind == "crops" else 0
        return config

    train(config(steps=4), tmp_path / "whole")
    said = capsys.readouterr().err
    train(config(steps=2), tmp_path / "parts")
    train(config(steps=4), tmp_path / "parts")
    assert_same_bits(checkpoint(tmp_path / "parts", 4), checkpoint(tmp_path / "whole", 4))
    assert ("in crops of 8 x 8" in said) is (kind == "crops")
    assert ("50% of the images are changed by up to 0.05" in said) is (kind == "attacked")


def test_an_older_run_with_a_share_that_does_nothing_goes_on(tmp_path, monkeypatch):
    def config(steps):
        return unet_config(steps=steps, warmup_steps=0, adversarial_share=0.5)

    with monkeypatch.context() as patch:
        patch.setattr(setup, "refuse_unused", lambda config: None)
        assert train(config(1), tmp_path) == 1
    assert train(config(2), tmp_path) == 2
