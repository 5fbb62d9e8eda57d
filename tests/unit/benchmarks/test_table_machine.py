"""What the worker of Table 1 says of the networks and the machine."""

import jax
import pytest

from benchmarks.table_machine import Machine
from ddim_jax.ops.cpu_kernels import library_path


def test_the_weights_of_a_network():
    assert Machine().parameters({"name": "unet", "preset": "small", "overrides": {"dtype": None}}, 64) == 510_788


@pytest.mark.skipif("jax.default_backend() != 'cpu'")
def test_a_cpu_is_told_with_its_threads():
    about = Machine().about(3)
    assert about["device"].endswith(", 3 threads") and about["platform"] == "cpu"


def test_the_software():
    about = Machine().about(1)
    assert (about["jax"], about["compiled_cpu_kernels"]) == (jax.__version__, library_path() is not None)
