"""Several annotators: who gave which mask, what is refused, and who is drawn in training."""

import itertools

import numpy as np
import pytest
from loaded_arrays import load_arrays
from PIL import Image

from ddim_jax.data import Subset, annotators_of, load_dataset, training_batches
from ddim_jax.data.crops import training_crops
from ddim_jax.data.datasets.ambiguous import MODES
from ddim_jax.data.export import export_pairs
from ddim_jax.data.masks import consensus, consensus_in_words
from ddim_jax.data.pipeline import Order, drawn_annotator, training_annotators, training_indices
from ddim_jax.data.preflight import examine
from ddim_jax.labels import IGNORED, Labels
from ddim_jax.runtime.errors import ConfigError, DataError

SIZE = 8


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path)


def rows(top, size=SIZE):
    """A mask whose first `top` rows are foreground."""
    mask = np.zeros((size, size), np.uint8)
    mask[:top] = 255
    return mask


def picture(root, name):
    save(root / "images" / f"{name}.png", np.arange(SIZE * SIZE * 3).reshape(SIZE, SIZE, 3) % 251)


@pytest.fixture
def folders(tmp_path):
    """Two images, of each of which anna marks 2 rows and ben 4."""
    for name in ("x", "deep/y_1"):
        picture(tmp_path, name)
        save(tmp_path / "anna" / f"{name}_mask.png", rows(2))
        save(tmp_path / "Ben" / f"{name}.png", rows(4))
    return tmp_path


@pytest.fixture
def numbered(tmp_path):
    for name in ("x_3", "y"):
        picture(tmp_path, name)
        save(tmp_path / "masks" / f"{name}_mask_1.png", rows(2))
        save(tmp_path / "masks" / f"{name}_mask_10.png", rows(6))
        save(tmp_path / "masks" / f"{name}_mask_2.png", rows(4))
    return tmp_path


def everything(root, annotators):
    return load_dataset("folder", "all", root=root, annotators=annotators)


def tops(example):
    return [int(mask[:, 0].sum()) for mask in example.annotators]


def test_a_folder_for_each_annotator_in_the_order_of_the_config(folders):
    source = everything(folders, ["ben", "anna"])
    assert annotators_of(source) == annotators_of(Subset(source, [1])) == 2
    assert source.ids == ("deep/y_1", "x")
    for example in (source[0], source[1]):
        assert tops(example) == [4, 2]
        assert example.mask[:, 0].sum() == 2  # a tie is background
    assert source.count_pixels(0) == 3 * SIZE * SIZE


def test_numbered_names_in_the_order_of_the_numbers(numbered):
    source = everything(numbered, ["numbered"])
    assert [tops(source[row]) for row in (0, 1)] == [[2, 4, 6]] * 2
    assert source[0].mask[:, 0].sum() == 4


def test_numbered_masks_that_nobody_declared_are_parts_of_one_truth(numbered):
    source = everything(numbered, ())
    assert annotators_of(source) == 0
    assert source[0].annotators is None
    assert source[0].mask[:, 0].sum() == 6


def test_parts_of_one_annotator_are_united(folders):
    for name in ("x", "deep/y_1"):
        part = np.flipud(rows(1))
        save(folders / "anna" / f"{name}_mask_2.png", part)
    assert tops(everything(folders, ["anna", "ben"])[0]) == [3, 4]


def test_a_picture_without_the_mask_of_one_annotator_is_named(folders):
    (folders / "anna" / "x_mask.png").unlink()
    with pytest.raises(DataError, match=r"1 file of images/ and anna/ and ben/ does not pair up") as caught:
        everything(folders, ["anna", "ben"])
    assert "anna/: " in str(caught.value)
    assert "x.png has no mask" in str(caught.value)


def test_a_picture_with_other_numbers_is_named(numbered):
    picture(numbered, "z")
    save(numbered / "masks" / "z_mask_1.png", rows(2))
    with pytest.raises(DataError, match=r"1 of 3 images have masks of other annotators") as caught:
        everything(numbered, ["numbered"])
    assert "z.png has 1 mask (1)" in str(caught.value)
    assert "3 masks (1, 2, 10)" in str(caught.value)


def test_one_mask_of_each_picture_is_no_set_of_annotators(tmp_path):
    picture(tmp_path, "x_1")
    save(tmp_path / "masks" / "x_1.png", rows(2))
    with pytest.raises(DataError, match=r"1 mask \(no number\); expected two or more"):
        everything(tmp_path, ["numbered"])


def test_a_folder_that_is_not_there_is_named(folders):
    with pytest.raises(
        DataError, match=r"no folder carl \(data.annotators; .* --annotators A,B.*holds Ben, anna, images"
    ):
        everything(folders, ["anna", "carl"])


def test_a_mask_of_another_size_is_named(folders):
    save(folders / "Ben" / "x.png", rows(4, SIZE + 1))
    with pytest.raises(DataError, match=r"Ben/x.png"):
        everything(folders, ["anna", "ben"])[1]


@pytest.mark.parametrize("annotators", [["anna"], ["anna", "Anna"], ["anna", "images"], ["anna", "../ben"]])
def test_what_names_no_annotators_is_refused(folders, annotators):
    with pytest.raises(ConfigError, match=r"data.annotators is .*; expected the names of two or more folders"):
        everything(folders, annotators)


def test_annotators_of_a_data_set_without_folders_are_refused():
    with pytest.raises(ConfigError, match="of the data set phantom"):
        load_dataset("phantom", "test", annotators=["a", "b"])


def test_consensus_by_hand():
    masks = np.array([[[0, 1, 2, 255]], [[0, 1, 1, 255]], [[1, 2, 1, 0]]], np.uint8)
    np.testing.assert_array_equal(consensus(masks), [[0, 1, 1, 255]])
    np.testing.assert_array_equal(consensus(masks[:2]), [[0, 1, 1, 255]])
    overlapping = Labels.create({"a": [1, 3], "b": [2, 3]}, multilabel=True)
    bits = np.array([[[3, 3, 0]], [[1, 3, 0]], [[2, 0, 3]]], np.uint8)
    np.testing.assert_array_equal(consensus(bits, overlapping), [[3, 3, 0]])


def test_the_draw_is_a_function_of_seed_and_number_alone():
    order = Order(4, seed=7)
    whole = [next(iter_) for iter_ in [training_annotators(3, 10, order)] for _ in range(6)]
    later = training_annotators(3, 10, order._replace(start_step=4))
    np.testing.assert_array_equal([next(later) for _ in range(2)], whole[4:])
    shares = [training_annotators(3, 10, order._replace(process_index=i, process_count=2)) for i in (0, 1)]
    np.testing.assert_array_equal([np.concatenate([next(s) for s in shares]) for _ in range(6)], whole)
    assert not np.array_equal(next(training_annotators(3, 10, Order(4, seed=8))), whole[0])
    counts = np.bincount([drawn_annotator(0, number, 3) for number in range(3000)], minlength=3)
    assert (abs(counts - 1000) < 130).all()  # five standard deviations


def test_each_pass_draws_anew_and_all_paths_draw_the_same(folders):
    source = everything(folders, ["anna", "ben"])
    order = Order(2, seed=3)
    expected = [
        [(2, 4)[who] for who in batch] for batch, _ in zip(training_annotators(2, 2, order), range(20), strict=False)
    ]
    assert {tuple(sorted(one)) for one in expected} == {(2, 2), (2, 4), (4, 4)}
    read = training_batches(source, order, image_size=SIZE, read_threads=0)
    assert [next(read)["mask"][..., 0].sum(axis=1).tolist() for _ in range(20)] == expected
    crops = training_crops(source, order, size=SIZE, keep_bytes=2**20, read_threads=0)
    assert [next(crops)["mask"][..., 0].sum(axis=1).tolist() for _ in range(20)] == expected
    arrays = load_arrays(source, SIZE)
    assert arrays.annotators.shape == (2, 2, SIZE, SIZE)
    draws = zip(training_indices(2, order), training_annotators(2, 2, order), range(20), strict=False)
    assert [arrays.annotators[r, who][..., 0].sum(axis=1).tolist() for r, who, _ in draws] == expected


def test_the_digest_sees_a_change_of_one_annotator(folders):
    before = load_arrays(everything(folders, ["anna", "ben"]), SIZE)
    save(folders / "Ben" / "x.png", rows(5))
    after = load_arrays(everything(folders, ["anna", "ben"]), SIZE)
    np.testing.assert_array_equal(before.masks, after.masks)
    assert before.facts[1].sha256 != after.facts[1].sha256
    assert before.facts[0].sha256 == after.facts[0].sha256


def test_ambiguous_phantoms_have_their_modes_at_their_frequencies():
    source = load_dataset("ambiguous", "test", image_size=32, counts={"test": 200})
    assert annotators_of(source) == 4
    assert sum(MODES.values()) == pytest.approx(1)
    found = np.zeros(4)
    for row in range(len(source)):
        modes = source.modes(row)
        for mask in source[row].annotators:
            found += [(mask == mode).all() for mode in modes]
    assert found.sum() == 800
    np.testing.assert_allclose(found / 800, list(MODES.values()), atol=5 * np.sqrt(0.25 / 800))
    inner, outer, inner_spot, outer_spot = source.modes(0)
    assert (inner <= outer).all()
    assert inner.sum() < outer.sum() < outer_spot.sum()
    np.testing.assert_array_equal(outer_spot - outer, inner_spot - inner)


def test_ambiguous_phantoms_are_the_same_at_every_call_and_differ_by_split():
    first, again = (load_dataset("ambiguous", "val", image_size=16)[5] for _ in range(2))
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.annotators, again.annotators)
    assert not np.array_equal(first.image, load_dataset("ambiguous", "test", image_size=16)[5].image)


@pytest.mark.parametrize("wrong", [{"root": "x"}, {"image_size": 8}, {"counts": {"test": 0}}, {"seed": -1}])
def test_ambiguous_phantoms_refuse_what_they_cannot_be(wrong):
    with pytest.raises(ConfigError, match="expected"):
        load_dataset("ambiguous", "test", **wrong)


def test_exported_ambiguous_phantoms_come_back_with_their_annotators(tmp_path):
    source = load_dataset("ambiguous", "test", image_size=16, counts={"test": 2})
    export_pairs(source, tmp_path)
    back = everything(tmp_path, [f"masks_{k}" for k in range(1, 5)])
    for row in range(2):
        np.testing.assert_array_equal(back[row].annotators, source[row].annotators)


def test_the_doctor_counts_the_annotators(folders):
    said = "2, each with a mask of every image; all that is told of masks is of their consensus: a pixel counts where "
    assert ("annotators", said + "both say so", "") in examine(folders, SIZE, "cpu", 2, annotators=["anna", "ben"])


KINDS = {
    "one class": (Labels(), [0, 1]),
    "ignored pixels": (Labels.create({"lung": 1}, ignore=9), [0, 1, IGNORED]),
    "exclusive": (Labels.create({"lung": 1, "heart": 2}), [0, 1, 2]),
    "overlapping": (Labels.create({"lung": 1, "heart": 2}, multilabel=True), [0, 1, 2, 3]),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("annotators", [2, 3, 4])
def test_the_consensus_is_as_the_sentence_about_it_says(kind, annotators):
    """Every choice of values that so many annotators can give a pixel."""
    labels, values = KINDS[kind]
    rule = consensus_in_words(annotators, labels)
    for given in itertools.product(values, repeat=annotators):
        found = int(consensus(np.array(given, np.uint8)[:, None, None], labels)[0, 0])
        if "the value that most of them give it, of those as frequent the smallest" in rule:
            expected = min(values, key=lambda value: (-given.count(value), value))
            assert found == expected, (given, rule)
            continue
        assert rule.endswith("where both say so" if annotators == 2 else "where more than half of them say so")
        for number in range(labels.count):
            say_so = sum(value >> number & 1 for value in given)
            assert bool(found >> number & 1) == (2 * say_so > annotators), (given, rule)


def test_a_folder_of_annotators_alone_is_told_the_option(tmp_path):
    for name in ("images", "anna", "ben"):
        (tmp_path / name).mkdir()
    with pytest.raises(DataError, match=r"no folder masks \(masks of several annotators: --annotators anna,ben, data"):
        load_dataset("folder", "all", root=tmp_path)
    with pytest.raises(ConfigError, match=r"--config\.data\.annotators=anna,ben$"):
        load_dataset("folder", "all", root=tmp_path, annotators=("anna,ben",))
