"""The rule that a split is made by: folders called after splits, tables by whole volumes, a draw that was another."""

import pytest
from absl import logging
from test_splits import count, draw

from ddim_jax.data.division import GROUPS
from ddim_jax.data.options import DataOptions
from ddim_jax.data.split_warnings import few_in_words, numbered_in_words
from ddim_jax.data.splits import divide
from ddim_jax.data.tables import write_split
from ddim_jax.runtime.errors import DataError
from ddim_jax.runtime.once import say_once


def divided(root, ids, of_pair=None, apart=None, **options):
    options = {"cache_dir": root / "cache", "read_only": True, **options}
    return divide(DataOptions(root, **options), ids, of_pair, apart)


def test_folders_called_after_splits_are_the_split(tmp_path, said):
    parts = {"train": 20, "Validation": 5, "test": 5}
    ids = [f"{part}/c{number:02d}" for part, many in parts.items() for number in range(many)]
    division = divided(tmp_path, ids, read_only=False, groups="none", seed=3)
    assert division.rule == "by the folders below images/" and list(tmp_path.iterdir()) == []
    assert division.split == {name: name.partition("/")[0].lower().replace("validation", "val") for name in ids}
    assert f"Split of {tmp_path} (by the folders below images/): 20 train, 5 val, 5 test" in said
    folds = [divided(tmp_path, ids, folds=3, fold=fold).split for fold in range(3)]
    assert all({name for name in split if split[name] == "test"} == set(ids[25:]) for split in folds)
    assert count(divided(tmp_path, [name for name in ids if "Val" not in name]).split) == [20, 0, 5]
    # One such folder alone says nothing, and a table goes before.
    assert count(divided(tmp_path, ids[:20]).split) == [16, 2, 2]
    (tmp_path / "splits.csv").write_text("stem,split\n" + "".join(f"{name},train\n" for name in ids))
    assert count(divided(tmp_path, ids).split) == [30, 0, 0]


@pytest.mark.parametrize("other", ["dev/x", "x"])
def test_a_test_folder_beside_others_is_never_trained_on(tmp_path, other):
    ids = [*(f"train/{number}" for number in range(12)), "test/a", other]
    with pytest.raises(DataError) as caught:
        divided(tmp_path, ids)
    assert "images/test is called after a split, and other images are in no such folder, such as " in str(caught.value)
    assert f"{other}. Move all" in str(caught.value) and str(caught.value).endswith("then test/a,test and so on")
    lines = [f"{name},{'test' if name == 'test/a' else 'train'}" for name in ids]
    (tmp_path / "splits.csv").write_text("stem,split\n" + "\n".join(lines))
    assert count(divided(tmp_path, ids).split) == [13, 0, 1]


def test_images_of_a_training_set_and_a_test_set_are_not_drawn_together(tmp_path):
    ids = [f"{part}/c{number:02d}" for part in ("Training", "Testing") for number in range(12)]
    assert count(divided(tmp_path, ids).split) == [12, 0, 12]
    with pytest.raises(DataError, match=r"images/train is called after a split, .*, such as holdout/a\."):
        divided(tmp_path, ["train/a", "train/b", "holdout/a"])


def test_images_that_come_in_a_folder_called_after_a_split_do_not_join_a_drawn_one(tmp_path):
    ids = [f"c{number:02d}" for number in range(30)]
    draw(tmp_path, ids, seed=0)
    for folds in (0, 3):
        with pytest.raises(DataError, match=r"2 pairs came since .*splits\.csv was drawn in a .*, such as test/a, and"):
            divided(tmp_path, [*ids, "test/a", "test/b"], folds=folds)
    assert count(divided(tmp_path, [*ids, "train/a"]).split) == [25, 3, 3]


def test_tables_of_an_earlier_version_that_divide_a_volume_or_folders_called_after_splits_are_refused(tmp_path):
    volumes = {f"A/v{number // 3}#{number:03d}": f"A/v{number // 3}" for number in range(24)}
    draw(tmp_path, list(volumes), seed=0)  # slice by slice
    with pytest.raises(DataError, match=r"of one group \(.*\) in several splits, and data\.groups=none keeps"):
        divided(tmp_path, list(volumes), volumes, groups="none").check_drawn()
    (tmp_path / "splits.csv").unlink()
    ids = [f"{part}/c{number:02d}" for part in ("train", "val", "test") for number in range(9)]
    write_split(tmp_path / "splits.csv", dict.fromkeys(ids[:9], "val") | dict.fromkeys(ids[9:], "train"), None, 0)
    with pytest.raises(DataError, match="was drawn of images in folders called after splits, which are the"):
        divided(tmp_path, ids).check_drawn()


def test_a_table_that_was_drawn_otherwise_than_is_asked_for_is_refused_by_what_checks_it(tmp_path):
    ids = [f"p{number // 3}/{number:02d}" for number in range(36)]
    folders = {name: name.partition("/")[0] for name in ids}
    drawn = draw(tmp_path, ids, groups=folders, seed=5)
    same = divided(tmp_path, [*ids, "p1/new", "p99/new"], {**folders, "p1/new": "p1", "p99/new": "p99"}, seed=5)
    same.check_drawn()
    other = divided(tmp_path, ids, folders, seed=6)
    assert other.split == drawn
    with pytest.raises(DataError, match=r"splits\.csv: was drawn by seed 5, and data\.split_seed is 6\. .* remove the"):
        other.check_drawn()
    with pytest.raises(
        DataError, match=r"together, and data\.groups=none keeps those of a folder apart\. Ask for the same, or remove"
    ):
        divided(tmp_path, ids, seed=5, groups="none").check_drawn()
    # The folds are drawn anew, and by the groups that are asked for.
    apart = divided(tmp_path, ids, seed=6, groups="none", folds=24)
    apart.check_drawn()
    assert len(set(apart.fold.values())) == 24
    with pytest.raises(
        DataError, match=r"12 groups of pairs .* 24 folds .*\. Set data\.groups=none if the folders are"
    ):
        divided(tmp_path, ids, folders, {}, folds=24)
    (tmp_path / "splits.csv").unlink()
    draw(tmp_path, ids, seed=5)
    divided(tmp_path, ids, seed=5, groups="none").check_drawn()
    with pytest.raises(DataError, match=r"in several splits, and data\.groups=folder keeps them together"):
        divided(tmp_path, ids, folders, seed=5).check_drawn()
    table = (tmp_path / "splits.csv").read_text()  # somebody's own table is as it is
    (tmp_path / "splits.csv").write_text("\n".join(line.rpartition(",")[0] for line in table.splitlines()))
    divided(tmp_path, ids, folders, seed=6).check_drawn()


def test_a_line_with_the_name_of_a_volume_or_a_folder_stands_for_all_of_its_pairs(tmp_path):
    ids = [f"v{volume}#{number:03d}" for volume in range(2) for number in (1, 2, 3)]
    ids += ["p/1", "p/2", "q/w#001", "q/w#002", "alone"]
    table = "stem,split,group\nv0.nii.gz,train,a\nV1,val,b\np,test,c\nq/w,train,a\nalone,train,d\n"
    (tmp_path / "splits.csv").write_text(table)
    division = divided(tmp_path, ids)
    splits = [*["train"] * 3, *["val"] * 3, "test", "test", *["train"] * 3]
    assert division.split == dict(zip(ids, splits, strict=True))
    assert division.group == dict(zip(ids, "aaabbbccaad", strict=True))
    (tmp_path / "splits.csv").write_text(table + "v1#002,test,b\nv2,train,e\n")
    with pytest.raises(DataError) as caught:
        divided(tmp_path, ids)
    message = str(caught.value)
    assert "whose pairs are called such as v0#001 (2 differences; " in message
    assert "v1#002 and V1 are both lines of v1#002" in message and "v2 has a line, but there is no such" in message


def test_a_table_in_another_case_is_read_and_what_is_like_one_is_named(tmp_path, monkeypatch):
    lines = []
    monkeypatch.setattr(logging, "warning", lambda text, *values: lines.append(text % values))
    ids = [f"{number:02d}" for number in range(12)]
    for name in ("Split.CSV", "train.txt", "splits.xlsx", "notes.txt", "values.md"):
        (tmp_path / name).write_text("00")
    assert divided(tmp_path, ids).rule == "drawn by seed 0"
    assert lines == [
        f"{tmp_path}: not read: Split.CSV, splits.xlsx, train.txt; a split is read from splits.csv alone, with the "
        "columns stem and split"
    ]
    (tmp_path / "Splits.csv").write_text("stem,split\n" + "".join(f"{name},train\n" for name in ids))
    division = divided(tmp_path, ids)
    assert (division.rule, count(division.split), len(lines)) == ("by Splits.csv", [12, 0, 0], 1)


def test_groups_that_a_table_divides_are_not_counted_as_several(tmp_path, said):
    ids = [f"p{number // 6}/{number:02d}" for number in range(12)]
    splits = ["train", "train", "train", "val", "test", "test"] * 2
    table = "".join(map("{},{}\n".format, ids, splits))
    (tmp_path / "splits.csv").write_text("stem,split\n" + table)
    division = divided(tmp_path, ids, {name: name[:2] for name in ids})
    assert division.numbers() == ({"train": 6, "val": 2, "test": 4}, "images")
    assert any(
        f"2 of 2 {GROUPS} have images in more than one split: the test images are not new" in one for one in said
    )
    assert said[-1].endswith(": 6 train, 2 val, 4 test")


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ("Patient_ID", "the column patient_id is not read. Rename the column patient_id to group, so that"),
        ("age,subject", "the columns age, subject are not read. Rename the column subject to group, so that"),
        ("patient_sex,Patient ID", "patient_sex, patient id are not read. Rename the column patient id to group"),
        ("patient_age", "the column patient_age is not read"),
        ("group,patient", "the column patient is not read"),
    ],
)
def test_a_column_of_patients_that_is_not_read_is_told_how_it_would_be(tmp_path, said, more, told):
    ids = ["a", "b", "c", "d"]
    parts, rest = ["train", "train", "val", "test"], more.count(",")
    lines = [f"{name},{part},{name}" + f",{name}" * rest for name, part in zip(ids, parts, strict=True)]
    (tmp_path / "splits.csv").write_text("\n".join([f"stem,split,{more}", *lines]))
    divided(tmp_path, ids)
    (line,) = [line for line in said if "not read" in line]
    assert told in line and ("Rename" in line) == ("Rename" in told)


def test_no_more_folds_are_advised_than_there_are_groups():
    few = few_in_words({"train": 2, "val": 1, "test": 1}, GROUPS, of_folders=True)
    assert few.endswith("label more, set data.groups=none if the folders are no patients, or train with data.folds=3, "
                        "whose runs test each image once")  # fmt: skip
    few = few_in_words({"train": 1, "val": 1, "test": 1}, GROUPS, of_folders=True)
    assert few.endswith("none if the folders are no patients")
    assert few_in_words({"train": 1, "val": 1, "test": 1}, GROUPS).endswith("; label more")
    assert "data.folds=5" in few_in_words({"train": 4, "val": 1, "test": 1}) and "groups" not in few_in_words(
        {"val": 1}
    )


FLAT = [f"patient{patient:02d}_slice{number}" for patient in range(6) for number in range(5)]
SILENT = {
    "numbered throughout": [f"img_{number}" for number in range(100)],
    "two classes": [f"{name} ({number})" for name in ("benign", "malignant") for number in range(9)],
    "a number of another kind": [f"CHNCXR_{number:04d}_{number % 2}" for number in range(30)],
    "few of many": [*FLAT[:15], *(f"scan {'abcdefghijklmnop'[number]}" for number in range(16))],
    "classes in folders": [f"{name}/{number}" for name in "abcd" for number in range(5)],
}


def test_names_of_slices_that_are_divided_one_by_one_are_warned_of_once(tmp_path, said, monkeypatch):
    for folds in (0, 3):
        divided(tmp_path, FLAT, folds=folds)
    told = [line for line in said if "last number alone" in line]
    assert told == [
        f"{tmp_path}: most names differ from others by their last number alone, such as patient00_slice0 and "
        "patient00_slice1, and are divided one by one: if these are of one patient, put each patient's images into a "
        "folder, or write a splits.csv with a column group"
    ]
    say_once.cache_clear()
    divided(tmp_path, FLAT, {name: name[:9] for name in FLAT})  # they are kept together
    (tmp_path / "splits.csv").write_text("stem,split\n" + "".join(f"{name},train\n" for name in FLAT))
    divided(tmp_path, FLAT)  # and that is somebody's own split
    assert sum("last number alone" in line for line in said) == 1


@pytest.mark.parametrize("names", SILENT.values(), ids=SILENT)
def test_names_that_say_nothing_of_patients_are_not_warned_of(names):
    assert numbered_in_words(names) == ""


def test_the_way_out_of_too_few_groups_is_one_that_helps(tmp_path):
    """data.groups=none alone divides folders, and nothing else."""
    volumes = {f"v{number // 6}#{number:03d}": f"v{number // 6}" for number in range(12)}
    folders = {f"a/{number}": "a" for number in range(12)}
    one = {f"x{number:02d}": "patient of x00" for number in range(12)}
    across = {f"p{number}/x": "patient of p0/x" for number in range(12)}
    several = {f"x{number:02d}": f"patient of x{number // 6}" for number in range(12)}
    table = "rite a splits.csv (stem,split; or stem,fold for data.folds)."
    anonymised = f"All files have one PatientID, as anonymised ones may. W{table}"
    none = f"Set data.groups=none if the folders are no patients, or w{table}"
    together = "Files of one PatientID stay together, "
    for groups, apart, way in (
        (volumes, volumes, f"W{table}"),
        (folders, {}, none),
        (one, one, anonymised),
        (across, across, anonymised),
        (across, across | {"p1/x": "p1/x"}, f"{together}and so do the folders that they are in. {none}"),
        (several, several, f"{together}which anonymised ones may share. W{table}"),
    ):
        count = len(set(groups.values()))
        with pytest.raises(DataError) as split:
            divided(tmp_path, list(groups), groups, apart)
        assert f"are of {count} group{'s' * (count > 1)} (folders" in str(split.value)
        assert str(split.value).endswith(f"a split needs at least 3. {way}")
        with pytest.raises(DataError) as folds:
            divided(tmp_path, list(groups), groups, apart, folds=3)
        named = f"{count} group{'s' * (count > 1)} of pairs cannot be divided into 3 folds (data.folds). {way}"
        assert str(folds.value) == named
    with pytest.raises(DataError) as split:
        divided(tmp_path, list(one), one, groups="none")
    assert str(split.value).endswith(anonymised)
    (tmp_path / "splits.csv").write_text("stem,group\n" + "".join(f"{name},g\n" for name in folders))
    with pytest.raises(DataError, match=r"1 group of pairs .*\. The groups are those of .*splits\.csv\.$"):
        divided(tmp_path, list(folders), folders, folds=3)


@pytest.mark.parametrize("header", ["stem,split", "stem,group", "stem,fold\n\n,"])
def test_a_table_of_a_header_alone_is_told_its_rows(tmp_path, header):
    (tmp_path / "splits.csv").write_text(f"{header}\n")
    told = r"splits\.csv has a header and no rows; expected one row for each image, the first for b, or no file: then"
    with pytest.raises(DataError, match=told):
        divided(tmp_path, ["b", "c", "d"])
