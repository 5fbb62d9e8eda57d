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


FULL = "error: {}/metrics.jsonl: No space left on device. Make room there.\n"


@pytest.mark.parametrize(
    ("status", "said", "clear"),
    [
        (2, "step 1\n" + FULL, True),
        (1, FULL, False),
        (2, "Traceback (most recent call last):\n" + FULL, False),
        (2, FULL + FULL, False),
        (2, "error: writing: No space left on device\n", False),
        (2, "error: {}: it did not work\n", False),
        (None, FULL, False),
    ],
)
def test_what_a_clear_message_of_a_full_disk_is(tmp_path, status, said, clear):
    assert disk_full.is_clear(status, said.replace("{}", str(tmp_path)), tmp_path) is clear
