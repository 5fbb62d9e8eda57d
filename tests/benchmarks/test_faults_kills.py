"""Kills and damage in small numbers, and that the counters count what they are for."""

import logging
import math
import os
import shutil
import signal
import time

import pytest
from faults_on_page import on_page

from benchmarks.faults import damage, disk_full, kills
from benchmarks.faults.programs import FaultRunFailed, Hangs, first_step, last_step
from benchmarks.faults.weights import checkpoints, newest_complete, same_checkpoint
from benchmarks.faults_page import short_of_ideal
from ddim_jax.checkpoints import CheckpointStore

KILLS = 2


@pytest.fixture(scope="module")
def runs(environment, tmp_path_factory):
    """(A folder with a run left alone and one killed twice; what was measured; what was told.)"""
    folder, told = tmp_path_factory.mktemp("faults"), []
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        found = kills.measure(folder, KILLS, 0, told.append)
    return folder, found, told


@pytest.fixture
def run(runs, tmp_path):
    """A copy of the run that was left alone."""
    return shutil.copytree(runs[0] / "left_alone", tmp_path / "run")


def test_a_run_killed_twice_loses_nothing(runs):
    folder, found, told = runs
    assert (found["n"], found["lost_beyond_checkpoint"], found["bitwise_equal"]) == (KILLS, 0, True)
    # One of these two is aimed at the start of the program: then there may be nothing said of where it resumes.
    assert found["starts_in_flight"] <= 1 and found["restarts_checked"] + found["starts_in_flight"] >= 1 + KILLS
    assert on_page("kills", found)
    many = {"n": 100, "saves_in_flight": 20}  # two kills need not hit a save
    assert found["failed_restarts"] == 0 and short_of_ideal("kills", found | many) == []
    assert found["steps"] % kills.EVERY == 0
    assert [line.split(":")[0] for line in told] == ["kill 1 of 2", "kill 2 of 2"]
    assert CheckpointStore(checkpoints(folder / "killed")).steps()[-1] == found["steps"]
    logs = sorted((folder / "logs").glob("killed_*.log"))
    assert len(logs) == KILLS + 1
    assert first_step(logs[0].read_text()) == 0 and last_step(logs[-1].read_text()) == found["steps"]


def test_another_end_is_not_equal_and_a_damaged_one_neither(runs, run):
    alone = runs[0] / "left_alone"
    *_, before, last = CheckpointStore(checkpoints(alone)).steps()
    assert same_checkpoint(alone, run, last) and same_checkpoint(alone, run, before)
    shutil.rmtree(checkpoints(run) / str(before))
    (checkpoints(run) / str(last)).rename(checkpoints(run) / str(before))
    assert not same_checkpoint(alone, run, before) and not same_checkpoint(alone, run, last)
    (run / "config.json").write_text("{}")
    assert not same_checkpoint(alone, run, before)


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


def test_damage_is_named_and_undone(run):
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    filters = [*logging.getLogger("absl").filters]
    for kind, count in (("flips", 6), ("truncations", 3)):
        found = damage.damage(kind, run, count, 1, lambda text: None)
        assert (found["n"], found["silent"], found["named"]) == (count, 0, count)
        assert found["fell_back"] <= count and len(found["steps"]) >= 3
        assert on_page(kind, found)
        assert found["offenders"] == {"silent": []} and short_of_ideal(kind, found | {"n": 1000}) == []
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    assert logging.getLogger("absl").filters == filters


def test_a_store_that_does_not_verify_is_silent(run, monkeypatch):
    monkeypatch.setattr("ddim_jax.checkpoints.store.find_damage", lambda folder: [])
    told = []
    found = damage.damage("flips", run, 4, 2, told.append)
    assert (found["silent"], found["named"], found["fell_back"]) == (4, 0, 0)
    assert len(told) == 4 and all(line.startswith(f"silent: {run}") for line in told)
    assert [f"silent: {checkpoints(run)}/{one}" for one in found["offenders"]["silent"]] == told
    assert len(short_of_ideal("flips", found | {"n": 1000})) == 1


def test_wrong_weights_are_silent_whatever_is_told(run):
    originals = damage.Originals(run)
    newest, older = originals.steps[-1], originals.steps[-2]
    path = max((run / "checkpoints" / str(newest)).rglob("*"), key=lambda path: path.is_file() and path.stat().st_size)
    path.write_bytes(path.read_bytes()[:-1])
    call = originals.calls(newest)[2]  # restore() without a step
    assert damage.is_named(originals, call, path) == (True, True)
    originals._content[older] = originals._content[newest]._replace(step=older)
    assert damage.is_named(originals, call, path) == (False, False)


@pytest.mark.parametrize("asked", ["latest", "best"])
def test_another_step_than_the_next_is_silent(run, asked, monkeypatch):
    """Whole and told of, but not the newest intact one, or not the next best."""
    originals = damage.Originals(run)
    steps = originals.steps if asked == "latest" else originals.ranking
    assert len(steps) >= 3
    path = run / "checkpoints" / str(steps[-1]) / "metadata" / "metadata"
    path.write_bytes(path.read_bytes()[:-1])
    call = originals.calls(steps[-1])[3 if asked == "latest" else -1]
    assert call.instead == steps[-2] and damage.is_named(originals, call, path) == (True, True)
    found = CheckpointStore._first_intact
    monkeypatch.setattr(
        CheckpointStore, "_first_intact", lambda self, candidates: found(self, [candidates[0], candidates[-1]])
    )
    assert damage.is_named(originals, call, path) == (False, False)


def test_the_best_is_told_by_the_files(tmp_path):
    for step, dice in ((3, 0.4), (6, 0.9), (9, None), (12, 0.4)):
        folder = tmp_path / str(step) / "metrics"
        folder.mkdir(parents=True)
        if dice is not None:
            (folder / "metrics").write_text(f'{{"dice": {dice}}}')
    assert [damage._dice(tmp_path / str(step)) for step in (3, 6, 9, 12)] == [0.4, 0.9, -math.inf, 0.4]


class Disk:
    """In place of a small disk: a folder with room for everything."""

    def __init__(self, folder):
        self.folder = folder

    def __enter__(self):
        self.folder.mkdir()
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.folder)

    def fill(self, leave):
        self.left = leave

    def make_room(self):
        pass


class Pretends:
    """In place of a program: does something to the folder, and has said something."""

    def __init__(self, does, status, said):
        self._does, self._status, self.said = does, status, said

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def wait(self):
        self._does()
        return self._status


@pytest.mark.parametrize(
    ("spoils", "ends", "lost"),
    [(False, True, False), (True, True, True), (False, False, True)],
)
def test_what_a_full_disk_costs(runs, tmp_path, monkeypatch, spoils, ends, lost):
    expected = runs[0] / "left_alone"
    *_, last, more = CheckpointStore(checkpoints(expected)).steps()
    run = shutil.copytree(expected, tmp_path / "run", ignore=lambda folder, names: {str(more)} & set(names))
    monkeypatch.setattr(disk_full, "SmallDisk", Disk)
    monkeypatch.setattr(disk_full, "_STEPS", last)
    monkeypatch.setattr(disk_full, "_MORE_STEPS", more)
    own = tmp_path / "disk" / "run"
    refused = f"a line\nerror: {own / 'checkpoints'}: No space left on device. Make room.\n"

    def spoil():
        if spoils:
            (own / "checkpoints" / str(last) / "metadata" / "metadata").write_text("{}")

    def end():
        if ends:
            shutil.copytree(checkpoints(expected) / str(more), checkpoints(own) / str(more))

    programs = iter([Pretends(spoil, 2, refused), Pretends(end, 0, "")])
    monkeypatch.setattr(disk_full, "start_training", lambda *_, **__: next(programs))
    assert disk_full.during_a_save(tmp_path, run, expected, 0.5) == (lost, True, "save")


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
