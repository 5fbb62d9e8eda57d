"""Sides that do not compute the same are refused, and the error says by how much."""

import numpy as np
import pytest

from benchmarks.agreement import Disagreement, check_agreement, relative_difference
from benchmarks.cases import Case

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
