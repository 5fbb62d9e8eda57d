"""Kills that are aimed at a save: what counts as one, by files made by hand and a training that is none."""

import signal

import pytest

from benchmarks.faults import kills


def test_a_save_is_told_from_a_removal(tmp_path):
    (tmp_path / "2.orbax-checkpoint-tmp").mkdir()
    before = kills._unfinished(tmp_path)
    (tmp_path / "6").mkdir()
    assert kills._new_halves(tmp_path, before) == [6]
    (tmp_path / "8").mkdir()
    (tmp_path / "8" / "manifest.json").write_text("{}")  # 6 is older than it, and has none: it is about to be removed
    assert kills._new_halves(tmp_path, before) == [] and kills._new_halves(tmp_path, set()) == [None]
    (tmp_path / "10").mkdir()
    assert kills._new_halves(tmp_path, before) == [10]


class Saves:
    """In place of a training: it has reported its first step, and a while later begins to save."""

    said, started = "starts at step 0 of 9\nstep 1/9: loss 1\n", 0.0

    def __init__(self, folder, looks):
        self._folder, self._looks, self.half_written = folder, looks, None

    def wait_until(self, condition):
        while not condition():
            self._looks -= 1
            if self._looks == 0:
                (self._folder / "2.orbax-checkpoint-tmp").mkdir()
        return True

    def kill(self):
        self.half_written = [step for step, *_ in kills._unfinished(self._folder)]
        return -signal.SIGKILL


class Drawn:
    """Random numbers that are not: the aim, and a share of the time."""

    def __init__(self, aim):
        self._numbers = iter([aim, 0.5])

    def random(self):
        return next(self._numbers)

    def integers(self, end):
        return 0


@pytest.mark.parametrize(
    ("aim", "half_written"), [(kills._IN_START_UP, [None]), (kills._IN_START_UP + kills._IN_SAVE, [])]
)
def test_a_share_of_the_kills_waits_for_a_save(tmp_path, aim, half_written):
    program = Saves(tmp_path, looks=10 if half_written else -1)
    assert kills._kill(program, tmp_path, Drawn(aim), 0.0, 0.001)[1]
    assert program.half_written == half_written
