"""Lines that are said once: in a run, and again in the next one of the same process."""

from ddim_jax.runtime.once import say_once


def test_each_run_says_a_line_once():
    said = []

    def log(text, *values):
        said.append(text % values)

    for _ in range(2):
        say_once.cache_clear()
        for text in ("a", "50 %", "a", "50 %"):
            say_once(log, text)
    assert said == ["a", "50 %"] * 2
