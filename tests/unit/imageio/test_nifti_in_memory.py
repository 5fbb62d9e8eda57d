"""NIfTI files are read before their values are used: behind a mapping, a disk that fails would kill the process."""

import contextlib
import errno
import io
import os

import nibabel
import numpy as np
import pytest

from ddim_jax.imageio import nifti_volume
from ddim_jax.imageio.stacks import open_stack
from ddim_jax.runtime.errors import DataError

VALUES = np.random.default_rng(0).integers(0, 255, (5, 6, 7), np.uint8)


@pytest.fixture
def path(tmp_path):
    nibabel.save(nibabel.Nifti1Image(VALUES, np.diag([1.0, 1, 3, 1])), tmp_path / "v.nii")
    return tmp_path / "v.nii"


def seen(stack):
    return [stack.read(index) for index in range(stack.count)]


def test_what_becomes_of_a_file_later_changes_nothing(path):
    stack = open_stack([path])
    before = seen(stack)
    assert sorted(np.ravel([one[..., 0] for one in before])) == sorted(np.ravel(VALUES))
    with open(path, "rb+") as file:
        file.seek(-VALUES.nbytes, os.SEEK_END)
        file.write(bytes(VALUES.nbytes))
    np.testing.assert_array_equal(seen(stack), before)


def test_a_disk_that_fails_is_an_error_that_names_the_file(path, monkeypatch):
    class Failing(io.BytesIO):
        def readinto(self, buffer):
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    stack = open_stack([path])
    monkeypatch.setattr(nifti_volume, "unpacked", lambda path: contextlib.nullcontext(Failing(path.read_bytes())))
    with pytest.raises(DataError, match=r"v.nii: cannot be read \(Input/output error\)"):
        stack.read(0)


def test_what_lies_behind_the_values_is_passed_over(path):
    before = seen(open_stack([path]))
    with open(path, "ab") as file:
        file.write(bytes(2**20 + 1))
    np.testing.assert_array_equal(seen(open_stack([path])), before)


def test_bytes_and_their_limit_are_said_where_a_volume_has_too_many(tmp_path):
    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.float64)
    header.set_data_shape((512, 512, 260))
    header["vox_offset"], header["magic"] = 352, b"n+1"
    (tmp_path / "x.nii").write_bytes(header.binaryblock + bytes(4))
    said = r"x\.nii: 512 x 512 x 260 values of float64 take 520\.0 MiB, expected at most 512 MiB; save it with fewer"
    with pytest.raises(DataError, match=said):
        open_stack([tmp_path / "x.nii"])
    header.set_data_shape((2048, 2048, 65))
    (tmp_path / "x.nii").write_bytes(header.binaryblock + bytes(4))
    with pytest.raises(DataError, match=r"values are too many, expected at most \d+ in a slice and 268435456 in all"):
        open_stack([tmp_path / "x.nii"])
