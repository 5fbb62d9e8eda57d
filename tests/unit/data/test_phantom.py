"""Generated images: reproducible, independent, with masks that are two lungs, and neither trivial nor hopeless."""

import numpy as np
import pytest
from scipy import ndimage

from ddim_jax.data import load_dataset
from ddim_jax.data.datasets.phantom import draw_phantom
from ddim_jax.labels import Labels
from ddim_jax.runtime.errors import ConfigError


def dice(prediction, truth):
    return 2 * np.sum(prediction & truth) / (np.sum(prediction) + np.sum(truth))


def test_a_picture_is_a_function_of_split_seed_index_and_size():
    image, mask = draw_phantom("train", 3, 17, 48)
    again, mask_again = draw_phantom("train", 3, 17, 48)
    np.testing.assert_array_equal(image, again)
    np.testing.assert_array_equal(mask, mask_again)
    for other in [("val", 3, 17, 48), ("train", 4, 17, 48), ("train", 3, 18, 48)]:
        assert np.any(draw_phantom(*other)[1] != mask)
        assert np.mean(draw_phantom(*other)[0] == image) < 0.1
    source = load_dataset("phantom", "train", seed=3, image_size=48)
    np.testing.assert_array_equal(source[17].image, image)


def test_the_anatomy_is_the_same_at_every_size():
    small = draw_phantom("test", 0, 5, 64)[1].astype(bool)
    large = draw_phantom("test", 0, 5, 256)[1]
    assert dice(small, large.reshape(64, 4, 64, 4).mean(axis=(1, 3)) > 0.5) > 0.99


def test_counts_names_and_types():
    sources = {
        split: load_dataset("phantom", split, counts={"train": 5, "val": 2, "test": 3}) for split in ("train", "val")
    }
    assert [len(source) for source in sources.values()] == [5, 2]
    assert sources["val"].ids == ("val_00000", "val_00001")
    assert [len(load_dataset("phantom", split)) for split in ("train", "val", "test")] == [512, 64, 64]
    example = sources["train"][4]
    assert example.id == "train_00004"
    assert example.image.dtype == example.mask.dtype == np.uint8
    assert example.image.shape == (64, 64, 3)
    assert set(np.unique(example.mask)) == {0, 1}
    np.testing.assert_array_equal(example.image[..., 0], example.image[..., 2])
    with pytest.raises(IndexError):
        sources["train"][5]
    for counts in ({"dev": 3}, {"train": 0}):
        with pytest.raises(ConfigError, match="expected 1 to 10000000 for each of train, val, test"):
            load_dataset("phantom", "train", counts=counts)


def test_masks_are_two_lungs_of_plausible_size():
    for index in range(40):
        mask = draw_phantom("train", 0, index, 64)[1]
        _, parts = ndimage.label(mask)
        sizes = np.sort(np.bincount(ndimage.label(mask)[0].ravel())[1:])[::-1]
        assert parts >= 2 and sizes[1] > 0.02 * mask.size
        assert 0.08 < mask.mean() < 0.45
        assert mask[:, 0].sum() == mask[:, -1].sum() == mask[0].sum() == 0


def test_brightness_alone_does_not_find_the_lungs_but_says_something():
    scores = []
    for index in range(30):
        image, mask = draw_phantom("val", 0, index, 64)
        smooth = ndimage.gaussian_filter(image[..., 0].astype(float), 1)
        # The best threshold, chosen with the truth at hand: dark is lung.
        scores.append(max(dice(smooth < threshold, mask > 0) for threshold in range(5, 250, 5)))
    assert 0.5 < np.mean(scores) < 0.9


def test_three_structures_are_drawn_as_the_labels_say():
    labels = Labels.create({"right lung": 1, "left lung": 2, "heart": 3})
    counts = {"train": 3, "val": 1, "test": 1}
    plain = load_dataset("phantom", "train", image_size=48, counts=counts)
    three = load_dataset("phantom", "train", image_size=48, counts=counts, labels=labels)
    one = load_dataset(
        "phantom", "train", image_size=48, counts=counts, labels=Labels.create({"lung": [1, 2], "background": 3})
    )
    for row in range(3):
        mask = three[row].mask
        assert np.unique(mask).tolist() == [0, 1, 2, 3]
        columns = [np.nonzero(mask == k)[1].mean() for k in (1, 3, 2)]
        assert columns == sorted(columns)  # right lung, heart, left lung, from the left of the image
        np.testing.assert_array_equal(one[row].mask, (mask == 1) | (mask == 2))
        np.testing.assert_array_equal(one[row].mask, plain[row].mask)
        assert three[row].image[mask == 3].mean() > plain[row].image[mask == 3].mean() + 10
