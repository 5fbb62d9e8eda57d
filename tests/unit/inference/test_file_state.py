"""The state of a source's files that a run keeps, and by which a later one sees what changed."""

import os

import numpy as np
import pytest
from dicom_files import ct_slice
from result_files import records
from segmenters import red_segmenter

from ddim_jax.inference import segment_files
from ddim_jax.inference.file_state import FileState, recorded_state, state_of


def test_the_state_of_files(tmp_path):
    for number, (size, time) in enumerate([(3, 50), (5, 20)]):
        (tmp_path / f"{number}").write_bytes(b"x" * size)
        os.utime(tmp_path / f"{number}", ns=(time, time))
    one, two = str(tmp_path / "0"), str(tmp_path / "1")
    assert state_of([one]) == FileState(3, 50, None)
    assert state_of([one]).fields() == {"bytes": 3, "mtime_ns": 50}
    both = state_of([one, two])
    assert both[:2] == (8, 50) and both == state_of([two, one]) and len(both.files_sha256) == 64
    assert recorded_state(both.fields()) == both and both.is_recorded(both.fields())
    # Their sum and maximum are the same with another older file.
    os.utime(two, ns=(10, 10))
    other = state_of([one, two])
    assert other[:2] == both[:2] and not other.is_recorded(both.fields())
    assert not other.is_recorded({"bytes": 8, "mtime_ns": 50})
    assert not state_of([one]).is_recorded({"bytes": 3, "mtime_ns": 50, "files_sha256": both.files_sha256})
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="no regular file"):
        state_of([one, str(tmp_path / "pipe")])


def test_a_slice_that_is_replaced_is_noticed(tmp_path, out):
    folder = tmp_path / "in/ct"
    folder.mkdir(parents=True)

    def write(number, value, time):
        path = folder / f"{number}.dcm"
        values = np.full((16, 16), value)
        values[0, 0] = -100
        ct_slice(path, values, place=(0, 0, number), number=number)
        os.utime(path, (time, time))

    def run():
        summary = segment_files(red_segmenter(), tmp_path / "in", out, window=(0.0, 100.0))
        return summary.done, summary.kept

    for number in range(3):
        write(number, 100, 1000 + number)
    assert run() == (1, 0) and run() == (0, 1)
    area = records(out)["ct"]["area"]
    write(1, -100, 500)  # as large, and older than the others
    assert run() == (1, 0) and run() == (0, 1)
    assert records(out)["ct"]["area"] == area * 2 // 3 > 0
