"""The command that counts the tests of attacks, on tests whose outcome is known."""

import json
import os

import pytest

from benchmarks import faults
from tests.slow import attacks

TESTS = """
import subprocess, sys, time
import pytest

@pytest.mark.attack("16.2")
@pytest.mark.attack("16.1")
def test_a(): pass

@pytest.mark.attack("16.1")
def test_b(): assert False

@pytest.mark.attack("16.1")
def test_c():
    done = subprocess.run([sys.executable, "-c", "None.x"], capture_output=True, text=True)
    assert "Traceback" not in done.stderr, done.stderr

@pytest.mark.attack("16.2")
def test_d(): time.sleep(600)

@pytest.mark.attack("of another kind")
def test_e(): pytest.skip("lacks it")

def test_f(): assert False
"""


@pytest.mark.parametrize("limit", [8])
def test_each_outcome_is_counted(tmp_path, limit):
    (tmp_path / "test_known.py").write_text(TESTS)
    output = tmp_path / "docs" / "results" / "attacks.json"
    assert attacks.main([str(tmp_path / "test_known.py"), "--limit", str(limit), "--output", str(output)]) == 1
    found = json.loads(output.read_text())
    names = ("tests", "failed", "tracebacks", "hangs", "skipped")
    assert [(row["kind"], *(row[name] for name in names)) for row in found["rows"]] == [
        (attacks.KINDS["16.1"], 3, 2, 1, 0, 0),
        (attacks.KINDS["16.2"], 2, 1, 0, 1, 0),
        ("of another kind", 1, 0, 0, 0, 1),
    ]
    assert found["tests"] == 5 and found["commit"]
    page = faults.attacks(tmp_path)
    assert page.startswith("5 tests of 3 kinds of attack.\n")
    for row in (f"{attacks.KINDS['16.1']} | 3 | 2 | 1 | 0 | 0", "of another kind | 1 | 0 | 0 | 0 | 1"):
        assert f"| {row} |" in page


def test_without_tests_nothing_is_written(tmp_path):
    (tmp_path / "test_none.py").write_text("def test_a(): pass\n")
    output = tmp_path / "attacks.json"
    assert attacks.main([str(tmp_path / "test_none.py"), "--output", str(output)]) == 2
    assert not os.path.exists(output)


def test_the_page_says_so_where_nothing_was_measured(tmp_path):
    assert faults.attacks(tmp_path) == "Not measured.\n"
