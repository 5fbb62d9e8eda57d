import os
import tracemalloc
from pathlib import Path

import pytest
from PIL import Image
from segmenters import picture

from ddim_jax.inference.jobs import name_jobs, plan_jobs
from ddim_jax.runtime.errors import InputError


@pytest.fixture
def tree(tmp_path):
    for seed, name in enumerate(["b.png", "a.PNG", "sub/a.png", "sub/deep/c.jpg", "notes.txt"]):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".txt":
            path.write_text("not an image")
        else:
            Image.fromarray(picture(seed)).save(path)
    return tmp_path / "in"


def names(jobs):
    return {job.source.rsplit("/in/")[-1]: job.name for job in jobs}


def test_folders_keep_their_structure(tree, tmp_path):
    jobs = plan_jobs(tree, tmp_path / "out").jobs
    assert names(jobs) == {"a.PNG": "a", "b.png": "b", "sub/a.png": "sub/a", "sub/deep/c.jpg": "sub/deep/c"}
    assert next(iter(jobs)).output("mask") == "a_mask.png"
    assert all(os.path.isabs(job.source) for job in jobs)


def test_files_and_globs(tree, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert names(plan_jobs(tree / "sub" / "a.png", Path("out")).jobs) == {"sub/a.png": "a"}
    assert names(plan_jobs("in/sub/*.png", Path("out")).jobs) == {"sub/a.png": "a"}
    assert names(plan_jobs("in/**/*.jpg", Path("out")).jobs) == {"sub/deep/c.jpg": "sub/deep/c"}
    assert names(plan_jobs("../" + tmp_path.name + "/in/./b*", Path("out")).jobs) == {"b.png": "b"}
    several = plan_jobs(["in/b.png", "in/sub/deep", "in/b.png"], Path("out")).jobs
    assert names(several) == {"b.png": "b", "sub/deep/c.jpg": "c"}


def test_a_number_behind_the_last_dot_is_no_suffix(tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("1.2.840.8.1", "1.2.840.8.2", "IM.0001", "1.2.840.9.5.dcm"):
        (tmp_path / "in" / name).write_bytes(bytes(128) + b"DICM")
    plan = plan_jobs(tmp_path / "in", tmp_path / "out")
    expected = {name: name for name in ("1.2.840.8.1", "1.2.840.8.2", "IM.0001")}
    assert names(plan.jobs) == expected | {"1.2.840.9.5.dcm": "1.2.840.9.5"}
    (tmp_path / "in/1.2.840.8.3").write_bytes(b"none")
    assert plan_jobs(tmp_path / "in", tmp_path / "out").passed_over == {"": 1}


def test_equal_stems_keep_the_extension(tree, tmp_path):
    Image.fromarray(picture(9)).save(tree / "B.jpg")  # one file with b.png where case does not count
    found = names(plan_jobs(tree, tmp_path / "out").jobs)
    assert found["b.png"] == "b.png" and found["B.jpg"] == "B.jpg" and found["a.PNG"] == "a"


def test_one_of_equal_stems_keeps_the_name_it_has(tree, tmp_path):
    for name in ("b.jpg", "sub/a.bmp"):
        Image.fromarray(picture(9)).save(tree / name)
    plan = name_jobs(
        plan_jobs(tree, tmp_path / "out").jobs, lambda name, source: (name, source) == ("b", str(tree / "b.png"))
    )
    found = {"a.PNG": "a", "b.jpg": "b.jpg", "b.png": "b", "sub/a.bmp": "sub/a.bmp", "sub/a.png": "sub/a.png"}
    assert names(plan) == found | {"sub/deep/c.jpg": "sub/deep/c"}
    (tree / "b").touch()
    given = [tree / "b.png", tree / "b.jpg", tree / "b"]
    with pytest.raises(InputError, match=r"in/b.png and .*in/b would both write b_mask.png"):
        name_jobs(plan_jobs(given, tmp_path / "out").jobs, lambda name, source: source == str(tree / "b.png"))


def test_a_name_is_what_is_before_the_suffix(tmp_path):
    for name in ("a.b.png", "c", ".d", "e.", "f.d/g", "f.d/.h.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    given = [tmp_path / name for name in ("a.b.png", "c", ".d", "e.", "f.d/g", "f.d/.h.png")]
    found = plan_jobs(given, Path("out")).jobs
    assert [job.name for job in found] == ["a.b", "c", ".d", "e.", "g", ".h"]


def test_the_suffix_may_have_two_parts(tmp_path, monkeypatch):
    monkeypatch.setattr("ddim_jax.inference.jobs.image_suffixes", lambda: (".gz", ".nii.gz", ".png"))
    for name in ("a.NII.gz", "b.v2.nii.gz", "c.gz", "nii.gz", ".nii.gz"):
        (tmp_path / name).touch()
    given = [tmp_path / name for name in ("a.NII.gz", "b.v2.nii.gz", "c.gz", "nii.gz", ".nii.gz")]
    assert [job.name for job in plan_jobs(given, Path("out")).jobs] == ["a", "b.v2", "c", "nii", ".nii.gz"]


def test_a_pattern_that_leads_out_of_its_folder_is_refused(tree):
    with pytest.raises(InputError, match=r"in/a\.PNG, found by .*, does not lie in .*in/sub; leave out \.\."):
        plan_jobs(f"{tree}/sub/*/../../*.PNG", Path("out"))


def test_two_inputs_for_one_result_are_refused(tree, tmp_path):
    with pytest.raises(InputError, match=r"in/a.PNG and .*in/sub/a.png would both write") as error:
        plan_jobs([tree / "a.PNG", tree / "sub"], tmp_path / "out")
    assert "separately" in str(error.value)


def test_results_are_never_inputs(tree, tmp_path):
    (tree / "out").mkdir()
    Image.fromarray(picture(0)).save(tree / "out" / "b_mask.png")
    assert len(plan_jobs(tree, tree / "out").jobs) == 4
    with pytest.raises(InputError, match="both input and output"):
        plan_jobs(tree, tree)
    with pytest.raises(InputError, match="both input and output"):
        plan_jobs(f"{tree}/*.png", tree)
    assert len(plan_jobs(tree / "b.png", tree).jobs) == 1  # a single file beside its result is no riddle


def test_results_of_other_runs_and_masks_are_no_pictures(tmp_path):
    for name in ("a.png", "deep/b.png", "run1/a_mask.png", "run1/deep/b_mask.png", "run1/index.jsonl"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    names = ["a", "deep/b", "run1/a_mask", "run1/deep/b_mask"]
    assert [job.name for job in plan_jobs(tmp_path, tmp_path / "run2").jobs] == names  # an index.jsonl of anything
    (tmp_path / "run1/settings.json").touch()
    for given in (tmp_path, f"{tmp_path}/**/*.png"):
        plan = plan_jobs(given, tmp_path / "run2")
        assert [job.name for job in plan.jobs] == names[:2] and plan.passed_over["results of another run"] == 2
    for given in (tmp_path / "run1", f"{tmp_path}/run1/*.png"):
        with pytest.raises(InputError, match=r"run1.* holds results of sample \(settings.json\)"):
            plan_jobs(given, tmp_path / "run2")
    assert len(plan_jobs(tmp_path / "run1/a_mask.png", tmp_path / "run2").jobs) == 1  # one file is meant

    for name in ("set/Images/a.png", "set/masks_1/a.png", "alone/masks/a.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    for given in (tmp_path, tmp_path / "set", f"{tmp_path}/set/*/*.png"):
        with pytest.raises(InputError, match=r"masks_1 lies beside \S+Images; its masks would be taken for images"):
            plan_jobs(given, tmp_path / "run2")
    for given in (tmp_path / "alone", tmp_path / "set/masks_1", tmp_path / "set/Images"):
        assert len(plan_jobs(given, tmp_path / "run2").jobs) == 1


def test_results_of_processes_at_work_are_no_images(tmp_path):
    """Several have parts of an index alone until the last one ends."""
    for name in ("a.png", "run1/a_mask.png", "run1/deep/b_mask.png", "run1/settings.json", "run1/index.1-of-2.jsonl"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    plan = plan_jobs(tmp_path, tmp_path / "run2")
    assert [job.name for job in plan.jobs] == ["a"] and plan.passed_over["results of another run"] == 2
    with pytest.raises(InputError, match=r"run1 holds results of sample"):
        plan_jobs(tmp_path / "run1", tmp_path / "run2")


def test_the_order_is_that_of_paths(tmp_path):
    """Part by part: the folder "a" comes before "a-b" and "a.png", whatever "/" is compared to "-" and "."."""
    names = ["a/z.png", "a/b/c.png", "a/b.png", "a.png", "a-b.png", "a-b/x.png", "B.png", "b/a.png", "日本.png"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    expected = [str(path) for path in sorted(tmp_path / name for name in names)]
    for given in (tmp_path, f"{tmp_path}/**/*.png"):
        assert [job.source for job in plan_jobs(given, tmp_path / "out").jobs] == expected


def test_names_that_meet_another_with_its_extension(tree, tmp_path):
    """b.png and b.jpg keep their extensions, and b.png.png has the name b.png by its stem."""
    for name in ("b.jpg", "b.png.png"):
        Image.fromarray(picture(9)).save(tree / name)
    with pytest.raises(InputError, match=r"in/b.png and .*in/b.png.png would both write b.png_mask.png"):
        plan_jobs(tree, tmp_path / "out")


def test_little_is_held_of_each_file(tmp_path):
    """Above what a tenth of them needs."""

    def planned(count):
        root = tmp_path / str(count)
        for k in range(count):
            path = root / f"{k % 20:03}" / f"IMG_20200101_{k // 20:06}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        tracemalloc.start()
        try:
            jobs = plan_jobs(root, tmp_path / "out").jobs
            held, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert len(jobs) == count
        return held, peak

    planned(100)  # what is imported and compiled once
    few, *many = planned(60), planned(600), planned(601)
    # The smaller one: the interpreter's table of names, which all paths share, doubles at some moment.
    held, peak = ((b - a) / 540 for a, b in zip(few, min(many), strict=True))
    assert held < 500 and peak < 1000


def test_files_that_are_no_pictures_are_counted_by_suffix(tree, tmp_path):
    for name in ("sub/scan.XML", "sub/deep/scan.xml", "sub/README", ".hidden.txt", "out/index.jsonl", "broken.png"):
        (tree / name).parent.mkdir(exist_ok=True)
        (tree / name).touch()
    assert plan_jobs(tree, tree / "out").passed_over == {".txt": 1, ".xml": 2, "": 1}
    assert plan_jobs(f"{tree}/*", tree / "out").passed_over == {".txt": 1}
    assert plan_jobs(f"{tree}/**/*", tree / "out").passed_over == {".txt": 1, ".xml": 2, "": 1}
    assert plan_jobs(tree / "notes.txt", tree / "out").passed_over == {}  # given by name: reading it says what it is
