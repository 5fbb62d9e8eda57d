"""The counters of killed runs count what they are for: on folders made by hand and programs that only pretend."""

import os
import shutil
import signal
import time

import pytest
from pretends import Pretends

from benchmarks.faults import kills
from benchmarks.faults.programs import FaultRunFailed, Hangs
from benchmarks.faults.weights import checkpoints, newest_complete


def complete(folder, *steps):
    for step in steps:
        (folder / str(step)).mkdir(parents=True, exist_ok=True)
        (folder / str(step) / "manifest.json").write_text("{}")


def test_a_checkpoint_that_vanished_is_lost(tmp_path):
    ledger = kills.Ledger()
    ledger.killed(tmp_path)  # before the first checkpoint
    ledger.resumed(0)
    complete(tmp_path, 2, 4)
    (tmp_path / "6").mkdir()  # half written
    (tmp_path / "8.damaged").mkdir()
    (tmp_path / "8.damaged" / "manifest.json").write_text("{}")
    ledger.killed(tmp_path)
    assert (ledger.newest, newest_complete(tmp_path)) == (4, 4)
    ledger.resumed(4)
    assert (ledger.lost, ledger.checked) == (0, 2)
    shutil.rmtree(tmp_path / "4")
    ledger.killed(tmp_path)
    ledger.resumed(2)  # all that is there, but 4 was complete once
    assert (ledger.lost, ledger.checked) == (1, 3)
    ledger.resumed(2)
    assert ledger.lost == 1


def test_a_checkpoint_that_is_passed_over_is_lost_once(tmp_path):
    ledger = kills.Ledger()
    complete(tmp_path, 2, 4)
    ledger.killed(tmp_path)
    for _ in range(2):  # 4 lies there with its manifest all the time
        ledger.resumed(2)
        ledger.killed(tmp_path)
    assert (ledger.lost, ledger.newest) == (1, 2)
    os.utime(tmp_path / "4" / "manifest.json", (9, 9))  # written anew
    ledger.killed(tmp_path)
    ledger.resumed(2)
    assert (ledger.lost, ledger.newest) == (2, 2)


@pytest.mark.parametrize(("reported", "newest"), [(None, 0), (1, 0), (2, 0), (3, 2), (4, 2), (5, 4)])
def test_a_step_proves_the_checkpoints_before_it(tmp_path, reported, newest):
    ledger = kills.Ledger()
    ledger.killed(tmp_path, reported)
    assert ledger.newest == newest


def test_the_time_from_one_checkpoint_to_the_next(tmp_path):
    complete(tmp_path, 2, 4, 6, 8)
    for step, second in ((2, 10), (4, 11), (6, 13), (8, 100)):
        os.utime(tmp_path / str(step) / "manifest.json", (second, second))
    assert kills._period(tmp_path) == 2.0


def test_what_a_kill_leaves_half_done_is_told_from_what_was_there(tmp_path):
    complete(tmp_path, 2)
    assert kills._unfinished(tmp_path) == kills._unfinished(tmp_path / "absent") == set()
    (tmp_path / "4.orbax-checkpoint-tmp").mkdir()
    before = kills._unfinished(tmp_path)
    assert [step for step, *_ in before] == [None]
    (tmp_path / "6").mkdir()
    (tmp_path / "6.damaged").mkdir()
    assert [step for step, *_ in kills._unfinished(tmp_path) - before] == [6]


class Trains(Pretends):
    """In place of a training that is killed: says where it goes on, writes a checkpoint, ends as it is told to."""

    process = None

    def __init__(self, folder, begins, saves, status=-signal.SIGKILL, ends=0):
        said = f"resumes at step {begins} of 99\nstep {begins + 1}/99: loss 1\n"
        super().__init__(lambda: complete(checkpoints(folder), saves), status, said)
        self.started, self._ends = time.monotonic(), ends

    def wait_until(self, condition):
        if self._status is Hangs:
            raise Hangs("a program hangs for 9 s: x")
        return self._status == -signal.SIGKILL

    def kill(self):
        self._does()
        return self._status

    def finish(self, limit_s):
        if self._ends:
            raise FaultRunFailed(f"status {self._ends}: damaged")
        return self.said

    def last_words(self):
        return "done"


def measured(monkeypatch, folder, *trainings, count=3):
    programs = iter([Trains(folder / "left_alone", 0, 0), *trainings])
    monkeypatch.setattr(kills, "_period", lambda folder: 0.0)
    monkeypatch.setattr(kills, "same_checkpoint", lambda *_: True)
    monkeypatch.setattr(kills, "start_training", lambda *_, **__: next(programs))
    told = []
    return kills.measure(folder, count, 0, told.append), told


@pytest.mark.parametrize("status", [2, 1, -signal.SIGABRT, Hangs])
def test_a_restart_that_refuses_to_go_on_is_counted(tmp_path, monkeypatch, status):
    killed = tmp_path / "killed"
    found, told = measured(monkeypatch, tmp_path, Trains(killed, 0, 2), Trains(killed, 2, 4, status=status))
    assert (found["n"], found["failed_restarts"], found["bitwise_equal"]) == (1, 1, False)
    assert "the start after kill 1 failed: " in told[-1]
    shutil.rmtree(killed)
    last = Trains(killed, 4, 4, ends=2)
    found, _ = measured(monkeypatch, tmp_path, Trains(killed, 0, 2), Trains(killed, 2, 4), last, count=2)
    assert (found["n"], found["failed_restarts"], found["lost_beyond_checkpoint"]) == (2, 1, 0)


def test_kills_end_where_the_run_does(tmp_path, monkeypatch):
    killed = tmp_path / "killed"
    steps = 5 * 3 + 12 + 1
    trainings = [Trains(killed, 0, 6), Trains(killed, 6, steps - 8), Trains(killed, steps - 10, steps)]
    found, _ = measured(monkeypatch, tmp_path, *trainings)
    assert (found["n"], found["failed_restarts"], found["steps"]) == (2, 0, steps)
    assert (found["bitwise_equal"], found["lost_beyond_checkpoint"], found["restarts_checked"]) == (True, 1, 3)
    shutil.rmtree(killed)
    trainings = [Trains(killed, 0, 6), Trains(killed, 6, steps, status=0), Trains(killed, steps, steps)]
    assert measured(monkeypatch, tmp_path, *trainings)[0]["n"] == 1


def test_a_run_that_is_over_too_early_is_no_measurement(tmp_path, monkeypatch):
    for status, words in ((0, "the run was over before kill 1: done"), (2, "the first start failed: status 2: done")):
        with pytest.raises(FaultRunFailed, match=words):
            measured(monkeypatch, tmp_path, Trains(tmp_path / "killed", 0, 2, status=status))


def test_what_a_kill_leaves_in_flight(tmp_path, monkeypatch):
    killed = tmp_path / "killed"

    def leaves(begins, saves, *halves):
        program = Trains(killed, begins, saves)
        does = program._does

        def half_done():
            does()
            for half in halves:
                (checkpoints(killed) / half).mkdir()

        program._does = half_done
        return program

    trainings = [leaves(0, 4, "6.orbax-checkpoint-tmp"), leaves(4, 6, "2"), leaves(6, 6, "8")]
    found, _ = measured(monkeypatch, tmp_path, *trainings, Trains(killed, 6, 6))
    assert (found["n"], found["saves_in_flight"], found["removals_in_flight"]) == (3, 2, 1)
    assert found["starts_in_flight"] == 0
