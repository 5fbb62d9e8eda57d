"""The check that results can be written, before there are any, and files that are whole or not there."""

import os
import re
from pathlib import Path

import pytest

from ddim_jax.runtime.atomic import atomic_path, check_place, write_text
from ddim_jax.runtime.errors import InputError


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


def test_the_longest_name_there_is_can_be_written(tmp_path):
    path = tmp_path / (84 * "本" + ".md")  # 255 bytes
    write_text(path, "text")
    assert path.read_text() == "text" and list(tmp_path.iterdir()) == [path]


def test_errors_name_the_file_and_not_the_temporary_one(tmp_path, monkeypatch):
    with pytest.raises(OSError, match="File name too long") as too_long:
        write_text(tmp_path / (256 * "x"), "text")
    assert too_long.value.filename == str(tmp_path / (256 * "x"))

    def refuse(self, *_, **__):
        raise PermissionError(13, "Permission denied", str(self))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", refuse)
        with pytest.raises(PermissionError) as refused:
            write_text(tmp_path / "a.md", "text")
    assert refused.value.filename == str(tmp_path / "a.md")
    assert not any(tmp_path.iterdir())


def test_the_temporary_file_keeps_the_suffix_and_is_hidden(tmp_path):
    with atomic_path(tmp_path / "a_mask.png") as temporary:
        temporary.touch()
        assert re.fullmatch(r"\.[0-9a-f]{32}\.partial\.png", temporary.name) and temporary.parent == tmp_path
