"""The classes of a mask as one value: from the fields of a config, and what follows from them."""

import numpy as np
import pytest

from ddim_jax.labels import IGNORED, Labels
from ddim_jax.runtime.errors import ConfigError


def test_without_fields_it_is_one_class_read_by_level():
    labels = Labels.create()
    assert labels == Labels() == Labels.create({}, [], False)
    assert (labels.count, labels.channels, labels.several, labels.by_value) == (1, 1, False, False)
    assert labels.class_names == ("foreground",)


def test_classes_are_numbered_by_their_smallest_value_whatever_their_order():
    labels = Labels.create({"heart": 3, "lung": [2, 1]}, ignore=255)
    assert labels == Labels.create({"lung": [1, 2], "heart": [3]}, ignore=[255])
    assert labels.names == ("lung", "heart") and labels.values == ((1, 2), (3,))
    assert (labels.count, labels.channels, labels.exclusive) == (2, 3, True)
    assert labels.codes() == {0: 0, 1: 1, 2: 1, 3: 2, 255: IGNORED}


@pytest.mark.parametrize("given", [3, [3, 4], (4, 3)])
def test_a_number_or_a_list_is_one_class(given):
    labels = Labels.create(given)
    assert labels.count == 1 and labels.channels == 1 and labels.by_value
    assert labels.codes()[3] == 1


def test_overlapping_classes_are_bits():
    labels = Labels.create({"lung": [1, 3], "heart": [2, 3]}, ignore=9, multilabel=True)
    assert (labels.channels, labels.exclusive, labels.several) == (2, False, True)
    assert labels.codes() == {0: 0, 1: 1, 2: 2, 3: 3, 9: 255}
    mask = np.array([[0, 1, 2, 3, 255]], np.uint8)
    np.testing.assert_array_equal(labels.of_class(mask, 1), [[False, True, False, True, False]])
    np.testing.assert_array_equal(labels.of_class(mask, 2), [[False, False, True, True, False]])
    np.testing.assert_array_equal(labels.valid(mask), [[True, True, True, True, False]])


def test_zero_can_be_ignored_and_other_values_be_the_background():
    labels = Labels.create({"background": 1, "lung": 2}, ignore=0)
    assert labels.names == ("lung",) and labels.codes() == {0: 255, 1: 0, 2: 1}


@pytest.mark.parametrize(
    "fields",
    [
        ({"lung": [1, 2], "heart": 3}, [255], False),
        ({"lung": [1, 3], "heart": [2, 3]}, [], True),
        ({"lung": [1], "background": [7]}, [0], False),
        (None, [255], False),
        (5, [], False),
    ],
)
def test_the_fields_of_a_config_give_the_same_labels_again(fields):
    labels = Labels.create(*fields)
    assert Labels.from_config(labels.as_config()) == labels


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (("lung",), r"data\.labels is 'lung'; expected names with numbers, such as"),
        (({"lung": "1"},), r"data\.labels\.lung is '1'; expected a whole number from 0"),
        (({"lung": []},), r"data\.labels\.lung is \[\]"),
        (({"lung": -1},), r"data\.labels\.lung is -1"),
        (({"lung": True},), r"data\.labels\.lung is True"),
        (({"lung": 2**16},), r"data\.labels\.lung is 65536"),
        (({"lung": 0},), r"gives the value 0 to 'lung' and to the background"),
        (({"lung": [1, 2], "heart": 2},), r"gives the value 2 to 'heart' and to lung.*data\.multilabel"),
        (({"lung": 1}, 1), r"gives the value 1 to 'lung' and to data\.ignore"),
        (({"background": 4},), r"names the background alone"),
        (({"lung": 1, "background": 4}, 4), r"both have the value 4"),
        (({"": 1},), r"has the name ''"),
        (({"=cmd": 1},), r"has the name '=cmd'"),
        (({"a\nb": 1},), r"has the name 'a\\nb'"),
        (({f"c{k}": k for k in range(1, 9)}, (), True), r"has 8 classes; expected at most 7"),
        ((None, (), True), r"data\.multilabel is True and data\.labels names no class"),
        ((1, "x"), r"data\.ignore is 'x'"),
    ],
)
def test_what_cannot_work_is_refused_by_name(fields, message):
    with pytest.raises(ConfigError, match=message):
        Labels.create(*fields)


@pytest.mark.parametrize(
    ("names", "sides"),
    [
        (["left", "right"], ("left", "right")),
        (["heart", "Right lung", "Left lung"], ("Left lung", "Right lung")),
        (["lung_L", "lung_R"], ("lung_L", "lung_R")),
        (["left ventricle", "lesion", "leftover", "rightover"], None),
        (["all", "arr"], None),
        (["LeftLung", "RightLung", "heart"], ("LeftLung", "RightLung")),
        (["heart", "lungL", "lungR"], ("lungL", "lungR")),
        (["lungLobe", "lungRobe"], None),
    ],
)
def test_classes_that_a_mirror_image_exchanges(names, sides):
    assert Labels.create({name: number for number, name in enumerate(names, start=1)}).mirrored() == sides


def test_the_maps_of_a_probability_are_those_of_its_classes():
    several = np.arange(24).reshape(3, 4, 2)
    first, second = Labels.create({"lung": 1, "heart": 2}).maps(several)
    assert (first == several[..., 0]).all() and (second == several[..., 1]).all()
    (one,) = Labels().maps(several[..., 1])
    assert (one == several[..., 1]).all()
