"""Programs that a benchmark leaves behind when it is killed, or asked to end."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.children import dying_with_this
from benchmarks.speed import processes

ROOT = Path(__file__).parents[2]
LIMIT = 60
PARENT = """
import sys, time
from pathlib import Path
from benchmarks.children import end_on_sigterm
from tests.slow.trials.programs import Program

end_on_sigterm()
folder = Path(sys.argv[1])
try:
    with Program([folder / "child.py"], folder / "log") as program:
        (folder / "number").write_text(str(program.process.pid))
        while True:
            time.sleep(0.01)
finally:
    (folder / "undone").write_text("yes")
"""
CHILD = "import os, time\nprint(os.getpid(), flush=True)\nwhile True:\n    time.sleep(1)\n"


def is_running(number):
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def until(condition):
    limit = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.01)


@pytest.mark.parametrize(("number", "status", "undone"), [(signal.SIGKILL, -9, False), (signal.SIGTERM, 143, True)])
def test_its_programs_end_with_it(tmp_path, number, status, undone):
    (tmp_path / "child.py").write_text(CHILD)
    with subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path)], cwd=ROOT) as parent:
        until(lambda: (tmp_path / "log").exists() and (tmp_path / "log").read_text().endswith("\n"))
        until(lambda: (tmp_path / "number").exists() and (tmp_path / "number").read_text())
        child = int((tmp_path / "number").read_text())
        assert (tmp_path / "log").read_text() == f"{child}\n"  # it is the program itself, not one around it
        assert is_running(child)
        parent.send_signal(number)
        assert parent.wait(LIMIT) == status
    until(lambda: not is_running(child))
    assert (tmp_path / "undone").exists() == undone


def test_a_measurement_that_is_interrupted_ends_its_programs(tmp_path, monkeypatch):
    program = "import os, signal, time\nopen('number', 'w').write(str(os.getpid()))\n"
    program += "os.kill(os.getppid(), signal.SIGUSR1)\ntime.sleep(600)\n"
    (tmp_path / "train.py").write_text(program)

    def interrupt(*_):
        raise InterruptedError

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(processes, "ROOT", tmp_path)
    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with pytest.raises(InterruptedError):
            processes.train(sorted(os.sched_getaffinity(0))[:1], tmp_path / "run", steps=1, size=16, batch=1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    until(lambda: not is_running(int((tmp_path / "number").read_text())))


def test_one_whose_parent_has_ended_already_does_not_begin(tmp_path):
    command = dying_with_this([sys.executable, "-c", "raise SystemExit(9)"])
    assert subprocess.run(command).returncode == 9
    assert subprocess.run([str(os.getppid()) if part == str(os.getpid()) else part for part in command]).returncode == 0
