"""The commands of the comparison in the Makefile: what they run, and what they say without data."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from benchmarks.quality import table1

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")


def make(*arguments: str) -> subprocess.CompletedProcess:
    environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS", "DATA")}
    return subprocess.run(["make", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("target", ["table1-cpu", "table1-gpu"])
def test_without_data(target):
    found = make(target)
    assert found.returncode == 2 and "benchmarks.quality.table1" not in found.stdout
    assert "DATA is not set. It lists the folders of the data sets" in found.stderr


@pytest.mark.parametrize("target", ["table1-cpu", "table1-gpu"])
def test_pytorch_is_not_installed_for_it(target, tmp_path):
    lines = make("-n", target, f"DATA={tmp_path}", "PYTHON=none").stdout
    assert "pip install --quiet --editable .\n" in lines and "[bench]" not in lines


@pytest.mark.parametrize(
    ("target", "seeds", "size", "networks"), [("table1-cpu", 1, 64, "small"), ("table1-gpu", 3, 128, "full")]
)
def test_the_table(target, seeds, size, networks, monkeypatch, tmp_path):
    """With -n, make says what it would run; the command's own parser says what that is."""
    lines = make("-n", target, f"DATA={tmp_path}").stdout.splitlines()
    (command,) = [line for line in lines if "benchmarks.quality.table1" in line]
    given = []
    monkeypatch.setattr(table1, "make", lambda found, _: given.append(found) or 0)
    assert table1.main(command.split("benchmarks.quality.table1")[1].split()) == 0
    (found,) = given
    assert (found.data, found.seeds, found.size, found.networks) == ([str(tmp_path)], seeds, size, networks)
    assert found.limit == {"medsegdiff": 15}
    assert any("benchmarks.render" in line for line in lines)
