"""The images of a run: each file is read once, and what cannot be used is named with all others."""

import hashlib
import struct

import jax
import numpy as np
import pytest
from PIL import Image

from ddim_jax.config import create_config, resolve_config
from ddim_jax.data import Example, Order
from ddim_jax.data.sources import EmptySplit
from ddim_jax.labels import Labels
from ddim_jax.runtime.errors import DataError
from ddim_jax.training import input_pipeline
from ddim_jax.training.input_pipeline import batches, read_pictures, read_unlabelled
from ddim_jax.training.sharding import data_mesh

SIZE = 4


class Pictures:
    """Images that count how often they are read; those in `broken` cannot be."""

    name = "pictures"

    def __init__(self, count, seed, broken=()):
        self.ids = tuple(f"{seed}{i}" for i in range(count))
        self.broken, self.reads = broken, [0] * count
        rng = np.random.default_rng(seed)
        self.images = rng.integers(0, 256, (count, SIZE, SIZE, 3), np.uint8)
        self.masks = rng.integers(0, 2, (count, SIZE, SIZE), np.uint8)

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, index):
        self.reads[index] += 1
        if index in self.broken:
            raise DataError(f"{self.ids[index]}.png: truncated")
        return Example(self.ids[index], self.images[index], self.masks[index])


def digests_of(source, rows):
    """SHA-256 of the shape as three little-endian numbers, the image and the mask, done independently."""
    head = struct.pack("<QQQ", SIZE, SIZE, 3)
    parts = {row: head + source.images[row].tobytes() + source.masks[row].tobytes() for row in rows}
    return {source.ids[row]: hashlib.sha256(part).hexdigest() for row, part in parts.items()}


def pictures_of(source):
    """The same of the image alone."""
    head = struct.pack("<QQQ", SIZE, SIZE, 3)
    return {
        name: hashlib.sha256(head + one.tobytes()).hexdigest()
        for name, one in zip(source.ids, source.images, strict=True)
    }


def read(train, val, resident_bytes=2**20, rows=(0, 2)):
    mesh = data_mesh(2, jax.devices()[:1])
    found = read_pictures(train, val, rows, mesh, image_size=SIZE, resident_bytes=resident_bytes)
    assert found.image_digests == pictures_of(train)
    return mesh, found.resident, found.validation, found.pair_digests


@pytest.mark.parametrize("resident_bytes", [0, 5 * SIZE * SIZE * 4])
def test_each_pair_is_read_once_when_a_run_starts(resident_bytes):
    train, val = Pictures(5, 0), Pictures(3, 1)
    _, resident, shown, digests = read(train, val, resident_bytes)
    assert digests == {**digests_of(train, range(5)), **digests_of(val, (0, 2))}
    assert train.reads == [1] * 5 and val.reads == [1] * 3
    np.testing.assert_array_equal(shown.images, val.images[[0, 2]])
    np.testing.assert_array_equal(shown.masks, val.masks[[0, 2]])
    assert (resident is None) == (resident_bytes == 0)
    if resident is not None:
        np.testing.assert_array_equal(resident["images"], train.images)
        np.testing.assert_array_equal(resident["masks"], train.masks)


def test_all_that_cannot_be_used_is_named_at_once():
    with pytest.raises(DataError, match=r"3 of 8 pairs of pictures(.|\n)*01\.png(.|\n)*10\.png(.|\n)*11\.png"):
        read(Pictures(5, 0, broken=(1,)), Pictures(3, 1, broken=(0, 1)))  # 1 is not among those that are kept


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize("resident_bytes", [0, 2**20])
def test_two_processes_read_a_share_each(monkeypatch, index, resident_bytes):
    train, val = Pictures(5, 0), Pictures(4, 1)
    gathered = []

    def gather(own, tiled):
        if "digests" in own:
            rows = [0, 1, 2, 3, 4, 0]
            pairs, pictures = digests_of(train, range(5)), pictures_of(train)
            every = [bytes.fromhex(pairs[train.ids[row]] + pictures[train.ids[row]]) for row in rows]
            half = rows[:3] if index == 0 else rows[3:]
            assert [one.tobytes() for one in own["digests"]] == [every[row] for row in half]
            return {"digests": np.array([np.frombuffer(one, np.uint8) for one in every])}
        gathered.append(own)
        length = len(own["images"])
        assert length == 3  # the last one reads the first pair as well, which is cut off again
        return {"images": np.concatenate([train.images, train.images[:1]]), "masks": np.repeat(train.masks[:1], 6, 0)}

    monkeypatch.setattr("jax.process_count", lambda: 2)
    monkeypatch.setattr("jax.process_index", lambda: index)
    monkeypatch.setattr("ddim_jax.training.input_pipeline.multihost_utils.process_allgather", gather)
    _, resident, shown, digests = read(train, val, resident_bytes)
    assert digests == {**digests_of(train, range(5)), **digests_of(val, (0, 2))}
    assert train.reads == ([1, 1, 1, 0, 0] if index == 0 else [1, 0, 0, 1, 1])
    # Every process has all that is validated, here 0 and 2; the rest is divided.
    assert val.reads == ([1, 0, 1, 0] if index == 0 else [1, 1, 1, 1])
    assert len(shown.images) == 2
    if resident_bytes:
        np.testing.assert_array_equal(gathered[0]["images"], train.images[[0, 1, 2] if index == 0 else [3, 4, 0]])
        np.testing.assert_array_equal(resident["images"], train.images)
        assert resident["masks"].shape == (5, SIZE, SIZE)


def test_resident_and_read_batches_have_the_same_pictures():
    train, val = Pictures(5, 0), Pictures(3, 1)
    mesh, resident, *_ = read(train, val)
    order = Order(2, seed=7, start_step=3)
    rows, reads = (batches(train, where, mesh, order, image_size=SIZE) for where in (resident, None))
    for _ in range(4):
        one, other = next(rows), next(reads)
        np.testing.assert_array_equal(one["images"][one["row"]], other["image"])
        np.testing.assert_array_equal(one["masks"][one["row"]], other["mask"])


def test_a_test_split_that_cannot_be_read_stops_what_must_leave_its_pictures_out(monkeypatch, tmp_path):
    Image.fromarray(np.zeros((SIZE, SIZE, 3), np.uint8)).save(tmp_path / "x.png")
    config = create_config()
    config.data.unlabelled = str(tmp_path)
    data = resolve_config(config)["data"] | {"image_size": SIZE}

    def fails(error):
        def load(split, **_):
            raise error(f"the split {split}")

        monkeypatch.setattr(input_pipeline, "load_dataset", load)
        return read_unlabelled(data, {"train": Pictures(2, 0), "val": Pictures(2, 1)})

    assert fails(EmptySplit).ids == ("x.png",)  # a data set without one
    with pytest.raises(DataError, match="the split test"):
        fails(DataError)


def test_masks_are_checked_against_the_classes_of_the_run():
    train, val, mesh = Pictures(2, 0), Pictures(1, 1), data_mesh(2, jax.devices()[:1])
    train.masks[1, 0, 0] = 2
    with pytest.raises(DataError, match="1 of 3 pairs of pictures cannot be used:\n  01: its mask holds 2; expected 0"):
        read_pictures(train, val, [0], mesh, image_size=SIZE, resident_bytes=0)
    two = Labels.create({"one": 1, "two": 2})
    facts = read_pictures(train, val, [0], mesh, image_size=SIZE, resident_bytes=0, labels=two).facts
    assert facts[1].values == (1, 2)
