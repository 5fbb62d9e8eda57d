"""A training that is killed, and checkpoints that are damaged: a few each.

`python -m tests.slow.trials` does many, and counts them in docs/results/faults.json.
"""

import shutil

import pytest

from ddim_jax.checkpoints import CheckpointStore
from tests.slow.trials import damage, kills
from tests.slow.trials.judge import assert_within_limits
from tests.slow.trials.programs import checkpoints, complete_steps, first_step, last_step

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
