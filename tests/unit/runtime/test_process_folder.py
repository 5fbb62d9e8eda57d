"""The folder of a process: gone at its end, and found by the next one where the end was sudden."""

import os
import signal
import subprocess
import sys

import pytest

from ddim_jax.runtime import process_folder
from ddim_jax.runtime.process_folder import ProcessFolder

KILLED = (
    "import os, signal, sys\nfrom pathlib import Path\nfrom ddim_jax.runtime.process_folder import ProcessFolder\n"
    "(ProcessFolder('mine-', Path(sys.argv[1])).path / 'scan.dcm').write_bytes(b'x')\n"
    "os.kill(os.getpid(), signal.SIGKILL)\n"
)


def test_it_is_private_and_removed_at_the_end(tmp_path):
    with ProcessFolder("mine-", tmp_path) as folder:
        assert folder.parent == tmp_path and folder.stat().st_mode & 0o777 == 0o700
        (folder / "a").mkdir()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(KeyError), ProcessFolder("mine-", tmp_path):
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path):
    assert subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)]).returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert sorted(path.name for path in left.iterdir()) == [".lock", "scan.dcm"]
    others = tmp_path / "others"
    others.mkdir()
    (others / ".lock").touch()
    (tmp_path / "mine-link").symlink_to(others)
    (tmp_path / "mine-unlocked").mkdir(mode=0o700)
    (tmp_path / "mine-file").touch()
    for name, mode in (("mine-open", 0o755), ("mine-fifo", 0o700), ("mine-linked", 0o700)):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(mode)
    (tmp_path / "mine-open" / ".lock").touch()
    os.mkfifo(tmp_path / "mine-fifo" / ".lock")
    (tmp_path / "mine-linked" / ".lock").symlink_to(others / ".lock")
    (tmp_path / "yours-x").mkdir(mode=0o700)
    (tmp_path / "yours-x" / ".lock").touch()
    before = set(tmp_path.iterdir())
    with ProcessFolder("mine-", tmp_path) as first, ProcessFolder("mine-", tmp_path) as second:
        assert set(tmp_path.iterdir()) == before - {left} | {first, second}
    assert (others / ".lock").exists()


def test_a_folder_of_another_user_stays(tmp_path, monkeypatch):
    theirs = tmp_path / "mine-theirs"
    theirs.mkdir(mode=0o700)
    (theirs / ".lock").touch()
    monkeypatch.setattr(process_folder.os, "geteuid", lambda: os.getuid() + 1)
    ProcessFolder("mine-", tmp_path).close()
    assert theirs.exists()
    monkeypatch.undo()
    ProcessFolder("mine-", tmp_path).close()
    assert not theirs.exists()
