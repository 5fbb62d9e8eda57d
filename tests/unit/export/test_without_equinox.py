"""jax2onnx without its converters of Equinox, which is as it was afterwards."""

import importlib
import logging
import sys

import pytest

from ddim_jax.export.formats import _without_equinox


def test_equinox_is_kept_away_and_comes_back(monkeypatch):
    monkeypatch.delitem(sys.modules, "equinox", raising=False)
    told = logging.getLogger("jax2onnx")
    level = told.level
    with pytest.raises(ValueError, match="of the block"), _without_equinox():
        with pytest.raises(ImportError):
            importlib.import_module("equinox")
        assert not told.isEnabledFor(logging.WARNING)
        raise ValueError("of the block")
    assert "equinox" not in sys.modules and told.level == level


def test_one_that_was_imported_stays(monkeypatch):
    monkeypatch.setitem(sys.modules, "equinox", sys)
    with _without_equinox():
        assert sys.modules["equinox"] is sys
    assert sys.modules["equinox"] is sys
