"""The archive's benchmark: what it generates, what it writes, and that it does not report a run that went wrong."""

import json
import threading

import numpy as np
import pytest
from PIL import Image

from benchmarks import archive


@pytest.fixture(autouse=True, scope="module")
def compiled_once():
    segmenter = archive.untrained(16)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(archive, "untrained", lambda size: segmenter)
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


def test_a_row_says_what_was_measured(tmp_path, capsys):
    before = archive.high_water_bytes()
    arguments = ("--count", "20", "--size", "16", "--batch-size", "2", "--output", str(tmp_path / "archive.json"))
    assert archive.main(arguments) == 0
    row = json.loads((tmp_path / "archive.json").read_text())
    assert (row["pictures"], row["picture_size"], row["image_size"], row["batch_size"]) == (20, 16, 16, 2)
    assert (row["steps"], row["samples"]) == (1, 2) and row["network"].startswith("untrained")
    assert row["images_per_second"] == pytest.approx(20 / row["seconds"], rel=0.05)
    assert 0 <= row["waited_share"] <= 1
    assert before / 4 < row["peak_bytes_at_a_tenth"] <= row["peak_bytes"]
    assert 20 * 200 < row["index_bytes"] < 20 * 1000
    assert set(archive.RULES) <= set(row)
    assert "20 pictures, " in capsys.readouterr().out


def test_memory_is_taken_when_enough_lines_are_there(tmp_path, monkeypatch):
    taken = threading.Event()
    monkeypatch.setattr(archive, "high_water_bytes", lambda: taken.set() or 123)
    with archive.PeakAtATenth(tmp_path / "index", 3) as early:
        for _ in range(2):
            with open(tmp_path / "index", "a") as file:
                file.write("{}\n")
            assert not taken.wait(0.05)
        with open(tmp_path / "index", "a") as file:
            file.write("{}\n{}\n")
        assert taken.wait(10)
    assert early.peak_bytes == 123


def test_a_run_that_lost_a_picture_is_not_reported(tmp_path, monkeypatch):
    def empty_files(folder, count, size):
        (folder / "a").mkdir(parents=True)
        for k in range(count):
            (folder / "a" / f"{k}.png").write_bytes(b"")

    monkeypatch.setattr(archive, "write_pictures", empty_files)
    with pytest.raises(RuntimeError, match="0 of 10 pictures segmented"):
        archive.main(["--count", "10", "--size", "16", "--output", str(tmp_path / "archive.json")])
    assert not (tmp_path / "archive.json").exists()


def test_too_few_pictures_have_no_tenth(capsys):
    with pytest.raises(SystemExit):
        archive.main(["--count", "9"])
    assert "--count is 9" in capsys.readouterr().err
