"""Kills and damage in small numbers, and that the counters count what they are for."""

import logging
import shutil

import pytest

from benchmarks.faults import damage, disk_full, kills
from benchmarks.faults.programs import FaultRunFailed, first_step, last_step
from benchmarks.faults.weights import checkpoints, newest_complete
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
    assert 0 <= found["saves_in_flight"] <= KILLS
    assert [line.split(":")[0] for line in told] == ["kill 1 of 2", "kill 2 of 2"]
    assert CheckpointStore(checkpoints(folder / "killed")).steps()[-1] == found["steps"]
    logs = sorted((folder / "logs").glob("killed_*.log"))
    assert len(logs) == KILLS + 1
    assert first_step(logs[0].read_text()) == 0 and last_step(logs[-1].read_text()) == found["steps"]


def test_another_end_is_not_equal(runs, tmp_path, monkeypatch):
    folder, _, _ = runs
    steps = CheckpointStore(checkpoints(folder / "left_alone")).steps()
    last, before = (kills._everything(folder / "left_alone", step) for step in (steps[-1], steps[-2]))
    assert kills.same_bits(last, last) and not kills.same_bits(last, before)


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
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    assert logging.getLogger("absl").filters == filters


def test_a_store_that_does_not_verify_is_silent(run, monkeypatch):
    monkeypatch.setattr("ddim_jax.checkpoints.store.find_damage", lambda folder: [])
    told = []
    assert damage.damage("flips", run, 4, 2, told.append)["silent"] == 4
    assert len(told) == 4 and all(line.startswith(f"silent: {run}") for line in told)


def test_wrong_weights_are_silent_whatever_is_told(run):
    originals = damage.Originals(run)
    newest, older = originals.steps[-1], originals.steps[-2]
    path = max((run / "checkpoints" / str(newest)).rglob("*"), key=lambda path: path.is_file() and path.stat().st_size)
    path.write_bytes(path.read_bytes()[:-1])
    call = originals.calls(newest)[2]  # restore() without a step
    assert damage.is_named(originals, call, path) == (True, True)
    originals._content[older] = originals._content[newest]._replace(step=older)
    assert damage.is_named(originals, call, path) == (False, True)


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
    assert disk_full.during_a_save(tmp_path, run, expected, 0.5) == (lost, True)


def test_a_run_that_is_over_too_early_is_no_measurement(tmp_path, monkeypatch):
    class Over(Pretends):
        process = started = None

        def wait_until(self, condition):
            return False

        def kill(self):
            return 0

        def finish(self):
            pass

        def last_words(self):
            return "done"

    monkeypatch.setattr(kills, "_period", lambda folder: 0.1)
    monkeypatch.setattr(kills, "start_training", lambda *_, **__: Over(None, 0, ""))
    with pytest.raises(FaultRunFailed, match="the run was over before kill 1: done"):
        kills.measure(tmp_path, 1, 0, print)
