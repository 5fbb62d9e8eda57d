"""The order and number of runs, the use of the times, and what counts as agreement: with sides that only pretend."""

import numpy as np
import pytest

from benchmarks.speed.cases import TINY, TINY_TRUNK, Case, chosen, suite_cases
from benchmarks.speed.measure import Disagreement, Effort, check_agreement, measure_case, relative_difference
from benchmarks.worker import WorkerError

FOUR_RUNS = Effort(runs=4, seconds=100.0)
SIDES = ("torch_eager", "ours", "torch_compile")


class FakeSide:
    """A side whose calls take `seconds`; writes down what it is asked in `log`."""

    def __init__(self, side, log, *, seconds=0.5, first_s=None, output=1.0, breaks=False, peaks=(7,)):
        self.side, self.log, self.seconds, self.breaks = side, log, seconds, breaks
        self.first = ({"output": np.array([output])}, first_s or seconds)
        self.peaks = list(peaks)

    def call(self, method, *arguments):
        self.log.append((self.side, method, *arguments))
        if method == "compile":
            if self.breaks:
                raise WorkerError("no compiler\nTraceback")
            return None if self.side.startswith("torch") else 3.0
        if method == "first":
            return self.first
        if method == "run":
            self.seconds += 0.125
            return self.seconds - 0.125
        return self.peaks[0] if method == "peak_bytes" else None

    def close(self):
        self.log.append((self.side, "close"))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def measure(case, effort=FOUR_RUNS, **options):
    log = []
    rows, failed = measure_case(case, lambda side: FakeSide(side, log, **options.get(side, {})), effort)
    return {row["side"]: row for row in rows}, failed, log


def case_of(*sides, **fields):
    return Case("forward", "ddim", "float32", 8, 1, sides, **fields)


def runs_in(log):
    """The sides in the order of their timed runs: those after the last side was made ready."""
    start = max(place for place, entry in enumerate(log) if entry[1] == "watch_memory")
    return [entry[0] for entry in log[start:] if entry[1] == "run"]


def test_sides_take_turns_after_all_agree():
    rows, failed, log = measure(case_of("torch_eager", "ours"))
    assert failed == {}
    assert runs_in(log) == ["torch_eager", "ours"] * 4
    # One call warmed it up (0.5 s); the timed ones took 0.625, 0.75, 0.875 and 1 s.
    ours = rows["ours"]
    assert (ours["median_s"], ours["spread_s"], ours["runs"]) == (0.8125, 0.375, 4)
    assert (ours["compile_s"], ours["peak_bytes"], ours["difference"]) == (3.0, 7, 0.0)
    assert rows["torch_eager"]["compile_s"] is None and rows["torch_eager"]["difference"] is None


def test_a_slow_side_runs_once_among_the_others():
    _, _, log = measure(case_of("torch_eager", "ours"), ours={"seconds": 30.0})
    assert sorted(runs_in(log)) == ["ours"] + ["torch_eager"] * 4


def test_fewer_runs_are_spread_over_the_rounds():
    _, _, log = measure(case_of("torch_eager", "ours"), Effort(runs=6, seconds=6.0), ours={"seconds": 2.0})
    assert runs_in(log) == ["torch_eager", "torch_eager", "ours"] * 3


def test_short_calls_are_put_together():
    _, _, log = measure(case_of("torch_eager"), torch_eager={"seconds": 0.001})
    # The call that warms up takes 1 ms, so 200 make a run; what the fake says afterwards does not matter.
    assert [entry for entry in log if entry[1] == "run"] == [("torch_eager", "run", 1)] + [
        ("torch_eager", "run", 200)
    ] * 4


def test_compiling_in_the_first_call():
    rows, _, _ = measure(case_of(*SIDES), torch_compile={"first_s": 60.0})
    # Two calls warmed it up; the timed ones took 0.75, 0.875, 1 and 1.125 s.
    assert rows["torch_compile"]["median_s"] == 0.9375
    assert rows["torch_compile"]["compile_s"] == 60.0 - 0.9375


def test_a_side_that_disagrees_is_not_timed_and_neither_are_the_others():
    log = []
    options = {"ours": {"output": 1.5}}
    with pytest.raises(Disagreement, match=r"by 0\.5"):
        measure_case(
            case_of(*SIDES), lambda side: FakeSide(side, log, **options.get(side, {})), Effort(runs=4, seconds=1.0)
        )
    assert [entry for entry in log if entry[1] == "run"] == [("torch_eager", "run", 1)]  # its warm-up
    assert sum(entry[1] == "close" for entry in log) == 3


def test_a_side_that_cannot_run_is_named_and_the_others_go_on():
    rows, failed, log = measure(case_of(*SIDES), torch_compile={"breaks": True})
    assert failed == {"torch_compile": "no compiler"}
    assert rows.keys() == {"torch_eager", "ours"}
    assert runs_in(log).count("ours") == 4


def test_sides_that_do_not_fit_together_come_round_twice():
    rows, _, log = measure(case_of("torch_eager", "ours", together=False), Effort(runs=3, seconds=10.0, visits=2))
    assert [entry[0] for entry in log if entry[1] == "close"] == ["torch_eager", "ours", "ours", "torch_eager"]
    assert rows["ours"]["runs"] == 6


def test_compilation_alone():
    rows, _, log = measure(case_of("ours", timed=False))
    assert rows["ours"]["compile_s"] == 3.0 and rows["ours"]["median_s"] is None and rows["ours"]["runs"] == 0
    assert log == [("ours", "compile"), ("ours", "close")]


@pytest.mark.parametrize("suite", ["cpu", "gpu"])
def test_the_suites(suite):
    cases = suite_cases(suite)
    assert len({case.key for case in cases}) == len(cases)
    assert all(case.sides[0] == "torch_eager" for case in cases if case.timed and case.kind != "train_loop")
    quick = suite_cases(suite, quick=True)
    assert {case.model for case in quick} == {case.model for case in cases} - {"ddim"}
    assert {case.kind for case in quick} == {case.kind for case in cases}
    tiny = suite_cases(suite, tiny=True)
    assert all(case.size == 16 and max(case.batch // case.pictures, case.pictures) <= 2 for case in tiny)
    assert all(case.overrides == (TINY_TRUNK if case.model == "trunk_ddim" else TINY) for case in tiny)
    if suite == "cpu":
        assert {(c.size, c.batch) for c in cases if c.kind == "train_step"} == {(64, 4)}
    else:
        assert {(c.size, c.batch) for c in cases if c.kind == "train_step"} == {(256, 20)}
        segments = [(c.model, c.steps, c.batch, c.pictures) for c in cases if c.kind == "segment"][:3]
        assert segments == [("lightweight_ddim", 50, 5, 1), ("trunk_ddim", 1, 4, 1), ("trunk_ddim", 1, 256, 64)]
        assert [c.model for c in cases[:4]] == ["lightweight_ddim"] * 2 + ["trunk_ddim"] * 2  # what is worth most


def test_choosing_sides_leaves_out_cases_without_any():
    cases = chosen(suite_cases("cpu"), kinds=("segment",), models=("ddim",), sides=("torch_eager",))
    assert [(case.sides, case.steps) for case in cases] == [(("torch_eager",), 2)]


CASE = Case("forward", "ddim", "float32", 8, 1, ("torch_eager", "ours"))
TRAIN = Case("train_step", "ddim", "float32", 8, 1, ("torch_eager", "ours"))


def check(case, found, reference):
    return check_agreement(case, "ours", found, "torch_eager", reference)


def test_the_difference_is_relative_and_in_norm():
    assert relative_difference(np.array([3.0, 4.5]), np.array([3.0, 4.0])) == pytest.approx(0.1)


def test_agreement_gives_the_difference():
    reference = {"output": np.array([3.0, 4.0])}
    assert check(CASE, {"output": np.array([3.0, 4.0025])}, reference) == pytest.approx(5e-4)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (np.array([3.0, 4.02]), "output of ours differs from that of torch_eager by 0.004"),
        (np.array([3.0, np.nan]), "by nan"),
        (np.array([3.0, 4.0, 0.0]), "by inf"),
    ],
)
def test_disagreement_is_told_in_figures(found, words):
    with pytest.raises(Disagreement, match=words):
        check(CASE, {"output": found}, {"output": np.array([3.0, 4.0])})


def test_a_missing_value_is_a_disagreement():
    with pytest.raises(Disagreement, match="gives"):
        check(CASE, {}, {"output": np.zeros(1)})


def test_updates_have_a_limit_of_their_own_and_are_not_the_difference():
    reference = {"loss": np.float32(2.0), "update conv_in.weight": np.full(100, 2e-5)}
    one_sign = np.full(100, 2e-5)
    one_sign[0] *= -1.0  # 2 / sqrt(100) in norm: above the limit
    assert check(TRAIN, {**reference, "loss": np.float32(2.001)}, reference) == pytest.approx(5e-4, rel=1e-3)
    with pytest.raises(Disagreement, match=r"update conv_in.weight of ours differs .* by 0\.2"):
        check(TRAIN, {**reference, "update conv_in.weight": one_sign}, reference)
    slower = {**reference, "update conv_in.weight": np.full(100, 1.9e-5)}
    assert check(TRAIN, slower, reference) == 0.0


def test_bfloat16_may_differ_more():
    reference = {"output": np.array([3.0, 4.0])}
    half = Case("forward", "ddim", "bfloat16", 8, 1, ("torch_eager", "ours"))
    assert check(half, {"output": np.array([3.0, 4.02])}, reference) == pytest.approx(4e-3)
