"""The lines of an index, found on disk again."""

import contextlib
import json
import random
import tracemalloc

import pytest
from index_lines import line

from ddim_jax.inference.lines import Lines
from ddim_jax.runtime.errors import InputError


def test_lines_are_found_on_disk(tmp_path):
    path = tmp_path / "lines"
    path.write_text(line("b") + line("é/a", area=1) + line("b", area=2) + '{"name": "c", "sta')
    with contextlib.closing(Lines(path)) as lines:
        assert list(lines) == ["b", "é/a"] and len(lines) == 2 and "c" not in lines
        assert lines.record("b")["area"] == 2 and lines.record("é/a")["area"] == 1 and lines.record("c") is None
        assert lines.line("b").decode() == line("b", area=2)
        assert (lines.torn, lines.in_order) == (18, False)
        assert lines.end == path.stat().st_size - 18
    assert len(Lines(tmp_path / "none")) == 0


@pytest.mark.parametrize(
    ("content", "in_order"),
    [("", True), (line("a") + line("b"), True), (line("b") + line("a"), False), (line("a") + line("a"), False)],
)
def test_lines_in_order(tmp_path, content, in_order):
    (tmp_path / "lines").write_text(content)
    with contextlib.closing(Lines(tmp_path / "lines")) as lines:
        assert lines.in_order is in_order


@pytest.mark.parametrize(
    "damaged",
    [
        *("{}\n", "[1]\n", "null\n", '{"name": 3, "status": "ok", "file": ""}\n', "\n", "[" * 100_000 + "\n"),
        *(line("x", **fields) for fields in ({"outputs": 5}, {"outputs": [[]]}, {"doubt": "high"}, {"status": "done"})),
        *(line("x", doubt=doubt) for doubt in (float("nan"), -0.1, 1.5, 10**400, None)),
    ],
)
def test_a_line_that_is_no_record_is_named(tmp_path, damaged):
    (tmp_path / "lines").write_text(line("a") + damaged + line("b"))
    with pytest.raises(InputError, match="lines: line 2 is damaged; remove the line"):
        Lines(tmp_path / "lines")


def test_little_is_held_of_records_of_earlier_runs(tmp_path):
    """25 bytes a record, above what a tenth of them needs; a dictionary of names and places takes 200."""

    def held(count):
        path = tmp_path / str(count)
        path.write_text("".join(line(f"sub/image_{k:06}") for k in range(count)))
        tracemalloc.start()
        try:
            with contextlib.closing(Lines(path)) as lines:
                after, peak = tracemalloc.get_traced_memory()
                assert len(lines) == count and lines.record(f"sub/image_{count - 1:06}")["status"] == "ok"
        finally:
            tracemalloc.stop()
        return after, peak

    held(10)
    after, peak = ((b - a) / 1800 for a, b in zip(held(200), held(2000), strict=True))
    assert 20 < after < 30 and peak < 100


def test_lines_of_many_names_against_a_dictionary(tmp_path):
    rng = random.Random(0)
    names = [f"{rng.randrange(60)}/é" for _ in range(150)] + ["\udcff", "\ud800"]
    texts = [line(name, area=area) for area, name in enumerate(names)]
    (tmp_path / "lines").write_text("".join(texts))
    expected = {name: json.loads(text) for name, text in zip(names, texts, strict=True)}
    with contextlib.closing(Lines(tmp_path / "lines")) as lines:
        assert list(lines) == list(expected) and len(lines) == len(expected) < len(names)
        assert {record["name"]: lines.record(record["name"]) for record in lines.records()} == expected
        assert [record["area"] for record in lines.records()] == [record["area"] for record in expected.values()]
        assert "60/é" not in lines and lines.line("60/é") is None
