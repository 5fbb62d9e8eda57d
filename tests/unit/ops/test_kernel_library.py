"""The library of compiled kernels: how it is built, named and checked."""

import hashlib

import pytest

from ddim_jax.ops.cpu_kernels import library
from ddim_jax.runtime.errors import InputError


def use_compiler(script, monkeypatch, folder):
    """Has the library built by a shell script into a cache below `folder`, in which the script lies."""
    compiler = folder / "compiler"
    compiler.write_text(f"#!/bin/sh\n{script}\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    monkeypatch.setattr(library, "folder", lambda: folder / "cache/kernels")


def test_without_a_compiler_building_says_what_to_do(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(InputError, match=r"no C\+\+ compiler \(no-such-compiler\): install one"):
        library.build()


def test_a_failing_compiler_is_quoted_and_leaves_nothing(monkeypatch, tmp_path):
    use_compiler("echo 'common.h:1: cannot do it' >&2\nexit 1", monkeypatch, tmp_path)
    with pytest.raises(InputError, match=r"(?s)failed:.*cannot do it"):
        library.build()
    assert list((tmp_path / "cache/kernels").iterdir()) == []


def test_the_library_belongs_to_these_sources_and_this_processor(monkeypatch):
    here = library.name()
    assert here == library.name()
    monkeypatch.setattr(library, "processor_digest", lambda: "another processor")
    elsewhere = library.name()
    monkeypatch.setattr(library, "FLAGS", (*library.FLAGS, "-DOTHER"))
    assert len({here, elsewhere, library.name()}) == 3


@pytest.fixture
def built(monkeypatch, tmp_path):
    """The library that a compiler which writes `library` builds into a cache of its own."""
    use_compiler('while [ "$1" != -o ]; do shift; done\nprintf library > "$2"', monkeypatch, tmp_path)
    return library.build()


def test_the_library_is_named_by_its_content_in_a_folder_of_the_user_alone(built):
    assert built.name == f"{library.name()}-{hashlib.sha256(b'library').hexdigest()}.so"
    assert library.library_path() == built and list(built.parent.iterdir()) == [built]
    assert [path.stat().st_mode & 0o077 for path in (built.parent, built.parent.parent)] == [0, 0]


def test_a_library_whose_content_changed_is_not_used_until_it_is_built_again(built, caplog):
    built.write_bytes(b"librery")
    assert library.library_path() is None
    assert f"{built} is damaged and is not used; ddim-jax doctor --build-kernels builds it again" in caplog.text
    assert library.build() == built == library.library_path()


def test_a_library_for_another_processor_is_not_used(built, monkeypatch):
    monkeypatch.setattr(library, "processor_digest", lambda: "another processor")
    assert library.library_path() is None
