"""Training on several processes: real ones, on this machine, joined by hand, as srun does and as mpirun does.

One test is with diffusion; the others are about what lies around the network, and take the one that starts fastest.
"""

import json
import re
import shutil
import signal
import socket
from pathlib import Path

import numpy as np
import pytest
from tiny_runs import (
    assert_same_but_for_rounding,
    checkpoint,
    config_file,
    losses,
    metric_lines,
    tiny_config,
    unet_config,
)

from ddim_jax.checkpoints import CheckpointStore
from ddim_jax.training import train

HERE = Path(__file__).parent
TRAIN = HERE.parents[1] / "train.py"
FIRST_PORT = 65535 - 2**12 + 1  # of those that JAX uses where a launcher gives the number of a job
LIMIT = 600  # seconds after which processes that hang fail their test


def free_port(*among):
    """A port that nothing listens on, out of `among` where that is given."""
    for port in among or (0,):
        with socket.socket() as trial:
            try:
                trial.bind(("127.0.0.1", port))
            except OSError:
                continue
            return trial.getsockname()[1]
    raise RuntimeError("every port is taken")


class Processes:
    """Programs started together; what each says goes to a file of its own in `logs`."""

    def __init__(self, warm, programs, environments, logs):
        self._logs = [logs / f"{index}.log" for index in range(len(programs))]
        self._running = [
            warm.start(program, logs, path, environment=environment)
            for program, environment, path in zip(programs, environments, self._logs, strict=True)
        ]

    def wait(self):
        """Exit status of each."""
        try:
            return [process.wait(LIMIT) for process in self._running]
        finally:
            for process in self._running:
                process.kill()

    @property
    def said(self):
        return [path.read_text() for path in self._logs]


@pytest.fixture(scope="module")
def start(environment, warm, tmp_path_factory):
    """Starts `count` processes; `surroundings` makes what a launcher adds to the environment of each.

    `program` is train.py with the config of `alone`, or training_process.py, which takes `told`.
    """
    folder = tmp_path_factory.mktemp("processes")
    (folder / "tiny.py").write_text(config_file(unet_config()))

    def start(workdir, count, surroundings=None, devices=1, **told):
        flags = {
            "PYTHONPATH": f"{HERE.parent}:{TRAIN.parent}",
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        }
        address = f"127.0.0.1:{free_port()}"
        programs, environments = [], []
        for index in range(count):
            joined = [] if surroundings else [address, str(count), str(index)]
            if told:
                program = [str(HERE / "training_process.py"), str(workdir), json.dumps(told), *joined]
            else:
                names = ("coordinator-address", "process-count", "process-id")
                by_hand = [f"--{name}={value}" for name, value in zip(names, joined, strict=False)]
                program = [str(TRAIN), "--config", str(folder / "tiny.py"), "--workdir", str(workdir), *by_hand]
            programs.append(program)
            environments.append(environment | flags | (surroundings(index) if surroundings else {}))
        return Processes(warm, programs, environments, tmp_path_factory.mktemp("logs"))

    return start


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A run of one process, 12 steps without an interruption and without dropout: devices compute their own shares."""
    workdir = tmp_path_factory.mktemp("alone")
    assert train(unet_config(), workdir) == 12
    return workdir


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """The same with diffusion and dropout."""
    workdir = tmp_path_factory.mktemp("reference")
    assert train(tiny_config(), workdir) == 12
    return workdir


def as_srun(count):
    """Variables that srun puts into the environment of each of `count` processes on this machine."""
    # Slurm's support in JAX takes the port from the number of the job.
    job = free_port(*range(FIRST_PORT, 65536)) - FIRST_PORT
    shared = {"SLURM_JOB_ID": str(job), "SLURM_STEP_NODELIST": "localhost"}
    shared |= {"SLURM_NTASKS": str(count), "SLURM_STEP_NUM_TASKS": str(count)}
    return lambda index: shared | {"SLURM_PROCID": str(index), "SLURM_LOCALID": str(index)}


def as_mpirun(count):
    """Variables that Open MPI's mpirun puts there."""
    job = (free_port(*range(FIRST_PORT, 65536)) - FIRST_PORT) * 2**12
    shared = {"OMPI_MCA_orte_hnp_uri": f"{job}.0;tcp://127.0.0.1:34911", "OMPI_COMM_WORLD_SIZE": str(count)}
    ranks = ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK")
    return lambda index: shared | dict.fromkeys(ranks, str(index))


def assert_same_curve(workdir, reference):
    """Every loss and every validation, to 1e-5."""
    found, expected = losses(workdir), losses(reference)
    assert list(found) == list(expected)
    np.testing.assert_allclose([*found.values()], [*expected.values()], rtol=1e-5)
    found, expected = (
        [line["validation_loss"] for line in metric_lines(run) if "validation_loss" in line]
        for run in (workdir, reference)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_four_processes_as_mpirun_starts_them(start, alone, tmp_path):
    processes = start(tmp_path, 4, as_mpirun(4))
    assert processes.wait() == [0] * 4, processes.said
    assert_same_curve(tmp_path, alone)
    first, *others = processes.said
    assert "12 training and 5 validation images at 16 x 16, 4 x cpu in 4 processes, starts at step 0 of 12" in first
    for said in others:  # process 0 speaks for all
        assert [line for line in said.splitlines() if not line.startswith("[Gloo]")] == []
    assert CheckpointStore(tmp_path / "checkpoints").steps() == [4, 8, 12]
    assert len(list((tmp_path / "tensorboard").iterdir())) == 1


def copy_four_steps(reference, workdir):
    """A run of one process as it was after step 4."""
    shutil.copytree(reference / "checkpoints/4", workdir / "checkpoints/4")
    lines = (reference / "metrics.jsonl").read_text().splitlines(keepends=True)
    (workdir / "metrics.jsonl").write_text("".join(line for line in lines if json.loads(line)["step"] <= 4))


def test_one_process_goes_on_as_two_with_two_devices_each(start, reference, tmp_path):
    """They read the images as training goes; the one before them had them all on its device."""
    copy_four_steps(reference, tmp_path)
    processes = start(tmp_path, 2, devices=2, slices=True, diffusion=True, config={"resident_bytes": 0})
    assert processes.wait() == [0, 0], processes.said
    assert "4 x cpu in 2 processes, resumes at step 4 of 12" in processes.said[0]
    assert_same_curve(tmp_path, reference)
    # Large arrays, here all, are written by both; in the other runs process 0 writes the small ones, which is all.
    assert list((tmp_path / "checkpoints/12/state/ocdbt.process_1").iterdir())
    assert_same_but_for_rounding(checkpoint(tmp_path, 12), checkpoint(reference, 12))


def test_a_signal_to_one_stops_both_and_one_goes_on(start, alone, tmp_path, capsys):
    copy_four_steps(alone, tmp_path)
    processes = start(tmp_path, 2, devices=2, at=6, to=1, signal=signal.SIGTERM)
    assert processes.wait() == [75, 75], processes.said
    (step,) = re.findall(r"SIGTERM to process 1: saved step (\d+), stopped; the same command", processes.said[0])
    assert 6 <= int(step) < 12
    assert all(f"reached {step}\n" in said for said in processes.said)
    assert CheckpointStore(tmp_path / "checkpoints").steps()[-1] == int(step)
    assert train(unet_config(), tmp_path) == 12
    assert f"resumes at step {step} of 12" in capsys.readouterr().err
    assert_same_curve(tmp_path, alone)


@pytest.mark.parametrize("to", [0, 1])
def test_a_signal_during_a_validation(start, tmp_path, to):
    """All give it up before the same batch, whichever process the signal came to."""
    processes = start(tmp_path, 2, validating=True, to=to, signal=signal.SIGTERM)
    assert processes.wait() == [75, 75], processes.said
    assert all("gave up\n" in said and "reached 4\n" in said for said in processes.said)
    assert f"SIGTERM to process {to}: saved step 4, stopped; the same command" in processes.said[0]
    assert CheckpointStore(tmp_path / "checkpoints").steps() == [4]
    assert not (tmp_path / "checkpoints/4/metrics").exists() and "validation loss" not in processes.said[0]


LOST = "for another one is lost: that failed, was killed or ran out of memory"


@pytest.mark.parametrize(("to", "number", "status"), [(0, signal.SIGTERM, 75), (1, signal.SIGINT, 130)])
def test_a_signal_to_one_before_training_ends_both(start, tmp_path, to, number, status):
    processes = start(tmp_path / "run", 2, reading=True, to=to, signal=number)
    statuses = processes.wait()
    assert (statuses[to], statuses[1 - to]) == (status, 75), processes.said
    assert processes.said[to].endswith(f"error: process {to} of 2: stopped before training began\n")
    (told,) = [line for line in processes.said[1 - to].splitlines() if line.startswith("error: ")]
    assert LOST in told and "There is no checkpoint yet. Start the same command again" in told
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("broken", [0, 1])
def test_an_error_of_one_ends_both(start, tmp_path, broken):
    processes = start(tmp_path / "run", 2, reading=True, broken=broken)
    statuses = processes.wait()
    assert (statuses[broken], statuses[1 - broken]) == (2, 75), processes.said
    assert processes.said[broken].endswith(f"error: process {broken} of 2: x.png: no image\n")
    assert LOST in processes.said[1 - broken]


def test_numbers_that_the_disk_refuses_end_both_after_a_checkpoint(start, tmp_path):
    processes = start(tmp_path / "run", 2, full=2, config={"checkpoint_every": 100})
    assert processes.wait() == [2, 75], processes.said
    assert "No space left on device" in processes.said[0] and "metrics.jsonl" in processes.said[0]
    assert LOST in processes.said[1]
    (step,) = CheckpointStore(tmp_path / "run/checkpoints").steps()
    assert 2 < step < 12  # as soon as a step has told the other process


def test_a_killed_process_ends_the_other_with_a_message(start, alone, tmp_path):
    """Either of two; what is told is that one is lost, where the last checkpoint is, and what goes on."""
    runs = [tmp_path / str(victim) for victim in (0, 1)]
    how = [None, as_srun(2)]
    copy_four_steps(alone, runs[0])  # the other begins
    started = [start(runs[i], 2, how[i], at=6, to=i, signal=signal.SIGKILL) for i in (0, 1)]
    for victim, (run, processes) in enumerate(zip(runs, started, strict=True)):
        survivor = 1 - victim
        assert processes.wait()[survivor] == 75, processes.said
        (said,) = [line for line in processes.said[survivor].splitlines() if line.startswith("error: ")]
        assert said.startswith(f"error: process {survivor} of 2 ends, {LOST}"), processes.said
        assert said.endswith(
            f"The last checkpoint is step 4 in {run / 'checkpoints'}. Start the same command again on all processes, "
            "or on another number of them; it goes on from there."
        )
        assert CheckpointStore(run / "checkpoints").steps() == [4]
    again = start(runs[1], 2, as_srun(2))
    assert again.wait() == [0, 0], again.said
    assert "2 x cpu in 2 processes, resumes at step 4 of 12" in again.said[0]
    assert_same_curve(runs[1], alone)
