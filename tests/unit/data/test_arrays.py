"""Pairs read into arrays: once, checked, at one size, and all that is wrong with them said at once."""

import numpy as np
import pytest
from loaded_arrays import load_arrays
from pair_files import mask, picture, save, save_pair, write_splits

from ddim_jax.data import Example, Selection, check_source, load_dataset, load_selections
from ddim_jax.labels import Labels
from ddim_jax.preprocessing import resize_image, resize_mask
from ddim_jax.registry import DATASETS
from ddim_jax.runtime.errors import ConfigError, DataError


def test_arrays_hold_the_resized_pairs(tmp_path):
    for number in range(5):
        save_pair(tmp_path / f"images/{number}.png", tmp_path / f"masks/{number}.png", number)
    write_splits(tmp_path, train=[0, 1, 2, 3, 4])
    source = load_dataset("folder", "train", root=tmp_path)
    arrays = load_arrays(source, 8)
    assert arrays.ids == source.ids
    assert (arrays.images.dtype, arrays.masks.dtype) == (np.uint8, np.uint8)
    for number in range(5):
        np.testing.assert_array_equal(arrays.images[number], resize_image(picture(number), (8, 8)))
        np.testing.assert_array_equal(arrays.masks[number], resize_mask(mask(number) // 255, (8, 8)))
    check_source(source)


@pytest.mark.parametrize("use", [check_source, lambda source: load_arrays(source, 8)], ids=["check", "load"])
def test_everything_wrong_with_the_files_is_said_at_once(tmp_path, use):
    for number in range(6):
        save_pair(tmp_path / f"images/{number}.png", tmp_path / f"masks/{number}.png", number)
    write_splits(tmp_path, train=range(6))
    (tmp_path / "images/1.png").write_bytes(b"")
    (tmp_path / "masks/2.png").write_bytes((tmp_path / "masks/2.png").read_bytes()[:50])
    save(tmp_path / "masks/3.png", mask(3, (9, 10)))
    save(tmp_path / "masks/4.png", np.kron(np.array([[0, 100, 255]], np.uint8), np.ones((12, 10), np.uint8))[:, 10:20])
    three = np.zeros((12, 10), np.uint8)
    three[:4], three[4:8] = 128, 255
    save(tmp_path / "masks/4.png", three)
    with pytest.raises(DataError) as error:
        use(load_dataset("folder", "train", root=tmp_path))
    lines = str(error.value).splitlines()
    assert lines[0] == f"4 of 6 pairs of {tmp_path.name} cannot be used:"
    assert "images/1.png: the file is empty" in lines[1]
    assert "masks/2.png" in lines[2]
    assert "images/3.png is 10 x 12 pixels, its mask" in lines[3] and "masks/3.png is 10 x 9" in lines[3]
    assert "masks/4.png: is a label map, it holds the values 0 (40 pixels), 128 (40 pixels), 255 (40" in lines[4]


@pytest.mark.parametrize("count", [2, 4, 14])
def test_one_fault_of_several_files_is_said_once_with_their_names(tmp_path, count):
    colours = np.zeros((12, 10, 3), np.uint8)
    for number in range(count + 1):
        save_pair(tmp_path / f"images/{number}.png", tmp_path / f"masks/{number}.png", number)
        if number:
            edge = 2 + number % 5  # so that now red, now green is more frequent
            colours[:edge], colours[edge:8] = (255, 0, 0), (0, 255, 0)
            save(tmp_path / f"masks/{number}.png", colours)
    (tmp_path / "images/0.png").write_bytes(b"")
    with pytest.raises(DataError) as error:
        check_source(load_dataset("folder", "all", root=tmp_path))
    headline, empty, said = str(error.value).splitlines()
    assert headline.startswith(f"{count + 1} of {count + 1} pairs") and "images/0.png: the file is empty" in empty
    assert said.startswith(
        f"  {tmp_path}/masks/1.png: holds 3 colours (most often (255, 0, 0), (0, 255, 0), (0, 0, 0))"
    )
    assert "one grey number for each colour, such as 1 for (255, 0, 0), that data.labels names." in said
    names = said.partition(f" Also of {count - 1} other file{'s' if count > 2 else ''}: ")[2].split(", ")
    others = [f"{number}.png" for number in [*range(10, count + 1), *range(2, 10)] if 1 < number <= count]
    assert names == (others if len(others) < 10 else [*others[:9], "..."])


class Counting:
    """A source that counts how often each of its pairs is read."""

    def __init__(self, source):
        self.name, self.ids, self.source, self.reads = source.name, source.ids, source, []

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, row):
        self.reads.append(row)
        return self.source[row]


def test_two_splits_are_read_checked_and_kept_in_one_pass(tmp_path):
    for number in range(6):
        save_pair(tmp_path / f"images/{number}.png", tmp_path / f"masks/{number}.png", number)
    write_splits(tmp_path, train=[0, 1, 2, 3], val=[4, 5])
    train, val = (Counting(load_dataset("folder", split, root=tmp_path)) for split in ("train", "val"))
    # As one of two processes: rows 2 and 3 of the first split, the last one twice; of the second, row 0 is kept.
    first, second = load_selections([Selection(train, [2, 3, 3]), Selection(val, [0], check=[0, 1])], 8)
    assert (first.ids, second.ids) == (("2", "3", "3"), ("4",))
    assert (sorted(train.reads), sorted(val.reads)) == ([2, 3], [0, 1])
    for image, number in zip([*first.images, *second.images], [2, 3, 3, 4], strict=True):
        np.testing.assert_array_equal(image, resize_image(picture(number), (8, 8)))
    for truth, number in zip([*first.masks, *second.masks], [2, 3, 3, 4], strict=True):
        np.testing.assert_array_equal(truth, resize_mask(mask(number) // 255, (8, 8)))

    for stem in (0, 2, 5):
        (tmp_path / f"images/{stem}.png").write_bytes(b"")
    with pytest.raises(DataError, match="2 of 4 pairs") as error:
        load_selections([Selection(train, [2, 3]), Selection(val, [0], check=[0, 1])], 8)
    assert "2.png" in str(error.value) and "5.png" in str(error.value) and "0.png" not in str(error.value)


class Given:
    """A source of the pair (image, mask)."""

    name, ids = "given", ("a",)

    def __init__(self, image, mask, annotators=None):
        self._pair = Example("a", image, mask, annotators=annotators)
        self.annotators = 0 if annotators is None else len(annotators)

    def __len__(self):
        return 1

    def __getitem__(self, row):
        return self._pair


IMAGE, EMPTY = np.zeros((4, 6, 3), np.uint8), np.zeros((4, 6), np.uint8)
TWO = Labels.create({"one": 1, "two": 2}, ignore=9)


@pytest.mark.parametrize(
    ("pair", "labels", "message"),
    [
        ((IMAGE.astype(np.float32), EMPTY), None, r"its image is float32 \[4, 6, 3\]; expected uint8 \[4, 6, 3\]"),
        ((IMAGE[..., 0], EMPTY), None, r"its image is uint8 \[4, 6\]; expected uint8 \[4, 6, 3\]"),
        ((IMAGE, EMPTY == 0), None, r"its mask is bool \[4, 6\]; expected uint8 \[4, 6\]"),
        ((IMAGE, EMPTY.T), None, r"its mask is uint8 \[6, 4\]; expected uint8 \[4, 6\]"),
        ((IMAGE, EMPTY, EMPTY[None, :, :5]), None, r"its annotators is uint8 \[1, 4, 5\]; expected uint8 \[1, 4, 6\]"),
        ((IMAGE, EMPTY + 7), None, "its mask holds 7; expected 0 or 1"),
        ((IMAGE, EMPTY + 255), None, "its mask holds 255; expected 0 or 1"),
        ((IMAGE, EMPTY, EMPTY[None] + 7), None, "its mask holds 7; expected 0 or 1"),
        ((IMAGE, EMPTY + 3), TWO, "its mask holds 3; expected 0 to 2, or 255"),
        ((IMAGE, EMPTY + 4), Labels.create({"one": 1, "two": 2}, multilabel=True), "its mask holds 4; expected 0 to 3"),
    ],
)
def test_a_source_that_gives_something_else_than_pairs_is_refused(pair, labels, message):
    with pytest.raises(DataError, match=rf"1 of 1 pairs of given cannot be used:\n  a: {message}$"):
        check_source(Given(*pair), labels=labels)


def test_values_of_the_classes_are_taken():
    check_source(Given(IMAGE, EMPTY + 1))
    for value in (1, 2, 255):
        check_source(Given(IMAGE, EMPTY + np.uint8(value)), labels=TWO)


def test_an_id_that_names_two_pairs_is_refused(monkeypatch):
    class Same(Given):
        ids = ("a", "b", "a")

    monkeypatch.setitem(DATASETS._entries, "same", lambda split, options: Same(IMAGE, EMPTY))
    with pytest.raises(DataError, match="the data set same, val: 'a' names more than one pair; expected one id"):
        load_dataset("same", "val")


def test_a_data_set_that_returns_nothing_is_named(monkeypatch):
    monkeypatch.setitem(DATASETS._entries, "none", lambda split, options: None)
    with pytest.raises(ConfigError, match="the data set 'none' returned nothing for the split val"):
        load_dataset("none", "val")
