"""Training on several processes: real ones, on this machine, joined by hand, as srun does and as mpirun does."""

import json
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny_runs import config_file, losses, metric_lines, tiny_config

from ddim_jax.checkpoints import CheckpointStore
from ddim_jax.training import train

HERE = Path(__file__).parent
TRAIN = HERE.parents[1] / "train.py"
LIMIT = 300  # seconds after which processes that hang fail their test


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

    def __init__(self, programs, environments, logs):
        logs.mkdir(parents=True, exist_ok=True)
        self._logs = [logs / f"{index}.log" for index in range(len(programs))]
        self._running = []
        for program, environment, path in zip(programs, environments, self._logs, strict=True):
            with open(path, "w") as log:
                self._running.append(subprocess.Popen(program, env=environment, stdout=log, stderr=log, cwd=logs))

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
def by_hand(environment, tmp_path_factory):
    """Starts on_processes.py `count` times; see there for what can be told."""

    def start(workdir, count, devices=1, **told):
        address = f"127.0.0.1:{free_port()}"
        flags = {"PYTHONPATH": f"{HERE.parent}:{TRAIN.parent}", "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"}
        program = [sys.executable, str(HERE / "on_processes.py"), str(workdir), address, str(count)]
        programs = [[*program, str(index), json.dumps(told)] for index in range(count)]
        return Processes(programs, [environment | flags] * count, tmp_path_factory.mktemp("logs"))

    return start


@pytest.fixture(scope="module")
def launched(environment, tmp_path_factory):
    """Starts train.py `count` times in the environment that `surroundings(index)` makes for each; gives its run."""

    def start(count, surroundings):
        folder = tmp_path_factory.mktemp("launched")
        (folder / "tiny.py").write_text(config_file(tiny_config()))
        program = [sys.executable, str(TRAIN), "--config", str(folder / "tiny.py"), "--workdir", str(folder / "run")]
        own = {"PYTHONPATH": str(TRAIN.parent)}
        environments = [environment | own | surroundings(index) for index in range(count)]
        return folder / "run", Processes([program] * count, environments, folder / "logs")

    return start


def assert_same_curve(workdir, reference, first=1):
    """The losses from step `first` on and the scores, to 1e-5; and every weight nearly."""
    found, expected = losses(workdir), losses(reference)
    assert list(found) == list(expected)
    np.testing.assert_allclose([*found.values()][first - 1 :], [*expected.values()][first - 1 :], rtol=1e-5)
    found, expected = (
        [line["validation_loss"] for line in metric_lines(run) if "validation_loss" in line]
        for run in (workdir, reference)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_two_processes_as_srun_starts_them(launched, reference):
    # Slurm's support in JAX takes the port from the number of the job.
    port = free_port(*range(65535 - 2**12 + 1, 65536))
    job = port - (65535 - 2**12 + 1)
    names = {"SLURM_JOB_ID": str(job), "SLURM_STEP_NODELIST": "localhost", "SLURM_NTASKS": "2"}
    run, processes = launched(2, lambda index: names | {"SLURM_PROCID": str(index), "SLURM_LOCALID": str(index)})
    assert processes.wait() == [0, 0], processes.said
    assert_same_curve(run, reference)
    first, second = processes.said
    assert "12 training and 5 validation images at 16 x 16, 2 x cpu in 2 processes, starts at step 0 of 12" in first
    assert [line for line in second.splitlines() if not line.startswith("[Gloo]")] == []
    assert CheckpointStore(run / "checkpoints").steps() == [4, 8, 12]
    assert len(list((run / "tensorboard").iterdir())) == 1


def test_four_processes_as_mpirun_starts_them(launched, reference):
    port = free_port(*range(65535 - 2**12 + 1, 65536))
    job = (port - (65535 - 2**12 + 1)) * 2**12
    names = {"OMPI_MCA_orte_hnp_uri": f"{job}.0;tcp://127.0.0.1:34911", "OMPI_COMM_WORLD_SIZE": "4"}
    ranks = ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK")
    run, processes = launched(4, lambda index: names | dict.fromkeys(ranks, str(index)))
    assert processes.wait() == [0] * 4, processes.said
    assert "4 x cpu in 4 processes" in processes.said[0]
    assert_same_curve(run, reference)


def test_one_process_goes_on_as_two_with_two_devices_each(by_hand, reference, tmp_path):
    """They read the pictures as training goes; the one before them had them all on its device."""
    shutil.copytree(reference / "checkpoints/4", tmp_path / "checkpoints/4")
    lines = (reference / "metrics.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "metrics.jsonl").write_text("".join(line for line in lines if json.loads(line)["step"] <= 4))
    processes = by_hand(tmp_path, 2, devices=2, config={"resident_bytes": 0})
    assert processes.wait() == [0, 0], processes.said
    assert "4 x cpu in 2 processes, resumes at step 4 of 12" in processes.said[0]
    assert_same_curve(tmp_path, reference)


def test_a_signal_to_one_stops_both_and_one_goes_on(by_hand, reference, tmp_path, capsys):
    processes = by_hand(tmp_path, 2, at=6, to=1, signal=signal.SIGTERM)
    assert processes.wait() == [0, 0], processes.said
    (step,) = re.findall(r"SIGTERM to process 1: saved step (\d+), stopped; the same command", processes.said[0])
    assert 6 <= int(step) < 12
    assert all(f"reached {step}\n" in said for said in processes.said)
    assert CheckpointStore(tmp_path / "checkpoints").steps()[-1] == int(step)
    assert train(tiny_config(), tmp_path) == 12
    assert f"resumes at step {step} of 12" in capsys.readouterr().err
    assert_same_curve(tmp_path, reference)


def test_a_killed_process_ends_the_other_with_a_message(by_hand, reference, tmp_path):
    """Either of two; what is told is which, where the last checkpoint is and that the same command goes on."""
    runs = [tmp_path / str(victim) for victim in (0, 1)]
    started = [by_hand(run, 2, at=6, to=victim, signal=signal.SIGKILL) for victim, run in enumerate(runs)]
    for victim, (run, processes) in enumerate(zip(runs, started, strict=True)):
        survivor = 1 - victim
        assert processes.wait()[survivor] == 75, processes.said
        (said,) = [line for line in processes.said[survivor].splitlines() if line.startswith("error: ")]
        lost = "process 0 of 2, which coordinates" if victim == 0 else "process 1 of 2 is lost: nothing was heard of it"
        assert lost in said
        assert said.endswith(
            f"The last checkpoint is step 4 in {run / 'checkpoints'}. Start the same command again on all processes, "
            "or on another number of them; it goes on from there."
        )
        assert CheckpointStore(run / "checkpoints").steps() == [4]
    again = by_hand(runs[1], 2)
    assert again.wait() == [0, 0], again.said
    assert_same_curve(runs[1], reference)
