"""Every test that repeats an attack, counted by kind: python -m tests.slow.attacks [TEST...] [--limit SECONDS]

Writes docs/results/attacks.json with the commit that was tried, of which `python -m benchmarks.render` makes a table. A
test that does not end within the limit is ended, counted as a hang, and the others go on. Exit status: 0 if every test
passed, 1 if not, and 2 if there is none.
"""

import argparse
import collections
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks.machine import ROOT, describe_host, provenance
from benchmarks.result_file import write_rows
from ddim_jax import __version__

OUTPUT = ROOT / "docs" / "results" / "attacks.json"
KINDS = {
    "16.1": "a name that libraries read as a pattern",
    "16.2": "images that vanish during a second run",
    "16.3": "a damaged cache of compiled programs",
    "16.4": "palettes and masks that can be read two ways",
    "16.5": "links in the paths of images",
    "16.6": "results written among the images",
    "16.7": "other random numbers, versions, kernels and flags",
    "16.8": "a split whose disk is away",
    "16.9": "checkpoints whose disk is away",
    "16.10": "links in place of checkpoints",
    "16.11": "files of a user among the results",
    "16.12": "two evaluations at once, results half written",
    "16.13": "processes with different arguments",
    "16.14": "results removed during a run",
    "16.15": "a small file that takes much memory",
    "16.16": "large images of many channels",
    "16.17": "training on large images",
    "16.18": "checkpoints that take much memory to read",
    "16.19": "folders with links to themselves",
    "16.20": "configs of absurd size",
    "16.21": "a damaged log of numbers",
    "16.22": "a manifest made again over damage",
    "16.23": "reading while training removes steps",
    "16.24": "a damaged library of kernels",
    "16.25": "standard streams that are closed, full or of another encoding",
    "16.26": "a reader, a disk or a terminal of the log that goes away",
    "16.27": "variables of JAX that cannot be meant",
    "16.28": "few open files allowed",
    "16.29": "a user without a name or a home",
    "16.30": "one image too large among many",
    "16.31": "processes that are suspended",
    "16.32": "file names with blanks at their ends",
    "16.33": "locks held by others",
    "16.34": "names with escape sequences, newlines and formulas",
    "16.35": "emptied results, values of another kind",
    "16.36": "paths that are empty, odd, moved or no files",
    "16.37": "data changed between two starts of a training",
    "by design": "caches of others, damaged JPEGs, checkpoints passed on",
}
"""The kinds by the names that the markers give them."""
RULES = {
    "tests": "those marked as an attack of that kind; one of several kinds counts for each",
    "failed": "the outcome was not what the test demands, tracebacks and hangs included",
    "tracebacks": "failed tests whose report holds a traceback of a program",
    "hangs": "tests that did not end within the limit, limit_s",
    "skipped": "the machine lacks what the test needs",
}
_RECORD = "ATTACKS_RECORD"


class Recorder:
    """A plugin of pytest that appends a line of JSON to a file as each test begins and ends."""

    def __init__(self, path: str):
        self._path = path

    def _write(self, **line: Any) -> None:
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        for item in session.items:
            kinds = [str(mark.args[0]) for mark in item.iter_markers("attack")]
            self._write(test=item.nodeid, kinds=list(dict.fromkeys(kinds)))

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._write(begun=nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or not report.passed:  # a fixture that fails, or a skip, too
            said = report.longreprtext + "".join(text for _, text in report.sections)
            traceback = report.failed and "Traceback (most recent call last)" in said
            hang = report.failed and "TimeoutExpired" in said
            self._write(ended=report.nodeid, outcome=report.outcome, traceback=traceback, hang=hang)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self._write(finished=nodeid)


def run(tests: Sequence[str], limit: float) -> tuple[dict[str, list[str]], dict[str, dict[str, Any]]]:
    """Runs the marked tests in processes of their own, one after another where one hangs.

    Returns:
      The kinds of each test, and what became of each: outcome, traceback, hang.
    """
    kinds: dict[str, list[str]] = {}
    ends: dict[str, dict[str, Any]] = {}
    while True:
        with tempfile.TemporaryDirectory() as folder:
            record = Path(folder, "record.jsonl")
            record.touch()
            done = [f"--deselect={test}" for test in ends]
            command = [sys.executable, "-m", "pytest", "-m", "attack", "-p", "tests.slow.attacks", *done, *tests]
            with subprocess.Popen(
                command, cwd=ROOT, env={**os.environ, _RECORD: str(record)}, start_new_session=True
            ) as child:
                hung = _watch(child, record, limit)
            for line in _lines(record):
                if "test" in line:
                    kinds[line["test"]] = line["kinds"]
                elif "ended" in line:
                    ends[line["ended"]] = line
        if hung is None:
            return kinds, ends
        print(f"{hung} did not end within {limit:g} s", flush=True)
        ends[hung] = {"outcome": "failed", "traceback": False, "hang": True}


def _watch(child: subprocess.Popen, record: Path, limit: float) -> str | None:
    """Waits for the tests of a process; ends it at a test that takes longer than the limit, which is returned."""
    while True:
        try:
            child.wait(5)
            return None
        except subprocess.TimeoutExpired:
            last = collections.deque(_lines(record), 1)
            if last and "begun" in last[0] and time.time() - record.stat().st_mtime > limit:
                os.killpg(child.pid, 9)
                child.wait()
                return last[0]["begun"]


def _lines(record: Path) -> Iterator[dict[str, Any]]:
    for line in record.read_text(encoding="utf-8").splitlines(keepends=True):
        if line.endswith("\n"):
            yield json.loads(line)


def counted(kinds: dict[str, list[str]], ends: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each kind, in the order of `KINDS`; a test that never ended, with its process, counts as failed."""
    rows = {}
    for test, of in kinds.items():
        end = ends.get(test, {"outcome": "failed", "traceback": False, "hang": False})
        for kind in of:
            row = rows.setdefault(kind, {"kind": KINDS.get(kind, kind), **dict.fromkeys(RULES, 0)})
            row["tests"] += 1
            row["failed"] += end["outcome"] == "failed"
            row["skipped"] += end["outcome"] == "skipped"
            row["tracebacks"] += end["traceback"]
            row["hangs"] += end["hang"]
    return [rows[kind] for kind in sorted(rows, key=lambda kind: [*KINDS, kind].index(kind))]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tests", nargs="*", default=["tests"], metavar="TEST", help="files or folders; default: all")
    parser.add_argument("--limit", type=float, default=600.0, metavar="S", help="for one test; default: 600 seconds")
    parser.add_argument("--output", default=str(OUTPUT), metavar="FILE", help="default: docs/results/attacks.json")
    given = parser.parse_args(arguments)
    began = time.monotonic()
    kinds, ends = run(given.tests, given.limit)
    if not kinds:
        print("no test is marked as an attack", file=sys.stderr)
        return 2
    rows = counted(kinds, ends)
    about = {
        "tests": len(kinds),
        "limit_s": given.limit,
        "measured_in_s": round(time.monotonic() - began, 1),
        **describe_host(threads=len(os.sched_getaffinity(0))),
        "package_version": __version__,
        **provenance(),
    }
    write_rows(Path(given.output), RULES, rows, **about)
    failed = sum(row["failed"] for row in rows)
    print(f"{len(rows)} kinds, {len(kinds)} tests, {failed} failed: {given.output}")
    return 1 if failed else 0


def pytest_configure(config: pytest.Config) -> None:
    """Registers the recorder where this module is loaded as a plugin."""
    if os.environ.get(_RECORD):
        config.pluginmanager.register(Recorder(os.environ[_RECORD]))


if __name__ == "__main__":
    sys.exit(main())
