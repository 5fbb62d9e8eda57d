"""Stacks of readers from outside of the package: what they leave out stands in `Stack`."""

import numpy as np
import pytest

from ddim_jax.imageio import stacks
from ddim_jax.registry import READERS
from ddim_jax.runtime.errors import ConfigError

VALUES = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)


class Slices(stacks.Stack):
    def __init__(self, files, options):
        self.files, self.count, self.shape = files, 2, (3, 4)

    def read(self, index):
        return np.repeat(VALUES[index][..., None], 3, axis=-1)

    def pixel_mm(self, index):
        return 0.5, 2.0


class Reader:
    suffixes = (".slices",)
    open_stack = Slices


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setitem(READERS._entries, "slices", Reader)
    (tmp_path / "a.slices").touch()
    return tmp_path / "a.slices"


def test_what_a_stack_does_not_say_is_none(path):
    stack = stacks.open_stack([path])
    assert (stack.pixel_area(1), stack.aspect(1)) == (1.0, 0.25)  # of the sides
    assert [stack.window(0), stack.edges(0), stack.area_at, stack.lies_in_space, stack.voxel_mm3] == [None] * 5
    assert (stack.notes(0), stack.remarks, stack.white_is_low) == ((), (), False)
    assert stacks.file_facts(path) == (2, 12, "", None, None, False)


def test_a_stack_that_does_not_inherit_is_refused_with_its_class(path, monkeypatch):
    monkeypatch.setattr(Reader, "open_stack", lambda files, options: VALUES)
    with pytest.raises(ConfigError, match=r"reader Reader gives ndarray; expected a class that inherits from"):
        stacks.open_stack([path])
