"""The watch over the other processes, on a board in this process."""

import signal
import subprocess
import sys
import threading
import time

import pytest

from ddim_jax.runtime import peers
from ddim_jax.runtime.distributed import HEARTBEAT_SECONDS
from ddim_jax.runtime.errors import TRY_AGAIN, DataError, InUseError
from ddim_jax.runtime.signals import StopRequest, stop_on_signals


class Board(dict):
    """As the runtime's: a dictionary with its names, whose keys come back in full."""

    def key_value_set(self, key, value, allow_overwrite=False):
        assert allow_overwrite or key not in self
        self[key] = value

    def key_value_dir_get(self, prefix):
        if self.get("gone"):
            raise RuntimeError("UNAVAILABLE: no route")
        return [(key, value) for key, value in list(self.items()) if key.startswith(prefix)]


class Ended(BaseException):
    """In place of the end of the process."""


@pytest.fixture
def board(monkeypatch):
    monkeypatch.setattr(peers, "TICK_SECONDS", 0.01)
    monkeypatch.setattr(peers, "SILENCE_SECONDS", 0.5)
    monkeypatch.setattr(peers, "GRACE_SECONDS", 0.2)
    monkeypatch.setattr(peers, "say_on_abort", lambda text, status: None)  # or it would say it for the tests
    return Board()


@pytest.fixture
def ends(monkeypatch):
    """What ended, as (text, status). A watching thread that ends so says nothing of it; of any other error it does."""
    found, watching, told = [], [], threading.excepthook

    def end(text, status):
        watching.append(threading.current_thread())
        found.append((text, status))
        raise Ended

    monkeypatch.setattr(peers, "end", end)
    monkeypatch.setattr(threading, "excepthook", lambda error: None if error.exc_type is Ended else told(error))
    yield found
    for thread in set(watching) - {threading.current_thread()}:
        thread.join(60)


def until(condition):
    limit = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.005)


def group(board, count):
    requests = [StopRequest() for _ in range(count)]
    members = [peers.Peers(board, index, count, request) for index, request in enumerate(requests)]
    for member in members:
        member.start()
    return requests, members


def test_the_furthest_step_is_the_last_for_all(board):
    requests, members = group(board, 3)
    for member in members:
        member.begin(1)
    # They are not equally far: process 0 has begun step 3, 1 step 2, 2 step 5.
    for member, begun in zip(members, (3, 2, 5), strict=True):
        assert not any(member.stops_after(step) for step in range(1, begun))
    assert not any(member.is_stopping for member in members)
    requests[1].signal_name = "SIGTERM"
    until(lambda: all(member._asked for member in members))
    for member, begun in zip(members, (3, 2, 5), strict=True):
        assert [member.stops_after(step) for step in range(begun, 6)] == [False] * (5 - begun) + [True]
        assert (member.reason, member.ended_by) == ("SIGTERM to process 1", "SIGTERM")
        assert member.is_stopping
    for member in members:
        member.finish()


def test_what_ends_a_run_is_the_same_for_all(board):
    requests, members = group(board, 2)
    for member, request, name in zip(members, requests, ("SIGINT", "SIGTERM"), strict=True):
        member.begin(1)
        request.signal_name = name
    assert [member.ended_by for member in members] == ["SIGINT", "SIGINT"]  # it waits for all to know
    for member in members:
        member.finish()


def test_a_signal_before_training_waits_for_its_beginning(board):
    requests, members = group(board, 2)
    requests[0].signal_name = "SIGINT"
    members[1].begin(8)
    until(lambda: "ddim_jax/alive/1" in board)
    time.sleep(0.1)
    assert not members[0]._asked
    members[0].begin(8)
    until(lambda: members[0]._asked)
    assert members[0].stops_after(8)
    for member in members:
        member.finish()


def test_one_that_is_silent_is_lost_and_one_that_is_done_is_not(board, ends):
    _, (first, second, third) = group(board, 3)
    first.checkpoint = "The last checkpoint is step 7 in runs/x"
    third.finish()
    until(lambda: "ddim_jax/alive/1" in board)
    second._over.set()  # no farewell
    until(lambda: ends)
    (text, status) = ends[0]
    assert text.startswith("process 1 of 3 is lost: nothing was heard of it for ")
    assert text.endswith(f". The last checkpoint is step 7 in runs/x. {peers.GO_ON}")
    assert status == 75


@pytest.mark.parametrize(
    "error, status, advice", [(DataError, 2, peers.MEND), (InUseError, 75, peers.GO_ON), (OSError, 2, peers.MEND)]
)
def test_one_that_fails_says_why_to_the_others(board, ends, error, status, advice):
    _, (_, second) = group(board, 2)
    with pytest.raises(Ended):
        second.fail(error("x.png: no picture"))
    until(lambda: len(ends) == 2)
    assert sorted(ends) == [
        (f"process 1 of 2 ended: x.png: no picture. There is no checkpoint yet. {advice}", status),
        ("process 1 of 2: x.png: no picture", status),
    ]


def test_all_that_fail_alike_say_it_themselves(board, ends, capsys):
    _, members = group(board, 2)
    for member in members:
        member._leaving.set()  # as where they fail at the same moment
        member._write("failed", "1 the same")
    for member in members:
        with pytest.raises(Ended):
            member.fail(ZeroDivisionError("the same"))
    assert ends == [(f"process {index} of 2: ZeroDivisionError: the same", 1) for index in (0, 1)]
    assert "ZeroDivisionError: the same" in capsys.readouterr().err


def test_ctrl_c_is_told_to_the_others_without_a_traceback(board, ends, capsys):
    _, (first,) = group(board, 1)
    with pytest.raises(Ended):
        first.fail(KeyboardInterrupt())
    assert ends == [("process 0 of 1: stopped by Ctrl-C", 130)]
    assert board["ddim_jax/failed/0"] == "130 stopped by Ctrl-C"
    assert capsys.readouterr().err == ""


def test_the_others_of_one_that_was_stopped_by_ctrl_c_may_go_on(board, ends):
    _, (_, second) = group(board, 2)
    with pytest.raises(Ended):
        second.fail(KeyboardInterrupt())
    until(lambda: len(ends) == 2)
    told = f"process 1 of 2 was stopped by Ctrl-C. There is no checkpoint yet. {peers.GO_ON}"
    assert sorted(ends) == [(told, 75), ("process 1 of 2: stopped by Ctrl-C", 130)]


def test_one_that_is_stopped_before_training_tells_the_others(board, ends):
    _, (first, second, _) = group(board, 3)
    with pytest.raises(Ended):
        second.leave("SIGTERM")
    until(lambda: len(ends) == 3)
    told = f"process 1 of 3 was stopped before training began. There is no checkpoint yet. {peers.GO_ON}"
    assert sorted(ends) == [(told, 75), (told, 75), ("process 1 of 3: stopped before training began", 75)]
    with pytest.raises(Ended):
        first.leave("SIGINT")
    assert ends[3] == ("process 0 of 3: stopped before training began", 130)


def test_a_board_that_is_gone(board, ends):
    group(board, 2)
    board["gone"] = "yes"
    until(lambda: len(ends) == 2)
    texts = sorted(text for text, _ in ends)
    assert texts[0].startswith("process 0, which coordinates, cannot be reached from process 1 (UNAVAILABLE: no route)")
    assert texts[1].startswith("the board of the run is gone")


def test_a_run_of_one_stops_when_it_is_asked_to():
    with stop_on_signals(StopRequest()) as request, peers.watched_peers(request) as alone:
        alone.begin(1)
        assert not alone.stops_after(1) and not alone.is_stopping
        signal.raise_signal(signal.SIGTERM)
        assert alone.stops_after(2) and alone.is_stopping
        assert alone.reason == alone.ended_by == "SIGTERM"


def test_abort_says_a_last_word(environment):
    program = (
        "import os, threading\nfrom ddim_jax.runtime.abort import say_on_abort\n"
        "say_on_abort(lambda: 'the last word')\n"
        "thread = threading.Thread(target=os.abort)\nthread.start()\nthread.join()"
    )
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (TRY_AGAIN, "error: the last word\n")


def test_one_that_leaves_does_so_with_its_own_status_where_the_runtime_aborts_first(environment):
    program = (
        "import os\nfrom ddim_jax.training import peers\n"
        "class Board:\n    def key_value_set(self, *_, **__):\n        os.abort()\n"
        "peers.Peers(Board(), 1, 2, None).leave('SIGINT')"
    )
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "error: process 1 of 2: stopped before training began\n")


def test_a_last_word_is_taken_back(environment):
    program = (
        "import os\nfrom ddim_jax.runtime.abort import say_on_abort\n"
        "say_on_abort(lambda: 'the first')\nsay_on_abort(lambda: 'the second')()\nos.abort()"
    )
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (TRY_AGAIN, "error: the first\n")


def test_the_watch_is_sooner_than_the_runtime_however_late_the_runtime_heard_of_a_process():
    """The runtime's message names nobody. Its processes beat at half of its limit, which counts from the last beat."""
    assert HEARTBEAT_SECONDS / 2 > peers.SILENCE_SECONDS + peers.GRACE_SECONDS + peers.TICK_SECONDS
