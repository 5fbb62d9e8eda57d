"""Distances against SciPy's, the limit by leaving one out, and images of another kind."""

import json

import numpy as np
import pytest
from scipy.spatial.distance import mahalanobis

from ddim_jax.data.datasets.phantom import draw_phantom
from ddim_jax.inference.unlikeness import IMAGES_NEEDED, Reference, describe_image, fit_reference, is_unlike
from ddim_jax.preprocessing import resize_image
from ddim_jax.runtime.errors import InputError


def drawn(count, seed=0):
    """Descriptors that are correlated, of very different scales, one of them always the same."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(count, 27)) @ rng.normal(size=(27, 27)) * np.geomspace(0.001, 3, 27) + rng.normal(size=27)
    values[:, 5] = 0.25
    return values


def by_scipy(one, others):
    """Mahalanobis on standardised values, correlations shrunk by 30 percent; the root mean square of 27."""
    scale = others.std(axis=0) + 0.02
    z = (others - others.mean(axis=0)) / scale
    inverse = np.linalg.inv(0.7 * np.cov(z, rowvar=False, bias=True) + 0.3 * np.eye(27))
    return mahalanobis((one - others.mean(axis=0)) / scale, np.zeros(27), inverse) / np.sqrt(27)


def phantoms(indices, side=64):
    return [draw_phantom("test", 0, index, side)[0] for index in indices]


@pytest.fixture(scope="module")
def reference():
    return fit_reference([describe_image(image) for image in phantoms(range(40))])


@pytest.mark.parametrize(("count", "rank"), [(19, 19), (30, 30), (50, 49)])  # ceil(0.95 (n + 1))
def test_distance_and_limit_are_those_of_scipy(count, rank):
    values = drawn(count)
    found = fit_reference(values)
    limit = sorted(by_scipy(values[k], np.delete(values, k, axis=0)) for k in range(count))[rank - 1]
    assert found.limit == pytest.approx(limit, rel=1e-9)
    for one in drawn(5, seed=1):
        assert found.unlikeness(one) == pytest.approx(by_scipy(one, values) / limit, rel=1e-9)


def test_too_few_pictures_make_no_reference():
    assert IMAGES_NEEDED == 19
    for count in (1, 2, 18):
        with pytest.raises(ValueError, match=rf"^{count} images?; it takes 19"):
            fit_reference(drawn(count))
    values, names = patients(18, 2, seed=0)
    with pytest.raises(ValueError, match=r"36 images of 18 groups \(patients.*it takes 19 groups"):
        fit_reference(values, list(names))


def patients(count, slices, seed):
    """Descriptors of patients whose slices look alike, in no order, and the name of the patient of each."""
    rng = np.random.default_rng(seed)
    names = np.repeat([f"patient {number}" for number in range(count)], slices)
    values = np.repeat(rng.normal(size=(count, 27)), slices, axis=0) + 0.1 * rng.normal(size=(count * slices, 27))
    order = rng.permutation(count * slices)
    return values[order], names[order]


def test_the_distances_of_a_group_are_from_the_other_groups():
    values, names = patients(20, 3, seed=0)
    found = fit_reference(values, list(names))
    distances = sorted(by_scipy(one, values[names != own]) for one, own in zip(values, names, strict=True))
    # Of 20 groups of 3 each distance has the weight 1 / (21 * 3): those up to the 60th are the first to reach 0.95.
    assert found.limit == pytest.approx(distances[59], rel=1e-9)


@pytest.mark.parametrize("count", [19, 40])
def test_about_one_in_twenty_slices_of_further_patients_is_flagged(count):
    """On average over draws of the calibration; taken for drawn one by one, slices flag most of other patients."""
    further, _ = patients(100, 3, seed=9)
    shares = []
    for seed in range(100, 108):
        values, names = patients(count, 5, seed)
        both = fit_reference(values, list(names)), fit_reference(values)
        shares.append([np.mean([is_unlike(found.unlikeness(one)) for one in further]) for found in both])
    grouped, alone = np.mean(shares, axis=0)
    assert 0 < grouped < 0.1 and alone > 0.4


def test_images_that_are_each_a_group_have_the_same_reference_to_the_bit():
    values = drawn(30)
    names = [f"{number}" for number in np.random.default_rng(0).permutation(30)]
    assert fit_reference(values, names).digest() == fit_reference(values).digest()


def test_about_one_in_twenty_of_the_same_kind_is_flagged():
    values = drawn(2050)
    found = fit_reference(values[:50])
    assert 0.01 < np.mean([is_unlike(found.unlikeness(one)) for one in values[50:]]) < 0.12


def test_the_descriptor_by_hand():
    image = np.zeros((63, 63, 3), np.uint8)
    image = np.pad(image, ((0, 1), (0, 1), (0, 0)))
    image[:21, 21:42] = 255, 51, 0
    found = describe_image(image)
    grey = 306 / 3 / 255
    assert found[:9] == pytest.approx([0, grey, 0, 0, 0, 0, 0, 0, 0])
    assert found[9:18] == pytest.approx(np.log(0.01))
    share = 21 * 21 / 64**2
    assert found[18:20] == pytest.approx([share * 0.8, share * 0.2])
    deviation = np.sqrt(share * (1 - share))
    assert found[20:22] == pytest.approx(np.log([0.8 * deviation + 0.01, 0.2 * deviation + 0.01]))
    # 21 rows with two steps of 63 pairs each, and 21 columns with one step.
    steps = np.array([2 * 21, 21]) * grey / (64 * 63)
    assert found[22:24] == pytest.approx(np.log(steps + 0.003))


def test_the_noise_of_a_descriptor_by_hand():
    grey = np.zeros((128, 128, 1))
    grey[:, ::2] = 102  # second differences across: 2 * 102 / 255; down: 0
    image = np.repeat(grey, 3, axis=-1).astype(np.uint8)
    found = describe_image(image)
    assert found[24:] == pytest.approx(np.log([0.003, 0.003, 0.4 + 0.003]))
    image[::2, :, 0] = 51 + image[::2, :, 0]  # red alone: R - G steps by 0.2 from row to row, never across
    found = describe_image(image)
    assert found[24:26] == pytest.approx(np.log([0.1 + 0.003, 0.003]))


def test_noise_that_hides_nothing_is_flagged_and_smaller_copies_are_not():
    rng = np.random.default_rng(0)
    textured = [draw_phantom("test", 0, index, 256)[0] for index in range(60)]
    found = fit_reference([describe_image(image) for image in textured[:40]])
    shares = [
        np.mean([is_unlike(found.unlikeness(describe_image(change(image)))) for image in textured[40:]])
        for change in (
            lambda image: image,
            lambda image: resize_image(image, (160, 160)),
            lambda image: (image + rng.normal(0, 40, (256, 256, 1))).clip(0, 255).astype(np.uint8),
            lambda image: (image + rng.normal(0, 40, (256, 256, 3))).clip(0, 255).astype(np.uint8),
        )
    ]
    assert max(shares[:2]) <= 0.15 and shares[2:] == [1, 1]


@pytest.mark.parametrize("shape", [(1, 1), (3, 500), (64, 64, 1), (200, 90, 3)])
def test_pictures_of_any_size_are_described(shape):
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    found = describe_image(image)
    assert found.shape == (27,) and np.isfinite(found).all()
    if len(shape) == 2:  # grey is what its three channels are
        assert np.array_equal(found, describe_image(np.repeat(image[..., None], 3, axis=-1)))
    with pytest.raises(InputError, match="expected uint8"):
        describe_image(image.astype(np.float32))


def test_pictures_of_another_kind_are_flagged_and_phantoms_are_not(reference):
    rng = np.random.default_rng(0)
    others = [np.full((80, 60), value, np.uint8) for value in (0, 90, 255)]
    others.append(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    others += [255 - image for image in phantoms(range(100, 103))]
    others += [image * np.array([1, 0, 0], np.uint8) for image in phantoms(range(100, 103))]
    assert all(is_unlike(reference.unlikeness(describe_image(image))) for image in others)
    own = [reference.unlikeness(describe_image(image)) for image in phantoms(range(100, 140))]
    assert np.mean([is_unlike(value) for value in own]) <= 0.1


def test_what_is_all_the_same_has_a_reference_and_anything_else_is_far():
    image = np.full((64, 64, 3), 100, np.uint8)
    found = fit_reference([describe_image(image)] * 19)
    assert found.unlikeness(describe_image(image)) < 1e-3
    assert found.unlikeness(describe_image(image + np.uint8(20))) > 1e3
    assert not is_unlike(None) and not is_unlike(1.0) and is_unlike(1.0001)


def test_a_record_is_the_same_reference_and_another_thing_is_none(reference):
    record = json.loads(json.dumps(reference.as_record()))
    again = Reference.from_record(record)
    one = describe_image(np.zeros((8, 8), np.uint8))
    assert again.unlikeness(one) == reference.unlikeness(one) and again.digest() == reference.digest()
    damaged = [
        {}, [], 1, record | {"limit": 0}, record | {"limit": "x"}, record | {"limit": float("nan")},
        record | {"mean": record["mean"][:-1]}, record | {"whitening": record["mean"]}, record | {"mean": None},
        record | {"mean": [float("inf")] * 27}, record | {"whitening": [["x"] * 27] * 27},
    ]  # fmt: skip
    for wrong in damaged:
        with pytest.raises((ValueError, KeyError, TypeError)):
            Reference.from_record(wrong)
