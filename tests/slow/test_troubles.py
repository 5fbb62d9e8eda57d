"""A training whose checkpoints lie behind a link: suspended, killed, its disk taken away; a few of each.

`python -m tests.slow.trials troubles` does many, and counts them in docs/results/faults.json.
"""

import pytest

from tests.slow.trials import troubles
from tests.slow.trials.judge import assert_within_limits

pytestmark = pytest.mark.usefixtures("programs_share_the_cache")


def test_what_is_taken_away_from_a_training_is_said_and_lost_is_nothing(tmp_path):
    found = troubles.measure(tmp_path, len(troubles.KINDS), 0, print)
    assert found["offenders"] == {"unclear": [], "failed": []}
    assert_within_limits("troubles", found)
    assert found["n"] == len(troubles.KINDS) and all(found[kind] == 1 for kind in troubles.KINDS)
