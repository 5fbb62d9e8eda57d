"""Inputs that cannot be used, each given to the program a user would give it to, and readers fed with damaged files."""

import json

import numpy as np
import pytest

from ddim_jax.runtime.errors import DataError
from tests.slow.trials import bad_inputs, bad_pictures, fuzz, mutations, seeds
from tests.slow.trials.judge import Input, Start, try_start
from tests.slow.trials.readers import Reader, all_readers

GOOD = "import sys\nprint('error: b.png: empty', file=sys.stderr)\nsys.exit(2)\n"
FAKES = {
    "good": (GOOD, False, (), ()),
    "traceback": ("raise KeyError('b.png: empty')\n", True, (), ("b.png (status 1, expected 2)",)),
    "signal": ("import os\nos.abort()\n", True, (), ("b.png (status -6, expected 2)",)),
    "partial": ("open('.x.partial.png', 'w')\n" + GOOD, False, (".x.partial.png",), ()),
    "changed": ("open('mine.txt', 'w').write('theirs')\n" + GOOD, False, ("mine.txt",), ()),
    "removed": ("import os\nos.unlink('mine.txt')\n" + GOOD, False, ("mine.txt",), ()),
    "silent": ("import sys\nsys.exit(2)\n", False, (), ("b.png",)),
    "vague": ("import sys\nprint('error: b.png: no', file=sys.stderr)\nsys.exit(2)\n", False, (), ("b.png",)),
    "success": ("", False, (), ("b.png (status 0, expected 2)",)),
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return bad_inputs.prepare(tmp_path_factory.mktemp("prepared") / "here")


@pytest.mark.parametrize("group", bad_inputs.GROUPS)
def test_every_input_is_refused_by_name(tmp_path, warm, prepared, group):
    found = bad_inputs.try_cases(bad_inputs.cases_of(group, *prepared), tmp_path / "cases", warm, print)
    assert found.pop("offenders") == {"tracebacks": [], "partial_outputs": [], "unclear": []}
    assert found["starts"] > 0


def test_the_corpus_is_large(prepared):
    names = [f"{group}/{name}" for group in bad_inputs.GROUPS for name, _ in bad_inputs.cases_of(group, *prepared)]
    assert len(names) == len(set(names)) > 100
    assert len(bad_pictures.bad_pictures()) >= 40 and len(bad_pictures.bad_pairs()) >= 20


@pytest.mark.parametrize("name", FAKES)
def test_a_program_that_fails_badly_is_counted(name, tmp_path, warm):
    source, raises, partial, unclear = FAKES[name]
    (tmp_path / "program.py").write_text(source)

    def make(folder):
        (folder / "mine.txt").write_text("mine")
        return Start(str(tmp_path / "program.py"), (), (Input("b.png", ("b.png", "empty")),))

    _, verdict = try_start(make, tmp_path / "case", warm)
    assert (bool(verdict.traceback), tuple(verdict.partial), tuple(verdict.unclear)) == (raises, partial, unclear)


@pytest.mark.parametrize("name", all_readers())
def test_readers_refuse_what_they_cannot_read(tmp_path, name):
    executions = 300 if name in ("picture", "mask") else 80
    told = fuzz.campaign({name: all_readers()[name]}, tmp_path, seed=11, executions=executions)
    why = [path.read_text() for path in tmp_path.glob("unexpected/*/why.txt")]
    counts = told["readers"][name]
    assert counts["unexpected"] == 0, "\n".join(why)
    assert counts["read"] > 0 and counts["refused"] > 20


@pytest.mark.parametrize("name", all_readers())
def test_what_is_damaged_can_be_read_whole(tmp_path, name):
    """Damage to what is refused anyway would find nothing."""
    reader, fine = all_readers()[name], 0
    for number, content in enumerate(reader.seeds):
        path = tmp_path / str(number) / reader.file
        path.parent.mkdir()
        path.write_bytes(content)
        try:
            reader.read(path)
            fine += 1
        except DataError:
            pass
    assert fine >= {"picture": 20, "mask": 10}.get(name, len(reader.seeds))


def refuses(path):
    raise DataError(f"{path}: no")


def fails(path):
    raise KeyError("a bug")


@pytest.mark.parametrize(
    ("read", "outcome", "why"),
    [(lambda path: None, "read", None), (refuses, "refused", None), (fails, "unexpected", "KeyError: 'a bug'")],
)
def test_outcomes_are_told_apart(tmp_path, read, outcome, why):
    readers = {"fake": Reader("x.bin", [b"a valid input"], mutations.damage_bytes, read)}
    told = fuzz.campaign(readers, tmp_path, seed=3, executions=2)
    assert told["readers"] == {
        "fake": dict.fromkeys(["read", "refused", "unexpected"], 0) | {"executions": 2, outcome: 2}
    }
    kept = sorted(tmp_path.glob("unexpected/*/why.txt"))
    assert len(kept) == (2 if why else 0) and all(why in path.read_text() for path in kept)


def test_headers_are_damaged_where_the_numbers_stand():
    png = seeds.encoded(seeds.pixels(), "PNG")
    damaged = [mutations.damage_header(png, np.random.default_rng(seed)) for seed in range(200)]
    assert all(len(one) == len(png) for one in damaged)
    # The checksum of the header chunk is right again, or the damage would be refused before it is looked at.
    whole = [one for one in damaged if one[:16] == png[:16] and one[16:29] != png[16:29]]
    assert len(whole) > 20
    assert all(mutations.zlib.crc32(one[12:29]) == int.from_bytes(one[29:33], "big") for one in whole)


def test_values_are_damaged_one_by_one():
    content = {"a": {"b": 1, "c": [1, 2]}, "d": "text"}
    damaged = [mutations.damage_values(content, np.random.default_rng(seed)) for seed in range(100)]
    assert content == {"a": {"b": 1, "c": [1, 2]}, "d": "text"}
    texts = {json.dumps(one) for one in damaged}
    assert len(texts) > 60 and all(isinstance(one, dict) for one in damaged)
    assert any("a" not in one for one in damaged) and any("unheard_of" in one for one in damaged)
