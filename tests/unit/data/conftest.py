"""Fixtures that tests of data share."""

import pytest
from absl import logging


@pytest.fixture
def said(monkeypatch):
    """The lines that are logged."""
    lines = []
    for level in ("info", "warning"):
        monkeypatch.setattr(logging, level, lambda text, *values: lines.append(text % values))
    return lines


@pytest.fixture
def root(tmp_path):
    """A folder with images/ and masks/, which are empty."""
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    return tmp_path
