"""Missed pixels by the place where they lie, drawn by hand, and the row and table of a folder."""

import numpy as np
import pytest
from PIL import Image

from benchmarks.quality import missed
from benchmarks.render import rendered
from benchmarks.result_file import read_rows

# 1 and 2: the two parts of the mask; letters: missed pixels by the first letter of their place, a for above, s beside.
DRAWN = """
.aa......
s11bb22..
.11bb22s.
.11.b22..
.1w1.22..
.111b22..
..l..l..s
"""
NAMES = {"b": "between", "w": "within", "l": "below", "a": "above", "s": "beside"}


def drawn():
    letters = np.array([list(line) for line in DRAWN.split()])
    mask = np.isin(letters, ["1", "2"])
    return letters, mask, mask | np.isin(letters, list(NAMES))


def test_places_by_hand():
    letters, mask, truth = drawn()
    for name, found in missed.places_of(mask, truth).items():
        np.testing.assert_array_equal(found, [[NAMES.get(one) == name for one in line] for line in letters], name)


def test_means_by_hand():
    mask = np.zeros((1, 8), bool)
    mask[0, [0, 1, 6, 7]] = True
    truth = np.ones((1, 8), bool)
    row = missed.row_of([(mask, truth), (truth, truth)])
    assert row["n"] == 2 and row["missed"] == row["between"] == 0.25 and row["within"] == 0
    assert row["dice"] == pytest.approx((8 / 12 + 1) / 2) and row["dice_between_found"] == 1


def test_rows_of_a_folder(tmp_path, monkeypatch):
    _, mask, truth = drawn()
    for part, content in (("images", 100 * truth), ("masks", 255 * truth)):
        (tmp_path / "lungs" / part).mkdir(parents=True)
        for index in range(4):
            Image.fromarray(content.astype(np.uint8) + (index if part == "images" else 0)).save(
                tmp_path / f"lungs/{part}/{index}.png"
            )
    (tmp_path / "lungs/splits.csv").write_text("stem,split\n0,train\n1,val\n2,test\n3,test\n")

    class Fixed:
        load = classmethod(lambda cls, path: cls())

        def segment(self, images):
            return [type("Result", (), {"mask": mask.astype(np.uint8)}) for _ in images]

    monkeypatch.setattr(missed, "Segmenter", Fixed)
    output = tmp_path / "docs/results/missed.json"
    output.parent.mkdir(parents=True)
    folder = str(tmp_path / "lungs")
    assert missed.main(["--ckpt", "x", "--own", folder, "--elsewhere", folder, "--output", str(output)]) == 0
    assert [(row["source"], row["n"]) for row in read_rows(output)] == [("val", 1), ("test", 2), ("elsewhere", 4)]
    share = (truth & ~mask).sum() / truth.sum()
    page = rendered("<!-- table: missed -->\n<!-- end -->", tmp_path)
    assert page.count("| lungs, ") == 3 and f"| {share:.1%} |" in page and "| lungs, external |" in page
