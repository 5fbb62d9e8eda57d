"""Folders that vanish, links, removed results, names that are no files: nothing valid is deleted or passed by."""

import contextlib
import errno
import os
import shutil

import numpy as np
import pytest
from PIL import Image
from result_files import NAMES, contents, records
from segmenters import picture, red_segmenter

from ddim_jax.inference import reading as reading_module
from ddim_jax.inference import results as results_module
from ddim_jax.inference import segment_files
from ddim_jax.inference import work as work_module
from ddim_jax.inference.index import Index
from ddim_jax.inference.jobs import absolute, plan_jobs
from ddim_jax.inference.processes import Process
from ddim_jax.runtime.errors import DataError, InputError
from ddim_jax.runtime.remote import refuse_remote


@pytest.mark.parametrize("stand_in", [None, "dangling", "empty files", "no folder"])
@pytest.mark.parametrize("count", [1, 2])
def test_results_stay_where_the_pictures_vanish(folder, out, monkeypatch, stand_in, count):
    """After the folder was listed, in a run that would add a kind of result."""

    def run(**options):
        return [segment_files(red_segmenter(), folder, out, process=Process(k, count), **options) for k in range(count)]

    run()
    before, index = contents(out), records(out)
    plan, moved = work_module.plan_jobs, folder.with_name("moved")

    def come_back():
        if moved.exists():
            if stand_in == "empty files":
                shutil.rmtree(folder)
            elif stand_in:
                folder.unlink()
            moved.rename(folder)

    def plan_then_vanish(*arguments):
        come_back()
        planned = plan(*arguments)
        folder.rename(moved)
        if stand_in == "dangling":
            folder.symlink_to("nowhere")
        elif stand_in == "no folder":
            folder.touch()
        elif stand_in:
            for name in NAMES:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / f"{name}.png").touch()
        return planned

    with monkeypatch.context() as patch:
        patch.setattr(work_module, "plan_jobs", plan_then_vanish)
        assert sum(len(summary.failed) for summary in run(save=("mask", "overlay"))) == 5
    assert contents(out) == before
    come_back()
    assert [record["status"] for record in records(out).values()] == ["ok"] * 5 and records(out) == index
    assert sum(summary.kept for summary in run()) == 5 and contents(out) == before


def test_results_stay_while_a_changed_file_cannot_be_read_to_its_end(folder, out, monkeypatch):
    """Its header and its first pixels are there, then the disk fails: nobody knows what it holds."""
    segment_files(red_segmenter(), folder, out)
    before = contents(out)
    Image.fromarray(picture(9, 30, 30)).save(folder / "b.png")

    def refuses(path, *_):
        raise DataError(f"{path}: cannot be decoded, the file is truncated or damaged.")

    def fails(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(reading_module, "read_picture", refuses)
        patch.setattr(reading_module, "open", fails, raising=False)
        assert len(segment_files(red_segmenter(), folder, out).failed) == 1
    assert contents(out) == before
    assert segment_files(red_segmenter(), folder, out).done == 1
    assert Image.open(out / "b_mask.png").size == (30, 30)


@pytest.mark.parametrize("given", ["link/../in", "link/../in/*.png", "link/../in/a.png", "./x/../link/.././in/."])
def test_what_stands_behind_a_link_is_listed_and_read(tmp_path, monkeypatch, given):
    """link -> real/deep, so link/.. is real, whose folder "in" is not the one beside the link."""
    for seed, place in enumerate(("in", "real/in")):
        (tmp_path / place).mkdir(parents=True)
        Image.fromarray(picture(seed, 12, 12 + seed)).save(tmp_path / place / "a.png")
    for place in ("real/deep", "x"):
        (tmp_path / place).mkdir()
    (tmp_path / "link").symlink_to("real/deep")
    monkeypatch.chdir(tmp_path)
    assert segment_files(red_segmenter(), given, "link/../out").done == 1
    assert records(tmp_path / "real/out")["a"]["file"] == str(tmp_path / "real/in/a.png")
    assert Image.open(tmp_path / "real/out/a_mask.png").size == (13, 12)
    assert not (tmp_path / "out").exists()


def test_a_path_without_dots_keeps_its_links(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "real/in").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real")
    assert absolute("link/./in/") == absolute("link/in") == f"{tmp_path}/link/in"
    assert absolute("link/in/..") == f"{tmp_path}/real" and absolute("link/..") == str(tmp_path)
    assert absolute("nowhere/../x") == f"{tmp_path}/x" and absolute("/../x") == "/x"


@pytest.mark.parametrize(
    ("given", "output"),
    [
        ("in", "way/results"),
        ("way", "in/results"),
        ("in/**/*.png", "way/../in/results"),
        ("way/**/*.png", "in/results"),
    ],
)
def test_results_below_the_input_are_never_segmented(folder, tmp_path, monkeypatch, given, output):
    (tmp_path / "way").symlink_to("in")
    monkeypatch.chdir(tmp_path)
    for done in (5, 0):
        assert segment_files(red_segmenter(), given, output).done == done
    assert set(contents(folder / "results")) == {f"{name}_mask.png" for name in NAMES}


def test_links_to_results_are_told_and_not_segmented(folder, out, caplog):
    segment_files(red_segmenter(), folder, out)
    (folder / "x.png").symlink_to(out / "a_mask.png")
    assert segment_files(red_segmenter(), folder, out).done == 0
    assert f"{folder / 'x.png'} is a link into the output folder and not segmented" in caplog.text
    (folder.parent / "way").symlink_to(out)
    for given in (folder.parent / "way", out):
        with pytest.raises(InputError, match="both input and output"):
            plan_jobs(given, out)


def test_a_run_below_another_keeps_what_it_is_writing(folder, out):
    settings = {"checkpoint": "run/7"}
    half = ".0123456789abcdef0123456789abcdef.partial.png"
    with contextlib.closing(Index(out / "study", settings, Process())):
        for place in ("study/deep", "other"):
            (out / place).mkdir()
            (out / place / half).touch()
        segment_files(red_segmenter(), folder, out)
        assert (out / "study/deep" / half).exists() and not (out / "other" / half).exists()
    with contextlib.closing(Index(out / "study", settings, Process())):
        assert not (out / "study/deep" / half).exists()


@pytest.mark.parametrize(
    ("what", "moment"),
    [
        ("all", "b"),
        ("all", "sub/e"),
        ("records", "b"),
        ("index replaced", "sub/e"),
        ("one result", "b"),
        ("a kept result", "sub/e"),
    ],
)
def test_results_that_are_removed_meanwhile_are_told(folder, out, monkeypatch, what, moment):
    write = results_module.write_outputs
    segment_files(red_segmenter(), folder / "a.png", out)

    def write_and_remove(job, *arguments):
        write(job, *arguments)
        if job.name != moment:
            return
        if what == "all":
            shutil.rmtree(out, ignore_errors=True)
        elif what == "records":
            (out / "index.jsonl").unlink()
        elif what == "index replaced":
            (out / "index.jsonl").rename(out / "other")
            (out / "index.jsonl").write_text("")
        else:
            (out / ("a_mask.png" if what.startswith("a kept") else f"{job.name}_mask.png")).unlink()

    with monkeypatch.context() as patch:
        patch.setattr(results_module, "write_outputs", write_and_remove)
        with pytest.raises(InputError, match=r"removed or replaced while this run was at work, .*; start the"):
            segment_files(red_segmenter(), folder, out)
    left = contents(out)
    if left and what in ("all", "records", "index replaced"):  # nobody knows any more whose results these are
        with pytest.raises(InputError, match=r"_mask.png.* would be replaced"):
            segment_files(red_segmenter(), folder, out)
        for name in left:
            (out / name).unlink()
    assert segment_files(red_segmenter(), folder, out).failed == []
    assert set(contents(out)) == {f"{name}_mask.png" for name in NAMES} and set(records(out)) == set(NAMES)


def test_a_folder_that_goes_while_a_result_is_written_is_told(folder, out, monkeypatch):
    def vanish(job, *arguments):
        shutil.rmtree(out)
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(out / "x"))

    monkeypatch.setattr(results_module, "write_outputs", vanish)
    with pytest.raises(InputError, match="removed or replaced while this run was at work"):
        segment_files(red_segmenter(), folder, out)


@pytest.mark.parametrize("damage", ["emptied", "removed"])
def test_results_that_are_not_there_are_made_again(folder, out, damage):
    segment_files(red_segmenter(), folder, out, save=("mask", "probability"))
    before, path = contents(out), out / "c_probability.png"
    path.write_bytes(b"") if damage == "emptied" else path.unlink()
    assert segment_files(red_segmenter(), folder, out, save=("mask", "probability")).done == 1
    assert contents(out) == before


def test_empty_paths_are_refused(folder, out, monkeypatch):
    monkeypatch.chdir(folder)
    for given in ("", ["a.png", ""]):
        with pytest.raises(InputError, match=r"input is empty; expected a path"):
            segment_files(red_segmenter(), given, out)
    with pytest.raises(InputError, match=r"output is empty; expected a path"):
        segment_files(red_segmenter(), folder, "")
    assert not out.exists()


def test_a_folder_with_a_colon_is_no_remote_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "exp1:" / "in").mkdir(parents=True)
    Image.fromarray(picture(1)).save(tmp_path / "exp1:" / "in" / "a.png")
    assert segment_files(red_segmenter(), "exp1:/in", "exp2:/out").done == 1
    assert (tmp_path / "exp2:" / "out" / "a_mask.png").exists()
    refuse_remote("exp1://in", "input")  # the same folder, by the system
    for remote in ("gs:/bucket", "s3://bucket", "exp3://in", "https://host/x"):
        with pytest.raises(InputError, match="paths are not read or written"):
            refuse_remote(remote, "input")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("index.jsonl", "FIFO"),
        ("settings.json", "link"),
        (".index.lock", "dangling"),
        ("index.0-of-2.jsonl", "folder"),
    ],
)
def test_records_that_are_no_regular_files_are_refused(folder, out, name, kind):
    out.mkdir()
    other = out.parent / "of somebody else"
    other.write_text("mine")
    if kind == "FIFO":
        os.mkfifo(out / name)
    elif kind == "folder":
        (out / name).mkdir()
    else:
        (out / name).symlink_to(other if kind == "link" else "nowhere")
    with pytest.raises(InputError, match=rf"{name} is (a link|no regular file); expected a record"):
        segment_files(red_segmenter(), folder, out)
    assert other.read_text() == "mine"


def test_a_fifo_is_no_picture(folder, out):
    os.mkfifo(folder / "x.png")
    for given in (folder / "x.png", [folder, folder / "x.png"]):
        with pytest.raises(InputError, match=r"x\.png is neither a file nor a folder"):
            segment_files(red_segmenter(), given, out)
    (folder / "x.png").unlink()
    plan = work_module.plan_jobs

    def plan_then_replace(*arguments):
        planned = plan(*arguments)
        (folder / "b.png").unlink()
        os.mkfifo(folder / "b.png")
        return planned

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(work_module, "plan_jobs", plan_then_replace)
        ((file, reason),) = segment_files(red_segmenter(), folder, out).failed
    assert reason == f"{file}: cannot be read (no regular file)"


def test_the_sizes_of_results_are_in_the_index(folder, out):
    segment_files(red_segmenter(), folder, out, save=("mask", "overlay"))
    for name, record in records(out).items():
        sizes = [(out / f"{name}_{kind}.png").stat().st_size for kind in record["outputs"]]
        assert record["output_bytes"] == sizes and np.all(np.array(sizes) > 0)


def test_the_home_folder_is_where_a_tilde_stands(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder.parent))
    assert segment_files(red_segmenter(), "~/in/*.png", "~/results").done == 4
    assert (folder.parent / "results/a_mask.png").exists()
