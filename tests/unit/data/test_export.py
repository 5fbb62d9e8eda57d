"""Exported pairs come back exactly through the folder source."""

import sys

import numpy as np
import pytest

from ddim_jax.data import generated_names, load_dataset
from ddim_jax.data.export import export_pairs, main
from ddim_jax.registry import DATASETS
from ddim_jax.runtime.errors import InputError


def test_data_sets_without_files_say_so_themselves(monkeypatch):
    def squares(split, options):
        raise AssertionError("not loaded")

    squares.generated = True
    monkeypatch.setitem(DATASETS._entries, "squares", squares)
    assert generated_names() == ("ambiguous", "phantom", "squares")


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


def test_pictures_of_others_are_not_replaced(tmp_path):
    phantoms = load_dataset("phantom", "test", image_size=32, counts={"test": 2})
    for _ in range(2):  # the same again is no other
        export_pairs(phantoms, tmp_path)
    mine = tmp_path / f"masks/{phantoms.ids[1]}.png"
    mine.write_bytes(b"drawn by hand")
    with pytest.raises(InputError, match=r"is there, and is another image"):
        export_pairs(phantoms, tmp_path)
    assert mine.read_bytes() == b"drawn by hand"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--output", "file"), "file: the folder for the results cannot be made (File exists); choose another"),
        (("--output", "file/out"), "file/out: the folder for the results cannot be made (Not a directory)"),
        (("--output", "out", "--count", "0"), "data.counts is {'test': 0}; expected 1 to 10000000 for each"),
        (
            ("--output", "out", "--size", "-3"),
            "data.image_size is -3 and data.split_seed 0; expected whole numbers, from 1 and from 0",
        ),
        (
            ("--output", "out", "--seed", "-1"),
            "data.image_size is 64 and data.split_seed -1; expected whole numbers, from 1 and from 0",
        ),
    ],
)
def test_what_cannot_be_exported_is_one_line(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    monkeypatch.setattr(sys, "argv", ["export", *arguments])
    with pytest.raises(SystemExit) as exit:
        main()
    said = capsys.readouterr().err
    assert exit.value.code == 2 and said.startswith("error: ") and said.count("\n") == 1 and message in said
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
