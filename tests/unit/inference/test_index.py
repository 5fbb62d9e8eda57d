"""The index of one folder, written by one process or several, stopped anywhere."""

import contextlib
import json
import os
import random
import threading
import tracemalloc
from pathlib import Path

import pytest
from index_lines import line

from ddim_jax.inference import index as index_module
from ddim_jax.inference.index import Index
from ddim_jax.inference.jobs import Job
from ddim_jax.inference.processes import Process
from ddim_jax.ops.surroundings import surroundings
from ddim_jax.runtime.errors import InputError

SETTINGS = {"checkpoint": "run/7", "weights": "abc", "steps": 2}
ONE = Process(0, 1)


def open_index(folder, process=ONE, **settings):
    return contextlib.closing(Index(folder, SETTINGS | settings, process))


def add(index, *names, **fields):
    for name in names:
        index.add(json.loads(line(name, **fields)))


def text(folder):
    return (folder / "index.jsonl").read_text()


def names(records):
    return [record["name"] for record in records]


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_last_process_merges(tmp_path):
    first, second = (Index(tmp_path, SETTINGS, Process(k, 2)) for k in range(2))
    add(first, "d", "a")
    add(second, "c", "b")
    add(first, "d", area=5)
    assert first.close(names) is None  # the second is at work
    assert files(tmp_path) == [".index.lock", "index.0-of-2.jsonl", "index.1-of-2.jsonl", "settings.json"]
    add(second, "e", status="failed")
    assert second.close(names) == ["a", "b", "c", "d", "e"]
    assert files(tmp_path) == [".index.lock", "index.jsonl", "settings.json"]
    assert text(tmp_path) == line("a") + line("b") + line("c") + line("d", area=5) + line("e", status="failed")
    first.close()  # again: nothing
    assert len(files(tmp_path)) == 3


def test_one_process_appends_to_the_index_itself(tmp_path):
    with open_index(tmp_path) as index:
        add(index, "b")
        assert text(tmp_path) == line("b")
        add(index, "a")
    assert text(tmp_path) == line("a") + line("b")


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
                assert index.kinds(f"sub/image_{count - 1:06}") == ("mask",)
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


def test_others_start_while_one_reads_what_was_done_before(tmp_path, monkeypatch):
    """Reading millions of records takes minutes; N processes must not do it one after the other."""
    with open_index(tmp_path) as index:
        add(index, "a", outputs=["mask"])
    reading, go_on, opened = threading.Event(), threading.Event(), []

    read = index_module.read_lines

    def slow_read(path, lines):
        if threading.current_thread() is slow and path.name == "index.jsonl":
            reading.set()
            assert go_on.wait(60)
        return read(path, lines)

    first = Index(tmp_path, SETTINGS, Process(2, 3))  # reads and merges while the others wait for it
    monkeypatch.setattr(index_module, "read_lines", slow_read)
    slow = threading.Thread(target=lambda: opened.append(Index(tmp_path, SETTINGS, Process(0, 3))))
    slow.start()
    assert reading.wait(60)
    ended = threading.Thread(target=lambda: Index(tmp_path, SETTINGS, Process(1, 3)).close(), daemon=True)
    ended.start()
    ended.join(30)
    assert not ended.is_alive()
    go_on.set()
    slow.join()
    assert opened[0].kinds("a") == ("mask",)
    opened[0].close()
    first.close()
    assert text(tmp_path) == line("a", outputs=["mask"])


def test_nothing_is_rewritten_where_nothing_was_done(tmp_path):
    with open_index(tmp_path) as index:
        add(index, "b", "a")
    before = (tmp_path / "index.jsonl").stat()
    for process in (ONE, Process(0, 2), Process(1, 2)):
        with open_index(tmp_path, process):
            pass
    after = (tmp_path / "index.jsonl").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns) and len(files(tmp_path)) == 3


def kill(index):
    """The end of a killed process, as the system does it to its files."""
    index._opened.close()


@pytest.mark.parametrize("next_process", [ONE, Process(2, 3), Process(0, 2)])
def test_the_next_start_merges_what_a_killed_run_left(tmp_path, next_process, caplog):
    with open_index(tmp_path) as index:
        add(index, "a", "z")
    for k, name in ((0, "b"), (1, "c")):
        index = Index(tmp_path, SETTINGS, Process(k, 2))
        add(index, name, outputs=["mask"])
        kill(index)
    with open(tmp_path / "index.1-of-2.jsonl", "a") as part:
        part.write('{"name": "torn')
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / ".0123456789abcdef0123456789abcdef.partial.png").touch()
    (tmp_path / ".0123456789abcdef0123456789abcdef.partial.jsonl").touch()
    with open_index(tmp_path, next_process) as index:
        assert text(tmp_path) == line("a") + line("b", outputs=["mask"]) + line("c", outputs=["mask"]) + line("z")
        assert index.kinds("b") == ("mask",) and index.kinds("z") == index.kinds("torn") == ()
        add(index, "y")
    assert [json.loads(found)["name"] for found in text(tmp_path).splitlines()] == ["a", "b", "c", "y", "z"]
    assert caplog.text.count("index.1-of-2.jsonl: the last line is incomplete") == 1
    assert not list(tmp_path.rglob("*partial*")) and files(tmp_path) == [
        ".index.lock",
        "index.jsonl",
        "settings.json",
        "sub",
    ]


def test_a_killed_process_started_again_beside_the_others_goes_on_in_its_part(tmp_path, caplog):
    with open_index(tmp_path, Process(0, 2)) as other:
        add(other, "a")
        killed = Index(tmp_path, SETTINGS, Process(1, 2))
        add(killed, "b", outputs=["mask"])
        kill(killed)
        with open(tmp_path / "index.1-of-2.jsonl", "a") as part:
            part.write('{"name": "torn')
        (tmp_path / ".0123456789abcdef0123456789abcdef.partial.png").touch()  # the other process may be writing it
        with open_index(tmp_path, Process(1, 2)) as index:
            assert index.kinds("b") == ("mask",) and "last line is incomplete" in caplog.text
            add(index, "c")
        assert (tmp_path / "index.1-of-2.jsonl").read_text() == line("b", outputs=["mask"]) + line("c")
        assert (tmp_path / ".0123456789abcdef0123456789abcdef.partial.png").exists()
    assert text(tmp_path) == line("a") + line("b", outputs=["mask"]) + line("c")


def test_merging_that_was_stopped_begins_anew(tmp_path, monkeypatch):
    """The index was replaced, one of two parts is still there."""
    index = Index(tmp_path, SETTINGS, Process(0, 2))
    add(index, "a")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            index.close()
    assert text(tmp_path) == line("a") and (tmp_path / "index.0-of-2.jsonl").exists()
    with open_index(tmp_path):
        assert text(tmp_path) == line("a") and not (tmp_path / "index.0-of-2.jsonl").exists()


@pytest.mark.parametrize(
    ("running", "started", "message"),
    [
        (ONE, ONE, r"another run is at work there \(index.jsonl is in use\); wait until it ends"),
        (Process(1, 3), Process(1, 3), r"process 1 of 3 is at work there \(index.1-of-3.jsonl is in use\)"),
        (Process(1, 3), ONE, "process 1 of 3 is at work there .* this is process 0 of 1; wait until it ends"),
        (Process(1, 3), Process(0, 2), "process 1 of 3 is at work there .* this is process 0 of 2"),
        (ONE, Process(0, 2), "another run is at work there .* this is process 0 of 2"),
    ],
)
def test_who_would_do_the_work_of_another_is_refused(tmp_path, running, started, message):
    with open_index(tmp_path, running) as index:
        add(index, "a")
        with pytest.raises(InputError, match=message):
            Index(tmp_path, SETTINGS, started)
        add(index, "b")
    assert text(tmp_path) == line("a") + line("b")
    with open_index(tmp_path, started):
        pass


def test_processes_that_start_at_once_agree_on_the_settings(tmp_path):
    """Eight at a time in an empty folder, half of them with other settings: one of the two settings gets the folder."""
    barrier, opened, refused = threading.Barrier(8), [], []

    def start(k):
        barrier.wait()
        try:
            opened.append((k, Index(tmp_path / "out", SETTINGS | {"steps": k % 2}, Process(k, 8))))
        except InputError as error:
            refused.append((k, str(error)))

    threads = [threading.Thread(target=start, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    steps = json.loads((tmp_path / "out" / "settings.json").read_text())["steps"]
    assert sorted(k for k, _ in opened) == [k for k in range(8) if k % 2 == steps]
    assert all(f"steps is {steps} there and {1 - steps} now" in message for _, message in refused)
    for _, index in opened:
        index.close()


@pytest.mark.attack("16.7")
def test_other_versions_or_flags_are_told_and_not_refused(tmp_path, caplog):
    Index(tmp_path, SETTINGS | {"surroundings": surroundings() | {"jaxlib": "0.1"}}, Process()).close()
    assert caplog.text == ""
    Index(tmp_path, SETTINGS | {"surroundings": surroundings()}, Process()).close()
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
