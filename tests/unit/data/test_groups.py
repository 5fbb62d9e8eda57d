"""The groups of pairs that a split keeps together, by what the files say, by folders and by volumes."""

from pathlib import Path

import numpy as np
import pytest
from clinic_files import WINDOW
from dicom_files import ct_slice
from pair_files import mask, save

from ddim_jax.data import load_dataset
from ddim_jax.data.groups import groups_of_pairs, patient_keys
from ddim_jax.data.sources import Pair, Volume
from ddim_jax.runtime.errors import DataError


def test_pairs_of_one_key_or_volume_are_one_group_and_so_are_theirs():
    keys = {
        "a/1": [("patient", "Ann"), ("folder", "a")],
        "a/2": [("folder", "a")],
        "b/1": [("folder", "b")],
        "b/2": [("patient", "Bea"), ("folder", "b")],
        "c/1": [("patient", "Cleo"), ("folder", "c")],
        "d/1": [("patient", "Dora"), ("folder", "d")],
        "d/2": [("patient", "Cleo"), ("folder", "d")],  # so c and d are of one patient, and Dora's other image
        "e/1": [("patient", "Dora"), ("folder", "e")],
        "f/1": [("folder", "f")],
        "g": [],
        "v#001": [],
        "v#002": [],
    }
    pairs = [Pair(name, Path("i"), Path("m"), volume=Volume("v", 2) if "v" in name else None) for name in keys]
    groups = groups_of_pairs(pairs, keys)
    assert groups == {
        "a/1": "patient of a/1",
        "a/2": "patient of a/1",
        "b/1": "patient of b/2",
        "b/2": "patient of b/2",
        "c/1": "patient of c/1",
        "d/1": "patient of c/1",
        "d/2": "patient of c/1",
        "e/1": "patient of c/1",
        "f/1": "f",
        "v#001": "v",
        "v#002": "v",
    }


def test_the_keys_of_a_patient_are_what_the_file_says_and_the_first_folder(tmp_path):
    scan = ct_slice(tmp_path / "x.dcm", np.zeros((4, 4)), patient=" P1 ")
    assert patient_keys("p7/deep/x", scan) == (("patient", "P1"), ("folder", "p7"))
    assert patient_keys("Training/p7/x", tmp_path / "x.png") == (("folder", "p7"),)
    assert patient_keys("Training/x", tmp_path / "x.png") == patient_keys("x", tmp_path / "x.png") == ()
    assert patient_keys("x", ct_slice(tmp_path / "y.dcm", np.zeros((4, 4)), patient="")) == ()


@pytest.mark.parametrize("identities", ["one a file", "some without"])
def test_the_images_of_a_folder_stay_together_whatever_their_files_say(root, identities):
    """An anonymiser gives each file an identity of its own, or removes some."""
    for patient in range(6):
        (root / f"images/p{patient}").mkdir()
        for number in range(4):
            own = f"ID{patient}{number}" if identities == "one a file" else f"ID{patient}" * bool(number)
            name, series = f"p{patient}/{number}", f"1.2.{patient}{number}.1"
            ct_slice(root / f"images/{name}.dcm", np.zeros((12, 10)), patient=own, series=series, **WINDOW)
            save(root / f"masks/{name}.png", mask(number))
    found = {split: load_dataset("folder", split, root=root) for split in ("train", "val", "test")}
    folders = {split: {name.partition("/")[0] for name in source.ids} for split, source in found.items()}
    assert [len(source) for source in found.values()] == [16, 4, 4]
    assert [len(own) for own in folders.values()] == [4, 1, 1] and len(set.union(*folders.values())) == 6
    first = int(identities == "some without")
    assert {own for source in found.values() for own in source.groups} == {f"patient of p{n}/{first}" for n in range(6)}
    assert "ID" not in (root / "splits.csv").read_text()
    (root / "splits.csv").unlink()
    apart = load_dataset("folder", "train", root=root, groups="none", read_only=True)
    assert len(set(apart.division.group.values())) == (24 if identities == "one a file" else 12)


def test_files_that_all_have_one_patient_are_refused_with_the_cause(root):
    for number in range(4):
        ct_slice(root / f"images/{number}.dcm", np.zeros((12, 10)), patient="ANON", series=f"1.2.{number}1", **WINDOW)
        save(root / f"masks/{number}.png", mask(number))
    with pytest.raises(DataError, match=r"4 pairs are of 1 group .* All files have one PatientID, as anon") as caught:
        load_dataset("folder", "train", root=root)
    assert "data.groups" not in str(caught.value) and "ANON" not in str(caught.value)
    (root / "splits.csv").write_text("stem,split\n0,train\n1,train\n2,val\n3,test\n")
    assert load_dataset("folder", "train", root=root).ids == ("0", "1")
    (root / "splits.csv").write_text("stem,fold\n0,0\n1,1\n2,2\n3,2\n")
    assert load_dataset("folder", "test", root=root, folds=3, fold=2).ids == ("2", "3")


@pytest.mark.parametrize("kind", ["two views", "an image without"])
def test_folders_that_share_patients_are_refused_with_the_setting_that_divides_them(root, kind):
    """AP/ and lateral/ of twelve patients; two folders with one patient, and images that name none."""
    for view in ("AP", "lateral"):
        (root / f"images/{view}").mkdir()
        for number in range(12):
            name, series = f"{view}/{number}", f"1.2.{number}.{len(view)}"
            if number and kind == "an image without":
                save(root / f"images/{name}.png", mask(number))
            else:
                scan = root / f"images/{name}.dcm"
                ct_slice(scan, np.zeros((12, 10)), patient=f"ID{number}", series=series, **WINDOW)
            save(root / f"masks/{name}.png", mask(number))
    with pytest.raises(DataError) as caught:
        load_dataset("folder", "train", root=root)
    assert str(caught.value).endswith(
        "a split needs at least 3. Files of one PatientID stay together, and so do the folders that they are in. Set "
        "data.groups=none if the folders are no patients, or write a splits.csv (stem,split; or stem,fold for "
        "data.folds)."
    )
    apart = load_dataset("folder", "train", root=root, groups="none").division
    assert len(set(apart.group.values())) == (12 if kind == "two views" else 23) and not apart.of_folders
