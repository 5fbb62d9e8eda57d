"""A process that misses a meeting is waited for once more; one that stays away is lost."""

import threading

import pytest
from orbax.checkpoint import multihost

from ddim_jax.runtime import heartbeats
from ddim_jax.runtime.heartbeats import Heartbeats
from ddim_jax.runtime.processes import NOTICED_SECONDS


@pytest.fixture
def meetings(monkeypatch):
    """Runs the heartbeats of a process whose meetings end as listed; the numbers of those held, and what was lost."""
    monkeypatch.setattr(heartbeats, "BEAT_SECONDS", 0.001)

    def run(*ends):
        held, lost, over = [], [], threading.Event()

        def meet(key, timeout_ms):
            assert timeout_ms == heartbeats.ANSWER_SECONDS * 1000
            held.append(int(key.rpartition("/")[2]))
            if len(held) <= len(ends) and not ends[len(held) - 1]:
                raise RuntimeError("DEADLINE_EXCEEDED: task 1 did not come")
            if len(held) == len(ends):
                over.set()

        monkeypatch.setattr(multihost, "get_barrier_sync_fn", lambda: meet)
        beating = Heartbeats(lambda said: (lost.append(said), over.set()))
        assert over.wait(5)
        beating.stop()
        return held, lost

    return run


def test_one_missed_meeting_is_forgiven_again_and_again(meetings):
    held, lost = meetings(True, False, True, False, True, True)
    assert held[:6] == [1, 2, 3, 4, 5, 6]
    assert lost == []


def test_two_in_a_row_are_a_lost_process(meetings):
    held, lost = meetings(True, False, False)
    assert held == [1, 2, 3] and lost == ["DEADLINE_EXCEEDED: task 1 did not come"]


def test_a_process_0_that_is_silent_is_lost(monkeypatch):
    """Its runtime does not even answer that a deadline has passed: it is suspended, or its machine is off."""
    monkeypatch.setattr(heartbeats, "BEAT_SECONDS", 0.001)
    monkeypatch.setattr(heartbeats, "SILENT_SECONDS", 0.05)
    asked, said, never = [], threading.Event(), threading.Event()

    def meet(key, timeout_ms):
        asked.append(key)
        never.wait(10)

    monkeypatch.setattr(multihost, "get_barrier_sync_fn", lambda: meet)
    lost = []
    beating = Heartbeats(lambda why: (lost.append(why), said.set()))
    assert said.wait(5)
    beating.stop()
    never.set()
    assert lost == ["process 0 did not answer for 0 s"] and len(asked) == 1


def test_an_answer_that_comes_late_is_forgiven(monkeypatch):
    """This process was suspended itself, and finds its own limit passed when it goes on."""
    monkeypatch.setattr(heartbeats, "BEAT_SECONDS", 0.001)
    monkeypatch.setattr(heartbeats, "SILENT_SECONDS", 0.2)
    held, over = [], threading.Event()

    def meet(key, timeout_ms):
        if not held or len(held) == 1:
            threading.Event().wait(0.3)
        held.append(key)
        if len(held) == 3:
            over.set()

    monkeypatch.setattr(multihost, "get_barrier_sync_fn", lambda: meet)
    lost = []
    beating = Heartbeats(lost.append)
    assert over.wait(5)
    beating.stop()
    assert lost == []


def test_a_lost_process_is_noticed_within_the_limit_that_is_promised():
    assert heartbeats.BEAT_SECONDS + heartbeats.MISSES * heartbeats.SILENT_SECONDS < NOTICED_SECONDS
