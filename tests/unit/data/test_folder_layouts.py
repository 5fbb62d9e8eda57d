"""A folder that is laid out in another way is refused with words on what to do."""

import pytest

from ddim_jax.data import load_dataset
from ddim_jax.runtime.errors import DataError


def test_missing_and_empty_folders(tmp_path):
    with pytest.raises(DataError, match="nowhere: no such folder"):
        load_dataset("folder", "train", root=tmp_path / "nowhere")
    (tmp_path / "d1.zip").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"data.root is .*d1\.zip: is a file; unpack it, and give the folder"):
        load_dataset("folder", "train", root=tmp_path / "d1.zip")
    (tmp_path / "d1.zip").unlink()
    (tmp_path / "pictures").mkdir()
    with pytest.raises(DataError, match="has no folder images and no folder masks; it holds pictures"):
        load_dataset("folder", "train", root=tmp_path)
    (tmp_path / "images").mkdir()
    with pytest.raises(DataError, match="has no folder masks; it holds images, pictures"):
        load_dataset("folder", "train", root=tmp_path)
    (tmp_path / "masks").mkdir()
    with pytest.raises(DataError, match=rf"it holds nothing\. Its parent {tmp_path} has images and masks: give that\."):
        load_dataset("folder", "train", root=tmp_path / "images")
    with pytest.raises(DataError, match=r"it holds nothing\.$"):
        load_dataset("folder", "train", root=tmp_path / "pictures")
    with pytest.raises(DataError, match=r"folder .*images holds no images"):
        load_dataset("folder", "train", root=tmp_path)
