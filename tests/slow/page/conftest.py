"""The page of a server in a real Chromium; without one, these tests are left out."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys

import pytest
from pages import api

CHROMIUM = shutil.which("chromium")


@pytest.fixture(scope="session")
def address(environment):
    command = [
        sys.executable,
        "-m",
        "ddim_jax",
        "serve",
        "--ckpt",
        "lung_xray",
        "--port",
        "0",
        "--segments",
        "foreground=Lung",
        "--upload-mib",
        "2",
    ]
    # Nothing leads out of this machine: whoever asked for another would fail, and the page with it.
    nowhere = {name: "http://127.0.0.1:9" for name in ("http_proxy", "https_proxy")}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment | nowhere
    ) as server:
        try:
            line = server.stdout.readline()
            yield re.search(r"http://127\.0\.0\.1:\d+/", line)[0]
        finally:
            server.send_signal(signal.SIGTERM)
            _, said = server.communicate(timeout=60)
    assert server.returncode == 0
    assert "secret" not in said and "Traceback" not in said and "POST 202" in said


@pytest.fixture(scope="module")  # while it lives, no other test of the process can run an event loop of its own
def chromium():
    if CHROMIUM is None:
        pytest.skip("there is no chromium; apt-get install chromium")
    with api.sync_playwright() as playwright:
        options = ["--no-sandbox"] if os.getuid() == 0 else []
        with contextlib.closing(playwright.chromium.launch(executable_path=CHROMIUM, args=options)) as browser:
            yield browser


@pytest.fixture
def tab(chromium, address):
    """Makes tabs of the page; anything in their console, or asked of another machine, fails the test."""
    wrong, contexts = [], []

    def make(scheme="light", size=(1360, 860)):
        context = chromium.new_context(color_scheme=scheme, viewport=dict(zip(("width", "height"), size, strict=True)))
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("console", lambda line: line.type == "error" and wrong.append(line.text))
        page.wrong = wrong
        page.on("pageerror", lambda error: wrong.append(str(error)))
        # A result is not left without a question; nothing else asks.
        page.on(
            "dialog", lambda dialog: (dialog.type == "beforeunload" or wrong.append(dialog.message), dialog.accept())
        )
        page.on("request", lambda asked: asked.url.startswith((address, "blob:")) or wrong.append(asked.url))
        page.goto(address)
        page.wait_for_selector("#start:not([hidden])")
        return page

    yield make
    for context in contexts:
        context.close()
    assert wrong == []
