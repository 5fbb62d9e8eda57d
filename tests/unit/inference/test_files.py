"""Folders of images, segmented, stopped and gone on with; and files that cannot be read."""

import errno
import json
import os
import threading

import numpy as np
import pytest
from PIL import Image
from result_files import ALL, contents, records
from segmenters import SIZE, picture, red_segmenter

from ddim_jax.inference import Process, segment_files
from ddim_jax.inference import reading as reading_module
from ddim_jax.inference import results as results_module
from ddim_jax.inference import work as work_module
from ddim_jax.runtime.errors import DataError


def test_files_hold_what_segment_gives(tiny, folder, out):
    summary = segment_files(tiny, folder, out, save=ALL, seed=3)
    assert (summary.done, summary.kept, list(summary.failed)) == (5, 0, [])
    names = ("a", "b", "c", "d", "sub/e")
    assert set(contents(out)) == {f"{name}_{kind}.png" for name in names for kind in ALL}
    for seed, name in enumerate(names):
        expected = tiny.segment(picture(seed, 12 + seed, 20), seed=3)
        read = {kind: np.asarray(Image.open(out / f"{name}_{kind}.png")) for kind in ALL}
        np.testing.assert_array_equal(read["mask"], expected.mask * 255)
        np.testing.assert_array_equal(read["probability"], np.round(expected.probability.astype(np.float64) * 65535))
        np.testing.assert_array_equal(read["uncertainty"], np.round(expected.uncertainty.astype(np.float64) * 65535))
        np.testing.assert_array_equal(
            read["overlay"][expected.mask == 0], picture(seed, 12 + seed, 20)[expected.mask == 0]
        )
        record = records(out)[name]
        assert record["status"] == "ok" and record["file"] == str(folder / f"{name}.png")
        assert (record["height"], record["width"]) == (12 + seed, 20)
        assert record["area"] == expected.mask.sum() and record["outputs"] == list(ALL)
        assert record["mean_uncertainty"] == pytest.approx(expected.uncertainty.mean(), abs=1e-6)
        assert record["doubt"] == pytest.approx(expected.doubt, abs=1e-6)
        assert record["seconds"] > 0
    settings = json.loads((out / "settings.json").read_text())
    assert settings["samples"] == 3 and settings["seed"] == 3 and settings["protocol"] == "mean"
    assert not [path for path in out.rglob("*") if "partial" in path.name]


def test_prefetch_and_other_files_change_no_bit(tiny, folder, tmp_path):
    segment_files(tiny, folder, tmp_path / "one", save=ALL, prefetch=1)
    segment_files(tiny, folder, tmp_path / "three", save=ALL, prefetch=3)
    segment_files(tiny, folder / "c.png", tmp_path / "alone", save=ALL)
    assert contents(tmp_path / "one") == contents(tmp_path / "three")
    assert contents(tmp_path / "alone").items() <= contents(tmp_path / "one").items()


def test_resumes_after_a_kill(folder, out, started, caplog):
    """The index ends in the middle of a line, one result is missing, two images were not reached."""
    segment_files(red_segmenter(), folder, out)
    before = contents(out)
    lines = (out / "index.jsonl").read_text().splitlines(keepends=True)
    (out / "index.jsonl").write_text("".join(lines[:3]) + lines[3][:25])
    for name in ("b", "d", "sub/e"):
        (out / f"{name}_mask.png").unlink()
    (out / "sub" / ".0123456789abcdef0123456789abcdef.partial.png").write_bytes(b"half an image")
    started.clear()
    summary = segment_files(red_segmenter(), folder, out)
    assert (summary.done, summary.kept) == (3, 2)
    assert sorted(started) == [(13, 20), (15, 20), (16, 20)]  # b, d, sub/e
    assert contents(out) == before and set(records(out)) == {"a", "b", "c", "d", "sub/e"}
    assert "last line is incomplete" in caplog.text
    assert not list(out.rglob("*partial*"))


def test_an_error_keeps_what_was_finished(folder, out, monkeypatch, started):
    write = results_module.write_outputs

    def full(job, *arguments):
        if job.name == "c":
            raise OSError(28, "No space left on device")
        write(job, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(results_module, "write_outputs", full)
        with pytest.raises(OSError, match="No space left"):
            segment_files(red_segmenter(), folder, out, prefetch=2)
    assert {name for name, record in records(out).items() if record["status"] == "ok"} == {"a", "b"}
    assert not any(thread.name.startswith("image-files") for thread in threading.enumerate())
    assert segment_files(red_segmenter(), folder, out).kept == 2
    assert len(contents(out)) == 5


def test_unreadable_files_are_named_and_do_not_stop_the_others(folder, out):
    good = (folder / "b.png").read_bytes()
    segment_files(red_segmenter(), folder / "b.png", out)
    (folder / "b.png").write_bytes(good[: len(good) // 2])
    (folder / "d.png").write_text("not an image")
    summary = segment_files(red_segmenter(), folder, out)
    assert summary.done == 3
    assert [os.path.basename(path) for path, _ in summary.failed] == ["b.png", "d.png"]
    assert all(path in reason for path, reason in summary.failed)
    assert set(contents(out)) == {"a_mask.png", "c_mask.png", "sub/e_mask.png"}  # and no stale b_mask.png
    assert records(out)["d"]["status"] == "failed" and "d.png" in records(out)["d"]["reason"]
    (folder / "b.png").write_bytes(good)
    again = segment_files(red_segmenter(), folder, out)
    assert (again.done, again.kept, len(again.failed)) == (1, 3, 1)
    assert records(out)["b"]["status"] == "ok"


def test_a_file_that_vanishes_is_reported(folder, out, monkeypatch):
    plan = work_module.plan_jobs

    def plan_then_remove(*arguments):
        jobs = plan(*arguments)
        (folder / "c.png").unlink()
        return jobs

    monkeypatch.setattr(work_module, "plan_jobs", plan_then_remove)
    summary = segment_files(red_segmenter(), folder, out)
    ((path, reason),) = summary.failed
    assert path == str(folder / "c.png") and "no longer there" in reason and summary.done == 4


def test_a_link_to_nothing_is_said_to_be_one(folder, out):
    for name in ("dead.png", "dead.dcm", "IM1"):
        (folder / name).symlink_to(f"away/{name}")
    summary = segment_files(red_segmenter(), folder, out)
    assert sorted(summary.failed) == [
        (str(folder / name), f"{folder / name}: a link to away/{name}, which is not there")
        for name in ("dead.dcm", "dead.png")
    ]
    assert summary.done == 5


@pytest.fixture
def closed(monkeypatch):
    """Files that the system refuses to look at: put in the name of a file and the number of an error."""
    refused, stat = {}, os.stat

    def refusing(path, *arguments, **options):
        name = path if isinstance(path, int) else os.path.basename(os.fspath(path))
        if name in refused:
            raise OSError(refused[name], os.strerror(refused[name]), os.fspath(path))
        return stat(path, *arguments, **options)

    monkeypatch.setattr(os, "stat", refusing)
    return refused


@pytest.mark.parametrize("given", ["folder", "glob", "each"])
def test_a_file_that_cannot_be_looked_at_is_that_picture_alone(folder, out, closed, given):
    """A link to itself, a link that no name can be as long as, and what a folder without x or a file server refuses."""
    (folder / "loop.png").symlink_to("loop.png")
    (folder / "sub" / "long.png").symlink_to(300 * "x")
    inputs = {"folder": folder, "glob": f"{folder}/**/*.png", "each": sorted(folder.rglob("*.png"))}[given]
    closed.update({"a.png": errno.EACCES, "c.png": errno.ESTALE})
    for done, kept in ((3, 0), (0, 3)):
        summary = segment_files(red_segmenter(), inputs, out)
        assert (summary.done, summary.kept) == (done, kept)
        assert [reason for _, reason in summary.failed] == [
            f"{folder / 'a.png'}: cannot be read (Permission denied)",
            f"{folder / 'c.png'}: cannot be read (Stale file handle)",
            f"{folder / 'loop.png'}: cannot be read (Too many levels of symbolic links)",
            f"{folder / 'sub/long.png'}: cannot be read (File name too long)",
        ]
    closed.clear()
    assert segment_files(red_segmenter(), inputs, out).done == 2


def test_results_stay_while_nobody_knows_how_their_file_is(folder, out, closed):
    segment_files(red_segmenter(), folder, out, save=("mask", "overlay"))
    before = contents(out)
    closed["b.png"] = errno.EIO
    ((file, reason),) = segment_files(red_segmenter(), folder, out).failed
    assert (file, reason) == (str(folder / "b.png"), f"{folder / 'b.png'}: cannot be read (Input/output error)")
    assert contents(out) == before and records(out)["b"]["status"] == "ok"
    closed.clear()
    assert segment_files(red_segmenter(), folder, out).done == 0
    assert contents(out) == before

    closed["b.png"] = errno.EIO
    segment_files(red_segmenter(), folder, out)
    closed.clear()
    Image.fromarray(picture(9, 30, 20)).save(folder / "b.png")
    assert segment_files(red_segmenter(), folder, out).done == 1
    assert Image.open(out / "b_overlay.png").size == (20, 30)  # no older one stays behind


def test_a_name_too_long_for_its_result_is_that_picture_alone(folder, out):
    """255 bytes are the most, and "_mask.png" are 9, "_probability.png" 16."""
    long, shorter = 80 * "本", 79 * "本"  # 240 and 237 bytes
    for name in (long, shorter):
        Image.fromarray(picture(7)).save(folder / f"{name}.png")
    assert segment_files(red_segmenter(), folder, out).done == 7
    both = {"save": ("mask", "probability")}
    summary = segment_files(red_segmenter(), folder, out, **both)
    ((path, reason),) = summary.failed
    assert summary.done == 6 and path == str(folder / f"{long}.png")
    assert reason.startswith(f"{path}: the name of a result is too long") and f"{long}_probability.png" in reason
    assert {f"{shorter}_mask.png", f"{long}_mask.png"} <= set(contents(out))
    (folder / f"{long}.png").write_bytes(b"damaged")  # what cannot be there need not be removed
    again = segment_files(red_segmenter(), folder, out, **both)
    assert (again.done, again.kept, len(again.failed)) == (0, 6, 1)
    assert not list(out.rglob("*partial*"))


def test_changed_images_are_done_again(folder, out, started):
    segment_files(red_segmenter(), folder, out, save=("mask", "overlay"))
    Image.fromarray(picture(50, 18, 18)).save(folder / "c.png")
    stat = (folder / "a.png").stat()
    os.utime(folder / "a.png", ns=(stat.st_atime_ns, stat.st_mtime_ns + 10**9))
    started.clear()
    summary = segment_files(red_segmenter(), folder, out)
    assert sorted(started) == [(12, 20), (18, 18)] and summary.kept == 3
    assert Image.open(out / "c_mask.png").size == (18, 18)
    assert Image.open(out / "c_overlay.png").size == (18, 18)  # saved earlier: it must not stay behind


def test_results_stay_where_their_unchanged_file_cannot_be_read_for_a_while(folder, out, monkeypatch):
    segment_files(red_segmenter(), folder, out)
    before, read = contents(out), reading_module.read_picture

    def refuses(path, options):
        if os.path.basename(path) in ("b.png", "c.png"):
            raise DataError(f"{path}: there is not enough memory to decode it")
        return read(path, options)

    monkeypatch.setattr(reading_module, "read_picture", refuses)
    Image.fromarray(picture(9, 9, 9)).save(folder / "c.png")
    summary = segment_files(red_segmenter(), folder, out, save=("mask", "probability"))
    assert sorted(file for file, _ in summary.failed) == [str(folder / "b.png"), str(folder / "c.png")]
    assert records(out)["b"]["status"] == "failed"
    after = contents(out)
    assert after["b_mask.png"] == before["b_mask.png"] and "c_mask.png" not in after
    monkeypatch.setattr(reading_module, "read_picture", read)
    assert segment_files(red_segmenter(), folder, out, save=("mask", "probability")).done == 2
    assert contents(out)["b_mask.png"] == before["b_mask.png"] and "b_probability.png" in contents(out)


@pytest.mark.parametrize("count", [1, 2])
def test_a_picture_keeps_its_name_when_another_of_its_stem_comes(folder, out, started, count):
    """Whichever process it belongs to by then."""

    def run():
        return [segment_files(red_segmenter(), folder, out, process=Process(k, count)) for k in range(count)]

    run()
    started.clear()
    for name in ("A.jpg", "e.jpg"):  # of a.png, as names are compared without case, and of nothing in this folder
        Image.fromarray(picture(8, 30, 20)).save(folder / name)
    for done in (2, 0):
        assert sum(summary.done for summary in run()) == done
        files = {name: record["file"].removeprefix(f"{folder}/") for name, record in records(out).items()}
        kept = {name: f"{name}.png" for name in ("a", "b", "c", "d", "sub/e")}
        assert files == kept | {"A.jpg": "A.jpg", "e": "e.jpg"}
    assert started == [(30, 20)] * 2

    Image.fromarray(picture(9, 31, 20)).save(folder / "a.png")
    assert sum(summary.done for summary in run()) == 1
    assert Image.open(out / "a_mask.png").size == (20, 31) and not (out / "a.png_mask.png").exists()


def test_more_kinds_can_be_added_later(folder, out, started):
    segment_files(red_segmenter(), folder, out)
    assert segment_files(red_segmenter(), folder, out, save=["overlay"]).done == 5
    assert set(records(out)["a"]["outputs"]) == {"mask", "overlay"}
    assert segment_files(red_segmenter(), folder, out, save=ALL[:1]).kept == 5


@pytest.mark.parametrize("batch", [1, 3])
def test_few_images_are_held_at_once(batch, tmp_path, out, monkeypatch):
    """Counts images between reading and written: it must not grow with the folder."""
    (tmp_path / "in").mkdir()
    for seed in range(30):
        Image.fromarray(picture(seed, SIZE, SIZE)).save(tmp_path / "in" / f"{seed:02}.png")
    lock, held, most = threading.Lock(), 0, 0
    read, write = reading_module.read_picture, results_module.write_outputs

    def reading(path, options):
        nonlocal held, most
        with lock:
            held += 1
            most = max(most, held)
        return read(path, options)

    def writing(*arguments):
        nonlocal held
        write(*arguments)
        with lock:
            held -= 1

    monkeypatch.setattr(reading_module, "read_picture", reading)
    monkeypatch.setattr(results_module, "write_outputs", writing)
    assert segment_files(red_segmenter(), tmp_path / "in", out, prefetch=2, batch_size=batch).done == 30
    assert held == 0 and 2 <= most <= 3 * max(2, 2 * batch if batch > 1 else 1) + 2
