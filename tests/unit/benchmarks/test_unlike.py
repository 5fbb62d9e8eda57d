"""Rows and table of the images that are flagged, from folders of phantoms and a reference of others."""

import numpy as np
import pytest
from PIL import Image

from benchmarks.quality import unlike
from benchmarks.render import rendered
from benchmarks.result_file import read_rows
from ddim_jax.data.datasets.phantom import draw_phantom
from ddim_jax.inference.unlikeness import describe_image, fit_reference


def folder(path, images):
    for part in ("images", "masks"):
        (path / part).mkdir(parents=True)
    for number, image in enumerate(images):
        Image.fromarray(image).save(path / f"images/{number}.png")
        Image.fromarray(np.uint8(255) * (image[..., 0] > 100)).save(path / f"masks/{number}.png")
    return path


@pytest.fixture
def phantoms():
    return [draw_phantom("val", 0, index, 64)[0] for index in range(36)]


def test_auroc_counts_pairs():
    assert unlike.auroc([1, 2], [2, 3]) == (0.5 + 3) / 4
    assert unlike.auroc([1, 2], [1, 2]) == 0.5 and unlike.auroc([1], [0]) == 0


def test_grey_noise_by_hand():
    grey = np.full((300, 300, 3), [126, 128, 130], np.uint8)
    noisy = unlike.with_grey_noise(grey, 0.05, np.random.default_rng(0)).astype(float) - grey
    assert noisy.std() == pytest.approx(12.75, rel=0.01) and (np.ptp(noisy, axis=-1) == 0).all()


def test_rows_are_of_each_kind_and_replace_themselves(phantoms, tmp_path, monkeypatch):
    reference = fit_reference([describe_image(image) for image in phantoms[:30]])

    class Calibrated:
        load = classmethod(lambda cls, path: cls())

        def reference(self):
            return reference, ""

    monkeypatch.setattr(unlike, "Segmenter", Calibrated)
    own, coloured = folder(tmp_path / "lungs", phantoms[30:]), [255 - image for image in phantoms[:3]]
    coloured = [image * np.array([1, 0, 0], np.uint8) for image in coloured]
    arguments = ["--ckpt", "run", "--own", own, "--elsewhere", folder(tmp_path / "there", phantoms[:2])]
    arguments += ["--others", folder(tmp_path / "skin", coloured)]
    output = tmp_path / "docs/results/unlike.json"
    output.parent.mkdir(parents=True)
    for _ in range(2):
        assert unlike.main([str(one) for one in [*arguments, "--output", output]]) == 0
    rows = {row["pictures"]: row for row in read_rows(output)}
    kinds = ["own test split", "elsewhere", "skin", "noise", "flat", "own, inverted", "own, turned"]
    kinds += [f"own, grey noise of {share}%" for share in (5, 10, 20)]
    assert list(rows) == kinds and len(read_rows(output)) == 10
    assert rows["own test split"]["auroc"] is None and rows["own test split"]["n"] == 6
    for kind in ("skin", "noise", "flat"):
        assert (rows[kind]["share"], rows[kind]["auroc"]) == (1, 1)
    values = [[reference.unlikeness(describe_image(image)) for image in some] for some in (phantoms[30:], phantoms[:2])]
    assert rows["elsewhere"]["auroc"] == np.mean([b > a for a in values[0] for b in values[1]])
    page = rendered("<!-- table: unlike -->\n<!-- end -->\n", tmp_path)
    assert "| lungs, validation | skin | 3 | 100% |" in page and "| own test split | 6 |" in page


def test_what_judges_no_picture_is_refused(tmp_path, monkeypatch, capsys):
    class Uncalibrated:
        load = classmethod(lambda cls, path: cls())

        def reference(self):
            return None, "not calibrated"

    monkeypatch.setattr(unlike, "Segmenter", Uncalibrated)
    with pytest.raises(SystemExit):
        unlike.main(["--ckpt", "run", "--own", str(tmp_path)])
    assert "run judges no image: not calibrated" in capsys.readouterr().err
