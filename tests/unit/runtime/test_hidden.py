"""A module that is kept from being imported: in a block, in one thread, and only if nobody has it."""

import importlib
import importlib.util
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from ddim_jax.runtime.hidden import hidden


@pytest.fixture(autouse=True)
def unknown(monkeypatch):
    monkeypatch.delitem(sys.modules, "this", raising=False)
    monkeypatch.setattr("sys.stdout", None)  # the module prints


def test_a_module_is_hidden_until_somebody_has_imported_it():
    with hidden("this"), pytest.raises(ImportError):
        importlib.import_module("this")
    found = importlib.import_module("this")
    with hidden("this"):
        assert importlib.import_module("this") is found
    assert sys.modules["this"] is found


def test_a_look_for_a_hidden_module_fails_as_its_import_does():
    with hidden("this"), pytest.raises(ModuleNotFoundError, match="No module named 'this'"):
        importlib.util.find_spec("this")
    assert importlib.util.find_spec("this").name == "this" and "this" not in sys.modules


def test_a_module_is_hidden_from_no_other_thread():
    finders = list(sys.meta_path)
    with hidden("this"), ThreadPoolExecutor(1) as pool:
        found = pool.submit(importlib.import_module, "this").result()
    assert sys.modules["this"] is found and sys.meta_path == finders
