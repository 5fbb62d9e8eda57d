"""Bad inputs: the counters can fail, and some of the real cases do not."""

import json
import subprocess
import sys

import pytest
from faults_on_page import on_page

from benchmarks.faults import bad_inputs, bad_pictures
from benchmarks.faults.judge import Input, Start, judge, try_start
from benchmarks.faults.warm import Ended, warm_programs

REAL = (
    *(
        "pictures/one-pixel",
        "folders/splits-not-utf-8",
        "folders/mask-missing",
        "config/train.stepz=3",
        "config/syntax.py",
    ),
    *("checkpoint/missing", "export/output-is-a-file"),
)
GOOD = "import sys\nprint('error: b.png: empty', file=sys.stderr)\nsys.exit(2)\n"
FAKES = {
    "good": (GOOD, 0, (), ()),
    "traceback": ("raise KeyError('b.png: empty')\n", 1, (), ("b.png (status 1, expected 2)",)),
    "signal": ("import os\nos.abort()\n", 1, (), ("b.png (status -6, expected 2)",)),
    "partial": ("open('.x.partial.png', 'w')\n" + GOOD, 0, (".x.partial.png",), ()),
    "run": ("import os\nos.makedirs('runs/mine')\n" + GOOD, 0, ("runs", "runs/mine"), ()),
    "changed": ("open('mine.txt', 'w').write('theirs')\n" + GOOD, 0, ("mine.txt",), ()),
    "removed": ("import os\nos.unlink('mine.txt')\n" + GOOD, 0, ("mine.txt",), ()),
    "silent": ("import sys\nsys.exit(2)\n", 0, (), ("b.png",)),
    "vague": ("import sys\nprint('error: b.png: no', file=sys.stderr)\nsys.exit(2)\n", 0, (), ("b.png",)),
    "success": ("", 0, (), ("b.png (status 0, expected 2)",)),
}


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    with warm_programs(tmp_path_factory.mktemp("cache")) as programs:
        yield programs


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return bad_inputs.prepare(tmp_path_factory.mktemp("prepared") / "here")


class Plain:
    """As `Programs`, without the imports that these programs have no use for."""

    @staticmethod
    def run(program, arguments, folder, *, powerless):
        ended = subprocess.run([sys.executable, program], cwd=folder, capture_output=True, text=True)
        return Ended(ended.returncode, ended.stdout, ended.stderr)


@pytest.mark.parametrize(("name", "warm"), [*((name, False) for name in FAKES), ("traceback", True)])
def test_a_program_that_fails_badly_is_counted(name, warm, tmp_path, request):
    programs = request.getfixturevalue("programs") if warm else Plain
    source, tracebacks, partial, unclear = FAKES[name]
    (tmp_path / "program.py").write_text(source)

    def make(folder):
        (folder / "mine.txt").write_text("mine")
        return Start(str(tmp_path / "program.py"), (), (Input("b.png", ("b.png", "empty")),))

    said = []
    result = bad_inputs.try_cases([(name, make)], tmp_path / "cases", programs, said.append)
    offenders = result.pop("offenders")
    assert on_page("bad_inputs", result)
    assert result == {
        "n": 1,
        "starts": 1,
        "tracebacks": tracebacks,
        "partial_outputs": len(partial),
        "unclear": len(unclear),
    }
    assert offenders["partial_outputs"] == [f"{name}: {one}" for one in partial]
    assert offenders["unclear"] == [f"{name}: {one}" for one in unclear]
    assert len(offenders["tracebacks"]) == tracebacks
    assert len(said) == 1 + (name != "good")


def test_what_a_program_may_keep_and_what_its_index_claims(tmp_path):
    start = Start("sample.py", (), (Input("b.png", ("b.png",)),), status=1, kept=("out", "out/*"))
    (tmp_path / "out").mkdir()
    ended, after = Ended(1, "", "failed: b.png\n"), {"out": "folder", "out/index.jsonl": (1, 2), "c.png": (3, 4)}
    for status, claims in (("failed", ()), ("ok", ("out/index.jsonl claims success",))):
        line = {"name": "b", "file": "/in/b.png", "status": status}
        (tmp_path / "out/index.jsonl").write_text(json.dumps(line) + "\n")
        assert judge(start, ended, tmp_path, {}, after) == ("", ("c.png", *claims), ())
    assert judge(start, ended._replace(out="Traceback (most recent call last):"), tmp_path, after, after).traceback


def test_a_program_that_ought_to_end_well_has_to_say_what_it_did(tmp_path):
    start = Start("sample.py", (), (Input("a.png", ("1 images segmented",)),), status=0, kept=("index.jsonl",))
    (tmp_path / "index.jsonl").write_text(json.dumps({"name": "a", "file": "/in/a.png", "status": "ok"}) + "\n")
    after = {"index.jsonl": (1, 2)}
    assert judge(start, Ended(0, "1 images segmented in 0.1 s", ""), tmp_path, {}, after) == ("", (), ())
    assert judge(start, Ended(0, "", "1 images segmented"), tmp_path, {}, after) == ("", (), ("a.png",))
    assert judge(start, Ended(2, "", "error: no"), tmp_path, {}, after).unclear == ("a.png (status 2, expected 0)",)


def test_the_corpus_is_large_and_its_cases_have_names_of_their_own(tmp_path):
    names = [name for name, _ in bad_inputs.all_cases(tmp_path / "run", config_file(tmp_path))]
    assert len(names) == len(set(names)) > 100
    assert len(bad_pictures.bad_pictures()) >= 40 and len(bad_pictures.bad_pairs()) >= 20
    assert set(REAL) <= set(names)


def config_file(folder):
    (folder / "tiny.py").write_text("")
    return folder / "tiny.py"


def test_real_cases_end_as_they_should(tmp_path, programs, prepared):
    cases = [case for case in bad_inputs.all_cases(*prepared) if case[0] in REAL]
    result = bad_inputs.try_cases(cases, tmp_path / "cases", programs, lambda text: None)
    assert result.pop("offenders") == {"tracebacks": [], "partial_outputs": [], "unclear": []}
    assert result == {"n": 7, "starts": 7, "tracebacks": 0, "partial_outputs": 0, "unclear": 0}


def test_every_bad_picture_is_told_and_the_good_one_is_segmented(tmp_path, programs, prepared):
    start, verdict = try_start(bad_pictures.sampled(prepared[0]), tmp_path / "case", programs)
    assert verdict == ("", (), ())
    assert len(start.inputs) == len(bad_pictures.bad_pictures())
    assert (tmp_path / "case/out/good_mask.png").exists()
