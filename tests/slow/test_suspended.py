"""Two processes of a run that are suspended, or one of them: whose silence it was."""

import signal
import socket
import time
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("suspended_process.py")
LIMIT = 300


@pytest.fixture
def two(warm, tmp_path):
    """Two processes that have met and live for so many seconds."""
    running = []

    def start(seconds):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        for index in range(2):
            command = [PROGRAM, address, index, tmp_path, seconds]
            running.append(warm.start(command, tmp_path, tmp_path / f"{index}.log"))
        end = time.monotonic() + LIMIT
        while len(list(tmp_path.glob("*.met"))) < 2 and time.monotonic() < end:
            time.sleep(0.1)
        return running

    yield start
    for process in running:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait()


@pytest.mark.parametrize(("who", "seconds"), [((0, 1), 15), ((1,), 3)])
def test_who_was_suspended_goes_on(two, tmp_path, who, seconds):
    processes = two(20)
    time.sleep(2)
    for index in who:
        processes[index].send_signal(signal.SIGSTOP)
    time.sleep(seconds)
    for index in who:
        processes[index].send_signal(signal.SIGCONT)
    assert [process.wait(LIMIT) for process in processes] == [0, 0]
    assert all("lived" in (tmp_path / f"{index}.log").read_text() for index in range(2))


@pytest.mark.parametrize(("lost", "number"), [(0, signal.SIGSTOP), (1, signal.SIGKILL)])
def test_who_does_not_come_back_is_lost(two, tmp_path, lost, number):
    processes = two(LIMIT)
    time.sleep(2)
    began = time.monotonic()
    processes[lost].send_signal(number)
    assert processes[1 - lost].wait(LIMIT) == 75
    assert time.monotonic() - began < 30
    said = (tmp_path / f"{1 - lost}.log").read_text()
    assert f"error: process {1 - lost} of 2 ends, for another one is lost" in said
