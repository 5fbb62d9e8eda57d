"""Fuzzing: what counts as unexpected is counted and kept, and the real readers do nothing of the kind."""

import json
import sys
import time

import numpy as np
import pytest
from faults_on_page import on_page

from benchmarks.faults import fuzz, mutations, seeds
from benchmarks.faults.programs import FaultRunFailed
from benchmarks.faults.readers import Reader, all_readers, read_index
from ddim_jax.inference.index import INDEX
from ddim_jax.runtime.errors import DataError


def reader(read, content=b"a valid input"):
    return {"fake": Reader("x.bin", [content], mutations.damage_bytes, read)}


def refuses(path):
    raise DataError(f"{path}: no")


def fails(path):
    raise KeyError("a bug")


def hides_a_lack_of_memory(path):
    try:
        raise MemoryError
    except MemoryError as error:
        raise DataError(f"{path}: damaged") from error


@pytest.mark.parametrize(
    ("read", "outcome", "why"),
    [
        (lambda path: None, "read", None),
        (refuses, "refused", None),
        (fails, "unexpected", "KeyError: 'a bug'"),
        (hides_a_lack_of_memory, "unexpected", "MemoryError"),
        (lambda path: sys.stdout.undefined, "unexpected", "AttributeError"),
    ],
)
def test_outcomes_are_told_apart(tmp_path, read, outcome, why):
    told = fuzz.campaign(reader(read), tmp_path, seed=3, executions=2)
    expected = dict.fromkeys(["read", "refused", "unexpected"], 0) | {"executions": 2, outcome: 2}
    assert told["readers"] == {"fake": expected}
    kept = sorted((tmp_path / "unexpected").glob("*")) if why else []
    assert [path.name for path in kept] == (["fake-3-0", "fake-3-1"] if why else [])
    for folder in kept:
        assert why in (folder / "why.txt").read_text()
        assert (folder / "x.bin").read_bytes() != b"a valid input"


def test_an_input_that_takes_too_long_is_stopped_and_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(fuzz, "MOST_SECONDS", 0.05)

    def busy(path):
        end = time.process_time() + 0.07
        while time.process_time() < end:
            pass

    def hangs(path):
        while True:
            try:
                time.sleep(60)
            except Exception:
                continue

    for read, patience, why in ((busy, 1000, "read, but in 0."), (hangs, 10, "_TooLong: over 0.5 s")):
        monkeypatch.setattr(fuzz, "_PATIENCE", patience)  # by the clock, which a busy machine lets run
        told = fuzz.campaign(reader(read), tmp_path / read.__name__, seed=0, executions=2)
        assert told["readers"]["fake"]["unexpected"] == 2
        assert why in (tmp_path / read.__name__ / "unexpected/fake-0-0/why.txt").read_text()
        assert read is hangs or told["longest_seconds"] > 0.05


def test_an_input_that_takes_too_much_memory_is_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(fuzz, "MOST_BYTES", 2**25)
    told = fuzz.campaign(reader(lambda path: np.ones(2**23).sum()), tmp_path, seed=0, executions=1)
    assert told["readers"]["fake"]["unexpected"] == 1 and 2**25 < told["largest_bytes"] < 2**27
    assert "bytes" in (tmp_path / "unexpected/fake-0-0/why.txt").read_text()
    told = fuzz.campaign(reader(lambda path: np.ones(2**10).sum()), tmp_path, seed=0, executions=1)
    assert told["readers"]["fake"]["unexpected"] == 0


def test_readers_take_turns_and_are_counted_apart(tmp_path):
    readers = {"reads": reader(lambda path: None)["fake"], "fails": reader(fails)["fake"]}
    told = fuzz.campaign(readers, tmp_path, seed=0, executions=5, first=1)
    nothing = {"read": 0, "refused": 0, "unexpected": 0}
    assert told["readers"]["reads"] == nothing | {"executions": 2, "read": 2}
    assert told["readers"]["fails"] == nothing | {"executions": 3, "unexpected": 3}


WORKER = """
import json, os, sys
folder, first, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
open(f"{folder}/input", "w").write("bad")
counts = {"executions": 3, "read": 1, "refused": 2, "unexpected": 0}
other = {"executions": 1, "read": 0, "refused": 1, "unexpected": 0}
told = {"readers": {"a-fake": counts, "other": other}, "longest_seconds": 1.0 + first, "largest_bytes": 7,
        "current": f"a-fake-0-{first + 4}",
        "file": f"{folder}/input", "seconds": 4.0, "offenders": {f"a-fake-0-{first + 1}": "KeyError: 1"}}
open(f"{folder}/progress.json", "w").write(json.dumps(told))
if first == 0:
    os.abort()
if first == 5 and len(sys.argv) > 4:
    raise RuntimeError("the tool has a bug")
"""


def test_an_input_that_ends_the_process_is_counted_and_the_others_go_on(tmp_path):
    def command(*more):
        return lambda first, left: [sys.executable, "-c", WORKER, str(tmp_path), str(first), str(left), *more]

    said = []
    result = fuzz.supervise(command(), tmp_path, 7.0, said.append)
    readers = {
        "a-fake": {"executions": 7, "unexpected": 1, "read": 2, "refused": 4},
        "other": {"executions": 2, "unexpected": 0, "read": 0, "refused": 2},
    }
    expected = {"executions": 9, "unexpected": 1, "read": 2, "refused": 6, "one_sided": 1, "tool": fuzz.TOOL}
    expected["readers"] = readers
    ended = "the process was ended by signal 6"
    offenders = {"a-fake-0-1": "KeyError: 1", "a-fake-0-4": ended, "a-fake-0-6": "KeyError: 1"}
    assert on_page("fuzz", result)
    assert 8.0 <= result.pop("seconds") < 11.0  # as the worker says, and what it took to end
    assert result == expected | {"longest_seconds": 6.0, "largest_bytes": 7, "offenders": offenders}
    assert (tmp_path / "unexpected/a-fake-0-4/input").read_text() == "bad"
    assert (tmp_path / "unexpected/a-fake-0-4/why.txt").read_text() == ended
    assert len(said) == 2 and "a-fake-0-4" in said[0]
    with pytest.raises(FaultRunFailed, match="the fuzzing itself failed"):
        fuzz.supervise(command("bug"), tmp_path, 7.0, said.append)


HANGS = """
import json, os, signal, sys, time
folder, first = sys.argv[1], int(sys.argv[2])
signal.signal(signal.SIGALRM, signal.SIG_IGN)
counts = {"executions": 0, "read": 0, "refused": 0, "unexpected": 0}
told = {"readers": {"fake": counts}, "longest_seconds": 0.0, "largest_bytes": 0, "offenders": {}}
told |= {"current": f"fake-0-{first}", "seconds": 0.0, "file": f"{folder}/gone"}
open(f"{folder}/progress.json", "w").write(json.dumps(told))
signal.setitimer(signal.ITIMER_REAL, 0.05)
if first == 0 or sys.argv[3] == "aborts":
    os.abort()
while True:
    time.sleep(60)
"""


def test_an_input_that_never_comes_back_is_killed_and_its_time_counts(tmp_path, monkeypatch):
    def command(first, left):
        return [sys.executable, "-c", HANGS, str(tmp_path), str(first), "hangs"]

    monkeypatch.setattr(fuzz, "_patience", lambda: 2.0)
    monkeypatch.setattr(fuzz, "_LOOK_S", 0.02)
    result = fuzz.supervise(command, tmp_path, 0.5, lambda text: None)
    assert 1.0 < result["seconds"] < 10.0
    assert result["offenders"] == {"fake-0-0": "the process was ended by signal 6", "fake-0-1": "killed after 2 s"}
    assert (result["executions"], result["unexpected"]) == (2, 2)
    assert (tmp_path / "unexpected/fake-0-1/gone").read_bytes() == b""


def test_processes_that_are_brought_down_one_after_the_other_end_it(tmp_path, monkeypatch):
    monkeypatch.setattr(fuzz, "_MOST_IN_A_ROW", 3)
    said = []

    def command(first, left):
        return [sys.executable, "-c", HANGS, str(tmp_path), str(first), "aborts"]

    result = fuzz.supervise(command, tmp_path, 1000.0, said.append)
    assert (result["executions"], result["unexpected"]) == (3, 3)
    assert "given up, 3 processes in a row" in said[-2]


def test_what_is_kept_is_what_was_given(tmp_path):
    given = []

    def spoils(path):
        given.append(path.read_bytes())
        path.write_bytes(b"spoilt")
        sys.exit("the reader wants to end")

    told = fuzz.campaign(reader(spoils), tmp_path, seed=0, executions=2)
    assert [(tmp_path / f"unexpected/fake-0-{i}/x.bin").read_bytes() for i in range(2)] == given
    assert told["offenders"] == {f"fake-0-{i}": "SystemExit: the reader wants to end" for i in range(2)}


def test_an_execution_is_a_function_of_seed_and_number(tmp_path):
    def inputs(seed, **options):
        found = []
        fuzz.campaign(reader(lambda path: found.append(path.read_bytes())), tmp_path, seed=seed, **options)
        return found

    first = inputs(1, executions=6)
    assert len(set(first)) > 3 and inputs(1, executions=6) == first
    assert inputs(1, executions=2, first=4) == first[4:]
    assert inputs(2, executions=6) != first


def test_headers_are_damaged_where_the_numbers_stand():
    png = seeds.encoded(seeds.pixels(), "PNG")
    damaged = [mutations.damage_header(png, np.random.default_rng(seed)) for seed in range(200)]
    assert all(len(one) == len(png) for one in damaged)
    # The checksum of the header chunk is right again, or the damage would be refused before it is looked at.
    whole = [one for one in damaged if one[:16] == png[:16] and one[16:29] != png[16:29]]
    assert len(whole) > 20
    assert all(mutations.zlib.crc32(one[12:29]) == int.from_bytes(one[29:33], "big") for one in whole)


def test_values_are_damaged_one_by_one():
    content = {"a": {"b": 1, "c": [1, 2]}, "d": "text"}
    damaged = [mutations.damage_values(content, np.random.default_rng(seed)) for seed in range(100)]
    assert content == {"a": {"b": 1, "c": [1, 2]}, "d": "text"}
    texts = {json.dumps(one) for one in damaged}
    assert len(texts) > 60 and all(isinstance(one, dict) for one in damaged)
    assert any("a" not in one for one in damaged) and any("unheard_of" in one for one in damaged)


def test_the_readers_refuse_what_they_cannot_read(tmp_path):
    readers = all_readers()
    assert set(readers) == {"picture", "mask", "splits", "index", "settings", "metadata", "config"}
    for name, one in readers.items():
        told = fuzz.campaign({name: one}, tmp_path / name, seed=11, executions=80)
        why = [path.read_text() for path in tmp_path.glob("*/unexpected/*/why.txt")]
        counts = told["readers"][name]
        assert counts["unexpected"] == 0, "\n".join(why)
        assert counts["read"] > 0 and counts["refused"] > 20, name


def test_every_seed_is_read_or_is_of_a_kind_that_is_refused(tmp_path):
    """Damage to what is refused anyway would find nothing."""
    for name, one in all_readers().items():
        fine = 0
        for number, content in enumerate(one.seeds):
            path = tmp_path / f"{name}-{number}" / one.file
            path.parent.mkdir()
            path.write_bytes(content)
            try:
                one.read(path)
                fine += 1
            except DataError:
                pass
        assert fine >= {"picture": 20, "mask": 10}.get(name, len(one.seeds)), name


def test_what_an_index_says_is_compared_with_pictures_and_results_that_are_there(tmp_path):
    """Where nothing is there, nothing of a record is looked at but its name."""
    path = tmp_path / INDEX
    whole, with_a_failure = seeds.index_seeds()
    found = []
    for content in (whole, with_a_failure, whole.replace(b'"bytes": 5', b'"bytes": 6', 1)):
        path.write_bytes(content)
        found.append(read_index(path))
    assert found == [["a", "b", "sub/c"], ["a", "b", "sub/c"], ["b", "sub/c"]]
