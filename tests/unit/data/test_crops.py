"""Crops at the images' own scale: where they lie, that foreground is frequent, and that nothing is stored."""

import time

import numpy as np
import pytest

from ddim_jax.data import Example
from ddim_jax.data.crops import cut, training_crops, validation_crops
from ddim_jax.data.pipeline import Order, training_indices


def example(number=0, height=40, width=50):
    image = np.random.default_rng(number).integers(0, 256, (height, width, 3), np.uint8)
    mask = np.zeros((height, width), np.uint8)
    mask[height - 10, 7], mask[2:12, width - 10 :] = 1, 2
    mask[0, 0] = 255
    return Example(str(number), image, mask)


class Pairs:
    name = "pairs"

    def __init__(self, count=5):
        self.ids, self.reads = tuple(map(str, range(count))), []

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, row):
        self.reads.append(row)
        return example(row)


class SlowToCount(Example):
    @property
    def nbytes(self):
        time.sleep(0.01)
        return super().nbytes


class SlowlyCounted(Pairs):
    def __getitem__(self, row):
        return SlowToCount(*super().__getitem__(row))


def place(crop, whole):
    """The place of the crop in the image."""
    size = len(crop.mask)
    windows = np.lib.stride_tricks.sliding_window_view(whole.image, (size, size, 3))[:, :, 0]
    (found,) = np.argwhere((windows == crop.image).all(axis=(2, 3, 4)))
    return tuple(found)


def test_half_of_the_crops_hold_foreground_each_value_as_often_and_anywhere_in_the_crop():
    whole, size = example(), 16
    crops = [cut(whole, size, 3, number, on_foreground=True) for number in range(400)]
    assert all(crop.mask.shape == (size, size) and crop.image.shape == (size, size, 3) for crop in crops)
    one = [crop for crop in crops if (crop.mask == 1).any()]
    assert 160 < len(one) < 240 and all((crop.mask == 1).any() or (crop.mask == 2).any() for crop in crops)
    rows = {tuple(np.argwhere(crop.mask == 1)[0]) for crop in one}
    assert len({row for row, _ in rows}) > 8 and len({column for _, column in rows}) > 6
    drawn = [cut(whole, size, 3, number) for number in range(400)]
    anywhere = [cut(whole, size, 3, number, on_foreground=False) for number in range(400)]
    same = [a.image.tobytes() == b.image.tobytes() for a, b in zip(drawn, anywhere, strict=True)]
    assert 160 < sum(same) < 240
    assert len({place(crop, whole) for crop in anywhere}) > 200
    for crop in drawn[:20]:
        y, x = place(crop, whole)
        np.testing.assert_array_equal(crop.mask, whole.mask[y : y + size, x : x + size])


def test_a_picture_that_is_smaller_is_continued_by_its_edge():
    whole = example(1, 12, 20)
    crop = cut(whole, 32, 0, 0)
    np.testing.assert_array_equal(crop.image[:12, :20], whole.image)
    np.testing.assert_array_equal(crop.image[12:, :20], np.repeat(whole.image[-1:], 20, axis=0))
    empty = Example("a", whole.image, np.full((12, 20), 255, np.uint8))
    assert cut(empty, 8, 0, 5, on_foreground=True).mask.tolist() == [[255] * 8] * 8


def test_threads_that_read_at_once_keep_no_more_than_the_bytes():
    source = SlowlyCounted()
    taken = training_crops(source, Order(5, seed=7), size=8, keep_bytes=8000, read_threads=4)  # one of 8000 bytes
    visits = 12  # of each row: a batch has all of them
    for _ in range(visits):
        next(taken)
    assert sum(source.reads.count(row) < visits for row in range(5)) == 1


@pytest.mark.parametrize(("keep_bytes", "read_threads"), [(0, 0), (10**9, 3), (2 * 8000, 2)])
def test_batches_are_functions_of_seed_and_step_on_any_number_of_processes(keep_bytes, read_threads):
    def take(count, **given):
        source = Pairs()
        taken = training_crops(
            source, Order(4, seed=7, **given), size=8, keep_bytes=keep_bytes, read_threads=read_threads
        )
        return [next(taken) for _ in range(count)], source

    batches, source = take(6)
    if keep_bytes == 10**9 and not read_threads:
        assert len(source.reads) == 5
    rows = training_indices(5, Order(4, seed=7))
    for step, batch in enumerate(batches):
        for position, row in enumerate(next(rows)):
            crop = cut(example(int(row)), 8, 7, 4 * step + position)
            np.testing.assert_array_equal(batch["image"][position], crop.image)
            np.testing.assert_array_equal(batch["mask"][position], crop.mask)
    later, _ = take(2, start_step=4)
    np.testing.assert_array_equal(later[1]["image"], batches[5]["image"])
    halves = [take(3, process_index=index, process_count=2)[0] for index in (0, 1)]
    for step in range(3):
        both = np.concatenate([half[step]["mask"] for half in halves])
        np.testing.assert_array_equal(both, batches[step]["mask"])


def test_validation_sees_foreground_and_a_place_anywhere_of_each_picture():
    arrays = validation_crops(Pairs(), [1, 3], 8, 0)
    assert arrays.ids == ("1", "1", "3", "3") and arrays.images.shape == (4, 8, 8, 3)
    assert all((mask % 255).any() for mask in arrays.masks[[0, 2]])
    np.testing.assert_array_equal(validation_crops(Pairs(), [3], 8, 0).masks, arrays.masks[2:])
