"""Sources one of whose files is damaged: it alone is the worse for it."""

import numpy as np
import pytest
from dicom_damage import damage
from dicom_files import ct_series, ct_slice
from PIL import Image
from result_files import records
from segmenters import picture, red_segmenter

from ddim_jax.inference import segment_files

SIZE = 16


def run(source, out, save=("mask",)):
    return segment_files(red_segmenter(), source, out, save=save, segments=("foreground=Lung",), window=(0.0, 100.0))


def test_a_slice_with_a_damaged_spacing_stops_no_batch(tmp_path, out, caplog):
    ct_series(tmp_path / "in/ct", count=3, shape=(SIZE, SIZE))
    damage(tmp_path / "in/ct/IM002", "PixelSpacing", b"0,5\\0,75")
    Image.fromarray(picture(0)).save(tmp_path / "in/z.png")
    summary = run(tmp_path / "in", out)
    assert (summary.done, list(summary.failed)) == (3, [])
    found = records(out)
    assert set(found) == {"ct/IM001", "ct/IM002", "z"}
    assert found["ct/IM001"]["slices"] == 2 and "area_mm2" in found["ct/IM001"]
    assert "area_mm2" not in found["ct/IM002"]
    assert "PixelSpacing not used (no numbers in 1 of 1 file, such as IM002)" in found["ct/IM002"]["notes"]
    assert "they share SeriesInstanceUID and differ in PixelSpacing" in caplog.text
    assert run(tmp_path / "in", out).kept == 3


@pytest.mark.parametrize(("name", "done"), [("SliceThickness", 2), ("ImagePositionPatient", 2), ("SOPClassUID", 1)])
@pytest.mark.parametrize("kind", ["dicom-seg", "dicom-overlay"])
def test_damaged_headers_stop_no_batch_of_dicom_results(kind, name, done, tmp_path, out):
    (tmp_path / "in").mkdir()
    for number in range(2):
        ct_slice(tmp_path / f"in/{number}.dcm", np.zeros((SIZE, SIZE)), series=f"1.2.{number}")
    damage(tmp_path / "in/0.dcm", name, b"4,711\\x")
    summary = run(tmp_path / "in", out, ("mask", kind))
    assert summary.done == done and len(list(out.glob(f"*_{kind}.dcm"))) == done
    assert [file for file, _ in summary.failed] == [str(tmp_path / "in/0.dcm")] * (2 - done)
    assert "4,711" not in (out / "index.jsonl").read_text()
