"""The reading of images is in the index: their range, their orientation, damage, inversion."""

import io

import numpy as np
import pytest
from PIL import Image
from result_files import contents, records
from segmenters import SIZE, config, picture, red_segmenter

from ddim_jax.inference import segment_files
from ddim_jax.runtime.errors import InputError
from ddim_jax.sampling_options import SamplingOptions


def jpeg_with_a_hole():
    file = io.BytesIO()
    smooth = np.asarray(Image.fromarray(picture(0, 12, 12)).resize((256, 256), Image.Resampling.BICUBIC))
    Image.fromarray(smooth).save(file, "JPEG", quality=95)
    content = file.getvalue()
    return content[: len(content) // 2] + bytes(2000) + content[len(content) // 2 + 2000 :]


def test_notes_range_and_orientation_are_recorded(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "in").mkdir()
    Image.fromarray(picture(0)).save(tmp_path / "in/turned.png", exif=exif)
    Image.fromarray(picture(1)).save(tmp_path / "in/usual.png")
    deep = np.linspace(0, 4000, 400).astype(np.uint16).reshape(20, 20)
    Image.fromarray(deep).save(tmp_path / "in/deep.png")
    deep[:5] = 65535
    Image.fromarray(deep).save(tmp_path / "in/marked.png")
    Image.new("L", (20, 20), 7).save(tmp_path / "in/even.png")
    (tmp_path / "in/hole.jpg").write_bytes(jpeg_with_a_hole())
    summary = segment_files(red_segmenter(), tmp_path / "in", tmp_path / "out")
    assert [reason.partition(": ")[2].partition(" (")[0] for _, reason in summary.failed] == [
        "the file is damaged, and pixels behind the damage would be wrong"
    ]
    assert summary.notes == {"few levels": 1, "even": 1} and "hole_mask.png" not in contents(tmp_path / "out")
    found = records(tmp_path / "out")
    assert found["turned"]["orientation"] == 6 and (found["turned"]["height"], found["turned"]["width"]) == (24, 20)
    assert not {"orientation", "range", "notes"} & found["usual"].keys()
    assert found["deep"]["range"] == [0, 4095] and "notes" not in found["deep"]
    assert found["marked"]["range"] == [0, 65535] and found["marked"]["notes"][0].startswith("few levels (14 are left")
    assert found["hole"]["status"] == "failed" and "(Corrupt JPEG data" in found["hole"]["reason"]


def test_inverted_files_give_what_the_others_give(tmp_path):
    for name, turn in (("usual", lambda pixels: pixels), ("inverted", lambda pixels: 255 - pixels)):
        (tmp_path / name).mkdir()
        for seed in range(2):
            Image.fromarray(turn(picture(seed, SIZE, SIZE))).save(tmp_path / name / f"{seed}.png")
    segment_files(red_segmenter(), tmp_path / "usual", tmp_path / "a")
    segment_files(red_segmenter(), tmp_path / "inverted", tmp_path / "b", invert=True)
    assert contents(tmp_path / "a") == contents(tmp_path / "b") and len(contents(tmp_path / "a")) == 2
    with pytest.raises(InputError, match="invert"):  # other settings
        segment_files(red_segmenter(), tmp_path / "inverted", tmp_path / "b")


def test_inversion_comes_from_the_training():
    about = config()
    assert SamplingOptions.create(about).invert is False
    about["data"]["invert"] = True
    assert SamplingOptions.create(about).invert is True
    assert SamplingOptions.create(about, invert=False).invert is False


@pytest.mark.parametrize("mode", ["P", "RGBA", "F"])
def test_pillow_images_whose_numbers_are_no_brightness_are_refused(mode):
    with pytest.raises(InputError, match=rf"image is a Pillow image of mode '{mode}', expected L or RGB"):
        red_segmenter().segment(Image.new(mode, (20, 20)))


def test_pillow_images_of_grey_and_colours_are_taken():
    colours = picture(3)
    for image in (Image.fromarray(colours), Image.fromarray(colours[..., 0])):
        expected = red_segmenter().segment(np.asarray(image))
        np.testing.assert_array_equal(red_segmenter().segment(image).probability, expected.probability)
