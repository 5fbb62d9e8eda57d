"""Zip archives whose files cannot be read."""

import zipfile

import pytest

from ddim_jax.imageio.archives import Archive
from ddim_jax.runtime.errors import DataError


def test_two_files_of_one_name_are_refused(tmp_path):
    """The second was read twice, the first never."""
    path = tmp_path / "scans.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("Secret^Name/IM1", b"first")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("Secret^Name/IM1", b"second")
    with pytest.raises(DataError, match=r"scans\.zip: 1 file has the name of another one in the archive") as error:
        Archive(path)
    assert "Secret" not in str(error.value)
