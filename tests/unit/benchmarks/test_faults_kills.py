"""Real kills and damage in small numbers, and that the counters of damage count what they are for."""

import logging
import math
import shutil

import pytest
from faults_on_page import on_page
from pretends import Pretends

from benchmarks.fault_limits import short_of_limits
from benchmarks.faults import damage, disk_full, kills
from benchmarks.faults.programs import first_step, last_step
from benchmarks.faults.weights import checkpoints, same_checkpoint
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
    assert found["failed_restarts"] == 0 and short_of_limits("kills", found | many) == []
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


def test_damage_is_named_and_undone(run):
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    filters = [*logging.getLogger("absl").filters]
    for kind, count in (("flips", 6), ("truncations", 3)):
        found = damage.damage(kind, run, count, 1, lambda text: None)
        assert (found["n"], found["silent"], found["named"]) == (count, 0, count)
        assert found["fell_back"] <= count and len(found["steps"]) >= 3
        assert on_page(kind, found)
        assert found["offenders"] == {"silent": []} and short_of_limits(kind, found | {"n": 1000}) == []
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    assert logging.getLogger("absl").filters == filters


def test_a_store_that_does_not_verify_is_silent(run, monkeypatch):
    monkeypatch.setattr("ddim_jax.checkpoints.store.find_damage", lambda folder: [])
    told = []
    found = damage.damage("flips", run, 4, 2, told.append)
    assert (found["silent"], found["named"], found["fell_back"]) == (4, 0, 0)
    assert len(told) == 4 and all(line.startswith(f"silent: {run}") for line in told)
    assert [f"silent: {checkpoints(run)}/{one}" for one in found["offenders"]["silent"]] == told
    assert len(short_of_limits("flips", found | {"n": 1000})) == 1


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
