"""Inputs that cannot be used, each given to the program a user would give it to."""

import pytest

from tests.slow.trials import bad_inputs, bad_pictures
from tests.slow.trials.judge import Input, Start, try_start

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
