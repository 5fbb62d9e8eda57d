"""Files of others, edited results and what a killed run left: replaced only where the index says so."""

import ctypes
import os

import pytest
from PIL import Image
from result_files import NAMES, contents, records
from segmenters import picture, red_segmenter

from ddim_jax.inference import results as results_module
from ddim_jax.inference import segment_files
from ddim_jax.inference.index import Index
from ddim_jax.runtime.errors import InputError


@pytest.fixture
def of_somebody(folder, out):
    """Makes files with the names of results, which no run wrote, and returns a check that they are as they were."""

    def make(*names):
        for name in names:
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            (out / name).write_text(f"by hand: {name}")
        return lambda: [(out / name).read_text() for name in names] == [f"by hand: {name}" for name in names]

    return make


@pytest.mark.parametrize(
    "name",
    ["b_mask.png", "sub/e_mask.png", "c_mask/notes.txt", "damaged_mask.png", "damaged_mask/1.png", "flagged.csv"],
)
def test_files_of_others_are_neither_replaced_nor_deleted(folder, out, of_somebody, name):
    (folder / "damaged.png").write_text("no image")
    are_there = of_somebody(name, ".notes.partial.md", "z_mask.png")
    with pytest.raises(InputError, match=rf"{name.partition('/notes')[0].partition('/1')[0]}.* would be replaced"):
        segment_files(red_segmenter(), folder, out, flag_uncertain=0.5)
    assert are_there() and not list(out.glob("*.json*"))


def test_a_folder_that_was_tried_with_one_picture_has_files_of_others_still(folder, out, of_somebody):
    are_there = of_somebody("b_mask.png", "c_mask.png", "d_mask.png", "sub/e_mask.png", "a_overlay.png")
    segment_files(red_segmenter(), folder / "a.png", out)
    before = contents(out)
    with pytest.raises(InputError, match=r"b_mask.png, \S+c_mask.png, \S+d_mask.png and 1 more would be"):
        segment_files(red_segmenter(), folder, out)
    with pytest.raises(InputError, match=r"a_overlay.png would be"):
        segment_files(red_segmenter(), folder / "a.png", out, save=("mask", "overlay"))
    (folder / "a.png").write_text("no image any more")
    assert len(segment_files(red_segmenter(), folder / "a.png", out).failed) == 1
    assert are_there() and set(contents(out)) == before.keys() - {"a_mask.png"}


def test_a_result_that_was_edited_stays(folder, out):
    segment_files(red_segmenter(), folder, out)
    before = contents(out)
    Image.fromarray(picture(3)).save(out / "c_mask.png")
    edited = (out / "c_mask.png").read_bytes()
    for _ in range(2):
        with pytest.raises(InputError, match=r"c_mask.png would be replaced"):
            segment_files(red_segmenter(), folder, out)
        Image.fromarray(picture(9, 30, 30)).save(folder / "c.png")
    assert (out / "c_mask.png").read_bytes() == edited
    (out / "c_mask.png").unlink()
    assert segment_files(red_segmenter(), folder, out).done == 1
    assert contents(out).keys() == before.keys()


@pytest.mark.parametrize("written", [(), ("d",), ("d", "sub/e")])
def test_a_run_killed_before_its_line_knows_its_own_results(folder, out, monkeypatch, written):
    """First of images without results, then of images that were replaced, whose results have other sizes."""
    add = Index.add

    def killed(self, record):
        if record["name"] not in written:
            raise KeyboardInterrupt
        add(self, record)

    for seed in (20, 30):
        with monkeypatch.context() as patch:
            patch.setattr(Index, "add", killed)
            with pytest.raises(KeyboardInterrupt):
                segment_files(red_segmenter(), folder, out, prefetch=1)
        assert any(record["status"] == "failed" for record in records(out).values())
        assert segment_files(red_segmenter(), folder, out).failed == []
        assert {record["status"] for record in records(out).values()} == {"ok"}
        for number, name in enumerate(NAMES):
            Image.fromarray(picture(seed + number, seed + number, 25)).save(folder / f"{name}.png")
    assert segment_files(red_segmenter(), folder, out).done == 5


def test_a_result_that_is_out_of_sight_when_its_size_is_taken_belongs_to_the_run(folder, out, monkeypatch):
    size = results_module.result_size
    with monkeypatch.context() as patch:
        patch.setattr(results_module, "result_size", lambda path: 0 if path.name == "d_mask.png" else size(path))
        assert segment_files(red_segmenter(), folder, out).done == 5
    assert "output_bytes" not in records(out)["d"] and records(out)["b"]["output_bytes"]
    assert segment_files(red_segmenter(), folder, out).kept == 5
    Image.fromarray(picture(9, 30, 30)).save(folder / "d.png")  # and may be replaced
    assert segment_files(red_segmenter(), folder, out).done == 1


def exchange(first, second):
    """Gives each of two files or folders the other's name, in one step: there is no moment without either."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    here, exchanged = -100, 2  # AT_FDCWD and RENAME_EXCHANGE, as Linux has them
    if renameat2 is None or renameat2(here, os.fsencode(first), here, os.fsencode(second), exchanged):
        pytest.skip("this system does not exchange names")


def test_an_output_that_goes_behind_a_link_meanwhile_gets_all_results(folder, out, monkeypatch):
    write = results_module.write_outputs

    def write_and_move(job, *arguments):
        write(job, *arguments)
        if job.name == "b":
            behind = out.with_name("behind")
            behind.symlink_to(behind.name)
            exchange(out, behind)

    with monkeypatch.context() as patch:
        patch.setattr(results_module, "write_outputs", write_and_move)
        assert segment_files(red_segmenter(), folder, out).done == 5
    assert out.is_symlink()
    assert segment_files(red_segmenter(), folder, out).kept == 5
    assert set(contents(out)) == {f"{name}_mask.png" for name in NAMES}
