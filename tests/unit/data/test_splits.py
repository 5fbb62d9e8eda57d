"""Splits: drawn the same everywhere, written once, read strictly."""

import hashlib

import pytest

from ddim_jax.data.splits import folder_split, read_split, seeded_order, seeded_split, write_split
from ddim_jax.runtime.errors import DataError


def count(split):
    names = list(split.values())
    return [names.count(name) for name in ("train", "val", "test")]


def test_the_order_is_that_of_the_digests():
    names = ["a", "b", "c", "d"]
    digests = {name: hashlib.sha256(f"7/{name}".encode()).hexdigest() for name in names}
    assert seeded_order(names, 7) == sorted(names, key=digests.get)
    assert seeded_order(reversed(names), 7) == seeded_order(names, 7)


@pytest.mark.parametrize(("n", "expected"), [(3, [1, 1, 1]), (9, [7, 1, 1]), (10, [8, 1, 1]), (19, [17, 1, 1]),
                                             (20, [16, 2, 2]), (566, [454, 56, 56])])  # fmt: skip
def test_eight_one_one(n, expected):
    names = [f"{number:04d}" for number in range(n)]
    split = seeded_split(names, 0)
    assert count(split) == expected
    assert split == seeded_split(names[::-1], 0)
    # Names that come later hardly move the others.
    more = seeded_split([*names, "another"], 0)
    assert sum(more[name] != split[name] for name in names) <= 4
    assert n < 20 or seeded_split(names, 1) != split


def test_groups_are_split_each():
    sizes = {"BLI": 70, "FICE": 70, "LCI": 60, "NBI": 146, "WLI": 3588}
    groups = {f"{group}/{number}": group for group, size in sizes.items() for number in range(size)}
    split = seeded_split(groups, 0, groups)
    assert count(split) == [3150, 392, 392]
    for group, size in sizes.items():
        assert count({name: split[name] for name in split if groups[name] == group})[1:] == [size // 10] * 2


def test_two_pairs_cannot_be_split():
    with pytest.raises(DataError, match=r"2 pairs cannot be split.*at least 3"):
        seeded_split(["a", "b"], 0)


def test_a_drawn_split_is_written_and_then_obeyed(tmp_path):
    root = tmp_path / "set"
    root.mkdir()
    names = [f"case {number}" for number in range(30)]
    drawn = folder_split(root, names, seed=1, cache_dir=tmp_path / "cache")
    assert drawn == seeded_split(names, 1)
    assert read_split(root / "splits.csv") == drawn
    # Another seed does not draw again: what was test stays test.
    assert folder_split(root, names, seed=2, cache_dir=tmp_path / "cache") == drawn
    assert not (tmp_path / "cache").exists()


def test_where_the_data_cannot_be_written_the_split_goes_to_the_cache(tmp_path, monkeypatch):
    root, cache = tmp_path / "set", tmp_path / "cache"
    root.mkdir()
    names = [str(number) for number in range(20)]
    from ddim_jax.data import splits

    def refuse(path, text, write=splits.write_text):
        if root in path.parents:
            raise PermissionError(13, "Permission denied")
        write(path, text)

    monkeypatch.setattr(splits, "write_text", refuse)
    drawn = folder_split(root, names, seed=1, cache_dir=cache)
    (written,) = (cache / "splits").iterdir()
    assert written.name.startswith("set-")
    assert read_split(written) == drawn
    assert folder_split(root, names, seed=2, cache_dir=cache) == drawn
    assert list(root.iterdir()) == []


def test_where_nothing_can_be_written_both_places_are_named(tmp_path, monkeypatch):
    from ddim_jax.data import splits

    def refuse(path, text):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(splits, "write_text", refuse)
    with pytest.raises(DataError, match=r"splits\.csv \(Permission denied\) nor to .*cache.*choose cache_dir"):
        folder_split(tmp_path, list("abc"), seed=0, cache_dir=tmp_path / "cache")


def test_tables_of_other_programs_are_read(tmp_path):
    path = tmp_path / "splits.csv"
    path.write_bytes("\ufeffSplit;Stem;note\r\ntraining;a 1;x\r\nValidation;b,2;\r\n\r\nTEST;c;y\r\n".encode())
    assert read_split(path) == {"a 1": "train", "b,2": "val", "c": "test"}


def test_names_with_commas_and_quotes_survive(tmp_path):
    split = {'a,"b"': "train", "ü c": "val", "plain": "test"}
    write_split(tmp_path / "splits.csv", split)
    assert read_split(tmp_path / "splits.csv") == split


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
        folder_split(tmp_path, ["a", "b", "new"], seed=0, cache_dir=tmp_path / "cache")
    message = str(error.value)
    assert "2 differences" in message
    assert "new has no line in it" in message
    assert "gone has a line, but there is no such pair" in message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"stem,split\nLungenfl\xfcgel,train\n", "byte 19 is not UTF-8"),
        ("stem,split\na,train\n".encode("utf-16"), "byte 0 is not UTF-8"),
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
    assert read_split(tmp_path / "splits.csv") == split
