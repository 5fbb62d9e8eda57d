"""sample, export, serve and doctor where there is no other machine; attempts of Python code to reach one are seen."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from ddim_jax.data.datasets.phantom import draw_phantom

APART = ["unshare", "--user", "--map-root-user", "--net"]
"""Begins a program in a network namespace of its own, whose loopback is down and which has nothing else."""

# Loaded by every Python program with this folder on its path, children among them.
WATCH = """
import os, sys

def watch(event, arguments):
    if event in ("socket.connect", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname"):
        with open(os.environ["ATTEMPTS"], "a") as file:
            print(event, arguments[1:] if event in ("socket.connect", "socket.sendto") else arguments, file=file)

sys.addaudithook(watch)
"""

# Puts the loopback up, starts the server, sends it an image and prints the answer.
ASK = """
import fcntl, json, socket, struct, subprocess, sys, urllib.request

with socket.socket() as one:  # SIOCSIFFLAGS: IFF_UP | IFF_RUNNING
    fcntl.ioctl(one, 0x8914, struct.pack("16sh14x", b"lo", 0x41))
command = [sys.executable, "-m", "ddim_jax", "serve", "--ckpt", "lung_xray", "--port", "0"]
server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
try:
    address = next(word for word in server.stdout.readline().split() if word.startswith("http://127.0.0.1:"))
    for place in ("", "openapi.json"):
        urllib.request.urlopen(address + place).read()
    with open("in/x.png", "rb") as file:
        request = urllib.request.Request(address + "segment", file.read(), {"Content-Type": "image/png"})
    print(urllib.request.urlopen(request).read().decode())
finally:
    server.terminate()
    server.wait()
sys.exit(server.returncode)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    try:
        if subprocess.run([*APART, "true"], capture_output=True).returncode:
            pytest.skip("no network namespaces for this user")
    except FileNotFoundError:
        pytest.skip("no unshare")
    place = tmp_path_factory.mktemp("apart")
    (place / "in").mkdir()
    (place / "watch").mkdir()
    (place / "watch/sitecustomize.py").write_text(WATCH)
    Image.fromarray(draw_phantom("test", 0, 0, 96)[0]).save(place / "in/x.png")
    return place


@pytest.fixture
def run(environment, place):
    """Runs a Python program apart; its result, and the attempts to reach anything that it made."""

    def run(*arguments):
        attempts = place / "attempts"
        attempts.write_text("")
        path = os.pathsep.join(filter(None, [str(place / "watch"), environment.get("PYTHONPATH")]))
        own = environment | {"PYTHONPATH": path, "ATTEMPTS": str(attempts)}
        command = [*APART, sys.executable, *arguments]
        done = subprocess.run(command, cwd=place, env=own, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done, attempts.read_text().splitlines()

    return run


def test_an_attempt_is_seen(run):
    program = (
        "import contextlib, urllib.request\nwith contextlib.suppress(OSError): urllib.request.urlopen('http://a.b')"
    )
    assert [line.split()[0] for line in run("-c", program)[1]] == ["socket.getaddrinfo"]


def test_masks_without_a_network(run, place):
    _, attempts = run("-m", "ddim_jax", "sample", "--ckpt", "lung_xray", "--input", "in", "--output", "out")
    assert attempts == [] and Path(place, "out/x_mask.png").exists()


def test_doctor_without_a_network(run):
    done, attempts = run("-m", "ddim_jax", "doctor")
    assert attempts == [] and "CPU kernels" in done.stdout


def test_an_exported_program_without_a_network(run, place):
    # OpenVINO's own reader asks an analytics host where its telemetry is installed.
    pytest.importorskip("openvino")
    command = ["-m", "ddim_jax", "export", "--ckpt", "lung_xray", "--format", "openvino", "--output", "lungs.xml"]
    _, attempts = run(*command)
    assert attempts == [] and (place / "lungs.xml").stat().st_size


def test_the_server_without_a_network(run):
    pytest.importorskip("uvicorn")
    done, attempts = run("-c", ASK)
    answer = json.loads(done.stdout)
    assert answer["status"] == "done" and answer["networks"][0]["slices"], answer
    outside = [line for line in attempts if "127.0.0.1" not in line]
    assert outside == [] and len(attempts) > 0
