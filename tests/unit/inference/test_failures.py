"""Millions of pictures that cannot be read."""

import tracemalloc

from ddim_jax.inference.failures import Failures

REASONS = ("not a picture this can read; expected PNG, JPEG, BMP or TIFF.", "the file is empty (0 bytes).", "line\n2 é")


def test_paths_and_reasons_come_back_in_order():
    failures, expected = Failures(), []
    assert not failures and list(failures) == []
    for k in range(50):
        path = f"/in/{k % 7}/gr\udcfc {k}.png"
        expected.append((path, f"{path}: {REASONS[k % 3]}" if k % 5 else REASONS[k % 3]))
        failures.append(*expected[-1])
    assert list(failures) == expected == list(failures) and len(failures) == 50
    failures.append("/in/a.png", "a\0b")
    assert list(failures)[-1] == ("/in/a.png", "a\ufffdb")


def test_little_is_held_of_each():
    """The reason of a path is held without the path; tuples of texts take about 400 bytes."""
    tracemalloc.start()
    try:
        failures = Failures()
        for k in range(2000):
            path = f"/archive/IMG_20200101_{k:06}.png"
            failures.append(path, f"{path}: {REASONS[0]}")
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held / 2000 < 100 and peak / 2000 < 200
