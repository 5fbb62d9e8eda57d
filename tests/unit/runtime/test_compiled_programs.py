"""The programs on disk that JAX is lent, and those of its own that are kept."""

import hashlib
import os

import pytest

from ddim_jax.runtime import compile_cache
from ddim_jax.runtime.compile_cache import CompiledPrograms


def lent(programs):
    return {path.name: path.read_bytes() for path in programs.lent.glob("*-cache")}


@pytest.fixture
def folder(tmp_path):
    """A folder with two programs, as a process left them that compiled both."""
    programs = CompiledPrograms(tmp_path)
    programs.lend()
    for name in ("one", "two"):
        (programs.lent / f"{name}-cache").write_bytes(name.encode() * 1000)
        programs.keep()
    programs.close()
    digest = hashlib.sha256(b"one" * 1000).hexdigest()
    assert (tmp_path / f"one-cache.{digest}").read_bytes() == b"one" * 1000 and len(os.listdir(tmp_path)) == 2
    return tmp_path


def test_whole_programs_are_lent_and_not_kept_twice(folder):
    programs = CompiledPrograms(folder)
    programs.lend()
    assert lent(programs) == {"one-cache": b"one" * 1000, "two-cache": b"two" * 1000}
    programs.close()
    assert len(os.listdir(folder)) == 2


@pytest.mark.parametrize(
    "damage",
    [lambda content: b"\x01" + content[1:], lambda content: content[:-1], lambda _: b"", lambda content: content * 2],
)
def test_a_damaged_program_is_removed_and_told(folder, damage, caplog):
    (path,) = folder.glob("one-cache.*")
    path.write_bytes(damage(path.read_bytes()))
    programs = CompiledPrograms(folder)
    programs.lend()
    assert lent(programs) == {"two-cache": b"two" * 1000} and str(path) in caplog.text and not path.exists()
    (programs.lent / "one-cache").write_bytes(b"one" * 1000)  # JAX compiles it again
    programs.close()
    assert path.read_bytes() == b"one" * 1000


def test_what_is_no_file_is_passed_over(folder):
    os.mkfifo(folder / f"pipe-cache.{'0' * 64}")
    (folder / f"folder-cache.{'0' * 64}").mkdir()
    programs = CompiledPrograms(folder)
    programs.lend()
    assert set(lent(programs)) == {"one-cache", "two-cache"}
    programs.close()


def test_what_a_killed_process_was_lent_is_removed_and_that_of_a_living_one_stays(folder):
    living, killed = CompiledPrograms(folder), CompiledPrograms(folder)
    for programs in (living, killed):
        programs.lend()
    killed._own._lock.close()  # as the system does
    CompiledPrograms(folder).close()
    assert living.lent.is_dir() and not killed.lent.exists()
    living.close()


def test_those_compiled_longest_ago_are_removed(folder, monkeypatch):
    (first,) = folder.glob("one-cache.*")
    os.utime(first, (1, 1))
    monkeypatch.setattr(compile_cache, "_MOST_BYTES", 5000)
    programs = CompiledPrograms(folder)
    programs.lend()
    assert set(lent(programs)) == {"two-cache"} and not first.exists()
    programs.close()


def test_where_files_cannot_be_linked_they_are_copied(folder, monkeypatch):
    def refuses(*_):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuses)
    programs = CompiledPrograms(folder)
    programs.lend()
    assert set(lent(programs)) == {"one-cache", "two-cache"}
    programs.close()


def test_a_program_that_another_process_removes_meanwhile_is_passed_over(folder, monkeypatch):
    """Between its digest and the link to it; what JAX compiles in its place is kept."""
    link = compile_cache._link

    def too_late(path, place):
        if path.name.startswith("one"):
            path.unlink()
        link(path, place)

    monkeypatch.setattr(compile_cache, "_link", too_late)
    programs = CompiledPrograms(folder)
    programs.lend()
    assert set(lent(programs)) == {"two-cache"}
    (programs.lent / "one-cache").write_bytes(b"one" * 1000)
    programs.close()
    assert len(os.listdir(folder)) == 2
