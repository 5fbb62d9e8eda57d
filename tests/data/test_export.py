"""Exported pairs come back exactly through the folder source."""

import numpy as np

from ddim_jax.data import load_dataset
from ddim_jax.data.export import export_pairs


def test_exported_phantoms_are_a_folder_data_set(tmp_path):
    phantoms = load_dataset("phantom", "test", image_size=32, counts={"test": 4})
    export_pairs(phantoms, tmp_path)
    (tmp_path / "splits.csv").write_text("stem,split\n" + "".join(f"{name},test\n" for name in phantoms.ids))

    folder = load_dataset("folder", "test", root=tmp_path)
    assert sorted(folder.ids) == sorted(phantoms.ids)
    back = {folder[row].id: folder[row] for row in range(len(folder))}
    for row in range(len(phantoms)):
        example = phantoms[row]
        np.testing.assert_array_equal(back[example.id].image, example.image)
        np.testing.assert_array_equal(back[example.id].mask, example.mask)
