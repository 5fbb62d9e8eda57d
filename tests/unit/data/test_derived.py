"""Images that are made of others: their order and their number, and how much is read for them."""

import functools

import numpy as np
from pair_files import pair_of_places

from ddim_jax.data import with_derived
from ddim_jax.data.empty_windows import find_window
from ddim_jax.data.erased import ERASED, REPAIRED, find_repair
from ddim_jax.labels import Labels


class Memory:
    """Pairs in memory, of which it says how often each was read."""

    name, labels = "memory", Labels()

    def __init__(self, *examples):
        self._examples, self.ids, self.reads = examples, tuple(one.id for one in examples), []

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, index):
        self.reads.append(index)
        return self._examples[index]


def test_the_pairs_come_first_and_the_windows_behind_them():
    source = Memory(pair_of_places("a"), pair_of_places("b", inside=np.s_[18:22, 25:35]), pair_of_places("c"))
    found = with_derived(source, windows=1.0, erasures=0.0, side=64, seed=4)
    assert found.ids[:3] == ("a", "b", "c") and sorted(found.ids[3:]) == ["a//empty", "c//empty"] and len(found) == 5
    assert found[1] is source[1] and (found.name, found.labels) == ("memory", source.labels)
    for index, name in enumerate(found.ids[3:], start=3):
        row = source.ids.index(name.removesuffix("//empty"))
        window, example = find_window(source[row], row, 4), found[index]
        assert example.id == name and not example.mask.any()
        assert example.image.shape == (window.height, window.width, 3)
        assert tuple(example.image[0, 0, :2]) == (window.top, window.left)


def test_no_more_pictures_are_read_than_it_takes():
    source = Memory(*(pair_of_places(str(number)) for number in range(100)))
    windows = functools.partial(with_derived, source, erasures=0.0, side=64)
    assert len(windows(windows=0.1, seed=0)) == 110
    assert len(source.reads) == 32  # 4 x 8
    assert windows(windows=0.0, seed=0) is source
    assert set(windows(windows=0.1, seed=1).ids[100:]) != set(windows(windows=0.1, seed=0).ids[100:])


def test_half_as_many_are_repaired_as_are_erased_and_the_same_are_made_again():
    # No shadow around the structures, so every part of the image fits.
    source = Memory(*(pair_of_places(str(number), inside=np.s_[12:16, 20:26]) for number in range(9)))
    made = with_derived(source, windows=0.2, erasures=0.5, side=40, seed=3)
    assert [name.partition("//")[2] for name in made.ids[9:]] == ["empty"] * 2 + ["erased"] * 4 + ["repaired"] * 2
    for index in range(11, 17):
        row = made.derived[index - 9].row
        mark = ERASED if index < 15 else REPAIRED
        one, example = find_repair(source[row], row, side=40, seed=3, mark=mark), made[index]
        np.testing.assert_array_equal(one.of(source[row]).image, example.image)
        assert example.image.shape == (40, 40, 3) and example.mask.any() == (index >= 15)
        assert example.id == made.ids[index]
    assert made.digest == with_derived(source, windows=0.2, erasures=0.5, side=40, seed=3).digest
    assert made.digest != with_derived(source, windows=0.2, erasures=0.5, side=48, seed=3).digest
