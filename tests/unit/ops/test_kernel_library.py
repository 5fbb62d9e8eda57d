"""The library of compiled kernels: how it is built, named and checked."""

import hashlib
import os
import platform
import shutil
import time
from pathlib import Path

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


def test_an_update_of_the_operating_system_keeps_the_library(built, monkeypatch):
    monkeypatch.setattr(platform, "release", lambda: "9.9.9")
    monkeypatch.setattr(platform, "platform", lambda: "Linux-9.9.9-x86_64-with-glibc2.36")
    assert library.library_path() == built


def unused(monkeypatch, caplog):
    """Returns what is logged while the library is looked for, and none is used."""
    caplog.clear()
    with monkeypatch.context() as patch:
        patch.setattr(library, "loaded_digest", library.loaded_digest.__wrapped__)
        assert not library.available()
    return caplog.text


def test_a_library_for_another_version_is_told(built, monkeypatch, caplog):
    monkeypatch.setattr(library.jaxlib, "__version__", "99.0")
    said = unused(monkeypatch, caplog)
    assert f"the compiled CPU kernels in {built.parent} are for another version or machine" in said
    built.unlink()
    assert unused(monkeypatch, caplog) == ""


def test_a_library_that_cannot_be_loaded_is_not_used(built, monkeypatch, caplog):
    """Its content is as it was built, but the system cannot run it."""
    monkeypatch.delattr(os, "memfd_create", raising=False)  # the linker knows the library of these tests by that name
    assert f"{built} cannot be loaded and is not used (" in unused(monkeypatch, caplog)


@pytest.mark.needs_kernels
def test_a_library_without_all_kernels_is_not_used(monkeypatch, caplog):
    registered = []
    monkeypatch.setattr(library.jax.ffi, "register_ffi_target", lambda *_, **__: registered.append(_))
    monkeypatch.setattr(library, "TARGETS", (*library.TARGETS, "ddim_jax_missing"))
    assert "ddim_jax_missing" in unused(monkeypatch, caplog) and registered == []


def test_another_build_at_the_same_moment(built, monkeypatch):
    """Its library may replace one at any moment, and remove others: one of them is always there."""
    between, remove = [], Path.unlink

    def unlink(path, **how):
        remove(path)
        between.append(library.library_path())
        remove(path, **how)

    old = built.with_name(f"{library.name()}-{hashlib.sha256(b'old').hexdigest()}.so")
    old.write_bytes(b"old")
    monkeypatch.setattr(Path, "unlink", unlink)
    assert library.build() == built
    assert None not in between and between and list(built.parent.iterdir()) == [built]
    # A process that has seen the old one, which is gone when it reads it, looks again.
    old.write_bytes(b"old")
    read = Path.read_bytes

    def read_bytes(path):
        if path == old:
            remove(path, missing_ok=True)
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    assert library.library_path() == built


def test_libraries_for_others_are_kept_while_they_are_used(built):
    ages = {"kernels-0-1.so": 89, "kernels-0-2.so": 91}
    for name, days in ages.items():
        built.with_name(name).write_bytes(b"of another machine")
        os.utime(built.with_name(name), (time.time() - days * 86400,) * 2)
    assert library.build() == built
    assert sorted(path.name for path in built.parent.iterdir()) == sorted(["kernels-0-1.so", built.name])


@pytest.mark.parametrize(
    ("given", "words"),
    [("{cc}", ["{cc}"]), ("{cc} -m64 '-DA=b c'", ["{cc}", "-m64", "-DA=b c"]), ("nothing -m64", None), ("'", None)],
)
def test_the_compiler_may_have_arguments(given, words, monkeypatch):
    sh = shutil.which("sh")
    monkeypatch.setenv("CXX", given.format(cc="sh"))
    assert library.compiler() == (words and [word.format(cc=sh) for word in words])


def test_a_path_with_blanks_is_a_compiler(monkeypatch, tmp_path):
    compiler = tmp_path / "a b"
    compiler.touch(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    assert library.compiler() == [str(compiler)]


def test_a_compiler_that_does_not_end_is_stopped(monkeypatch, tmp_path):
    use_compiler("exec sleep 60", monkeypatch, tmp_path)
    monkeypatch.setattr(library, "COMPILER_SECONDS", 0.1)
    with pytest.raises(InputError, match=r"did not end within 0\.1 s and was stopped"):
        library.build()
    assert list((tmp_path / "cache/kernels").iterdir()) == []
