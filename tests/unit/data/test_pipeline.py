"""The order of examples: permutations, pure in (seed, step), the same for any number of processes."""

import itertools

import numpy as np
import pytest
from loaded_arrays import load_arrays
from pair_files import save_pair

from ddim_jax.data import Order, load_dataset, training_batches, training_indices
from ddim_jax.runtime.errors import DataError


def take(iterator, count):
    return list(itertools.islice(iterator, count))


def test_each_pass_is_a_fresh_permutation():
    rows = np.concatenate(take(training_indices(13, Order(batch_size=4, seed=5)), 13 * 3))
    assert rows.dtype == np.int32
    passes = rows[: 13 * 12].reshape(12, 13)
    for one in passes:
        assert sorted(one) == list(range(13))
    assert len({tuple(one) for one in passes}) == 12
    # Every row comes first now and then: over 600 passes, 600/13 = 46 times give or take.
    many = np.concatenate(take(training_indices(13, Order(batch_size=13, seed=5)), 600)).reshape(600, 13)
    firsts = np.bincount(many[:, 0], minlength=13)
    assert firsts.min() > 20 and firsts.max() < 80


def test_the_position_is_the_step():
    whole = take(training_indices(10, Order(batch_size=4, seed=1)), 12)
    np.testing.assert_array_equal(take(training_indices(10, Order(batch_size=4, seed=1, start_step=7)), 5), whole[7:])
    assert not np.array_equal(take(training_indices(10, Order(batch_size=4, seed=2)), 12), whole)
    # A run of a million steps is picked up at once.
    assert len(next(training_indices(10, Order(batch_size=4, seed=1, start_step=10**6)))) == 4


@pytest.mark.parametrize("processes", [2, 3, 6])
def test_processes_share_the_same_global_batches(processes):
    whole = take(training_indices(10, Order(batch_size=6, seed=1, start_step=3)), 5)
    shares = [
        take(
            training_indices(
                10, Order(batch_size=6, seed=1, start_step=3, process_index=index, process_count=processes)
            ),
            5,
        )
        for index in range(processes)
    ]
    np.testing.assert_array_equal([np.concatenate(step) for step in zip(*shares, strict=True)], whole)


def test_a_data_set_smaller_than_the_batch():
    rows = next(training_indices(3, Order(batch_size=8, seed=0)))
    assert sorted(rows[:3]) == sorted(rows[3:6]) == [0, 1, 2]


@pytest.mark.parametrize("read_threads", [0, 3])
@pytest.mark.parametrize("processes", [1, 2])
def test_batches_hold_the_pictures_of_the_indices(read_threads, processes):
    source = load_dataset("phantom", "train", image_size=24, counts={"train": 7})
    arrays = load_arrays(source, 16)
    settings = dict(batch_size=4, seed=9, start_step=2, process_index=processes - 1, process_count=processes)
    batches = take(training_batches(source, Order(**settings), image_size=16, read_threads=read_threads), 6)
    for batch, rows in zip(batches, training_indices(7, Order(**settings)), strict=False):
        np.testing.assert_array_equal(batch["index"], rows)
        np.testing.assert_array_equal(batch["image"], arrays.images[rows])
        np.testing.assert_array_equal(batch["mask"], arrays.masks[rows])
        assert (batch["image"].dtype, batch["mask"].dtype, batch["index"].dtype) == (np.uint8, np.uint8, np.int32)


def test_a_file_that_breaks_while_training_is_named(tmp_path):
    for number in range(3):
        save_pair(tmp_path / f"images/{number}.png", tmp_path / f"masks/{number}.png", number)
    (tmp_path / "splits.csv").write_text("stem,split\n0,train\n1,train\n2,train\n")
    source = load_dataset("folder", "train", root=tmp_path)
    (tmp_path / "images/1.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"images/1\.png"):
        take(training_batches(source, Order(3, seed=0), image_size=8, read_threads=2), 2)


def test_arguments_out_of_range():
    with pytest.raises(ValueError, match="batch_size 5 must be a positive multiple of the 2 processes"):
        next(training_indices(9, Order(batch_size=5, seed=0, process_count=2)))
    with pytest.raises(ValueError, match="process_index 2 of 2"):
        next(training_indices(9, Order(batch_size=4, seed=0, process_index=2, process_count=2)))
    with pytest.raises(ValueError, match="no examples"):
        next(training_indices(0, Order(batch_size=4, seed=0)))
