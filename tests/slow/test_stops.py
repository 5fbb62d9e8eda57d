"""A training that is asked to stop, or loses one of its processes.

`python -m tests.slow.trials` does many, and counts them in docs/results/faults.json.
"""

import pytest

from benchmarks.faults import short_of_limits
from tests.slow.trials import peer_death, programs, sigterm
from tests.slow.trials.judge import assert_within_limits

pytestmark = pytest.mark.usefixtures("programs_share_the_cache")


def test_a_training_that_is_asked_to_stop(tmp_path):
    found = sigterm.measure(tmp_path, 3, 0, print, programs.CONFIG, every=10)
    assert found["n"] == 3
    assert short_of_limits("sigterm", found | {"seconds": 0.0}, long=False) == []
    assert found["seconds"] < 60  # the limit of 10 s is that of an idle machine


def test_one_of_two_processes_dies(tmp_path):
    found = peer_death.measure(tmp_path, 0, print, deaths=(("anywhere", 1),), steps=40)
    assert_within_limits("peer_death", found)
