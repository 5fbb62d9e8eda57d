"""Lines that are said once: in a run, and again in the next one of the same process."""

import pytest

from ddim_jax.runtime.once import say_once, saying_once


def test_each_run_says_a_line_once():
    said = []

    @saying_once()
    def run():
        with saying_once():  # a part of it that may be a run by itself
            for text in ("a", "b", "a"):
                say_once(lambda text, *values: said.append(text % values), text)
        say_once(lambda text, *values: said.append(text % values), "b")

    run()
    assert said == ["a", "b"]
    run()
    assert said == ["a", "b"] * 2
    for _ in range(2):
        say_once(lambda text, *values: said.append(text % values), "a")
    assert said == ["a", "b"] * 2 + ["a", "a"]


def test_a_run_that_fails_leaves_no_record():
    said = []
    for _ in range(2):
        with pytest.raises(ValueError), saying_once():
            say_once(lambda text, *values: said.append(values), "a")
            raise ValueError
    assert said == [("a",)] * 2
