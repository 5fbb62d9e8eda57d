"""Errors as the commands show them: one line and an exit status for what a user can mend, a traceback for the rest."""

import errno

import jax
import pytest

from ddim_jax.runtime.errors import ConfigError, InputError, InUseError, report_input_errors


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (InputError("a.png: empty"), 2, "error: a.png: empty\n"),
        (ConfigError("seed is -1"), 2, "error: seed is -1\n"),
        (InUseError("run: in use"), 75, "error: run: in use\n"),
        (OSError(errno.ESTALE, "Stale file handle", "run"), 2, "error: run: Stale file handle\n"),
        (PermissionError(errno.EACCES, "Permission denied", "out"), 2, "error: out: Permission denied\n"),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", "file/out"), 2, "error: file/out: Not a directory\n"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "ooo"), 2, "error: ooo: File name too long\n"),
        (
            OSError(errno.ENOSPC, "No space left on device"),
            2,
            "error: writing: No space left on device. Make room there and start the same command again.\n",
        ),
        (KeyboardInterrupt(), 130, "stopped; it goes on\n"),
        (
            RuntimeError("Unable to initialize backend 'tpu': none\nmore"),
            2,
            "error: Unable to initialize backend 'tpu': none; ddim-jax doctor says more\n",
        ),
        (MemoryError(), 2, "error: not enough memory (MemoryError). Take less.\n"),
        (RuntimeError("RESOURCE_EXHAUSTED: 9 bytes\nat 0"), 2, "error: not enough memory (9 bytes). Take less.\n"),
    ],
)
def test_what_a_user_can_mend_is_one_line(error, status, said, capsys):
    with pytest.raises(SystemExit) as exit, report_input_errors("stopped; it goes on", "Take less."):
        raise error
    assert (exit.value.code, capsys.readouterr().err) == (status, said)


@pytest.mark.parametrize(
    "error",
    [
        *(ValueError("a bug"), KeyError("a bug"), OSError(errno.EBADF, "a bug"), KeyboardInterrupt()),
        *(RuntimeError("INTERNAL: a bug"), MemoryError(), RuntimeError("RESOURCE_EXHAUSTED: 9 bytes")),
    ],
)
def test_a_bug_keeps_its_traceback_and_so_does_what_nothing_is_said_of(error):
    with pytest.raises(type(error)) as raised, report_input_errors():
        raise error
    assert raised.value is error


def test_a_device_without_enough_memory_says_so_in_the_form_that_is_looked_for():
    with pytest.raises(RuntimeError, match=r"^RESOURCE_EXHAUSTED: "):
        jax.numpy.zeros((2**31, 2**31), dtype="int8").block_until_ready()
