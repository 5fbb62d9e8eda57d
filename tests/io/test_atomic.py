"""Whether results can be written at all, asked before there are any."""

import os

import pytest

from ddim_jax.io.atomic import check_place
from ddim_jax.io.errors import InputError


def test_a_place_is_checked_without_making_it(tmp_path):
    check_place(tmp_path)
    check_place(tmp_path / "a" / "b")
    assert not any(tmp_path.iterdir())
    (tmp_path / "file").touch()
    for place in ("file", "file/a"):
        with pytest.raises(InputError, match=rf"{place}: the folder .* cannot be made or used: .*file is a file"):
            check_place(tmp_path / place)


def test_a_place_that_may_not_be_written_to(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(InputError, match=f"a/b: the folder .*: {tmp_path} may not be written to; choose another"):
        check_place(tmp_path / "a" / "b")
