"""Paths and digests in little memory, against what is kept whole."""

import random
from collections import Counter

from ddim_jax.inference.digests import DIGEST, digest, find, repeated
from ddim_jax.inference.paths import PathList


def test_paths_come_back_as_they_were_added():
    rng = random.Random(0)
    paths = [
        "",
        "a.png",
        "a.png",
        "a",
        "a/" + 300 * "x" + ".png",
        "é/ü.png",
        "é/û.png",
        "no utf-8 \udcff.png",
        "z\n.png",
    ]
    paths += ["/".join(rng.choices(("ab", "abc", "日本", "x"), k=rng.randint(1, 5))) for _ in range(300)]
    found = PathList()
    for path in paths:
        found.append(path)
    assert list(found) == list(found) == paths and len(found) == len(paths)
    assert list(PathList()) == [] and len(PathList()) == 0


def test_a_longer_common_beginning_than_the_length_can_say():
    long = 70_000 * "x"
    found = PathList()
    for path in (long + "a", long + "b"):
        found.append(path)
    assert list(found) == [long + "a", long + "b"]


def test_what_occurs_more_than_once():
    rng = random.Random(1)
    texts = [str(rng.randrange(200)) for _ in range(200)] + ["\ud800", "\udcff", "\ud800"]
    table = repeated(bytearray().join(map(digest, texts)))
    counts = Counter(texts)
    again = {text for text, count in counts.items() if count > 1}
    assert table.dtype == DIGEST and len(table) == len(again) and list(table) == sorted(table)
    assert {text for text in counts if find(table, text) is not None} == again
    assert sorted(find(table, text) for text in again) == list(range(len(again)))
    nothing = repeated(bytearray())
    assert len(nothing) == 0 and find(nothing, "a") is None
