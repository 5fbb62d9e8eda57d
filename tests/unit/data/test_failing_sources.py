"""Data sets from outside of the package that fail at a pair: it is named wherever it is read."""

import numpy as np
import pytest
from PIL import Image
from rich.progress import Progress

from ddim_jax.data import Example, Order, check_source, load_unlabelled, training_batches, with_derived
from ddim_jax.data.crops import training_crops, validation_crops
from ddim_jax.data.export import export_pairs
from ddim_jax.data.sources import pixels_of
from ddim_jax.evaluation.reading import read_all
from ddim_jax.labels import Labels
from ddim_jax.runtime.errors import DataError


class Failing:
    """Two pairs, of which the second lacks something."""

    name, ids = "given", ("a", "b")

    def __len__(self):
        return 2

    def __getitem__(self, row):
        if row:
            raise KeyError("mask")
        return Example("a", np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.uint8))

    def count_pixels(self, row):
        return {0: 32}[row]


FAILED = r"b: the data set given failed at .*test_failing_sources\.py, line \d+: KeyError(\n|$)"  # Grain adds lines
ORDER = Order(2, seed=0)


def read_beside(source, folder):
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(folder / "x.png")
    load_unlabelled(folder, {"train": source}, 4, most=100)


@pytest.mark.parametrize(
    "use",
    [
        lambda source, folder: next(training_batches(source, ORDER, image_size=4, read_threads=0)),
        lambda source, folder: next(training_crops(source, ORDER, size=4, keep_bytes=0, read_threads=0)),
        lambda source, folder: validation_crops(source, [1], 4, 0),
        lambda source, folder: export_pairs(source, folder / "out"),
        lambda source, folder: pixels_of(source, 1),
        read_beside,
    ],
    ids=["batches", "crops", "validation crops", "export", "pixels", "unlabelled"],
)
def test_the_pair_is_named_with_the_data_set_and_the_place(tmp_path, use):
    with pytest.raises(DataError, match=f"^{FAILED}"):
        use(Failing(), tmp_path)


@pytest.mark.parametrize(
    "use",
    [
        check_source,
        lambda source: read_all(source, Progress(disable=True), Labels()),
        lambda source: with_derived(source, windows=1.0, erasures=0.0, side=4, seed=0),
    ],
    ids=["start of a training", "evaluation", "derived"],
)
def test_where_all_pairs_are_read_all_that_fail_are_told_at_once(use):
    with pytest.raises(DataError, match=rf"^1 of 2 pairs of given cannot be used:\n  {FAILED}"):
        use(Failing())
