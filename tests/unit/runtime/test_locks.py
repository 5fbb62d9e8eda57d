import errno
import os
import threading

import filelock
import pytest

from ddim_jax.runtime import locks
from ddim_jax.runtime.errors import InputError, InUseError
from ddim_jax.runtime.locks import holder, locked, try_lock


def test_a_lock_is_one_files_until_it_is_closed(tmp_path):
    path = tmp_path / "file"
    with open(path, "ab") as first, open(path, "ab") as second:
        assert try_lock(first) and not try_lock(second)
        first.close()
        assert try_lock(second)


def test_a_block_waits_for_the_one_before(tmp_path):
    order = []

    def second():
        with locked(tmp_path / "lock"):
            order.append("second")

    with locked(tmp_path / "lock"):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.1)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_a_file_system_without_locks_is_named_where_they_are_needed(tmp_path, monkeypatch):
    def none(*arguments, **options):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(filelock, "lock_descriptor", none)
    with open(tmp_path / "file", "ab") as file:
        assert try_lock(file, required=False)
        with pytest.raises(InputError, match=r"file: the file system has no locks \(No locks available\).*one process"):
            try_lock(file)
    with pytest.raises(InputError, match="no locks"), locked(tmp_path / "file"):
        pass
    with locked(tmp_path / "file", required=False):
        pass


def test_a_wait_is_told_and_has_an_end(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(locks, "_TOLD_AFTER", 0.1)
    monkeypatch.setattr(locks, "_LONGEST_WAIT", 0.5)
    held, again = locked(tmp_path / "lock"), locked(tmp_path / "lock")
    with (
        held,
        pytest.raises(InUseError, match=rf"process {os.getpid()} .* has held this lock for \d s") as error,
        again,
    ):
        pass
    assert error.value.exit_status == 75
    assert caplog.text.count(f"waiting for {tmp_path / 'lock'}, which process {os.getpid()} (") == 1


def test_a_holder_that_the_system_does_not_tell_of(tmp_path):
    (tmp_path / "file").touch()
    assert holder(tmp_path / "file") == holder(tmp_path / "none") == "another process, perhaps of another machine,"
