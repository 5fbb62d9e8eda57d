"""The programs, stopped before they have done anything: while their libraries are imported, or data are read."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_runs import config_file, tiny_config

ROOT = Path(__file__).parents[2]
SENDS = """
import os, signal, time

os.kill(os.getpid(), signal.{})
time.sleep(60)
"""
"""In place of a library: a signal comes while it is imported."""
HANGS = """
import hashlib, os, signal

import ddim_jax.training.setup as setup


def reads(*arguments, **options):
    os.kill(os.getpid(), signal.{})
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)  # minutes in C, where no handler of Python is called


setup.load_dataset = reads
"""
"""In a config file: a signal comes while the data are read."""


def run(program, *arguments, folder, **environment):
    """Starts a program as a terminal does: Ctrl-C is not ignored."""
    foreground = (
        "import runpy, signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"sys.argv[0] = {str(ROOT / program)!r}\n"
        f"sys.path[0] = {str(ROOT)!r}\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    command = [sys.executable, "-c", foreground, *map(str, arguments)]
    environment = {**os.environ, **environment}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("library", ["absl", "jax"])  # the first that train.py imports, and the slowest
@pytest.mark.parametrize(("number", "status"), [("SIGTERM", 75), ("SIGINT", 130)])
def test_a_training_whose_libraries_are_imported(library, number, status, tmp_path):
    (tmp_path / f"{library}.py").write_text(SENDS.format(number))
    done = run("train.py", "--config", "configs/demo.py", folder=tmp_path, PYTHONPATH=str(tmp_path))
    assert (done.returncode, done.stderr, done.stdout) == (status, "stopped before training began\n", "")


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("sample.py", "stopped before an image was segmented\n"),
        ("evaluate.py", "stopped before an image was evaluated\n"),
    ],
)
def test_ctrl_c_while_the_libraries_of_another_program_are_imported(program, said, tmp_path):
    (tmp_path / "jax.py").write_text(SENDS.format("SIGINT"))
    done = run(program, "--ckpt", "RUN", folder=tmp_path, PYTHONPATH=str(tmp_path))
    assert (done.returncode, done.stderr, done.stdout) == (130, said, "")


def test_a_training_whose_data_are_read(environment, tmp_path):
    (tmp_path / "tiny.py").write_text(config_file(tiny_config()) + HANGS.format("SIGTERM"))
    done = run("train.py", "--config", "tiny.py", folder=tmp_path, **environment)
    assert (done.returncode, done.stderr) == (75, "stopped before training began\n")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_that_has_just_said_where_it_is(number, environment, tmp_path):
    # The line is written before uvicorn listens to signals: this one was lost, and the server went on.
    pytest.importorskip("uvicorn")
    command = [sys.executable, "-m", "ddim_jax", "serve", "--ckpt", "lung_xray", "--port", "0"]
    own = environment | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=own, cwd=tmp_path) as server:
        try:
            line = server.stdout.readline()
            address = re.search(r"127\.0\.0\.1:(\d+)", line)
            socket.create_connection(("127.0.0.1", int(address[1])), timeout=30).close()  # it can be reached at once
            server.send_signal(number)
            assert server.wait(timeout=60) == 0
            assert not list(tmp_path.glob("ddim-jax-serve-*"))
        finally:
            server.kill()
