"""The index of one folder, written by one process or several, stopped anywhere."""

import contextlib
import errno
import itertools
import json
import os
import random
import resource
import tracemalloc
from pathlib import Path

import pytest
from index_lines import line
from index_records import ONE, SETTINGS, add, files, open_index, text

from ddim_jax.inference.file_state import FileState
from ddim_jax.inference.flagging import write_flagged
from ddim_jax.inference.index import Index
from ddim_jax.inference.jobs import Job
from ddim_jax.inference.processes import Process
from ddim_jax.runtime.environment import environment
from ddim_jax.runtime.errors import InputError


def test_what_this_run_adds_stays_on_disk(tmp_path):
    with open_index(tmp_path) as index:
        add(index, "warm")
        tracemalloc.start()
        try:
            for k in range(1000):
                add(index, f"image_{k:04}", outputs=["mask"])
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert held < 20 * 1000  # a record is several hundred bytes
    assert len(text(tmp_path).splitlines()) == 1001


def test_some_hundred_bytes_are_held_of_a_picture_done_before(tmp_path):
    """Above what a tenth of them needs; the records themselves would be two kilobytes each."""

    def held(count):
        folder = tmp_path / str(count)
        with open_index(folder) as index:
            add(index, *(f"sub/image_{k:06}" for k in range(count)), outputs=["mask"], bytes=5, mtime_ns=10**18)
        tracemalloc.start()
        try:
            with open_index(folder) as index:
                assert index.record(f"sub/image_{count - 1:06}")["outputs"] == ["mask"]
                return tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    held(10)
    after, peak = ((b - a) / 1800 for a, b in zip(held(200), held(2000), strict=True))
    assert after < 600 and peak < 1000


def test_little_is_held_of_the_results_that_are_there(tmp_path):

    def peak(count):
        folder = tmp_path / str(count)
        (folder / "sub").mkdir(parents=True)
        for k in range(count):
            (folder / ("sub" if k % 2 else "") / f"image_{k:06}_mask.png").touch()
        tracemalloc.start()
        try:
            for process in (ONE, Process(0, 2)):
                with open_index(folder, process):
                    pass
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(10)
    assert peak(2000) - peak(200) < 500 * 1800


def test_a_folder_that_is_not_ours_to_read_does_not_stand_in_the_way(tmp_path, monkeypatch):
    """Root may read everything, so the refusal of the system is played."""
    scandir = os.scandir

    def refusing(path):
        if Path(path).name == "lost+found":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    for name in ("lost+found", "sub"):
        (tmp_path / name).mkdir()
    (tmp_path / "sub" / ".0123456789abcdef0123456789abcdef.partial.png").touch()
    monkeypatch.setattr(os, "scandir", refusing)
    with open_index(tmp_path):
        assert not (tmp_path / "sub" / ".0123456789abcdef0123456789abcdef.partial.png").exists()


def test_nothing_is_rewritten_where_nothing_was_done(tmp_path):
    with open_index(tmp_path) as index:
        add(index, "b", "a")
    before = (tmp_path / "index.jsonl").stat()
    for process in (ONE, Process(0, 2), Process(1, 2)):
        with open_index(tmp_path, process):
            pass
    after = (tmp_path / "index.jsonl").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns) and len(files(tmp_path)) == 3


def test_other_versions_or_flags_are_told_and_not_refused(tmp_path, caplog):
    Index(tmp_path, SETTINGS | {"surroundings": environment(None) | {"jaxlib": "0.1"}}, Process()).close()
    assert caplog.text == ""
    Index(tmp_path, SETTINGS | {"surroundings": environment(None)}, Process()).close()
    assert f"{tmp_path}: jaxlib was 0.1, is " in caplog.text
    assert json.loads((tmp_path / "settings.json").read_text())["surroundings"]["jaxlib"] == "0.1"


def test_parts_without_settings_are_not_built_upon(tmp_path):
    (tmp_path / "index.0-of-2.jsonl").write_text(line("a"))
    with pytest.raises(InputError, match=r"holds index.0-of-2.jsonl but no settings.json"):
        Index(tmp_path, SETTINGS, ONE)


@pytest.mark.parametrize("content", ["[]", "null", "{", "[" * 100_000])
def test_settings_that_are_none_are_named(tmp_path, content):
    (tmp_path / "settings.json").write_text(content)
    with pytest.raises(InputError, match=r"settings\.json .*; use an empty output folder"):
        Index(tmp_path, SETTINGS, Process())


def test_a_record_with_less_is_done_again(tmp_path):
    with contextlib.closing(Index(tmp_path, SETTINGS, Process())) as index:
        add(index, "a")  # neither outputs nor size
    with contextlib.closing(Index(tmp_path, SETTINGS, Process())) as index:
        assert not index.is_done(Job("/in", "a.png", "a"), ("mask",))


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match=r"file/out: the folder for the results cannot be made \(Not a directory"):
        Index(tmp_path / "file" / "out", SETTINGS, Process())


@pytest.mark.parametrize(
    "damaged",
    [
        *("{}\n", "[1]\n", "null\n", '{"name": 3, "status": "ok", "file": ""}\n', "\n", "[" * 100_000 + "\n"),
        *(
            line("x", **fields)
            for fields in ({"outputs": 5}, {"slices": "3"}, {"outputs": [[]]}, {"doubt": "high"}, {"status": "done"})
        ),
        *(line("x", doubt_of_slices=doubts) for doubts in (5, "high", [0.5, None])),
        *(line("x", doubt=doubt) for doubt in (float("nan"), -0.1, 1.5, 10**400, None)),
        '{"name": "x", "file": "", "status": "ok"}\n',
    ],
)
def test_a_line_that_is_no_record_is_named(tmp_path, damaged):
    with open_index(tmp_path):
        pass
    (tmp_path / "index.jsonl").write_text(line("a") + damaged + line("b"))
    with pytest.raises(InputError, match=r"index\.jsonl: line 2 is damaged; remove the line"):
        Index(tmp_path, SETTINGS, ONE)


def test_any_value_of_any_field_of_a_line_is_taken_or_the_line_is_named(tmp_path):
    """A value that is taken may be asked for."""
    wrong = (None, True, -1, 0.5, 2**63, 10**400, float("nan"), "", "x", [], [0, -1], ["a"], {}, {"a": 1})
    fields = {"bytes": 5, "mtime_ns": 7, "outputs": ["mask"], "output_bytes": [4], "area": 3, "seconds": 0.1}
    good, named = json.loads(line("a", **fields)), 0
    with open_index(tmp_path):
        pass
    for field, value in itertools.product(good, wrong):
        (tmp_path / "index.jsonl").write_text(json.dumps(good | {field: value}) + "\n")
        try:
            with open_index(tmp_path) as index:
                index.is_done(Job("/in", "a.png", "a"), ("mask",))
                index.changed("a", FileState(5, 7))
                index.close(lambda merged: write_flagged(tmp_path / "flagged.csv", merged, 0.5))
        except InputError as error:
            assert f"{tmp_path}" in str(error), (field, value)
            named += 1
    assert 30 < named < 150


def test_many_names_against_a_dictionary(tmp_path):
    """In several parts, with names that are no UTF-8; the last line of a name counts, of a later part too."""
    rng = random.Random(0)
    names = [f"{rng.randrange(60)}/é" for _ in range(150)] + ["\udcff", "\ud800"]
    texts = [line(name, area=area) for area, name in enumerate(names)]
    with open_index(tmp_path):
        pass
    (tmp_path / "index.jsonl").write_text("".join(texts[:50]))
    (tmp_path / "index.0-of-2.jsonl").write_text("".join(texts[50:90]))
    (tmp_path / "index.1-of-2.jsonl").write_text("".join(texts[90:]))
    expected = {name: json.loads(text) for name, text in zip(names, texts, strict=True)}
    with open_index(tmp_path) as index:
        assert text(tmp_path) == "".join(json.dumps(expected[name]) + "\n" for name in sorted(expected))
        assert index.close(list) == [expected[name] for name in sorted(expected)] and len(expected) < len(names)


def test_kinds_that_no_writer_makes_are_refused(tmp_path):
    with open_index(tmp_path) as index:
        add(index, "a", outputs=["mask", "seg"])
    with pytest.raises(InputError, match=r"results of kind seg, which no writer makes.*--plugins"):
        Index(tmp_path, SETTINGS, ONE)
    assert files(tmp_path) == [".index.lock", "index.jsonl", "settings.json"]


@pytest.mark.parametrize("freed", [False, True])
def test_a_disk_that_fills_is_told_with_the_name_of_the_index(tmp_path, freed):
    """A limit on the length of files stands for the disk. Once there is room again, the line is written to its end."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with pytest.raises(OSError) as error:
        try:
            with open_index(tmp_path) as index:
                add(index, "a")
                resource.setrlimit(resource.RLIMIT_FSIZE, (len(text(tmp_path)) + 10, limits[1]))
                try:
                    add(index, "b")
                finally:
                    if freed:
                        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (error.value.errno, error.value.filename) == (errno.EFBIG, str(tmp_path / "index.jsonl"))
    assert text(tmp_path) == line("a") + (line("b") if freed else line("b")[:10])
    with open_index(tmp_path) as index:
        assert index.record("a") and bool(index.record("b")) == freed
