"""A training and a segmenting whose disk becomes full.

`python -m tests.slow.trials` does many, and counts them in docs/results/faults.json.
"""

import pytest

from tests.slow.trials import disk_full
from tests.slow.trials.judge import assert_within_limits

pytestmark = pytest.mark.usefixtures("programs_share_the_cache")


def test_a_disk_that_is_full(tmp_path):
    try:
        with disk_full.SmallDisk(tmp_path / "trial"):
            pass
    except disk_full.FaultRunFailed as error:
        pytest.skip(str(error))
    found = disk_full.measure(tmp_path / "work", print, checkpoint_shares=(0.5,), result_shares=(0.6,))
    assert_within_limits("disk_full", found)
    assert (found["n"], found["in_a_save"], found["in_results"]) == (2, 1, 1)
