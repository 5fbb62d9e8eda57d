"""train.py as a user starts it: killed, asked to stop, finished; and what it says when it cannot run."""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny_runs import assert_same_bits, checkpoint, config_file, unet_config

from ddim_jax.checkpoints import CheckpointStore

ROOT = Path(__file__).parents[2]
STEPS = 1000  # of some milliseconds: time enough for two signals
LIMIT = 900  # seconds after which a program that hangs fails its test


class Program:
    """train.py, started in `folder`; what it says goes to a file there."""

    def __init__(self, folder, environment, arguments):
        self._log = folder / f"{time.monotonic_ns()}.log"
        program = [sys.executable, str(ROOT / "train.py"), *arguments]
        with open(self._log, "w") as log:
            self.process = subprocess.Popen(program, cwd=folder, env=environment, stdout=log, stderr=log)

    @property
    def said(self):
        return self._log.read_text()

    def wait(self):
        return self.process.wait(LIMIT)

    def wait_until(self, condition):
        end = time.monotonic() + LIMIT
        while not condition():
            assert self.process.poll() is None and time.monotonic() < end, self.said
            time.sleep(0.01)


@pytest.fixture
def start(environment, tmp_path):
    """Starts train.py with the tiny config in `tmp_path`; whatever runs at the end is ended."""
    (tmp_path / "tiny.py").write_text(tiny_file())
    started = []

    def start(*arguments, config="tiny.py"):
        started.append(Program(tmp_path, environment, ["--config", config, *arguments]))
        return started[-1]

    yield start
    for program in started:
        program.process.kill()
        program.wait()


def tiny_file():
    """A network without diffusion, each start of which takes a fraction of the time; as a config file."""
    return config_file(unet_config(steps=STEPS, checkpoint_every=10 * STEPS, log_every=20))


def test_killed_stopped_twice_and_finished_is_the_same_as_left_alone(start, tmp_path):
    alone, run = tmp_path / "alone", tmp_path / "runs/tiny"
    store = CheckpointStore(run / "checkpoints")

    killed = start("--config.train.checkpoint_every=5")  # without --workdir: runs/<name>
    killed.wait_until(lambda: (run / "checkpoints/10/manifest.json").exists())
    killed.process.kill()
    assert killed.wait() == -signal.SIGKILL
    reached = store.steps()[-1]
    assert 10 <= reached < STEPS

    undisturbed = start("--workdir", str(alone))
    for number, status in ((signal.SIGTERM, 75), (signal.SIGINT, 130)):
        stopped = start()
        stopped.wait_until(lambda stopped=stopped: "\nstep " in stopped.said)
        stopped.process.send_signal(number)
        assert stopped.wait() == status, stopped.said
        assert f"resumes at step {reached} of {STEPS}" in stopped.said
        (step,) = re.findall(rf"\n{number.name}: saved step (\d+), stopped; the same command goes on", stopped.said)
        assert reached < int(step) < STEPS
        assert store.steps()[-1] == int(step)
        reached = int(step)

    finished = start()
    assert finished.wait() == 0, finished.said
    assert undisturbed.wait() == 0, undisturbed.said
    assert_same_bits(checkpoint(run, STEPS), checkpoint(alone, STEPS))
    ends = [json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1]) for folder in (run, alone)]
    assert ends[0] == ends[1]

    # A user sees lines of this package alone.
    first, *others = undisturbed.said.splitlines()
    assert first == (
        f"unet: 849 parameters, 12 training and 5 validation images at 16 x 16, 1 x cpu, starts at step 0 of {STEPS}"
    )
    facts = ("pairs: ", "grey levels: ", "classes: ", "foreground: ", "at 16 x 16: ", "the first step took ")
    few = "5 val of 17 images: the Dice of fewer than 9 says little"
    assert [line for line in others[:-1] if not line.startswith(("step ", few, *facts))] == []
    assert re.fullmatch(rf"step {STEPS}/{STEPS}: validation loss \d\.\d{{4}}, Dice \d\.\d{{4}}", others[-2])
    assert others[-1].startswith(f"{alone} is finished; the best in validation is step ")
