"""Folds of a cross-validation: every image tested once, patients and tables respected."""

import pytest
from test_splits import count, draw

from ddim_jax.data.options import DataOptions
from ddim_jax.data.splits import divide
from ddim_jax.data.tables import read_table
from ddim_jax.runtime.errors import DataError


@pytest.mark.parametrize("patients", [False, True])
def test_folds_test_every_pair_once_and_write_nothing(tmp_path, patients):
    ids = [f"{number // 3}/{number}" for number in range(33)]
    groups = {name: name.partition("/")[0] for name in ids} if patients else None
    splits = [draw(tmp_path, ids, groups=groups, folds=5, fold=fold) for fold in range(5)]
    for name in ids:
        assert sorted(split[name] for split in splits) == ["test", "train", "train", "train", "val"]
    for fold in range(5):
        test = {name for name in ids if splits[fold][name] == "test"}
        assert test == {name for name in ids if splits[fold - 1][name] == "val"}
        if patients:
            assert len({groups[name] for name in test}) in (2, 3)
            assert not {groups[n] for n in test} & {groups[n] for n in ids if n not in test}
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(DataError, match="2 images cannot be divided into 5 folds"):
        draw(tmp_path, ["a", "b"], folds=5)


def test_folds_leave_the_test_pictures_of_a_table_and_take_its_groups(tmp_path):
    ids = [str(number) for number in range(12)]
    lines = [f"{name},{'test' if name == '7' else 'train'},{int(name) // 2}" for name in ids if name != "6"]
    (tmp_path / "splits.csv").write_text("stem,split,group\n" + "\n".join(lines))
    splits = [draw(tmp_path, ids, folds=3, fold=fold) for fold in range(3)]
    for split in splits:
        assert split["7"] == "test" and count(split)[2] == 1
    assert all([split[name] for split in splits].count("val") == 1 for name in ids if name not in ("6", "7"))
    assert all(split["0"] == split["1"] for split in splits)
    (tmp_path / "splits.csv").write_text("stem,group\n" + "\n".join(f"{name},g{int(name) // 2}" for name in ids))
    split = draw(tmp_path, ids, folds=3, fold=1)
    assert count(split) == [4, 4, 4] and split["10"] == split["11"]
    with pytest.raises(DataError, match=r"no column split, which only data\.folds can do without"):
        draw(tmp_path, ids)


def test_folds_leave_out_what_a_table_leaves_out_and_keep_its_test_set(tmp_path, said):
    ids = [f"p{number // 2}/{number:02d}" for number in range(12)]
    groups = {name: name.partition("/")[0] for name in ids}
    lines = [f"{name},{'test' if number < 3 else 'train'}" for number, name in enumerate(ids[:9])]
    (tmp_path / "splits.csv").write_text("stem,split\n" + "\n".join(lines))
    for fold in range(3):
        split = draw(tmp_path, ids, groups=groups, folds=3, fold=fold)
        assert set(split) == set(ids[:9])
        assert {name for name in split if split[name] == "test"} == set(ids[:3])
    assert any(f"leaves out 3 of 12 pairs, which are not used: {', '.join(ids[9:])}" in line for line in said)
    assert any("1 of 5 groups of images" in line for line in said)  # p1, which the table divides


def test_the_folds_are_written_as_a_table_that_gives_the_same_splits_again(tmp_path):
    ids = [f"p{number // 2}/{number:02d}" for number in range(14)]
    groups = {name: name.partition("/")[0] for name in ids}
    (tmp_path / "splits.csv").write_text(
        "stem,split\n" + "".join(f"{name},train\n" for name in ids[2:]) + f"{ids[0]},test"
    )
    folds = []
    for fold in range(3):
        division = divide(DataOptions(tmp_path, cache_dir=tmp_path / "cache", folds=3, fold=fold), ids, groups)
        division.write(tmp_path / "folds.csv")
        header, *rows = read_table(tmp_path / "folds.csv")
        assert header == ["stem", "split", "group", "fold"]
        table = {row[0]: dict(zip(header[1:], row[1:], strict=True)) for row in rows}
        assert list(table) == [ids[0], *ids[2:]]  # what the user's table leaves out is in no fold
        assert table[ids[0]] == {"split": "test", "group": "p0", "fold": ""}
        assert {name for name in table if table[name]["split"] == "val"} == {
            name for name in table if table[name]["fold"] == str(fold)
        }
        folds.append({name: about["fold"] for name, about in table.items()})
        (tmp_path / "again").mkdir(exist_ok=True)
        (tmp_path / "again/splits.csv").write_bytes((tmp_path / "folds.csv").read_bytes())
        assert draw(tmp_path / "again", ids) == division.split
        for one in range(3):  # and the same folds, by any seed
            again = draw(tmp_path / "again", ids, seed=1, folds=3, fold=one)
            assert again == draw(tmp_path, ids, groups=groups, folds=3, fold=one)
    assert folds[0] == folds[1] == folds[2]
    for fold in "012":  # complete, and patients together
        members = {groups[name] for name, own in folds[0].items() if own == fold}
        assert len(members) == 2 and members.isdisjoint(
            groups[name] for name, own in folds[0].items() if own not in ("", fold)
        )


def write_table(folder, header, fold_of, **more):
    rows = [",".join([name, fold_of[name], *(column[name] for column in more.values())]) for name in fold_of]
    (folder / "splits.csv").write_text("\n".join([",".join([header, *more]), *rows]))


@pytest.mark.parametrize("with_split", [False, True])
def test_the_folds_of_a_table_are_the_folds(tmp_path, said, with_split):
    ids = [f"c{number:02d}" for number in range(13)]
    fold_of = {name: str(number // 4) for number, name in enumerate(ids[:12])}
    more = {"split": dict.fromkeys(ids, "train")} if with_split else {}
    write_table(tmp_path, "stem,fold", fold_of, **more, age=dict.fromkeys(ids, "50"))
    for fold in range(3):
        split = draw(tmp_path, ids, folds=3, fold=fold)
        assert {name for name in split if split[name] == "test"} == set(ids[4 * fold : 4 * fold + 4])
        assert {name for name in split if split[name] == "val"} == {
            name for name in fold_of if fold_of[name] == str((fold + 1) % 3)
        }
    assert any("the column age is not read" in line for line in said)
    assert any("leaves out 1 of 13 pairs, which are not used: c12" in line for line in said)
    if not with_split:
        with pytest.raises(
            DataError, match=r"a column fold and no column split, which only data\.folds can do without"
        ):
            draw(tmp_path, ids)


def test_test_pictures_without_a_fold_stay_the_test(tmp_path):
    ids = [str(number) for number in range(8)]
    fold_of = {name: str(int(name) % 3) if int(name) < 6 else "" for name in ids}
    split = {name: "train" if int(name) < 6 else "test" for name in ids}
    write_table(tmp_path, "stem,fold", fold_of, split=split)
    found = draw(tmp_path, ids, folds=3, fold=1)
    assert found == {name: "test" if int(name) > 5 else "val" if int(name) % 3 == 1 else "train" for name in ids}


@pytest.mark.parametrize(
    ("folds", "message"),
    [
        ("1 1 2 2 3 3", r"fit data\.folds=3; expected 0 to 2.*\n  4 has the fold '3'\n.*\n  no pair has the fold 0"),
        ("0 0 1 1 2", r"5 has the fold ''"),
        ("0 0 1 1 1 1", r"no pair has the fold 2"),
        ("a a b b c c", r"0 has the fold 'a'"),
        ("0 1 1 1 2 2", r"g0 is in fold 0 and in fold 1"),
    ],
)
def test_folds_of_a_table_that_do_not_fit_are_refused(tmp_path, folds, message):
    ids = [str(number) for number in range(6)]
    fold_of = dict(zip(ids, [*folds.split(" "), ""], strict=False))
    write_table(tmp_path, "stem,fold", fold_of, group={name: f"g{int(name) // 2}" for name in ids})
    with pytest.raises(DataError, match=message):
        draw(tmp_path, ids, folds=3, fold=0)


def test_a_drawn_table_with_columns_of_its_user_is_not_written_again(tmp_path):
    ids = [str(number) for number in range(12)]
    table = "stem,split,seed,hospital\n" + "".join(f"{name},{'val' if name == '1' else 'train'},0,A\n" for name in ids)
    (tmp_path / "splits.csv").write_text(table)
    assert set(draw(tmp_path, [*ids, "new"])) == {*ids, "new"}
    assert (tmp_path / "splits.csv").read_text() == table
