"""The volume of each class in the answer of the server, as `ddim-jax sample` has it; or why there is none."""

import json

import flax.linen as nn
import jax.numpy as jnp
import nibabel
import numpy as np
import pytest
from dicom_files import ct_series, ct_slice
from segmenters import SIZE, config, red_segmenter

from ddim_jax.inference import Segmenter, segment_files
from ddim_jax.serve.network import ServedNetwork


def result_of(client, *paths):
    sent = [("file", path.read_bytes()) for path in paths]
    answer = client.post("/segment?window=0,100", files=sent)
    assert answer.status_code == 200, answer.text
    return answer.json()["networks"][0]


def volume(path, unit="mm"):
    """A NIfTI file of two slices, bright on one side in the first and on both in the second."""
    values = np.full((SIZE, SIZE, 2), -900, np.int16)
    values[: SIZE // 2, :, 0] = values[..., 1] = 900
    values[0, 0, 1] = -900  # of a slice of one value the mask is empty
    image = nibabel.Nifti1Image(values, np.diag([0.5, 2.0, 3.0, 1.0]))
    image.header.set_xyzt_units(unit)
    nibabel.save(image, path)
    return path


def test_the_volume_of_a_series_is_that_of_the_index(client, tmp_path):
    ct_series(tmp_path / "in", count=5)
    result = result_of(client, *sorted((tmp_path / "in").iterdir()))
    segment_files(red_segmenter(), tmp_path / "in", tmp_path / "out", window=(0.0, 100.0))
    record = json.loads((tmp_path / "out" / "index.jsonl").read_text())
    pixels = sum(one["classes"][0]["area"] for one in result["slices"])
    (of_class,) = result["classes"]
    # 0.5 mm between rows, 0.75 between columns, 2.5 between slices.
    assert pixels > 0 and of_class["volume_ml"] == pytest.approx(pixels * 0.5 * 0.75 * 2.5 / 1000, rel=1e-5)
    assert of_class["volume_ml"] == record["volume_ml"]
    assert not any(note.startswith("no volume") for note in result["notes"])


class ReadsSides(nn.Module):
    """Two classes, bright pixels of the left half and of the right."""

    size_multiple = 2

    @nn.compact
    def __call__(self, noisy_mask, image, t):
        self.param("unused", nn.initializers.zeros, ())
        left, red = jnp.arange(image.shape[2]) < image.shape[2] // 2, image[..., 0]
        classes = jnp.stack([jnp.where(left, red, -1), jnp.where(left, -1, red)], axis=-1)
        return jnp.concatenate([-classes.max(axis=-1, keepdims=True), classes], axis=-1)


def test_each_class_has_its_volume(serving, tmp_path):
    about = config()
    about["data"] |= {"labels": {"files": 1, "heart": 2}}  # a class may be called as a field of the answer is
    weights = {"unused": np.float32(0)}
    segmenter = Segmenter(ReadsSides(), weights, config=about, step=7, checkpoint="run/checkpoints/7")
    result = result_of(serving([ServedNetwork.create("two", segmenter)]), volume(tmp_path / "x.nii"))
    # Half a slice is 128 pixels, of 3 mm3 each; the side that is bright in both slices has two of them but
    # for a pixel.
    found = {one["name"]: one["volume_ml"] for one in result["classes"]}
    assert sorted(found.values()) == [0.384, 0.765]
    for name, ml in found.items():
        pixels = [one["area"] for part in result["slices"] for one in part["classes"] if one["name"] == name]
        assert ml == pytest.approx(sum(pixels) * 3 / 1000)


def one_slice_missing(folder):
    ct_series(folder, count=5)
    (folder / "IM003").unlink()
    return sorted(folder.iterdir())


def without_spacing(folder):
    ct_series(folder, count=3, PixelSpacing=None)
    return sorted(folder.iterdir())


def frames_in_time(folder):
    values = np.full((3 * SIZE, SIZE), 900)
    return [ct_slice(folder / "x.dcm", values, Rows=SIZE, NumberOfFrames=3, ImagePositionPatient=None)]


SPACING = "no volume (spacing in three dimensions is missing: the size of a pixel, or even distances of the slices)"
PLACES = "no volume (the slices have no places of their own: frames in time, or positions that are missing)"


@pytest.mark.parametrize(
    ("made", "note"),
    [
        (one_slice_missing, SPACING),
        (without_spacing, SPACING),
        (lambda folder: [volume(folder / "x.nii", "unknown")], SPACING),
        (frames_in_time, PLACES),
        (lambda folder: [ct_slice(folder / "x.dcm", np.full((SIZE, SIZE), 900))], None),
    ],
)
def test_why_there_is_no_volume(client, tmp_path, made, note):
    folder = tmp_path / "in"
    folder.mkdir()
    result = result_of(client, *made(folder))
    assert [one["volume_ml"] for one in result["classes"]] == [None]
    assert [one for one in result["notes"] if one.startswith("no volume")] == ([] if note is None else [note])
