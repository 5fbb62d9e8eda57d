"""The archive's benchmark: what it generates, what it writes, and that it does not report a run that went wrong."""

import ctypes
import json
import time

import numpy as np
import pytest
from PIL import Image

from benchmarks import memory
from benchmarks.speed import archive


class Here:
    """A worker in this process, with a network that is compiled once."""

    started = 0

    def __init__(self, factory, *arguments, cpus, environment):
        module, name = factory.split(":")
        assert module == archive.__name__ and cpus and environment
        self._object = getattr(archive, name)(*arguments)
        Here.started += 1

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def call(self, method, *arguments):
        return getattr(self._object, method)(*arguments)


@pytest.fixture(autouse=True, scope="module")
def compiled_once():
    segmenter = archive.untrained("tiny", 16)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(archive, "untrained", lambda network, size: segmenter)
        patch.setattr(archive, "Worker", Here)
        yield


def test_pictures_differ_and_lie_a_thousand_a_folder(tmp_path):
    archive.write_pictures(tmp_path, 1001, 4)
    found = sorted(tmp_path.rglob("*.png"))
    assert [path.relative_to(tmp_path).as_posix() for path in (found[0], found[-1])] == [
        "000/000000.png",
        "001/001000.png",
    ]
    assert len(found) == 1001
    pictures = [np.asarray(Image.open(path)) for path in found[:50]]
    assert all(picture.shape == (4, 4, 3) for picture in pictures)
    assert len({picture.tobytes() for picture in pictures}) == 50


def test_a_row_says_what_was_measured(tmp_path, capsys, monkeypatch):
    before, started = archive.high_water_bytes(), Here.started
    arguments = ("--count", "20", "--size", "16", "--prefetch", "2", "--output", str(tmp_path / "archive.json"))
    assert archive.main(arguments) == 0
    (row,) = json.loads((tmp_path / "archive.json").read_text())["rows"]
    assert (row["pictures"], row["picture_size"], row["image_size"], row["prefetch"]) == (20, 16, 16, 2)
    assert (row["steps"], row["samples"], row["network"]) == (1, 2, "tiny")
    assert 20 / row["images_per_second"] == pytest.approx(row["seconds"], abs=0.006)  # rounded to hundredths
    assert 0 <= row["waited_share"] <= 1
    assert Here.started == started + 2  # processes
    assert all(before / 4 < row[peak] < 4 * before for peak in ("peak_bytes", "held_bytes"))
    assert row["held_bytes"] <= row["peak_bytes"]
    grown = row["held_bytes"] - row["held_bytes_of_a_tenth"]
    assert row["bytes_per_picture"] == pytest.approx(grown / 18, abs=0.1)  # 20 images and 2
    assert 20 * 200 < row["index_bytes"] < 20 * 1000
    assert row["result_bytes"] > row["index_bytes"]
    assert row["result_disk_bytes"] % 512 == 0 and row["result_disk_bytes"] != row["result_bytes"]
    assert set(archive.RULES) <= set(row)
    said = capsys.readouterr().out
    assert said.startswith("20 images, ") and "growth: too few to tell; " in said
    monkeypatch.setattr(archive, "measure", lambda *_: row)
    assert archive.main(arguments) == 0
    again = json.loads((tmp_path / "archive.json").read_text())["rows"]
    assert len(again) == 1  # in the place of the first


def test_the_growth_of_many_pictures_is_told_as_in_the_table(tmp_path, capsys, monkeypatch):
    row = dict.fromkeys(archive.IDENTITY, "-") | {"pictures": 20_000, "images_per_second": 1.0, "waited_share": 0.0}
    row |= {"held_bytes_of_a_tenth": 1, "held_bytes": 2, "bytes_per_picture": 339.94}
    monkeypatch.setattr(archive, "measure", lambda *_: row)
    assert archive.main(["--output", str(tmp_path / "archive.json")]) == 0
    assert "growth: 339.9 B an image; " in capsys.readouterr().out


def test_what_is_held_is_without_what_malloc_keeps():
    """128 MiB that are free but the process's still, and 64 MiB that are in use."""
    libc = ctypes.CDLL("libc.so.6")
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, (ctypes.c_size_t,)
    libc.free.argtypes = (ctypes.c_void_p,)

    def blocks(mib):
        made = [libc.malloc(2**16) for _ in range(16 * mib)]  # too small to be mapped one by one
        for block in made:
            ctypes.memset(block, 1, 2**16)
        return made

    with memory.Held(0.01) as before:
        pass
    free, used = blocks(128), blocks(64)
    for block in free:
        libc.free(block)
    resident = memory.resident_bytes()
    with memory.Held(0.01) as after:
        time.sleep(0.1)
    for block in used:
        libc.free(block)
    assert after.at_the_end() - before.at_the_end() == pytest.approx(64 * 2**20, abs=16 * 2**20)
    assert resident - after.at_the_end() > 96 * 2**20


def test_what_is_held_at_the_end_is_a_median():
    held = memory.Held()
    held._looks = [(1.0, 10), (8.0, 90), (8.5, 50), (10.0, 70)]
    assert held.at_the_end() == 70


def test_a_tenth_of_the_pictures_are_the_same_files(tmp_path):
    archive.write_pictures(tmp_path / "all", 30, 4)
    archive.link_some(tmp_path / "all", tmp_path / "some", 3)
    found = sorted((tmp_path / "some").rglob("*.png"))
    assert [path.relative_to(tmp_path / "some").as_posix() for path in found] == [f"000/00000{k}.png" for k in range(3)]
    assert all(path.samefile(tmp_path / "all" / path.relative_to(tmp_path / "some")) for path in found)


def test_memory_grows_by_the_difference_of_the_two_runs(tmp_path, monkeypatch):
    """A stand-in that needs 10,000 bytes and 37 an image."""
    segment = archive.Run.segment

    def playing(self, *arguments):
        found = segment(self, *arguments)
        return found | {"held_bytes": 10_000 + 37 * found["done"]}

    monkeypatch.setattr(archive.Run, "segment", playing)
    row = archive.measure("tiny", 11, 16, 4)
    assert (row["held_bytes_of_a_tenth"], row["held_bytes"]) == (10_000 + 37 * 1, 10_000 + 37 * 11)
    assert row["bytes_per_picture"] == 37


def test_a_run_that_lost_a_picture_is_not_reported(tmp_path, monkeypatch):
    def empty_files(folder, count, size):
        (folder / "a").mkdir(parents=True)
        for k in range(count):
            (folder / "a" / f"{k}.png").write_bytes(b"")

    monkeypatch.setattr(archive, "write_pictures", empty_files)
    with pytest.raises(RuntimeError, match="0 of 10 images segmented"):
        archive.main(["--count", "10", "--size", "16", "--output", str(tmp_path / "archive.json")])
    assert not (tmp_path / "archive.json").exists()


def test_too_few_pictures_have_no_tenth(capsys):
    with pytest.raises(SystemExit):
        archive.main(["--count", "9"])
    assert "--count is 9" in capsys.readouterr().err
