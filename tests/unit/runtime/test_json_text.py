"""JSON that others may have written: how deep its lists and objects may lie."""

import json

import pytest

from ddim_jax.runtime.json_text import parse_json


@pytest.mark.parametrize(("opened", "closed"), [("[", "]"), ('{"a":', "}")])
def test_depth_is_bounded_before_it_is_parsed(opened, closed, monkeypatch):
    inner = "1" if closed == "}" else ""
    deepest = opened * 64 + inner + closed * 64
    assert parse_json(deepest) == json.loads(deepest)

    def never(text):
        pytest.fail("parsed")  # near the interpreter's limit finalizers fail that happen to run there

    monkeypatch.setattr("ddim_jax.runtime.json_text.json.loads", never)
    for text in (opened * 65 + inner + closed * 65, opened * 100_000, (opened * 100_000).encode()):
        with pytest.raises(ValueError, match="more than 64 deep"):
            parse_json(text)


@pytest.mark.parametrize(
    "value",
    [["["] * 100, '"[' * 100, "\\" * 99 + '"{[' * 99, [[[]]] * 100, {"]}": [{"a": []}] * 200}, ["\n[" * 80]],
    ids=["brackets", "quotes", "backslashes", "lists", "objects", "lines"],
)
def test_what_lies_side_by_side_or_in_a_string_is_no_depth(value):
    text = json.dumps(value)
    assert parse_json(text) == parse_json(text.encode()) == value


@pytest.mark.parametrize("text", ["", "[1", "[1,]", '"' + '\\"' * 200_000 + "[" * 99, b"\xff[]", b"\xed\xa0\x80"])
def test_what_is_no_json_is_refused(text):
    with pytest.raises(ValueError):
        parse_json(text)
