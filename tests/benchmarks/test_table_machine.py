"""What the worker of Table 1 says of the networks and the machine."""

import jax  # noqa: F401, in a condition below
import pytest

from benchmarks.table_machine import Machine


def test_the_weights_of_a_network():
    assert Machine().parameters({"name": "unet", "preset": "small", "overrides": {"dtype": None}}, 64) == 510_788


@pytest.mark.skipif("jax.default_backend() != 'cpu'")
def test_a_cpu_is_told_with_its_threads():
    assert Machine().device(3).endswith(", 3 threads")
