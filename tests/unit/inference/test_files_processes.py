"""Several processes in one, and where they are refused."""

import csv
import shutil

import pytest
from segmenters import red_segmenter, save_archive

from ddim_jax.inference import Process, segment_files
from ddim_jax.runtime.errors import InputError

COUNT = 30


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    return save_archive(tmp_path_factory.mktemp("archive"), COUNT)


def test_the_list_is_written_by_whoever_is_last(archive, tmp_path):
    segmenter = red_segmenter()
    one = segment_files(segmenter, archive, tmp_path / "one", flag_uncertain=0.5)
    counts = [
        segment_files(segmenter, archive, tmp_path / "out", flag_uncertain=0.5, process=Process(k, 3)).flagged
        for k in range(3)
    ]
    assert counts[2] == one.flagged == COUNT // 2 and counts[0] < counts[1] < counts[2]
    with open(tmp_path / "out/flagged.csv", newline="") as file:
        assert [int(row["rank"]) for row in csv.DictReader(file)] == list(range(1, counts[2] + 1))
    assert (tmp_path / "out/flagged.csv").read_text() == (tmp_path / "one/flagged.csv").read_text()


def test_images_among_the_results_are_refused_with_several_processes(archive, tmp_path):
    shutil.copy(archive / "00.png", tmp_path / "00.png")
    with pytest.raises(InputError, match=r"00.png lies in the output folder; with several processes, use another"):
        segment_files(red_segmenter(), tmp_path / "00.png", tmp_path, process=Process(0, 2))
    assert segment_files(red_segmenter(), tmp_path / "00.png", tmp_path).done == 1
