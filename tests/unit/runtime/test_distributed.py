"""Processes that find each other, as far as one process shows it."""

import socket

import jax
import numpy as np
import pytest

from ddim_jax.runtime.distributed import _settle, initialise
from ddim_jax.runtime.errors import ConfigError, InputError
from ddim_jax.runtime.processes import allgather_int, broadcast_from_first, check_shared, run_first_then_others

SLURM = {"SLURM_STEP_NUM_TASKS": "4", "SLURM_NTASKS": "8", "SLURM_PROCID": "3"}
MPI = {"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "2"}
JOB = {"JOB_COMPLETION_INDEX": "1"}


@pytest.mark.parametrize(
    ("given", "environment", "settled"),
    [
        ((None, None, None), {}, (None, 1, 0, None)),
        # In the shell of an allocation, outside srun, there are some of Slurm's variables.
        ((None, None, None), {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4"}, (None, 1, 0, None)),
        ((None, None, None), SLURM, (None, 4, 3, "srun")),
        # A container that was given what JAX's own detection reads.
        (
            (None, None, None),
            {"SLURM_STEP_NODELIST": "n[1-2]", "SLURM_NTASKS": "2", "SLURM_PROCID": "1"},
            (None, 2, 1, "srun"),
        ),
        ((None, None, None), SLURM | {"SLURM_STEP_NUM_TASKS": "1"}, (None, 1, 3, "srun")),
        ((None, None, None), MPI, (None, 4, 2, "mpirun")),
        ((None, None, None), JOB, (None, None, None, "a Kubernetes Job")),
        (("a:1", 2, 0), {}, ("a:1", 2, 0, None)),
        (("[::1]:80", 1, 0), {}, ("[::1]:80", 1, 0, None)),
        (("a:1", None, None), SLURM, ("a:1", 4, 3, "srun")),
        (("a:1", None, None), MPI, ("a:1", 4, 2, "mpirun")),
        (("a:1", 2, None), JOB, ("a:1", 2, 1, "a Kubernetes Job")),
        (("a:1", 5, 4), MPI, ("a:1", 5, 4, "mpirun")),
    ],
)
def test_what_is_given_and_what_the_launcher_says(given, environment, settled):
    *how, launched = _settle(*given, environment)
    assert (*how, launched and launched.by) == settled


def test_a_variable_that_is_no_number():
    with pytest.raises(InputError, match="SLURM_STEP_NUM_TASKS is 'many'; expected a whole number"):
        _settle(None, None, None, SLURM | {"SLURM_STEP_NUM_TASKS": "many"})


@pytest.mark.parametrize(
    ("given", "environment", "message"),
    [
        (("a:1", 2, None), {}, "^--coordinator-address, --process-count without --process-id; expected all three"),
        ((None, None, 0), {}, "^--process-id without --coordinator-address, --process-count; expected all three"),
        (("a:1", None, None), JOB, "--process-count; expected all three"),
        (("a:1", 0, 0), {}, "--process-count is 0"),
        (("a:1", 2, 2), {}, "--process-id is 2; expected 0 to 1"),
        (("a:1", 2, -1), {}, "--process-id is -1"),
        (("a", 2, 1), {}, "--coordinator-address is 'a'; expected HOST:PORT"),
        (("a:b", 2, 1), {}, "--coordinator-address is 'a:b'"),
        (("a:65536", 2, 1), {}, "--coordinator-address is 'a:65536'"),
    ],
)
def test_what_cannot_be_meant(given, environment, message):
    with pytest.raises(ConfigError, match=message):
        _settle(*given, environment)


def test_a_single_process_is_not_joined_to_anything():
    initialise()
    initialise("nowhere.invalid:1", 1, 0)
    assert not jax.distributed.is_initialized()
    # Rounded as among several processes, so that a run goes on alike with any number of them.
    assert (broadcast_from_first(0.1), broadcast_from_first(2**24 + 1)) == (float(np.float32(0.1)), 2**24 + 1)
    assert (run_first_then_others(lambda: 7), allgather_int(3)) == (7, [3])


HANDED = {"OMPI_COMM_WORLD_LOCAL_RANK": "1"}


@pytest.mark.parametrize(
    ("environment", "index", "devices"),
    [
        (MPI | HANDED, 2, [1]),
        # mpirun within a job of Slurm: the variables of the task that started its daemon are there as well.
        (MPI | HANDED | SLURM | {"SLURM_LOCALID": "0"}, 2, [1]),
        (MPI, 2, None),
        (MPI | HANDED | {"JAX_LOCAL_DEVICE_IDS": "0"}, 2, None),
        (SLURM | HANDED, 3, None),
    ],
)
def test_under_mpirun_each_process_takes_its_own_gpu(monkeypatch, environment, index, devices):
    """JAX finds that by itself only up to Open MPI 4."""
    given = []
    for name in ("no_proxy", "no_grpc_proxy"):
        monkeypatch.setenv(name, "")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(jax.config, "update", lambda *_: None)
    monkeypatch.setattr(jax.distributed, "initialize", lambda *how, **_: given.append(how))
    with socket.create_server(("127.0.0.1", 0)) as listens:
        address = f"127.0.0.1:{listens.getsockname()[1]}"
        initialise(address)
    assert given == [(address, 4, index, devices)]


def test_processes_wait_at_a_barrier_and_not_in_a_collective(monkeypatch):
    """A collective gives up after half a minute, while process 0 may be reading for longer than that."""
    done = []

    def barrier(*, key, timeout_ms):
        done.append((key.rpartition("/")[0], timeout_ms))

    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr("orbax.checkpoint.multihost.get_barrier_sync_fn", lambda: barrier)
    for index in (0, 1):
        monkeypatch.setattr(jax, "process_index", lambda index=index: index)
        run_first_then_others(lambda: done.append("work"))
    waited = ("ddim_jax/run_first_then_others", 24 * 3600 * 1000)
    assert done == ["work", waited, waited, "work"]


def test_a_folder_that_is_not_shared(tmp_path):
    file = tmp_path / "config.json"
    with pytest.raises(InputError, match=r"written by process 0, not seen by process 0; .* file system that all"):
        check_shared(file, "a", timeout=0)
    file.write_text("b")
    with pytest.raises(InputError, match="process 0 wrote another configuration there than process 0 has"):
        check_shared(file, "a", timeout=0)
    check_shared(file, "b", timeout=0)
