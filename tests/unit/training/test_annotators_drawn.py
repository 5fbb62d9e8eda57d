"""One annotator is drawn for each image and pass, on the device too."""

import itertools

import numpy as np

from ddim_jax.data import load_dataset
from ddim_jax.data.pipeline import Order, training_annotators
from ddim_jax.training.gradients import _pictures
from ddim_jax.training.input_pipeline import batches, read_pictures
from ddim_jax.training.sharding import data_mesh

COUNTS = {"train": 12, "val": 5, "test": 1}


def test_resident_pictures_and_pictures_read_on_the_way_give_the_same_masks():
    train_source, val = (load_dataset("ambiguous", split, image_size=16, counts=COUNTS) for split in ("train", "val"))
    mesh = data_mesh(8, accumulate=1)
    order = Order(8, seed=3, start_step=2)
    pictures = read_pictures(train_source, val, range(5), mesh, image_size=16, resident_bytes=2**30)
    assert pictures.resident["masks"].shape == (12, 4, 16, 16)
    assert pictures.validation.masks.shape == (5, 16, 16)
    resident = batches(train_source, pictures.resident, mesh, order, image_size=16)
    read = batches(train_source, None, mesh, order, image_size=16)
    drawn = training_annotators(4, 12, order)
    for here, there, who in itertools.islice(zip(resident, read, drawn, strict=False), 4):
        np.testing.assert_array_equal(here["annotator"], who)
        for one, other in zip(_pictures(here), _pictures(there), strict=True):
            np.testing.assert_array_equal(one, other)
