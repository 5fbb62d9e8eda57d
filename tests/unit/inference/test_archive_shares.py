"""The number of a process among several, and its share of the images."""

import hashlib

import pytest

from ddim_jax.inference.processes import Process
from ddim_jax.runtime.errors import InputError

SRUN = {"SLURM_PROCID": "2", "SLURM_STEP_NUM_TASKS": "4", "SLURM_NTASKS": "8"}
MPIRUN = {"OMPI_COMM_WORLD_RANK": "5", "OMPI_COMM_WORLD_SIZE": "6"}
POD = {"JOB_COMPLETION_INDEX": "1", "KUBERNETES_SERVICE_HOST": "10.0.0.1"}


def test_the_owner_is_the_sha256_of_the_name_modulo_the_count():
    for name in ("a", "ward/scan_01", "Größe", "undecodable\udcff"):
        number = int(hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest(), 16)
        for count in (1, 2, 3, 7):
            owners = [index for index in range(count) if Process(index, count).owns(name)]
            assert owners == [number % count]
    # SHA-256 of "abc" is ba7816bf ... f20015ad (FIPS 180-2, B.1), an odd number.
    assert Process(1, 2).owns("abc") and not Process(0, 2).owns("abc")


def test_the_shares_are_about_even():
    counts = [sum(Process(index, 4).owns(f"scan_{k:05}") for k in range(4000)) for index in range(4)]
    assert sum(counts) == 4000 and all(abs(count - 1000) < 150 for count in counts)  # 5 standard deviations


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, (0, 1)),
        (SRUN, (2, 4)),
        (MPIRUN, (5, 6)),
        (SRUN | MPIRUN, (5, 6)),  # mpirun below srun
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "8"}, (0, 1)),  # in a batch script, outside of srun
    ],
)
def test_what_started_the_process_tells(environment, expected):
    assert Process.find(environment=environment) == expected


@pytest.mark.parametrize(
    ("given", "environment", "expected"),
    [
        ((1, 3), {}, (1, 3)),
        ((0, 1), SRUN, (0, 1)),
        ((None, 3), POD, (1, 3)),
        ((3, None), SRUN, (3, 4)),
        ((0, 1), {"SLURM_PROCID": "x", "SLURM_STEP_NUM_TASKS": "y"}, (0, 1)),  # not looked at
    ],
)
def test_what_is_given_goes_first(given, environment, expected):
    assert Process.find(*given, environment=environment) == expected


@pytest.mark.parametrize(
    ("given", "environment", "message"),
    [
        ((2, 2), {}, "process id is 2 with process count 2; expected 0 to 1"),
        ((-1, 2), {}, "process id is -1"),
        ((0, 0), {}, "process count is 0; expected at least 1"),
        ((1, None), {}, "--process-id is 1, but of how many"),
        ((2, None), POD, "--process-id is 2, but of how many"),
        ((None, 4), {}, "--process-count is 4, but which of them"),
        ((None, 2), SRUN, "process id is 2 with process count 2"),
        ((None, None), POD, "JOB_COMPLETION_INDEX is 1, but of how many"),
        ((None, None), SRUN | {"SLURM_PROCID": "one"}, "variable SLURM_PROCID is 'one'; expected a whole number"),
    ],
)
def test_numbers_that_cannot_be_are_refused(given, environment, message):
    with pytest.raises(InputError, match=message):
        Process.find(*given, environment=environment)


@pytest.mark.parametrize("values", [(0.0, 1), (0, "2"), (True, 2), (0, None)])
def test_numbers_are_whole(values):
    with pytest.raises(InputError, match="expected a whole number"):
        Process.create(*values)
