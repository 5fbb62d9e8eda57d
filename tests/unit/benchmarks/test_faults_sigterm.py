"""A training that is asked to stop: what is counted of it, by a program that is not one."""

import time
from pathlib import Path

import pytest
from faults_on_page import on_page

from benchmarks.faults import sigterm
from benchmarks.faults.programs import FaultRunFailed
from benchmarks.faults.weights import checkpoints, newest_complete


def test_what_a_stopped_training_says_to_have_saved():
    assert sigterm.saved_step("step 8/40: loss 1\nSIGTERM: saved step 8, stopped; the same command goes on") == 8
    assert sigterm.saved_step("SIGTERM: no step was made after step 8, stopped; the same command goes on") == 8
    assert sigterm.saved_step("step 8/40: loss 1") is None


class Stopped:
    """A training with a checkpoint every 5 steps that is asked to stop. It says and does what `habits` say."""

    habits: dict = {}  # noqa: RUF012
    caches: list = []  # noqa: RUF012

    def __init__(self, arguments, log, environment=None):
        self.run = Path(next(str(one) for one in arguments if str(one).startswith("--workdir=")).split("=")[1])
        self.process, self.status, self.number = self, None, int(log.stem[-2:])
        self.step = newest_complete(checkpoints(self.run)) + self.habits.get("skips", 0)
        self.said = f"resumes at step {self.step} of 99\n"
        self.caches.append((environment or {}).get("XDG_CACHE_HOME"))
        self.busy_until = time.monotonic() + 0.1  # compiles
        if self.number and "refuses" in self.habits:
            self.said, self.status = "error: damaged\n", 2

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def wait_until(self, condition):
        while self.status is None and not condition():
            time.sleep(0.001)
            if time.monotonic() < self.busy_until:
                continue
            if self.is_due() and newest_complete(checkpoints(self.run)) < self.step:
                self.save()
                continue
            self.step += 1
            self.said += f"step {self.step}/99: loss 1\n"
            if self.is_due():
                self.busy_until = time.monotonic() + 0.1
        return condition()

    def is_due(self):
        return self.step > 0 and self.step % 5 == 0

    def save(self):
        folder = checkpoints(self.run) / str(self.step)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "manifest.json").write_text("{}")

    def poll(self):
        return self.status

    def last_words(self):
        return self.said

    def send_signal(self, number):
        self.step += 1
        if "saves nothing" not in self.habits:
            self.save()
        self.said += f"SIGTERM: saved step {self.step}, stopped"

    def wait(self):
        return self.habits.get("status", 75)


@pytest.mark.parametrize(
    ("habits", "stops", "unsaved", "not_continued"),
    [
        ({}, 4, 0, 0),
        ({"saves nothing": True}, 4, 4, 4),
        ({"status": None}, 4, 4, 0),
        ({"status": 0}, 4, 4, 0),
        ({"skips": 1}, 4, 0, 4),
        ({"refuses": True}, 1, 0, 1),
    ],
)
def test_stops_are_counted(tmp_path, monkeypatch, habits, stops, unsaved, not_continued):
    monkeypatch.setattr(sigterm, "Program", Stopped)
    monkeypatch.setattr(Stopped, "habits", habits)
    monkeypatch.setattr(sigterm, "_STOPS", 4)
    monkeypatch.setattr(sigterm, "_EVERY", 5)
    found = sigterm.measure(tmp_path, 0, print)
    assert (found["n"], found["unsaved"], found["not_continued"]) == (stops, unsaved, not_continued)
    assert 0 <= found["median_seconds"] <= found["seconds"] < 1
    assert on_page("sigterm", found)


def test_stops_come_before_the_first_step_and_while_a_checkpoint_is_saved(tmp_path, monkeypatch):
    monkeypatch.setattr(sigterm, "Program", Stopped)
    monkeypatch.setattr(Stopped, "caches", [])
    monkeypatch.setattr(sigterm, "_EVERY", 5)
    said = []
    found = sigterm.measure(tmp_path, 0, said.append)
    assert [line.split(", ")[1].split(":")[0] for line in said[:3]] == ["anywhere", "saving", "early"]
    # Three are aimed at each; a busy machine may be late for some, and one that is aimed nowhere may come there.
    assert 1 <= found["before_first_step"] <= 3 and 1 <= found["while_saving"] <= 7
    cold = [cache for cache in Stopped.caches if cache]
    assert len(cold) == len(set(cold)) == 3 and not any(Path(cache).exists() for cache in cold)
    assert [bool(cache) for cache in Stopped.caches[:3]] == [False, False, True]


def test_a_run_that_ends_before_it_is_asked_to_is_no_measurement(tmp_path, monkeypatch):
    monkeypatch.setattr(sigterm, "Program", Stopped)
    monkeypatch.setattr(Stopped, "poll", lambda self: 0)
    with pytest.raises(FaultRunFailed, match="over before it was asked to stop"):
        sigterm.measure(tmp_path, 0, print)
