"""A training that is killed, and checkpoints that are damaged: a few each.

`python -m tests.slow.trials` does many, and counts them in docs/results/faults.json.
"""

import shutil

import pytest

from benchmarks.faults import short_of_limits
from ddim_jax.checkpoints import CheckpointStore
from tests.slow.trials import damage, kills
from tests.slow.trials.judge import assert_within_limits
from tests.slow.trials.programs import checkpoints, complete_steps, first_step, last_step, newest_complete

pytestmark = pytest.mark.usefixtures("programs_share_the_cache")

KILLS = 3


@pytest.fixture(scope="module")
def killed(programs_share_the_cache, tmp_path_factory):
    """(A folder with a run left alone and one that was killed, what was counted)."""
    folder = tmp_path_factory.mktemp("kills")
    return folder, kills.measure(folder, KILLS, 0, print)


@pytest.fixture
def run(killed, tmp_path):
    """A copy of the run that was left alone, with its last three checkpoints: all are read again and again."""
    run = shutil.copytree(killed[0] / "left_alone", tmp_path / "run")
    for step in sorted(complete_steps(checkpoints(run)))[:-3]:
        shutil.rmtree(checkpoints(run) / str(step))
    return run


def test_a_training_that_is_killed_loses_nothing(killed):
    folder, found = killed
    assert_within_limits("kills", found)
    assert 1 <= found["n"] <= KILLS  # fewer where the machine becomes faster than it was, and the run is over
    # Kills that are aimed at the start of the program may come before it says where it resumes.
    assert found["restarts_checked"] + found["starts_in_flight"] >= 1 + found["n"]
    assert CheckpointStore(checkpoints(folder / "killed")).steps()[-1] == found["steps"]
    logs = sorted((folder / "logs").glob("killed_*.log"))
    assert found["n"] + 1 <= len(logs) <= KILLS + 1
    assert first_step(logs[0].read_text()) == 0 and last_step(logs[-1].read_text()) == found["steps"]


@pytest.mark.parametrize(("kind", "count"), [("flips", 20), ("truncations", 5)])
def test_damage_is_named_and_undone(run, kind, count):
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    found = damage.damage(kind, run, count, 1, print)
    assert_within_limits(kind, found)
    assert (found["n"], found["named"], found["offenders"]) == (count, count, {"silent": []})
    assert len(found["steps"]) >= 3
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_damage_that_is_not_told_is_counted(run, monkeypatch):
    """The counter can fail: a store that does not verify, and weights of another step than the next intact one."""
    originals = damage.Originals(run)
    newest, older = originals.steps[-1], originals.steps[-2]
    path = max((run / "checkpoints" / str(newest)).rglob("*"), key=lambda path: path.is_file() and path.stat().st_size)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    call = originals.calls(newest)[2]  # restore() without a step
    assert damage.is_named(originals, call, path) == (True, True)
    originals._content[older] = originals._content[newest]._replace(step=older)
    assert damage.is_named(originals, call, path) == (False, False)
    path.write_bytes(whole)
    monkeypatch.setattr("ddim_jax.checkpoints.steps.find_damage", lambda *_: [])
    found = damage.damage("flips", run, 4, 2, print)
    # Some damage is told all the same, by whoever reads the file.
    assert found["silent"] + found["named"] == 4 and found["silent"] == len(found["offenders"]["silent"]) > 0
    assert len(short_of_limits("flips", found, long=False)) == 1


def test_a_checkpoint_that_vanished_is_lost(tmp_path):
    """The ledger of kills: what was complete once has to be gone on from, and each loss counts once."""

    def complete(*steps):
        for step in steps:
            (tmp_path / str(step)).mkdir(exist_ok=True)
            (tmp_path / str(step) / "manifest.json").write_text("{}")

    ledger = kills.Ledger()
    ledger.killed(tmp_path)  # before the first checkpoint
    ledger.resumed(0)
    complete(2, 4)
    (tmp_path / "6").mkdir()  # half written
    ledger.killed(tmp_path)
    assert (ledger.newest, newest_complete(tmp_path)) == (4, 4)
    ledger.resumed(4)
    assert (ledger.lost, ledger.checked) == (0, 2)
    shutil.rmtree(tmp_path / "4")
    ledger.killed(tmp_path)
    ledger.resumed(2)  # all that is there, but 4 was complete once
    ledger.resumed(2)
    assert (ledger.lost, ledger.checked) == (1, 4)
    ledger.killed(tmp_path, reported=9)  # a later step proves the checkpoint before it
    assert ledger.newest == 8


def test_a_save_is_told_from_a_removal(tmp_path):
    (tmp_path / "2.orbax-checkpoint-tmp").mkdir()
    before = kills._unfinished(tmp_path)
    (tmp_path / "6").mkdir()
    assert kills._new_halves(tmp_path, before) == [6]
    (tmp_path / "8").mkdir()
    (tmp_path / "8" / "manifest.json").write_text("{}")  # 6 is older than it, and has none: it is about to be removed
    assert kills._new_halves(tmp_path, before) == [] and kills._new_halves(tmp_path, set()) == [None]
