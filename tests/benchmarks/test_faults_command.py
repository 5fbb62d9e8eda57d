"""The command around the faults, and what it takes for a clear message, a lost result and a named process."""

import json
import shutil

import pytest

from benchmarks.faults import __main__ as command
from benchmarks.faults import disk_full, peer_death, sigterm
from benchmarks.faults.programs import FaultRunFailed, first_step, last_step


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
    arguments = ["--output", str(output), "--seed", "3", "--only"]
    monkeypatch.setattr(command, "PARTS", parts(kills={"n": 1}, flips={"n": 2}, peer_death={"seconds": 31.5}))
    assert command.main([*arguments, "peer_death"]) == 0
    assert command.main([*arguments, "flips"]) == 0
    monkeypatch.setattr(
        command, "PARTS", parts(kills=FaultRunFailed("no luck"), flips={"n": 5}, peer_death=FaultRunFailed("never"))
    )
    assert command.main([*arguments, "kills", "flips"]) == 1
    found = json.loads(output.read_text())
    assert list(found) == ["flips", "peer_death"]
    assert found["flips"]["n"] == 5 and found["peer_death"]["seconds"] == 31.5
    assert (found["flips"]["seed_given"], found["flips"]["folder"]) == (3, "flips")
    assert {"device", "cpu", "package_version", "measured_in_s", "seed"} <= set(found["flips"])
    told = capsys.readouterr()
    assert "error: kills could not be measured: no luck" in told.err
    assert "flips: on the way" in told.out and "flips: n 5" in told.out


def test_a_part_that_cannot_run_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "PARTS", parts(kills=ZeroDivisionError("a bug")))
    assert command.main(["--output", str(tmp_path / "faults.json"), "--only", "kills"]) == 1
    assert not (tmp_path / "faults.json").exists()
    assert "ZeroDivisionError: a bug" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        command.main(["--kills", "0"])
    assert "--kills has to be above 0" in capsys.readouterr().err


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
    ],
)
def test_a_clear_message(tmp_path, status, said, clear):
    assert disk_full.is_clear(status, said.replace("{}", str(tmp_path)), tmp_path) is clear


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
        (75, "error: process 1 of 2 is lost. Bad luck.\n", 1, False),
    ],
)
def test_a_process_is_named(status, said, victim, named):
    assert peer_death.is_named(status, said, victim) is named


def test_deaths_are_added_up(tmp_path, monkeypatch):
    results = iter([(30.5, True, True), (41.0, False, True), (3.0, True, False), (4.0, True, True)])

    def death(workdir, victim, step):
        assert 1 <= step < 40
        return {"victim": victim, "step": step} | dict(
            zip(("seconds", "named", "continued"), next(results), strict=True)
        )

    monkeypatch.setattr(peer_death, "death", death)
    found = peer_death.measure(tmp_path, 0, lambda text: None)
    assert (found["n"], found["seconds"], found["unnamed"], found["not_continued"]) == (4, 41.0, 1, 1)
    assert [one["victim"] for one in found["each"]] == [0, 1, 0, 1]


def test_what_a_stopped_training_says_to_have_saved():
    assert sigterm.saved_step("step 8/40: loss 1\nSIGTERM: saved step 8, stopped; the same command goes on") == 8
    assert sigterm.saved_step("step 8/40: loss 1") is None


class Stopped:
    """A program that is asked to stop and says what it is told to."""

    def __init__(self, arguments, log):
        self.said, self.process, self.status = "", self, None

    def __enter__(self):
        self.said = "resumes at step 0 of 9\nstep 1/9: loss 1\n"
        return self

    def __exit__(self, *_):
        pass

    def wait_until(self, condition):
        while not condition():
            pass
        return True

    def poll(self):
        return self.status

    def send_signal(self, number):
        self.said += "SIGTERM: saved step 1, stopped"

    def wait(self):
        return 0


def test_a_stop_that_saved_nothing_is_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(sigterm, "Program", Stopped)
    monkeypatch.setattr(sigterm, "_LATEST_S", 0.0)
    monkeypatch.setattr(sigterm, "_STOPS", 3)
    monkeypatch.setattr(sigterm, "newest_complete", lambda folder: 1)
    good = sigterm.measure(tmp_path, 0, print)
    assert (good["n"], good["unsaved"]) == (3, 0) and 0 <= good["median_seconds"] <= good["seconds"] < 1
    monkeypatch.setattr(sigterm, "newest_complete", lambda folder: 0)
    assert sigterm.measure(tmp_path, 0, print)["unsaved"] == 3
