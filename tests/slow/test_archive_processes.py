"""An archive divided among processes of the operating system, some of them killed."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from segmenters import MixesNoise, config, save_archive, tiny_params, tiny_segmenter

from ddim_jax.checkpoints import CheckpointStore
from ddim_jax.inference import segment_files
from ddim_jax.inference.processes import Process
from ddim_jax.runtime.errors import InputError

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
COUNT = 30
TIMEOUT_S = 300


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    return save_archive(tmp_path_factory.mktemp("archive"), COUNT)


@pytest.fixture(scope="module")
def mixing():
    return tiny_segmenter(MixesNoise())


@pytest.fixture(scope="module")
def single(archive, mixing, tmp_path_factory):
    """The output of one process for the archive."""
    out = tmp_path_factory.mktemp("single")
    summary = segment_files(mixing, archive, out)
    assert (summary.done, len(summary.failed)) == (COUNT - 1, 1)
    return out


def results(out):
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in sorted(out.rglob("*.png"))}


def index(out):
    """The lines of the index, in their order, without the times."""
    records = [json.loads(line) for line in (out / "index.jsonl").read_text().splitlines()]
    return [{field: value for field, value in record.items() if field != "seconds"} for record in records]


def start(*program, **environment):
    own = {"JAX_PLATFORMS": "cpu", "PYTHONPATH": f"{ROOT}{os.pathsep}{HERE.parent}"}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, *map(str, program)], env=os.environ | own | environment, **streams)


def test_two_processes_of_srun_make_what_one_makes(archive, tmp_path):
    CheckpointStore(tmp_path / "run/checkpoints").save(
        5, state={"step": 5}, ema_params=tiny_params()[1], metadata={"config": config(), "package_version": "0"}
    )
    common = ("--ckpt", tmp_path / "run", "--input", archive / "sub", "--output", tmp_path / "out")
    processes = [
        start(ROOT / "sample.py", *common, "--flag-uncertain", 0.2, SLURM_PROCID=str(k), SLURM_STEP_NUM_TASKS="2")
        for k in range(2)
    ]
    outputs = [process.communicate(timeout=TIMEOUT_S) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs

    one = segment_files(tiny_segmenter(), archive / "sub", tmp_path / "one", flag_uncertain=0.2)  # the weights of `run`
    assert results(tmp_path / "out") == results(tmp_path / "one") and len(results(tmp_path / "out")) == one.done
    assert index(tmp_path / "out") == index(tmp_path / "one")
    assert (tmp_path / "out/flagged.csv").read_text() == (tmp_path / "one/flagged.csv").read_text()
    assert sorted(path.name for path in (tmp_path / "out").iterdir() if path.suffix != ".png") == [
        ".index.lock",
        ".processes.json",
        "flagged.csv",
        "index.jsonl",
        "settings.json",
    ]
    names = [record["name"] for record in index(tmp_path / "out")]
    for k, (out, _) in enumerate(outputs):  # every image was segmented by its process alone
        own = sum(Process(k, 2).owns(name) for name in names)
        assert re.match(rf"process {k} of 2: {own} images segmented .* 0 done before, 0 failed", out)


@pytest.fixture(scope="module")
def killed(archive, mixing, single, tmp_path_factory):
    """The output folder of process 0 of 2, killed after some images, and the names it had finished."""
    out = tmp_path_factory.mktemp("killed") / "out"
    process = start(HERE / "archive_process.py", archive, out, 0, 2, 0.3)
    part = out / "index.0-of-2.jsonl"
    began = time.monotonic()
    while not (part.exists() and part.read_bytes().count(b'"ok"') >= 3):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() - began < TIMEOUT_S
        time.sleep(0.01)
    process.send_signal(signal.SIGSTOP)  # so that it is still at work, however long the next lines take
    for k, n, message in (
        (0, 2, "process 0 of 2 is at work there .* this is process 0 of 2"),
        (0, 1, "process 0 of 2 is"),
    ):
        with pytest.raises(InputError, match=message):
            segment_files(mixing, archive, out, process=Process(k, n))
    process.kill()
    process.communicate()
    lines = [json.loads(line) for line in part.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
    finished = [record["name"] for record in lines if record["status"] == "ok" or record["name"] == "damaged"]
    own = [record["name"] for record in index(single) if Process(0, 2).owns(record["name"])]
    assert 3 <= len(finished) < len(own) and set(finished) < set(own)
    return out, finished


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_next_start_does_the_rest(archive, mixing, single, killed, count, tmp_path):
    out, finished = tmp_path / "out", killed[1]
    shutil.copytree(killed[0], out)  # with the times of the files
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.png") if path.name[0] != "."}

    def run():
        return [segment_files(mixing, archive, out, process=Process(k, count)) for k in range(count)]

    summaries = run()
    kept = [name for name in finished if name != "damaged"]  # what failed is tried again
    assert sum(summary.kept for summary in summaries) == len(kept)
    assert sum(summary.done for summary in summaries) == COUNT - 1 - len(kept)
    assert sum(len(summary.failed) for summary in summaries) == 1
    for name in kept:
        assert (out / f"{name}_mask.png").stat().st_mtime_ns == before[out / f"{name}_mask.png"]
    assert results(out) == results(single) and index(out) == index(single)
    assert not list(out.rglob("*partial*")) and not list(out.glob("index.*-of-*"))

    after = {path: path.stat().st_mtime_ns for path in out.rglob("*.png")}
    again = run()
    assert sum(summary.done for summary in again) == 0
    assert sum(summary.kept for summary in again) == COUNT - 1
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.png")} == after and index(out) == index(single)
