"""The context that results are written with."""

import logging

import pytest
from segmenters import ReadsRed, config

from ddim_jax.inference import Segmenter
from ddim_jax.inference.writing import writing_context
from ddim_jax.runtime.errors import InputError


def segmenter(*segments):
    about = config()
    about["data"] |= {"labels": {"lung": [1]}, "segments": list(segments)}
    return Segmenter(ReadsRed(), {}, config=about, step=7, checkpoint="run/checkpoints/7")


def concepts(found, *segments):
    return writing_context(found, found.options(), segments).segments


def test_concepts_that_are_given_come_before_the_config_s(caplog):
    assert concepts(segmenter("lung=Lung")) == {"lung": "Lung"}
    assert concepts(segmenter("lung=Lung"), "lung=Heart") == {"lung": "Heart"}
    with pytest.raises(InputError, match=r"segments has 'heart=Heart'; expected .* among lung"):
        concepts(segmenter("lung=Lung"), "heart=Heart")
    assert not caplog.records


def test_a_config_that_names_no_class_is_passed_over_and_that_is_said_once(caplog):
    found = segmenter("lungs=Lung")
    with caplog.at_level(logging.WARNING):
        assert concepts(found, "lung=Lung") == concepts(found, "Lung") == {"lung": "Lung"}
        assert concepts(found) == {}
    (record,) = caplog.records
    assert "run/checkpoints/7: data.segments has 'lungs=Lung'; expected" in record.getMessage()
