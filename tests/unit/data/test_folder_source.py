"""Folders of images/ and masks/: what pairs up, what is read, and what is said when it does not."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from absl import logging
from loaded_arrays import load_arrays
from pair_files import mask, picture, save, save_pair, write_splits
from PIL import Image

from ddim_jax.data import Example, Subset, check_source, groups_of, load_dataset
from ddim_jax.data.datasets.folder import find_pairs
from ddim_jax.data.discovery import all_images, folders_below
from ddim_jax.imageio.images import count_pixels, read_image
from ddim_jax.imageio.listing import list_images
from ddim_jax.imageio.masks import mask_of_numbers
from ddim_jax.preprocessing import resize_image, resize_mask
from ddim_jax.registry import DATASETS, READERS, register
from ddim_jax.runtime.errors import ConfigError, DataError


@pytest.mark.parametrize(
    "suffix", ["", "_mask", "_Mask", "_segmentation", "_Segmentation", "_seg", "_label", "-mask", "_masks"]
)
def test_stems_and_their_suffixes(tmp_path, suffix):
    for number in range(4):
        save_pair(
            tmp_path / f"images/Case_{number}.png",
            tmp_path / f"masks/case_{number}{suffix}.BMP".replace("BMP", "bmp"),
            number,
        )
    write_splits(tmp_path, train=["Case_0", "Case_2"], val=["Case_1"], test=["Case_3"])
    source = load_dataset("folder", "train", root=tmp_path)
    assert (source.name, source.ids, len(source)) == (tmp_path.name, ("Case_0", "Case_2"), 2)
    example = source[1]
    assert example.id == "Case_2"
    np.testing.assert_array_equal(example.image, picture(2))
    np.testing.assert_array_equal(example.mask, mask(2) // 255)
    assert load_dataset("folder", "test", root=str(tmp_path)).ids == ("Case_3",)


def test_folders_in_folders_and_other_spellings(tmp_path):
    for number, name in enumerate(["a/1", "b/1", "b/deep/2"]):
        save_pair(tmp_path / f"Images/{name}.PNG", tmp_path / f"MASKS/{name}_seg.tif", number)
    write_splits(tmp_path, train=["a/1", "b/1", "b/deep/2"])
    (tmp_path / "Images/readme.txt").write_text("not an image")
    source = load_dataset("folder", "train", root=tmp_path)
    assert source.ids == ("a/1", "b/1", "b/deep/2")
    np.testing.assert_array_equal(source[2].image, picture(2))


def test_two_folders_of_one_name_are_refused(tmp_path):
    save_pair(tmp_path / "images/1.png", tmp_path / "masks/1.png")
    (tmp_path / "Images").mkdir(exist_ok=True)
    if len(list(tmp_path.iterdir())) == 2:
        pytest.skip("the file system knows one name for both")
    with pytest.raises(DataError, match="holds both Images and images; put all images into one"):
        load_dataset("folder", "train", root=tmp_path)


def test_an_image_called_mask_keeps_its_name(tmp_path):
    save_pair(tmp_path / "images/x_mask.png", tmp_path / "masks/x_mask.png", 1)
    save_pair(tmp_path / "images/x.png", tmp_path / "masks/x_seg.png", 2)
    write_splits(tmp_path, train=["x_mask", "x"])
    source = load_dataset("folder", "train", root=tmp_path)
    np.testing.assert_array_equal(source[source.ids.index("x_mask")].image, picture(1))
    np.testing.assert_array_equal(source[source.ids.index("x")].image, picture(2))


def test_without_a_table_the_split_is_drawn_once(tmp_path):
    for number in range(12):
        save_pair(tmp_path / f"images/{number}.png", tmp_path / f"masks/{number}.png", number)
    sources = {split: load_dataset("folder", split, root=tmp_path, seed=3) for split in ("train", "val", "test")}
    assert [len(source) for source in sources.values()] == [10, 1, 1]
    assert sorted(sum((source.ids for source in sources.values()), ())) == sorted(map(str, range(12)))
    assert load_dataset("folder", "val", root=tmp_path, seed=4).ids == sources["val"].ids


def test_an_empty_split_and_wrong_arguments(tmp_path):
    save_pair(tmp_path / "images/a.png", tmp_path / "masks/a.png")
    write_splits(tmp_path, train=["a"])
    with pytest.raises(DataError, match="no pair belongs to the split val"):
        load_dataset("folder", "val", root=tmp_path)
    with pytest.raises(ConfigError, match=r"data.name is 'lungs'; expected one of .*folder, isbi2016, phantom, polyp"):
        load_dataset("lungs", "train")
    with pytest.raises(ConfigError, match="Unknown split 'dev'; expected one of train, val, test"):
        load_dataset("phantom", "dev")
    for root in (None, ""):
        with pytest.raises(ConfigError, match=r"folder needs .*data\.root"):
            load_dataset("folder", "train", root=root)


def test_a_camera_turned_with_its_mask_drawn_upright(tmp_path):
    # The image is stored on its side with an EXIF tag; the mask was drawn on the upright image.
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "images").mkdir()
    Image.fromarray(np.rot90(picture(0), 1).copy()).save(tmp_path / "images/a.png", exif=exif)
    save(tmp_path / "masks/a.png", mask(0))
    write_splits(tmp_path, train=["a"])
    example = load_dataset("folder", "train", root=tmp_path)[0]
    np.testing.assert_array_equal(example.image, picture(0))
    assert example.mask.shape == (12, 10)


def test_names_that_are_no_text_are_told(tmp_path):
    """An archive made on Windows leaves such names: they could not be written into splits.csv."""
    for number, name in enumerate(["a", "b", "c", "gr\udcfcn"]):
        save_pair(tmp_path / f"images/{name}.png", tmp_path / f"masks/{name}.png", number)
    with pytest.raises(DataError, match=r"(?s)2 files .*images/gr\\xfcn[.]png: the name is not UTF-8"):
        load_dataset("folder", "train", root=tmp_path)
    assert not (tmp_path / "splits.csv").exists()


class Stripes:
    name = "stripes"

    def __init__(self, split, seed):
        self.ids = (f"{split}{seed}",)

    def __len__(self):
        return 1

    def __getitem__(self, row):
        return Example(self.ids[row], picture(row), mask(row) // 255)


def test_a_data_set_and_a_reader_of_another_package_are_found_by_name(tmp_path, monkeypatch):
    """A training finds them by `data.name`, and by the suffix of the files in a folder."""
    for registry in (DATASETS, READERS):
        monkeypatch.setattr(registry, "_entries", dict(registry.items()))

    @register.dataset("stripes")
    def load_stripes(split, options):
        return Stripes(split, options.seed)

    @register.reader("own")
    class OwnReader:
        suffixes = (".own",)

        @staticmethod
        def read_image(path, options):
            return np.repeat(np.load(path, allow_pickle=False)[..., None], 3, axis=-1)

        @staticmethod
        def read_mask(path, labels):
            return mask_of_numbers(np.load(path, allow_pickle=False), labels, name=str(path))

        @staticmethod
        def count_pixels(path):
            return np.load(path, mmap_mode="r", allow_pickle=False).size

    source = load_dataset("stripes", "val", seed=3)
    assert load_arrays(source, 8).ids == ("val3",)
    with pytest.raises(ValueError, match="registers a data set 'folder', and so did"):
        register.dataset("folder")(load_stripes)

    for number in range(3):
        for kind, values in (("images", picture(number)[..., 0]), ("masks", mask(number))):
            (tmp_path / kind).mkdir(exist_ok=True)
            with open(tmp_path / kind / f"{number}.own", "wb") as file:
                np.save(file, values)
    save_pair(tmp_path / "images/3.png", tmp_path / "masks/3.png", 3)
    write_splits(tmp_path, train=range(4))
    assert [path.name for path in list_images(tmp_path / "images")] == ["0.own", "1.own", "2.own", "3.png"]
    assert count_pixels(tmp_path / "images/0.own") == 120
    arrays = load_arrays(load_dataset("folder", "train", root=tmp_path), 12)
    grey = [picture(number)[..., 0] for number in range(3)]
    for number in range(3):
        wanted = np.repeat(grey[number][..., None], 3, axis=-1)
        np.testing.assert_array_equal(arrays.images[number], resize_image(wanted, (12, 12)))
        np.testing.assert_array_equal(arrays.masks[number], resize_mask(mask(number) // 255, (12, 12)))
    np.testing.assert_array_equal(arrays.images[3], resize_image(picture(3), (12, 12)))

    @register.reader("own_too")
    class Another(OwnReader):
        pass

    with pytest.raises(ConfigError, match=r"the readers own and own_too are both for files ending in \.own"):
        read_image(tmp_path / "images/0.own")


def test_slices_of_a_patient_are_in_one_split(tmp_path):
    for patient in range(6):
        for number in range(3):
            save_pair(tmp_path / f"images/p{patient}/{number}.png", tmp_path / f"masks/p{patient}/{number}.png", number)
    found = {split: load_dataset("folder", split, root=tmp_path).ids for split in ("train", "val", "test")}
    assert [len(names) for names in found.values()] == [12, 3, 3]
    patients = [{name[:2] for name in names} for names in found.values()]
    assert sum(map(len, patients)) == 6
    (tmp_path / "splits.csv").unlink()
    one_by_one = load_dataset("folder", "test", root=tmp_path, groups="none", read_only=True).ids
    assert len(one_by_one) == 1 and not (tmp_path / "splits.csv").exists()
    assert len(load_dataset("folder", "all", root=tmp_path)) == 18


def test_folders_called_after_splits_are_no_groups(tmp_path):
    for number, name in enumerate(("train/p1/a", "train/p1/b", "train/c", "val/d", "test/p2/e", "test/p2/f")):
        save_pair(tmp_path / f"images/{name}.png", tmp_path / f"masks/{name}.png", number)
    found = {split: load_dataset("folder", split, root=tmp_path) for split in ("train", "val", "test")}
    assert [source.groups for source in found.values()] == [("train/c", "p1", "p1"), ("val/d",), ("p2", "p2")]
    assert found["test"].ids == ("test/p2/e", "test/p2/f") and not (tmp_path / "splits.csv").exists()
    shutil.rmtree(tmp_path / "images/val")
    shutil.rmtree(tmp_path / "masks/val")
    with pytest.raises(DataError, match=r"no pair belongs to the split val \(by the folders below images/\); give it"):
        load_dataset("folder", "val", root=tmp_path)


@pytest.mark.parametrize("groups", ["folder", "none"])
def test_files_that_name_their_patient_are_grouped_by_it(tmp_path, monkeypatch, groups):
    names = {f"scan{number}": f"Doe^Jane{number % 5}" for number in range(10)}
    reader = READERS.get("pillow")
    monkeypatch.setattr(reader, "patient", staticmethod(lambda path: names[path.stem]), raising=False)
    for number, name in enumerate(names):
        save_pair(tmp_path / f"images/{name}.png", tmp_path / f"masks/{name}.png", number)
    about = {"root": tmp_path, "groups": groups}
    ids = {split: load_dataset("folder", split, **about).ids for split in ("train", "val", "test")}
    for split, found in ids.items():
        assert len(found) == 2 * len({names[name] for name in found}), split
    assert "Doe" not in (tmp_path / "splits.csv").read_text()


@pytest.mark.parametrize(("folds", "fold"), [(2, 0), (5, 5), (5, -1)])
def test_folds_that_cannot_be_are_refused(tmp_path, folds, fold):
    with pytest.raises(ConfigError, match=rf"data\.folds is {folds} and data\.fold {fold}"):
        load_dataset("folder", "train", root=tmp_path, folds=folds, fold=fold)


def test_phantoms_have_no_folder(tmp_path):
    with pytest.raises(ConfigError, match=r"data\.root is .*phantoms have no files; data\.name=folder"):
        load_dataset("phantom", "train", root=tmp_path)


def test_links_to_folders_above_are_followed_once(tmp_path):
    save(tmp_path / "real/images/a.png", picture(1))
    for name in ("one", "two", "three"):
        (tmp_path / "real" / name).symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "again").symlink_to(tmp_path / "real", target_is_directory=True)
    (tmp_path / "outside").mkdir()
    (tmp_path / "real/linked").symlink_to(tmp_path / "outside", target_is_directory=True)
    assert all_images(tmp_path) == [tmp_path / "real/images/a.png"]
    below = ["", "outside", "real", "real/images"]
    assert folders_below(tmp_path) == [tmp_path / name for name in below]
    # A folder outside is found through its link.
    save(tmp_path / "outside/b.png", picture(2))
    assert all_images(tmp_path / "real")[:2] == [tmp_path / "real/images/a.png", tmp_path / "real/linked/b.png"]


def test_damaged_jpeg_data_are_refused_by_name(tmp_path):
    for number in range(3):
        save_pair(tmp_path / f"images/{number}.png", tmp_path / f"masks/{number}.png", number)
        save(tmp_path / f"masks/{number}.png", mask(number, (64, 64)))
        (tmp_path / f"images/{number}.png").unlink()
        save(tmp_path / f"images/{number}.jpg", picture(number, (64, 64)))
    whole = (tmp_path / "images/1.jpg").read_bytes()
    (tmp_path / "images/1.jpg").write_bytes(whole[: len(whole) // 2] + bytes(400) + whole[len(whole) // 2 + 400 :])
    with pytest.raises(DataError, match=r"1 of 3 pairs .*\n.*images/1\.jpg: the file is damaged, and pixels behind"):
        check_source(load_dataset("folder", "all", root=tmp_path))
    (tmp_path / "images/1.jpg").write_bytes(whole)
    Image.fromarray(mask(2, (64, 64))).save(tmp_path / "masks/2.jpg")
    (tmp_path / "masks/2.png").unlink()
    content = (tmp_path / "masks/2.jpg").read_bytes()
    (tmp_path / "masks/2.jpg").write_bytes(content[: len(content) * 9 // 10])
    with pytest.raises(DataError, match=r"masks/2\.jpg: the file is damaged"):
        check_source(load_dataset("folder", "all", root=tmp_path))


def test_files_that_are_no_pictures_are_counted(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(logging, "warning", lambda text, *values: said.append(text % values))
    for number in range(3):
        save_pair(tmp_path / f"images/{number}.png", tmp_path / f"masks/{number}.png", number)
    for name in ("images/3.webp", "masks/3.webp", "images/README", "images/.DS_Store"):
        (tmp_path / name).write_bytes(b"x")
    assert len(find_pairs(tmp_path)) == len(find_pairs(tmp_path)) == 3
    assert said == [f"{tmp_path}: files of images/ and masks/ that are no images are passed over: no suffix 1, .webp 2"]


@pytest.mark.parametrize("split", ["all", "train"])
def test_the_groups_of_pairs_are_those_of_the_split(tmp_path, split):
    names = [f"{patient}/{number}" for patient in ("ann", "bob", "cy") for number in range(2)]
    for number, name in enumerate(names):
        save_pair(tmp_path / f"images/{name}.png", tmp_path / f"masks/{name}.png", number)
    source = load_dataset("folder", split, root=tmp_path)
    assert groups_of(source) == tuple(name.partition("/")[0] for name in source.ids)
    assert groups_of(Subset(source, [1])) == groups_of(source)[1:2]
    alone = load_dataset("folder", "all", root=tmp_path, groups="none")
    assert groups_of(alone) == alone.ids == groups_of(SimpleNamespace(ids=alone.ids))
