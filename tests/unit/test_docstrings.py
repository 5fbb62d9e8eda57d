"""Docstrings say what a thing returns, does or is, as CONTRIBUTING asks: none opens with a question word, and in the
package none with "Those", "That of" or "The same" in place of the noun."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = ("ddim_jax", "benchmarks", "configs", "docs", "tests")
OPENING = re.compile(r"(What|Whether|Where|When|Which|Who|Whose|Whom|Why|How|Of|As)\b")
REFERRING = re.compile(r"(Those|That of|That which|The same)\b")


def docstrings(source):
    """(line, text) of each string that stands alone: those of modules, classes and functions, and below a constant."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.lineno, node.value.value.strip()


def test_no_docstring_opens_with_a_question_word():
    files = [*ROOT.glob("*.py"), *(file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py"))]
    found = [(file, *one) for file in sorted(files) for one in docstrings(file.read_text(encoding="utf-8"))]
    assert len(found) > 1000
    assert [f"{file}:{line}: {text[:60]}" for file, line, text in found if OPENING.match(text)] == []


def test_docstrings_of_the_package_open_with_the_noun():
    found = [
        (file, *one)
        for file in sorted((ROOT / "ddim_jax").rglob("*.py"))
        for one in docstrings(file.read_text("utf-8"))
    ]
    assert len(found) > 1000
    assert [f"{file}:{line}: {text[:60]}" for file, line, text in found if REFERRING.match(text)] == []


def test_such_an_opening_is_seen():
    source = 'def f():\n    """What it gives."""\n\n\nSIZE = 3\n"""Offers a size."""\n'
    assert sorted((line, bool(OPENING.match(text))) for line, text in docstrings(source)) == [(2, True), (6, False)]
    for text in ("Those of a run.", "That of the calibration.", "That which is kept.", "The same in reverse."):
        assert REFERRING.match(text)
    assert not REFERRING.match("The sameness of two images.") and not REFERRING.match("Steps, and those kept.")
