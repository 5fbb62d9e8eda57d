"""The index after kills and with several processes: parts, merging, settings agreed upon."""

import json
import threading
from pathlib import Path

import pytest
from index_lines import line
from index_records import ONE, SETTINGS, add, files, names, open_index, text

from ddim_jax.inference import index as index_module
from ddim_jax.inference.index import Index
from ddim_jax.inference.processes import Process
from ddim_jax.runtime.errors import InputError, InUseError


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
    assert opened[0].record("a")["outputs"] == ["mask"]
    opened[0].close()
    first.close()
    assert text(tmp_path) == line("a", outputs=["mask"])


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
        assert index.record("b")["outputs"] == ["mask"] and "outputs" not in index.record("z")
        assert index.record("torn") == {}
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
            assert index.record("b")["outputs"] == ["mask"] and "last line is incomplete" in caplog.text
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
        with pytest.raises(InUseError, match=message):
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
