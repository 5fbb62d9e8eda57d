"""The check that results can be written, before there are any, and files that are whole or not there."""

import errno
import os
import re
from pathlib import Path

import pytest

from ddim_jax.runtime.atomic import atomic_path, check_place, flush_folder, write_text
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


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EACCES])
def test_a_disk_that_fails_on_flushing_a_folder_is_told_by_its_path(tmp_path, monkeypatch, number):
    closed, close = [], os.close
    monkeypatch.setattr(os, "fsync", failing_with(number))
    monkeypatch.setattr(os, "close", lambda descriptor: closed.append(descriptor) or close(descriptor))
    with pytest.raises(OSError, match=re.escape(os.strerror(number))) as failed:
        flush_folder(tmp_path)
    assert failed.value.filename == str(tmp_path) and len(closed) == 1


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.EBADF])
def test_a_file_system_that_flushes_no_folders_does_without(tmp_path, monkeypatch, number):
    monkeypatch.setattr(os, "fsync", failing_with(number))
    flush_folder(tmp_path)


def failing_with(number):
    def fsync(descriptor):
        raise OSError(number, os.strerror(number))

    return fsync


def test_the_temporary_file_keeps_the_suffix_and_is_hidden(tmp_path):
    with atomic_path(tmp_path / "a_mask.png") as temporary:
        temporary.touch()
        assert re.fullmatch(r"\.[0-9a-f]{32}\.partial\.png", temporary.name) and temporary.parent == tmp_path
