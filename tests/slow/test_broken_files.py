"""Broken images, DICOM and NIfTI files, and bombs: each is read or named, and the memory is bounded."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]


@pytest.mark.parametrize("kind", ["images", "volumes"])
def test_broken_files_are_named_and_leave_nothing(environment, tmp_path, kind):
    program = [sys.executable, str(TESTS / "slow/broken_files.py"), str(tmp_path / "work"), "100", "1", kind]
    paths = f"{TESTS.parent}:{TESTS}"
    run = subprocess.run(program, capture_output=True, text=True, timeout=900, env={**environment, "PYTHONPATH": paths})
    assert run.returncode == 0 and "Traceback" not in run.stderr and "panicked" not in run.stderr, run.stderr[-4000:]
    told = json.loads(run.stdout.splitlines()[-1])
    assert told["done"] + len(told["failed"]) + told["passed_over"] == told["files"]
    assert len(told["failed"]) > 40 and told["done"] > 10  # both are tried
    assert all(str(tmp_path) in reason for reason in told["failed"])
    assert not any("the reader" in reason for reason in told["failed"])  # they say what is wrong, and do not fail
    for bomb in ("runs.dcm", "attributes.dcm") if kind == "volumes" else ():
        assert any(bomb in reason for reason in told["failed"])
    assert told["stray"] == told["partial"] == []
    assert told["peak"] < 2**31
