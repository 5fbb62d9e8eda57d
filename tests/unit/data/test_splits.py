"""Splits: drawn the same everywhere, written once, read strictly."""

import os
from pathlib import Path

import pytest

from ddim_jax.data.division import GROUPS
from ddim_jax.data.options import DataOptions
from ddim_jax.data.seeded import seeded_order, seeded_split
from ddim_jax.data.split_warnings import few_in_words
from ddim_jax.data.splits import divide
from ddim_jax.data.tables import read_split, write_split
from ddim_jax.runtime.errors import DataError
from ddim_jax.training import loop


def count(split):
    names = list(split.values())
    return [names.count(name) for name in ("train", "val", "test")]


def test_a_drawn_split_is_written_and_then_obeyed(tmp_path):
    root = tmp_path / "set"
    root.mkdir()
    names = [f"case {number}" for number in range(30)]
    drawn = draw(root, names, seed=1, cache_dir=tmp_path / "cache")
    assert drawn == seeded_split(names, 1)
    assert read_split(root / "splits.csv").split == drawn
    # Another seed does not draw again: what was test stays test.
    assert draw(root, names, seed=2, cache_dir=tmp_path / "cache") == drawn
    assert not (tmp_path / "cache").exists()


def test_where_the_data_cannot_be_written_the_split_goes_to_the_cache(tmp_path, monkeypatch):
    root, cache = tmp_path / "set", tmp_path / "cache"
    root.mkdir()
    names = [str(number) for number in range(20)]
    from ddim_jax.data import tables

    def refuse(path, text, write=tables.write_text):
        if root in Path(path).parents:
            raise PermissionError(13, "Permission denied")
        write(path, text)

    monkeypatch.setattr(tables, "write_text", refuse)
    drawn = draw(root, names, seed=1, cache_dir=cache)
    (written,) = (cache / "splits").iterdir()
    assert written.name.startswith("set-")
    assert read_split(written).split == drawn
    assert draw(root, names, seed=2, cache_dir=cache) == drawn
    assert list(root.iterdir()) == []


def test_where_nothing_can_be_written_both_places_are_named(tmp_path, monkeypatch):
    from ddim_jax.data import tables

    def refuse(path, text):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tables, "write_text", refuse)
    with pytest.raises(DataError, match=r"splits\.csv \(Permission denied\) nor to .*cache.*choose cache_dir"):
        draw(tmp_path, list("abc"), seed=0, cache_dir=tmp_path / "cache")


def test_tables_of_other_programs_are_read(tmp_path):
    path = tmp_path / "splits.csv"
    path.write_bytes("\ufeffSplit;Stem;note\r\ntraining;a 1;x\r\nValidation;b,2;\r\n\r\nTEST;c;y\r\n".encode())
    assert read_split(path).split == {"a 1": "train", "b,2": "val", "c": "test"}


def test_names_with_commas_and_quotes_survive(tmp_path):
    split = {'a,"b"': "train", "ü c": "val", "plain": "test"}
    write_split(tmp_path / "splits.csv", split)
    assert read_split(tmp_path / "splits.csv").split == split


def test_lines_that_cannot_be_used_are_named(tmp_path):
    path = tmp_path / "splits.csv"
    path.write_text("stem,split\na,train\nb,dev\na,test\n,val\n")
    with pytest.raises(DataError) as error:
        read_split(path)
    message = str(error.value)
    assert "splits.csv has 3 lines" in message
    assert "line 3: stem 'b', split 'dev'" in message
    assert "line 4: a appears a second time" in message
    assert "line 5: stem ''" in message
    path.write_text("name,part\na,train\n")
    with pytest.raises(DataError, match=r"first line is name, part; expected the columns stem and split"):
        read_split(path)
    path.write_text("")
    with pytest.raises(DataError, match="first line is empty"):
        read_split(path)


def test_a_table_that_does_not_fit_is_refused_with_names(tmp_path):
    (tmp_path / "splits.csv").write_text("stem,split\na,train\nb.png,val\ngone,test\n")
    with pytest.raises(DataError) as error:
        draw(tmp_path, ["a", "b", "new"], seed=0, cache_dir=tmp_path / "cache")
    message = str(error.value)
    assert "(1 difference; " in message
    assert "gone has a line, but there is no such pair" in message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"stem,split\nLungenfl\xfcgel,train\n", "byte 19 is not UTF-8"),
        (b'stem,split\n"' + b"a" * 200_000, "not a table .*field larger than"),
    ],
)
def test_a_file_that_is_no_table_is_named(tmp_path, content, message):
    (tmp_path / "splits.csv").write_bytes(content)
    with pytest.raises(DataError, match=rf"splits\.csv.*{message}"):
        read_split(tmp_path / "splits.csv")


def test_a_table_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(DataError, match=r"splits\.csv: cannot be read \(No such file"):
        read_split(tmp_path / "splits.csv")


def test_names_with_line_separators_come_back(tmp_path):
    split = {"a\u2028b": "train", "c\x85d": "val", "e\nf": "test", 'g\r"h': "train"}
    write_split(tmp_path / "splits.csv", split)
    assert read_split(tmp_path / "splits.csv").split == split


def draw(root, ids, groups=None, apart=None, **options):
    return divide(DataOptions(root, **{"cache_dir": root / "cache", **options}), ids, groups, apart).split


def test_patients_stay_together(tmp_path, said):
    ids = [f"patient{patient:02d}/{number}" for patient in range(12) for number in range(4)]
    groups = {name: name.partition("/")[0] for name in ids}
    split = draw(tmp_path, ids, groups=groups)
    by_patient = seeded_split(set(groups.values()), 0)
    assert split == {name: by_patient[groups[name]] for name in ids}
    assert count(split) == [40, 4, 4]
    assert said[-1].endswith("40 train, 4 val, 4 test; 12 groups of pairs: 10 train, 1 val, 1 test")
    assert read_split(tmp_path / "splits.csv")[:3] == (split, groups, 0)
    assert draw(tmp_path, ids, groups=groups, seed=5) == split


def test_a_table_that_tears_a_group_is_refused_and_one_without_groups_is_told(tmp_path, said):
    ids = ["p1/a", "p1/b", "p2/a", "p3/a"]
    lines = ["stem,split,group", "p1/a,train,one", "p1/b,test,one", "p2/a,val,two", "p3/a,train,"]
    (tmp_path / "splits.csv").write_text("\n".join(lines))
    with pytest.raises(DataError, match=r"1 group is in several splits.*\n.*one is in test and in train"):
        draw(tmp_path, ids)
    (tmp_path / "splits.csv").write_text("\n".join(line.rpartition(",")[0] for line in lines))
    split = draw(tmp_path, ids, groups={name: name[:2] for name in ids})
    assert split == dict(zip(ids, ["train", "test", "val", "train"], strict=True))
    assert any(f"1 of 3 {GROUPS} have images in more than one split" in line for line in said)


def test_too_few_folders_for_patients_are_refused_with_the_option(tmp_path):
    ids = [f"{name}/{number}" for name in ("benign", "malignant") for number in range(9)]
    with pytest.raises(DataError, match=r"the 18 pairs are of 2 groups .* data\.groups=none"):
        draw(tmp_path, ids, groups={name: name.partition("/")[0] for name in ids}, apart={})
    assert draw(tmp_path, ids) == seeded_split(ids, 0)


def test_pictures_that_come_later_join_a_drawn_split_by_its_order(tmp_path, said):
    ids = [f"{number:03d}" for number in range(40)]
    before = draw(tmp_path, ids)
    more = [f"new{number:03d}" for number in range(40)]
    read_only = draw(tmp_path, [*ids, *more], read_only=True)
    assert read_split(tmp_path / "splits.csv").split == before
    after = draw(tmp_path, [*ids, *more])
    assert after == read_only and {name: after[name] for name in ids} == before
    order = seeded_order([*ids, *more], 0)
    for name in more:  # the split of the next one that was there
        following = [other for other in order[order.index(name) :] if other in before]
        assert after[name] == (before[following[0]] if following else "train")
    assert count(after)[0] < 80 and any("40 pairs came to" in line for line in said)
    assert any("40 pairs added to" in line for line in said)
    assert read_split(tmp_path / "splits.csv")[:3] == (after, {}, 0)
    assert draw(tmp_path, [*ids, *more]) == after


def test_a_split_is_kept_later_unless_another_was_written_meanwhile(tmp_path, said):
    ids = [f"{number:03d}" for number in range(40)]
    about = DataOptions(tmp_path, cache_dir=tmp_path / "cache", read_only=True)
    first, second = divide(about, ids), divide(about._replace(seed=1), ids)
    assert list(tmp_path.iterdir()) == []
    first.keep()
    first.keep()
    assert read_split(tmp_path / "splits.csv").split == first.split
    with pytest.raises(
        DataError, match=r"splits\.csv: another split was written there meanwhile; start the same command"
    ):
        second.keep()
    assert sum("is written to" in line for line in said) == 1
    later = divide(about, [*ids, "x"])
    later.keep()
    assert read_split(tmp_path / "splits.csv").split == later.split and "x" in later.split


def test_few_pictures_or_patients_in_a_split_are_told_of(tmp_path):
    about = DataOptions(tmp_path, cache_dir=tmp_path / "cache", read_only=True)
    numbers, what = divide(about, [str(number) for number in range(16)]).numbers()
    assert (numbers, what) == ({"train": 14, "val": 1, "test": 1}, "images")
    told = few_in_words(numbers, what)
    assert told.startswith("1 val and 1 test of 16 images: the Dice of fewer than 9 says little, and which step is")
    assert "; label more, or train with data.folds=5" in told
    assert few_in_words(numbers, advise_folds=False).endswith("label more")
    assert few_in_words({"train": 80, "val": 9, "test": 8}).startswith("8 test of 97 images: the Dice of fewer")
    assert few_in_words({"train": 80, "val": 9, "test": 9}) == few_in_words({"train": 3, "val": 0, "test": 9}) == ""
    # Ten slices each of twelve volumes are twelve, not a hundred and twenty.
    groups = {f"v{volume}#{number}": f"v{volume}" for volume in range(12) for number in range(10)}
    numbers, what = divide(about, list(groups), groups).numbers()
    assert numbers == {"train": 10, "val": 1, "test": 1} and what.startswith("groups of images")


def test_a_new_picture_of_a_known_patient_goes_to_its_split(tmp_path):
    groups = {f"p{patient:02d}/{number}": f"p{patient:02d}" for patient in range(10) for number in range(2)}
    before = draw(tmp_path, list(groups), groups=groups)
    groups |= {f"p{patient:02d}/new": f"p{patient:02d}" for patient in range(10)}
    after = draw(tmp_path, list(groups), groups=groups)
    assert all(after[f"p{patient:02d}/new"] == before[f"p{patient:02d}/0"] for patient in range(10))


EXCEL = {
    "sep": "sep=;\r\nStem;Split\r\na;Train\r\nB.PNG;val\r\nc d;TEST\r\n",
    "tabs": "stem\tsplit\r\nA\ttrain\r\nb\tvalidation\r\nc d\ttest\r\n",
    "semicolons": "\ufeffsplit;note;STEM\r\ntrain;x,y;a\r\nval;;b\r\ntest;;C D\r\n",
    "blank lines": "\r\n\r\nstem,split\r\n,\r\na,train\r\n b ,val\r\nc d,test\r\n,,\r\n",
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("kind", EXCEL)
def test_tables_that_spreadsheets_save(tmp_path, kind, encoding):
    (tmp_path / "splits.csv").write_bytes(EXCEL[kind].lstrip("\ufeff" if encoding == "utf-16" else "").encode(encoding))
    assert draw(tmp_path, ["a", "b", "c d"]) == {"a": "train", "b": "val", "c d": "test"}


def test_pictures_left_out_of_a_table_are_said_and_not_used(tmp_path, said):
    (tmp_path / "splits.csv").write_text("stem,split\na,train\nb,val\nc,test\n")
    assert draw(tmp_path, ["a", "b", "c", "d", "e"]) == {"a": "train", "b": "val", "c": "test"}
    assert f"{tmp_path}/splits.csv leaves out 2 of 5 pairs, which are not used: d, e" in said


@pytest.mark.parametrize("kind", ["link", "folder", "fifo"])
def test_a_table_whose_disk_is_away_is_refused_and_never_drawn_anew(tmp_path, kind):
    table, ids = tmp_path / "splits.csv", list("abcdef")
    if kind == "link":
        table.symlink_to(tmp_path / "away/splits.csv")
    elif kind == "fifo":
        os.mkfifo(table)
    else:
        table.mkdir()
    with pytest.raises(DataError, match=r"splits\.csv is .*Bring it back, or remove it"):
        draw(tmp_path, ids)
    assert os.path.lexists(table) and not table.is_file() and not (tmp_path / "cache").exists()


def test_what_is_added_to_a_linked_table_goes_to_the_table(tmp_path):
    ids = [str(number) for number in range(12)]
    draw(tmp_path, ids)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "splits.csv").rename(tmp_path / "elsewhere/table.csv")
    (tmp_path / "splits.csv").symlink_to("elsewhere/table.csv")
    split = draw(tmp_path, [*ids, "new"])
    assert (tmp_path / "splits.csv").is_symlink() and read_split(tmp_path / "elsewhere/table.csv").split == split


@pytest.mark.parametrize("names", [["a ", " b", " c "], ["a", "a ", " a"], ["a\t", "b;c", "d\u00a0"]])
def test_names_with_blanks_at_their_ends_come_back(tmp_path, names):
    split = draw(tmp_path, names)
    assert draw(tmp_path, names, seed=9) == split
    assert read_split(tmp_path / "splits.csv").split == split


def test_names_compare_composed(tmp_path):
    (tmp_path / "splits.csv").write_text("stem,split\nM\u00fcller,train\nb,val\nc,test\n".replace("\u00fc", "u\u0308"))
    assert draw(tmp_path, ["M\u00fcller", "b", "c"])["M\u00fcller"] == "train"
    (tmp_path / "splits.csv").write_text("stem,split\nM\u00fcller,train\nMu\u0308ller,val\n")
    with pytest.raises(DataError, match=r"line 3: .* appears a second time"):
        draw(tmp_path, ["M\u00fcller"])


def test_a_second_training_of_one_process_logs_its_split_too(tmp_path, said, monkeypatch):
    ids = [f"{number:03d}" for number in range(40)]
    about = DataOptions(tmp_path, cache_dir=tmp_path / "cache", read_only=True)
    monkeypatch.setattr(loop, "resolve_config", lambda config: config)
    monkeypatch.setattr(loop, "_train", lambda *_: [divide(about, ids) for _ in ("train", "val")])
    for number in (1, 2):
        loop.train({}, tmp_path / f"run{number}")
        assert sum(line.startswith(f"Split of {tmp_path} (") for line in said) == number
