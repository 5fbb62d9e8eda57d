"""Several processes in one output folder have to be given the same work."""

import pytest
from result_files import contents
from segmenters import red_segmenter

from ddim_jax.inference import Process, segment_files
from ddim_jax.inference import results as results_module
from ddim_jax.runtime.errors import InputError

NAMES = ["a", "b", "c", "d", "sub/e"]


@pytest.mark.parametrize("other", ["input", "save", "flag_uncertain"])
@pytest.mark.parametrize("at_work", [True, False])
def test_processes_that_were_given_different_work_are_refused(folder, out, monkeypatch, other, at_work):
    """Each would do its share of its own list: half of both would never be done."""

    def run(index, **given):
        given = {"input": folder, **given}
        return segment_files(red_segmenter(), given.pop("input"), out, process=Process(index, 2), **given)

    of_another = {"input": folder / "sub", "save": ("mask", "overlay"), "flag_uncertain": 0.5}
    different = of_another[other]
    refused = rf"{other} is .*, and .* for process 0 of 2\. Each process does a share .* with the same arguments"
    if at_work:
        write, tried = results_module.write_outputs, []

        def write_and_start(*arguments):
            write(*arguments)
            if not tried:
                tried.append(None)
                with pytest.raises(InputError, match=refused):
                    run(1, **{other: different})

        monkeypatch.setattr(results_module, "write_outputs", write_and_start)
    run(0)
    with pytest.raises(InputError, match=refused):
        run(1, **{other: different})
    run(1)
    assert set(contents(out)) == {f"{name}_mask.png" for name in NAMES}
    run(1, **{other: different})  # a new round, which process 0 has to follow
    with pytest.raises(InputError, match=r"for process 1 of 2\."):
        run(0)
    run(0, **{other: different})


def test_processes_that_find_other_pictures_are_refused(folder, out):
    """A part of the archive was away while one of them looked: nobody would do what is its share alone."""
    away = folder.parent / "away"
    (folder / "sub").rename(away)
    segment_files(red_segmenter(), folder, out, process=Process(0, 2))
    away.rename(folder / "sub")
    with pytest.raises(InputError, match=r"list of images is .*a\.png and \d more .* here, and .* for process 0 of 2"):
        segment_files(red_segmenter(), folder, out, process=Process(1, 2))
    for index in (0, 1):
        segment_files(red_segmenter(), folder, out, process=Process(index, 2))
    assert set(contents(out)) == {f"{name}_mask.png" for name in NAMES}


def test_many_files_are_one_line_and_a_damaged_record_begins_anew(folder, out):
    files = sorted(folder.rglob("*.png"))
    segment_files(red_segmenter(), files, out, process=Process(0, 2))
    with pytest.raises(
        InputError, match=r"input is /.*a\.png and 3 more \(SHA-256 \w{16}\) here, and /.*a\.png and 4 more"
    ):
        segment_files(red_segmenter(), files[:4], out, process=Process(1, 2))
    (out / ".processes.json").write_text('{"count": 2')
    segment_files(red_segmenter(), files, out, process=Process(1, 2))
    assert len(contents(out)) == 5
