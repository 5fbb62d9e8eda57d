"""The published layouts, nested and renamed, through the real builders."""

import re
import shutil
import sys
import tempfile
from types import SimpleNamespace

import numpy as np
import pytest
from absl import logging
from pair_files import mask, picture, save, save_pair

from ddim_jax.data import load_dataset
from ddim_jax.data.datasets import _published
from ddim_jax.data.datasets._published import builder_class
from ddim_jax.data.datasets.isbi2016 import ISBI2016
from ddim_jax.data.datasets.polypdb import POLYPDB
from ddim_jax.data.datasets.rsua import RSUA
from ddim_jax.data.rows import Subset
from ddim_jax.data.sources import note_of
from ddim_jax.data.tables import read_split
from ddim_jax.registry import READERS
from ddim_jax.runtime.errors import DataError, InputError

SPLITS = ("train", "val", "test")
PUBLISHED = {dataset.name: dataset for dataset in (RSUA, ISBI2016, POLYPDB)}


def ids(name, root):
    return {split: load_dataset(name, split, root=root, cache_dir=root.parent / "cache").ids for split in SPLITS}


def rsua_tree(
    root, *, per_class=12, classes=("Covid", "Non_Covid", "Non_Covid_Pneumonia"), folders=("images", "masks")
):
    for place, group in enumerate(classes):
        for number in range(per_class):
            images, masks = (root / group / folder for folder in folders)
            save_pair(
                images / f"Images {group} ({number}).bmp", masks / f"Mask {group} ({number}).bmp", number + 50 * place
            )
            np.save(images / f"Images {group} ({number}).npy", np.zeros(2))
            np.save(masks / f"Mask {group} ({number}).npy", np.zeros(2))


def isbi_tree(root, *, train=20, test=6, names=None, suffix="_Segmentation"):
    names = names or [
        f"ISBI2016_ISIC_Part1_{part}_{kind}" for part in ("Training", "Test") for kind in ("Data", "GroundTruth")
    ]
    first = 0
    for count, images, masks in ((train, *names[:2]), (test, *names[2:])):
        for number in range(first, first + count):
            save_pair(root / images / f"ISIC_{number:07d}.png", root / masks / f"ISIC_{number:07d}{suffix}.png", number)
        first += count


def polypdb_tree(root, *, count=10, folders=("images", "masks"), suffix=".png"):
    for place, modality in enumerate(("BLI", "FICE", "LCI", "NBI", "WLI")):
        for number in range(count):
            stem = f"polyp_{number}"
            image, truth = picture(number + 20 * place, (48, 48)), mask(5 * number + 3, (48, 48))
            save(root / modality / folders[0] / f"{stem}.jpg", image)
            save(root / modality / folders[1] / f"{stem}{suffix}", truth)


def test_rsua_as_published(tmp_path):
    root = tmp_path / "data"
    rsua_tree(root / "RSUA Chest X-Ray Dataset/Data Chest X-Ray RSUA (Validated)")
    found = ids("rsua", root)
    assert [len(found[split]) for split in SPLITS] == [30, 3, 3]
    assert sorted(sum(found.values(), ()))[:2] == ["covid/covid_0", "covid/covid_1"]
    groups = ["covid", "non_covid", "non_covid_pneumonia"]
    for split in ("val", "test"):
        assert [name.split("/")[0] for name in found[split]] == groups
    source = load_dataset("rsua", "train", root=root, cache_dir=tmp_path / "cache")
    for row, name in enumerate(source.ids):
        number = int(name.rsplit("_", 1)[1]) + 50 * groups.index(name.split("/")[0])
        np.testing.assert_array_equal(source[row].image, picture(number))
        np.testing.assert_array_equal(source[row].mask, mask(number) // 255)
    (table,) = (tmp_path / "cache").rglob("splits.csv")
    assert read_split(table).split == {name: split for split in SPLITS for name in found[split]}
    assert len(list((tmp_path / "cache").rglob("*.array_record*"))) == 3


def test_rsua_nested_and_renamed_gives_the_same_split(tmp_path, monkeypatch):
    rsua_tree(tmp_path / "one/RSUA Chest X-Ray Dataset/Data Chest X-Ray RSUA (Validated)")
    rsua_tree(
        tmp_path / "two/download/x/y", classes=("COVID", "Non Covid", "non-covid pneumonia"), folders=("Images", "MASK")
    )
    save(tmp_path / "two/__MACOSX/x/images/._Images Covid (0).bmp", picture(0))
    found = ids("rsua", tmp_path / "one")
    copies = SimpleNamespace(suffixes=(".npy",))  # somebody reads them; they are left alone
    monkeypatch.setattr(READERS, "_entries", {"copies": copies, "pillow": READERS.get("pillow")})
    assert ids("rsua", tmp_path / "two") == found == ids("rsua", tmp_path / "one")


def test_rsua_says_what_is_missing(tmp_path):
    rsua_tree(tmp_path, per_class=4)
    (tmp_path / "Covid/masks/Mask Covid (2).bmp").unlink()
    (tmp_path / "Non_Covid/masks").rename(tmp_path / "Non_Covid/labels")
    with pytest.raises(DataError) as error:
        ids("rsua", tmp_path)
    message = str(error.value)
    assert "Images Covid (2).bmp has no mask" in message
    assert "Non_Covid has images/ but no masks/" in message
    assert "no class folder non_covid with" in message
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match=r"no RSUA data set\. Expected.*covid, non_covid.*found nothing"):
        ids("rsua", empty)


def test_isbi2016_as_published(tmp_path):
    root = tmp_path / "data"
    isbi_tree(root)
    found = ids("isbi2016", root)
    assert found["test"] == tuple(f"ISIC_{number:07d}" for number in range(20, 26))
    assert len(found["val"]) == 2
    assert sorted(found["train"] + found["val"]) == [f"ISIC_{number:07d}" for number in range(20)]
    source = load_dataset("isbi2016", "test", root=root, cache_dir=tmp_path / "cache")
    np.testing.assert_array_equal(source[3].image, picture(23))
    np.testing.assert_array_equal(source[3].mask, mask(23) // 255)


def test_isbi2016_nested_and_renamed_gives_the_same_split(tmp_path):
    isbi_tree(tmp_path / "one/data")
    isbi_tree(
        tmp_path / "two/isic/2016/part1",
        names=["train/images", "train/masks", "TEST/img", "TEST/gt"],
        suffix="_segmentation",
    )
    # The same images for another part of the challenge, and superpixels, are none of its pairs.
    save(tmp_path / "two/ISBI2016_ISIC_Part3_Training_Data/ISIC_0000000.png", picture(0))
    save(tmp_path / "two/isic/2016/part1/train/images/ISIC_0000000_superpixels.png", picture(0))
    assert ids("isbi2016", tmp_path / "one/data") == ids("isbi2016", tmp_path / "two")


def test_isbi2016_says_what_is_missing(tmp_path):
    isbi_tree(tmp_path, train=5, test=2)
    for file in (tmp_path / "ISBI2016_ISIC_Part1_Test_GroundTruth").iterdir():
        file.unlink()
    (tmp_path / "ISBI2016_ISIC_Part1_Training_Data/ISIC_0000003.png").unlink()
    save(tmp_path / "elsewhere/ISIC_0000099.png", picture(99))
    with pytest.raises(DataError) as error:
        ids("isbi2016", tmp_path)
    message = str(error.value)
    assert "no test masks: ISBI2016_ISIC_Part1_Test_GroundTruth/ISIC_*_Segmentation.png" in message
    assert "ISIC_0000003_Segmentation.png has no image" in message
    assert "ISIC_0000099.png: no folder around it is called Training or Test" in message


@pytest.mark.parametrize(("folders", "suffix"), [(("images", "masks"), ".png"), (("Images", "annotations"), ".jpg")])
def test_polypdb_as_published_and_renamed(tmp_path, folders, suffix):
    root = tmp_path / "data"
    polypdb_tree(root / "PolypDB/PolypDB/PolypDB_modality_wise", folders=folders, suffix=suffix)
    # The archive holds the same images again, by centre.
    polypdb_tree(root / "PolypDB/PolypDB/PolypDB_center_wise/Simula", count=2, folders=folders, suffix=suffix)
    found = ids("polypdb", root)
    assert [len(found[split]) for split in SPLITS] == [40, 5, 5]
    for split in ("val", "test"):
        assert [name.split("/")[0] for name in found[split]] == ["BLI", "FICE", "LCI", "NBI", "WLI"]
    source = load_dataset("polypdb", "train", root=root, cache_dir=tmp_path / "cache")
    for row in (0, 17):
        stem = source.ids[row].split("/")[1]
        number = int(stem.split("_")[1])
        np.testing.assert_array_equal(source[row].mask, mask(5 * number + 3, (48, 48)) // 255)


def write_tables(folder, count=10, **changes):
    """Writes the tables of the authors: one table a split and modality, two columns with the same name of a file."""
    for modality in ("BLI", "FICE", "LCI", "NBI", "WLI"):
        parts = {"train": range(2, count), "valid": [1], "test": [0]} | changes
        for name, numbers in parts.items():
            lines = [f"polyp_{number}.jpg,polyp_{number}.jpg" for number in numbers]
            (folder / modality).mkdir(parents=True, exist_ok=True)
            (folder / modality / f"{name}.csv").write_text("\n".join(["ImagePath,MaskPath", *lines]) + "\n")


def test_polypdb_is_split_as_its_authors_do_where_their_tables_lie_below(tmp_path):
    root = tmp_path / "data"
    polypdb_tree(root / "PolypDB_modality_wise")
    drawn = load_dataset("polypdb", "test", root=root, cache_dir=tmp_path / "cache")
    assert "not the official one" in note_of(drawn) == note_of(Subset(drawn, [0]))
    write_tables(root / "PolypDB-main/dataset-split/Modality-Wise")
    found = ids("polypdb", root)
    modalities = ("BLI", "FICE", "LCI", "NBI", "WLI")
    assert found["test"] == tuple(f"{modality}/polyp_0" for modality in modalities)
    assert found["val"] == tuple(f"{modality}/polyp_1" for modality in modalities)
    assert found["train"] == tuple(f"{modality}/polyp_{number}" for modality in modalities for number in range(2, 10))
    official = load_dataset("polypdb", "test", root=root, cache_dir=tmp_path / "cache")
    assert note_of(official) == ""
    np.testing.assert_array_equal(official[1].mask, mask(3, (48, 48)) // 255)
    # Beside the images they are found as well.
    shutil.rmtree(root / "PolypDB-main")
    write_tables(root / "PolypDB_modality_wise")
    assert ids("polypdb", root) == found


def test_polypdb_says_where_the_tables_of_its_split_do_not_fit(tmp_path):
    polypdb_tree(tmp_path / "data", count=3)
    write_tables(tmp_path / "split", count=3, train=[1, 2, 7])
    (tmp_path / "split").rename(tmp_path / "data/split")
    with pytest.raises(DataError) as error:
        ids("polypdb", tmp_path / "data")
    assert "BLI/polyp_1 is in val and in train" in str(error.value)
    write_tables(tmp_path / "data/split", count=3, train=[7], valid=[1])
    with pytest.raises(DataError) as error:
        ids("polypdb", tmp_path / "data")
    message = str(error.value)
    assert "BLI/polyp_2 is in no table" in message and "wli/polyp_7 is in a table, but there is no such" in message
    (tmp_path / "data/split/NBI/test.csv").unlink()
    shutil.rmtree(tmp_path / "data/split/WLI")
    with pytest.raises(DataError) as error:
        ids("polypdb", tmp_path / "data")
    assert "NBI/test.csv is missing" in str(error.value) and "no tables of WLI" in str(error.value)


def test_polypdb_says_what_is_missing(tmp_path):
    polypdb_tree(tmp_path, count=2)
    (tmp_path / "NBI/masks/polyp_1.png").unlink()
    (tmp_path / "LCI").rename(tmp_path / "other")
    (tmp_path / "BLI/masks").rename(tmp_path / "BLI/truth")
    with pytest.raises(DataError) as error:
        ids("polypdb", tmp_path)
    message = str(error.value)
    assert "NBI/images/polyp_1.jpg has no mask" in message
    assert "no folder LCI with images/ and masks/" in message
    assert "BLI has no folder masks/" in message


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_missing_root_gives_the_instructions(tmp_path, name):
    with pytest.raises(DataError, match=re.escape("no such folder. Download")) as error:
        load_dataset(name, "train", root=tmp_path / "none", cache_dir=tmp_path)
    assert PUBLISHED[name].homepage.split("#")[0] in str(error.value)
    assert "licence" in str(error.value) or PUBLISHED[name].licence in str(error.value)


def test_the_index_is_made_once_and_again_when_the_files_change(tmp_path, monkeypatch):
    root = tmp_path / "data"
    rsua_tree(root, per_class=4)
    lines = []
    monkeypatch.setattr(logging, "info", lambda text, *values: lines.append(text % values))

    def indexing():
        found = [line for line in lines if line.startswith("Indexing rsua")]
        lines.clear()
        return found

    first = ids("rsua", root)
    assert len(indexing()) == 1
    assert ids("rsua", root) == first
    assert indexing() == []
    save_pair(root / "Covid/images/Images Covid (9).bmp", root / "Covid/masks/Mask Covid (9).bmp")
    second = ids("rsua", root)
    (line,) = indexing()
    assert "the files below it have changed" in line
    assert set(sum(second.values(), ())) - set(sum(first.values(), ())) == {"covid/covid_9"}
    assert len(list((tmp_path / "cache/tfds/rsua").glob("*/*"))) == 1
    (root / "Covid/images/Images Covid (9).bmp").rename(root / "Covid/images/Images Covid (9).png")
    assert ids("rsua", root) == second
    assert len(indexing()) == 1


def test_an_index_is_made_silently_and_leaves_no_temporary_folder(tmp_path, monkeypatch, capfd):
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    rsua_tree(tmp_path / "data", per_class=4)
    assert [len(found) for found in ids("rsua", tmp_path / "data").values()] == [10, 1, 1]
    assert not list((tmp_path / "tmp").iterdir())
    said = capfd.readouterr()
    assert said.out == "" and "examples" not in said.err


def test_a_cache_that_cannot_be_written_is_named(tmp_path):
    rsua_tree(tmp_path / "data", per_class=4)
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(InputError, match=r"file/tfds/rsua.*the index cannot be kept there.*cache_dir"):
        load_dataset("rsua", "train", root=tmp_path / "data", cache_dir=tmp_path / "file")


def test_an_index_cut_short_is_not_used(tmp_path):
    root = tmp_path / "data"
    rsua_tree(root, per_class=4)
    first = ids("rsua", root)
    (index,) = (tmp_path / "cache/tfds/rsua").glob("*/*")
    # What a run that was killed leaves is a hidden folder beside it.
    index.rename(index.parent / f".{index.name}.0")
    assert ids("rsua", root) == first


def test_without_tensorflow_datasets_the_error_says_what_to_install(tmp_path, monkeypatch):
    rsua_tree(tmp_path / "data", per_class=4)
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    monkeypatch.setattr(_published, "builder_class", builder_class.__wrapped__)
    with pytest.raises(InputError, match="pip install tensorflow-datasets"):
        load_dataset("rsua", "train", root=tmp_path / "data", cache_dir=tmp_path / "cache")


def test_the_builders_are_known_to_tensorflow_datasets():
    import tensorflow_datasets as tfds

    for name, dataset in PUBLISHED.items():
        builder = builder_class(dataset)
        assert tfds.builder_cls(name) is builder
        assert dataset.instructions == builder.MANUAL_DOWNLOAD_INSTRUCTIONS
