"""What tests of data share."""

import pytest
from absl import logging


@pytest.fixture
def said(monkeypatch):
    """The lines that are logged."""
    lines = []
    for level in ("info", "warning"):
        monkeypatch.setattr(logging, level, lambda text, *values: lines.append(text % values))
    return lines
