"""The command around the faults, and what it takes for a clear message, a lost result and a named process."""

import json
import os
import shutil
import signal
import tempfile
from pathlib import Path

import numpy as np
import pytest
from faults_on_page import on_page

from benchmarks.faults import __main__ as command
from benchmarks.faults import disk_full, peer_death
from benchmarks.faults.programs import FaultRunFailed, Hangs, Program, first_step, last_step


def parts(**measure):
    """Parts that give what is said, or raise it."""

    def one(result):
        def run(given, folder, say):
            if isinstance(result, Exception):
                raise result
            say("on the way")
            return {**result, "seed_given": given.seed, "folder": folder.name}

        return run

    return {name: one(result) for name, result in measure.items()}


def test_parts_are_added_to_those_that_are_there(tmp_path, monkeypatch, capsys):
    output = tmp_path / "faults.json"
    arguments = ["--output", str(output), "--seed", "3", "--workdir", str(tmp_path / "work"), "--only"]
    monkeypatch.setattr(command, "PARTS", parts(kills={"n": 1}, flips={"n": 2}, peer_death={"seconds": 31.5}))
    assert command.main([*arguments, "peer_death"]) == 0
    assert command.main([*arguments, "flips"]) == 0
    monkeypatch.setattr(
        command, "PARTS", parts(kills=FaultRunFailed("no luck"), flips={"n": 5}, peer_death=FaultRunFailed("never"))
    )
    assert command.main([*arguments, "kills", "flips"]) == 1
    found = json.loads(output.read_text())
    assert list(found) == ["kills", "flips", "peer_death"]
    assert found["kills"]["failed"] == "no luck" and found["kills"]["seed"] == 3  # not what was measured another time
    assert found["flips"]["n"] == 5 and found["peer_death"]["seconds"] == 31.5
    assert (found["flips"]["seed_given"], found["flips"]["folder"]) == (3, "flips")
    assert {"device", "cpu", "package_version", "measured_in_s", "seed"} <= set(found["flips"])
    told = capsys.readouterr()
    assert "error: kills could not be measured: no luck" in told.err
    assert "flips: on the way" in told.out and "flips: n 5" in told.out


def test_a_part_that_cannot_run_takes_the_place_of_an_earlier_result(tmp_path, monkeypatch, capsys):
    output, work = tmp_path / "faults.json", tmp_path / "work"
    output.write_text('{"kills": {"n": 100}, "flips": {"n": 7}}')
    monkeypatch.setattr(command, "PARTS", parts(kills=ZeroDivisionError(f"a\nbug in {work}/kills/log"), flips={}))
    assert command.main(["--output", str(output), "--workdir", str(work), "--only", "kills"]) == 1
    found = json.loads(output.read_text())
    assert found["kills"]["failed"] == "a bug in DIR/kills/log" and "n" not in found["kills"]
    assert found["flips"] == {"n": 7}
    told = capsys.readouterr()
    assert "ZeroDivisionError: a" in told.err and f"kills are kept in {work}" in told.out
    with pytest.raises(SystemExit):
        command.main(["--kills", "0"])
    assert "--kills has to be above 0" in capsys.readouterr().err


def writes_a_run(found):
    def measure(given, folder, say):
        assert not folder.exists()
        folder.mkdir(parents=True)
        (folder / "closed" / "inner").mkdir(parents=True)
        (folder / "closed").chmod(0)
        (folder / "log").write_text(os.environ["XDG_CACHE_HOME"])
        return found

    return measure


GOOD = {"n": 100, "failed_restarts": 0, "lost_beyond_checkpoint": 0, "bitwise_equal": True, "saves_in_flight": 20}


@pytest.mark.parametrize(("found", "kept"), [(GOOD, False), (GOOD | {"bitwise_equal": False}, True), ({"n": 1}, True)])
def test_what_the_programs_left_is_kept_where_something_went_wrong(tmp_path, monkeypatch, capsys, found, kept):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "/theirs")
    monkeypatch.setattr(command, "PARTS", {"kills": writes_a_run(found)})
    before = dict(os.environ)
    assert command.main(["--output", str(tmp_path / "faults.json"), "--only", "kills"]) == 0
    assert dict(os.environ) == before
    folders = list(tmp_path.glob("faults-*"))
    assert len(folders) == kept
    assert ("kept in" in capsys.readouterr().out) == kept
    for folder in folders:
        assert (folder / "kills" / "log").read_text() == str(folder / "kills" / "cache")


def test_a_folder_that_is_used_again_is_emptied(tmp_path, monkeypatch):
    monkeypatch.setattr(command, "PARTS", {"kills": writes_a_run(GOOD)})
    (tmp_path / "mine.txt").write_text("mine")
    for _ in range(2):
        arguments = ["--output", str(tmp_path / "faults.json"), "--workdir", str(tmp_path), "--only", "kills"]
        assert command.main(arguments) == 0
    assert (tmp_path / "kills" / "log").exists() and (tmp_path / "mine.txt").exists()


def script(tmp_path, text):
    (tmp_path / "program.py").write_text(text)
    return Program([tmp_path / "program.py"], tmp_path / "log")


def test_a_program_that_hangs_is_killed_even_if_it_talks(tmp_path):
    talks = "import time\nwhile True:\n    print('still here', flush=True)\n    time.sleep(0.01)\n"
    with script(tmp_path, talks) as program:
        with pytest.raises(Hangs, match=r"hangs for 0 s: "):
            program.wait_until(lambda: False, limit_s=0.2)
        assert program.wait(0.1) is None and program.process.returncode == -signal.SIGKILL
    with script(tmp_path, talks) as program, pytest.raises(Hangs):
        program.finish(0.1)
    with script(tmp_path, "print('done')") as program:
        assert program.finish() == "done\n" and program.wait() == 0 and not program.wait_until(lambda: False)


def test_what_a_training_says():
    said = "x: 9 parameters, resumes at step 12 of 40\nstep 13/40: loss 1.0\nstep 14/40: validation loss 1\nstep 1"
    assert (first_step(said), last_step(said)) == (12, 14)
    assert (first_step(""), last_step("")) == (None, None)


FULL = "error: {}/metrics.jsonl: No space left on device. Make room there.\n"


@pytest.mark.parametrize(
    ("status", "said", "clear"),
    [
        (2, "step 1\n" + FULL, True),
        (1, FULL, False),
        (2, "Traceback (most recent call last):\n" + FULL, False),
        (2, FULL + FULL, False),
        (2, "error: writing: No space left on device\n", False),
        (2, "error: {}: it did not work\n", False),
        (2, "", False),
        (None, FULL, False),
    ],
)
def test_a_clear_message(tmp_path, status, said, clear):
    assert disk_full.is_clear(status, said.replace("{}", str(tmp_path)), tmp_path) is clear


@pytest.mark.parametrize("file", ["", "/12/state", "/a:b"])
def test_the_file_that_an_error_names(tmp_path, file):
    said = f"step 1\n{FULL.replace('{}/metrics.jsonl', f'{tmp_path}/checkpoints{file}')}"
    path = f"{tmp_path}/checkpoints{file}"
    assert disk_full.named(said, tmp_path) == disk_full.named(said, tmp_path / "checkpoints") == path
    assert disk_full.named(said, tmp_path / "check") == disk_full.named("error: no", tmp_path) == ""
    assert disk_full.named(FULL.replace("{}", str(tmp_path)), tmp_path / "checkpoints") == ""


def test_results_are_whole_and_listed(tmp_path):
    expected, own = tmp_path / "expected", tmp_path / "own"
    expected.mkdir()
    for name in "ab":
        (expected / f"{name}_mask.png").write_bytes(name.encode() * 9)
    line = {"name": "a", "status": "ok", "outputs": ["mask"]}
    failed = {"name": "c", "status": "failed", "reason": "x"}
    (expected / "index.jsonl").write_text(f'{json.dumps(line)}\n{json.dumps(failed)}\n{{"name": "b", "sta')
    shutil.copytree(expected, own)
    (own / ".b_mask.123.partial.png").write_bytes(b"b")
    assert disk_full.finished(own) == ["a_mask.png"] and disk_full.all_whole(own, expected)
    assert disk_full.finished(tmp_path) == []
    (own / "b_mask.png").write_bytes(b"bb")
    assert not disk_full.all_whole(own, expected)
    assert not disk_full.same_results(own, expected)
    (own / "b_mask.png").write_bytes((expected / "b_mask.png").read_bytes())
    (own / "index.jsonl").write_text("other times")
    assert disk_full.same_results(own, expected)
    (own / "a_mask.png").unlink()  # what is there is whole, but not all of it is there
    assert disk_full.all_whole(own, expected) and not disk_full.same_results(own, expected)
    assert disk_full.done_before("3 images segmented in 0.1 s, 5 were done before, 0 failed: x") == 5
    assert disk_full.done_before("nothing to do, 8 images were done before: x") == 8


GO_ON = "Start the same command again on all processes, or on another number of them; it goes on from there."


def lost(which, status=75):
    return status, f"step 3\nerror: {which}. The last checkpoint is step 5 in x. {GO_ON}\n"


@pytest.mark.parametrize(
    ("status", "said", "victim", "named"),
    [
        (*lost("process 1 of 2 is lost: nothing was heard of it for 30 s"), 1, True),
        (
            *lost("the runtime ended process 1, most likely because process 0 of 2, which coordinates the others"),
            0,
            True,
        ),
        (*lost("process 0, which coordinates, cannot be reached from process 1 (UNAVAILABLE)"), 0, True),
        (*lost("process 1 of 2 is lost"), 0, False),
        (*lost("process 1 of 2 is lost", status=1), 1, False),
        (-9, "", 1, False),
        (None, "", 1, False),
        (75, "error: process 1 of 2 is lost. Bad luck.\n", 1, False),
    ],
)
def test_a_process_is_named(status, said, victim, named):
    assert peer_death.is_named(status, said, victim) is named


def test_deaths_are_added_up(tmp_path, monkeypatch):
    times = peer_death.Times(start=1.0, save=2.0)
    results = iter(
        [
            (9, False, 30.5, True, True),
            (8, False, 41.0, False, True),
            (0, False, 3.0, True, False),
            (1, False, 4.0, True, True),  # too late for what it was aimed at
            (5, True, 3.0, True, True),
            (5, False, 4.0, True, True),
        ]
    )
    given = []

    def death(workdir, kind, victim, rng, times_before):
        given.append((kind, victim, times_before))
        keys = ("step", "while_saving", "seconds", "named", "continued")
        return dict(zip(keys, next(results), strict=True)), times if kind == "anywhere" else None

    monkeypatch.setattr(peer_death, "death", death)
    found = peer_death.measure(tmp_path, 0, lambda text: None)
    assert (found["n"], found["seconds"], found["unnamed"], found["not_continued"]) == (6, 41.0, 1, 1)
    assert (found["before_first_step"], found["while_saving"]) == (1, 1)
    assert on_page("peer_death", found)
    assert given == [
        *(("anywhere", 0, None), ("anywhere", 1, times)),
        *((kind, victim, times) for kind in ("starting", "saving") for victim in (0, 1)),
    ]


def test_a_process_that_ended_before_the_kill_is_no_measurement(tmp_path, monkeypatch):
    class Over:
        said, pid = "starts at step 0 of 80\nstep 5/80: loss 1\n", 0

        def __init__(self):
            self.process = self

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def wait_until(self, condition):
            return False

        def poll(self):
            return 1

        def last_words(self):
            return self.said

        def kill(self):
            return -signal.SIGKILL

    monkeypatch.setattr(peer_death, "_start", lambda *_: [Over(), Over()])
    with pytest.raises(FaultRunFailed, match="the run was over before the kill: starts at step 0"):
        peer_death.death(tmp_path, "saving", 1, np.random.default_rng(0), peer_death.Times(0.0, 0.0))


def test_full_disks_are_added_up(tmp_path, monkeypatch):
    monkeypatch.setattr(disk_full, "trained", lambda workdir: shutil.copytree(Path(__file__).parent, workdir / "run"))
    monkeypatch.setattr(disk_full, "start_training", lambda *_, **__: script(tmp_path, ""))
    monkeypatch.setattr(disk_full, "_sampling", lambda *_: script(tmp_path, ""))
    saves = iter(["before", *["save"] * 5])
    monkeypatch.setattr(disk_full, "during_a_save", lambda *_: disk_full.Outcome(True, True, next(saves)))
    monkeypatch.setattr(disk_full, "during_results", lambda *_: disk_full.Outcome(False, False, "results"))
    found = disk_full.measure(tmp_path / "work", lambda text: None)
    keys = ("n", "in_a_save", "in_results", "before", "lost", "unclear")
    assert [found[key] for key in keys] == [11, 5, 5, 1, 6, 5]
    assert on_page("disk_full", found)
