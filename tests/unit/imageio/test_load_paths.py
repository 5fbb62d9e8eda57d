"""Nothing that users exchange can run code when it is read: no pickle, no archive, arrays and weights without either.

What the package writes for itself into the user's own cache, compiled and traced programs, is code by its nature.
"""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SOURCES = [*(ROOT / "ddim_jax").rglob("*.py"), *(ROOT / "configs").glob("*.py"), *ROOT.glob("*.py")]
MODULES = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "tarfile", "zipfile"}
NAMES = {"unpack_archive", "read_pickle", "unsafe_load", "Unpickler"}
ARRAYS, WEIGHTS = ("allow_pickle", False), ("weights_only", True)
SAFE_BY = {"numpy.load": ARRAYS, "np.load": ARRAYS, "torch.load": WEIGHTS}


def found_in(source):
    """(what, whether it is safe) of everything in the source that loads in a way that could run code."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name.split(".")[0] for alias in node.names]
            yield from ((name, False) for name in names if name in MODULES)
        elif isinstance(node, ast.ImportFrom):
            module = (node.module or "").split(".")[0]
            if module in MODULES:
                yield module, False
            imported = [alias.name for alias in node.names]
            yield from ((name, False) for name in imported if name in NAMES or f"{module}.{name}" in SAFE_BY)
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called.rpartition(".")[2] in NAMES or (called == "__import__" or called.endswith("import_module")):
                yield called, False
            elif called in SAFE_BY:
                field, value = SAFE_BY[called]
                given = {word.arg: word.value for word in node.keywords}.get(field)
                yield called, isinstance(given, ast.Constant) and given.value is value
            yield from (("allow_pickle", False) for word in node.keywords if _allows_pickle(word))


def _allows_pickle(word):
    return word.arg == "allow_pickle" and not (isinstance(word.value, ast.Constant) and word.value.value is False)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import pickle", [("pickle", False)]),
        ("import os, zipfile", [("zipfile", False)]),
        ("from pickle import loads", [("pickle", False)]),
        ("def f():\n    from tarfile import open", [("tarfile", False)]),
        ("from shutil import unpack_archive", [("unpack_archive", False)]),
        ("shutil.unpack_archive(path)", [("shutil.unpack_archive", False)]),
        ("importlib.import_module('pickle')", [("importlib.import_module", False)]),
        ("np.load(path)", [("np.load", False)]),
        ("np.load(path, allow_pickle=False)", [("np.load", True)]),
        ("numpy.load(path, allow_pickle=flag)", [("numpy.load", False), ("allow_pickle", False)]),
        ("from numpy import load", [("load", False)]),
        ("np.lib.format.read_array(file, allow_pickle=True)", [("allow_pickle", False)]),
        ("torch.load(path, map_location='cpu')", [("torch.load", False)]),
        ("torch.load(path, weights_only=True)", [("torch.load", True)]),
        ("torch.load(path, weights_only=False)", [("torch.load", False)]),
        ("json.load(file); Segmenter.load(path); np.zeros(3)", []),
    ],
)
def test_what_is_looked_for_is_found(source, expected):
    assert list(found_in(source)) == expected


def test_nothing_unsafe_is_loaded():
    found = {path.relative_to(ROOT).as_posix(): list(found_in(path.read_text())) for path in SOURCES}
    assert len(found) > 100 and "sample.py" in found and "ddim_jax/data/splits.py" in found
    # The one reader of pickles there is: it shows that the rule is looked for where it matters.
    assert found["ddim_jax/checkpoints/torch_weights.py"] == [("torch.load", True)]
    unsafe = {path: [what for what, safe in uses if not safe] for path, uses in found.items()}
    # Modules by name: the package's own, and in the registry those that the user's own config names. A zip of slices is
    # read member by member, within bounds, into files named here; nothing in it is run. An exported file, a zip of a
    # program, is read back by the one who wrote it.
    own_modules = {
        "ddim_jax/imageio/archives.py": ["zipfile"],
        "ddim_jax/imageio/clinic.py": ["importlib.import_module"],
        "ddim_jax/export/formats.py": ["zipfile", "importlib.import_module"],
        "ddim_jax/__init__.py": ["importlib.import_module"],
        "ddim_jax/registry.py": ["importlib.import_module"] * 3,
    }
    assert {path: uses for path, uses in unsafe.items() if uses} == own_modules
