"""Folders of the results of slices, and what else lies, or would lie, in them."""

import os
import shutil

import nibabel
import numpy as np
import pytest
from dicom_files import ct_series
from PIL import Image
from result_files import records
from segmenters import picture, red_segmenter

from ddim_jax.inference import segment_files
from ddim_jax.inference.slice_folders import remove_result
from ddim_jax.runtime.errors import InputError


def volume(path, slices=3):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(0).integers(0, 200, (16, 16, slices)).astype(np.uint8)
    nibabel.save(nibabel.Nifti1Image(values, np.diag([1, 1, 3, 1.0])), path)


def pictures(folder, count=3):
    folder.mkdir(parents=True)
    for number in range(1, count + 1):
        Image.fromarray(picture(number)).save(folder / f"{number:03d}.png")


@pytest.mark.parametrize("folder", ["vol_mask", "Vol_MASK", "vol_probability", "vol_mask/deep/er"])
def test_a_folder_of_slices_that_has_results_of_others_is_refused(folder, tmp_path, out):
    volume(tmp_path / "in/vol.nii.gz")
    pictures(tmp_path / "in" / folder)
    with pytest.raises(InputError) as error:
        segment_files(red_segmenter(), tmp_path / "in", out, save=("mask", "probability"))
    place = "vol_" + folder.partition("/")[0].lower().removeprefix("vol_")
    assert f"the slices of {tmp_path}/in/vol.nii.gz would be written into the folder {place}, where" in str(error.value)
    assert f"the results of {tmp_path}/in/{folder}/001.png go; segment them separately" in str(error.value)
    assert not out.exists() or not list(out.rglob("*.png"))


def test_a_folder_for_a_kind_that_is_not_wanted_is_no_hindrance(tmp_path, out):
    volume(tmp_path / "in/vol.nii.gz")
    pictures(tmp_path / "in/vol_probability")
    assert segment_files(red_segmenter(), tmp_path / "in", out).done == 4
    with pytest.raises(InputError, match="would be written into the folder vol_probability"):
        segment_files(red_segmenter(), tmp_path / "in", out, save=("mask", "probability"))


def test_a_series_beside_such_a_folder_is_refused_and_what_has_no_slices_is_not(tmp_path, out):
    volume(tmp_path / "one/vol.nii.gz", slices=1)
    pictures(tmp_path / "one/vol_mask")
    pictures(tmp_path / "one/vol_dicom-seg")  # of which there is one file
    assert segment_files(red_segmenter(), tmp_path / "one", out).done == 7
    ct_series(tmp_path / "two/ct", count=2)
    pictures(tmp_path / "two/ct_mask")
    with pytest.raises(InputError, match=r"the slices of .*two/ct would be written into the folder ct_mask, where"):
        segment_files(red_segmenter(), tmp_path / "two", out)


def test_files_of_others_in_a_folder_of_slices_stay(tmp_path, out, monkeypatch):
    volume(tmp_path / "in/vol.nii.gz")

    def run():
        return segment_files(red_segmenter(), tmp_path / "in", out)

    assert run().done == 1
    mine = out / "vol_mask/001_mask.png"
    red = red_segmenter()
    prepare = red.prepare

    def put(*given):  # while the run is at work: before it nothing is started
        mine.write_bytes(b"mine")
        return prepare(*given)

    volume(tmp_path / "in/vol.nii.gz", slices=2)
    with monkeypatch.context() as patched:
        patched.setattr(red, "prepare", put)
        summary = run()
    ((_, reason),) = summary.failed
    assert reason.startswith(f"{out}/vol_mask: holds more than results of slices, so it is not replaced by those of")
    assert mine.read_bytes() == b"mine" and records(out)["vol"]["status"] == "failed"
    with pytest.raises(InputError, match=r"vol_mask would be replaced"):
        run()
    shutil.rmtree(out / "vol_mask")
    assert run().done == 1 and len(list((out / "vol_mask").iterdir())) == 2


def test_removing_slices_removes_nothing_else(tmp_path):
    for name in ("01.png", "02.png", "001_mask.png", "3.txt", "4"):
        (tmp_path / name).touch()
    remove_result(tmp_path, ".png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["001_mask.png", "3.txt", "4"]
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/1.png").touch()
    remove_result(tmp_path / "empty", ".png")
    remove_result(tmp_path / "4", ".png")
    remove_result(tmp_path / "nowhere", ".png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["001_mask.png", "3.txt"]


def test_files_of_a_file_browser_count_for_nothing_and_go_with_the_slices(tmp_path, out):
    volume(tmp_path / "in/vol.nii.gz")

    def run():
        summary = segment_files(red_segmenter(), tmp_path / "in", out)
        return summary.done, summary.kept, len(summary.failed)

    def look_at():
        for name in (".DS_Store", "Thumbs.db", "._001.png"):
            (out / "vol_mask" / name).write_bytes(b"seen")

    assert run() == (1, 0, 0)
    look_at()
    assert run() == (0, 1, 0)
    volume(tmp_path / "in/vol.nii.gz", slices=2)
    assert run() == (1, 0, 0)
    assert sorted(path.name for path in (out / "vol_mask").iterdir()) == ["001.png", "002.png"]
    look_at()
    (tmp_path / "in/vol.nii.gz").write_bytes(b"no image any more")
    assert run() == (0, 0, 1) and not (out / "vol_mask").exists()


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="asks the system for the names of open files")
def test_slices_are_on_the_disk_before_their_folder_has_its_name(tmp_path, out, monkeypatch):
    volume(tmp_path / "in/vol.nii.gz")
    done, fsync, replace = [], os.fsync, os.replace

    def flush(descriptor):
        fsync(descriptor)
        done.append(os.readlink(f"/proc/self/fd/{descriptor}"))

    def name(old, new):
        replace(old, new)
        done.append(f"{old} is {new}")

    monkeypatch.setattr(os, "fsync", flush)
    monkeypatch.setattr(os, "replace", name)
    assert segment_files(red_segmenter(), tmp_path / "in", out).done == 1
    (place,) = (number for number, what in enumerate(done) if what.endswith(f" is {out}/vol_mask"))
    folder = done[place].partition(" ")[0]
    assert {folder, *(f"{folder}/{number:03d}.png" for number in (1, 2, 3))} <= set(done[:place])
