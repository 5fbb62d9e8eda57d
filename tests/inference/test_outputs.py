from pathlib import Path

import pytest
from PIL import Image
from segmenters import picture

from ddim_jax.inference.outputs import plan_jobs
from ddim_jax.io.errors import DataError, InputError


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
    return {job.source.as_posix().rsplit("/in/")[-1]: job.name for job in jobs}


def test_folders_keep_their_structure(tree, tmp_path):
    jobs = plan_jobs(tree, tmp_path / "out")
    assert names(jobs) == {"a.PNG": "a", "b.png": "b", "sub/a.png": "sub/a", "sub/deep/c.jpg": "sub/deep/c"}
    assert jobs[0].output("mask") == "a_mask.png"
    assert all(job.source.is_absolute() for job in jobs)


def test_files_and_globs(tree, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert names(plan_jobs(tree / "sub" / "a.png", Path("out"))) == {"sub/a.png": "a"}
    assert names(plan_jobs("in/sub/*.png", Path("out"))) == {"sub/a.png": "a"}
    assert names(plan_jobs("in/**/*.jpg", Path("out"))) == {"sub/deep/c.jpg": "sub/deep/c"}
    assert names(plan_jobs("../" + tmp_path.name + "/in/./b*", Path("out"))) == {"b.png": "b"}
    several = plan_jobs(["in/b.png", "in/sub/deep", "in/b.png"], Path("out"))
    assert names(several) == {"b.png": "b", "sub/deep/c.jpg": "c"}


def test_equal_stems_keep_the_extension(tree, tmp_path):
    Image.fromarray(picture(9)).save(tree / "B.jpg")  # one file with b.png where case does not count
    found = names(plan_jobs(tree, tmp_path / "out"))
    assert found["b.png"] == "b.png" and found["B.jpg"] == "B.jpg" and found["a.PNG"] == "a"


def test_two_inputs_for_one_result_are_refused(tree, tmp_path):
    with pytest.raises(InputError, match=r"in/a.PNG and .*in/sub/a.png would both write") as error:
        plan_jobs([tree / "a.PNG", tree / "sub"], tmp_path / "out")
    assert "separately" in str(error.value)


def test_results_are_never_inputs(tree, tmp_path):
    (tree / "out").mkdir()
    Image.fromarray(picture(0)).save(tree / "out" / "b_mask.png")
    assert len(plan_jobs(tree, tree / "out")) == 4
    with pytest.raises(InputError, match="both input and output"):
        plan_jobs(tree, tree)
    with pytest.raises(InputError, match="both input and output"):
        plan_jobs(f"{tree}/*.png", tree)
    assert len(plan_jobs(tree / "b.png", tree)) == 1  # a single file beside its result is no riddle


def test_nothing_there_is_an_error(tmp_path):
    with pytest.raises(DataError, match="nowhere"):
        plan_jobs(tmp_path / "nowhere", tmp_path / "out")
