"""JPEG data with a hole in them are no image, as JPEG files and within TIFF files."""

import contextlib
import io

import numpy as np
import pydicom
import pytest
from dicom_files import bundled
from picture_files import tiff
from PIL import Image
from pydicom.encaps import get_frame

from ddim_jax.imageio import images
from ddim_jax.imageio import jpeg as jpeg_of
from ddim_jax.runtime.errors import DataError

WAVES = np.sin(np.arange(256) / 9)
SMOOTH = (127 + 60 * WAVES[:, None] * WAVES[None] + np.random.default_rng(0).normal(0, 8, (256, 256))).astype(np.uint8)
RGB = np.stack([SMOOTH, SMOOTH[::-1], SMOOTH.T], axis=-1)


def jpeg(pixels, **options):
    file = io.BytesIO()
    Image.fromarray(pixels, "CMYK" if pixels.shape[-1] == 4 else None).save(file, "JPEG", quality=90, **options)
    return file.getvalue()


def holed(content, size=4096):
    middle = len(content) // 2
    return content[:middle] + bytes(size) + content[middle + size :]


KINDS = {
    "rgb": (RGB, {}),
    "grey": (SMOOTH, {}),
    "cmyk": (np.dstack([RGB, SMOOTH]), {}),
    "progressive": (RGB, {"progressive": True}),
    "restarts": (RGB, {"restart_marker_rows": 1}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_hole_or_a_missing_end_is_an_error(tmp_path, kind):
    pixels, options = KINDS[kind]
    whole = jpeg(pixels, **options)
    path = tmp_path / "x.jpg"
    path.write_bytes(whole)
    expected = images.read_picture(path)
    assert expected.notes == ()
    np.testing.assert_array_equal(expected.pixels, np.asarray(Image.open(path).convert("RGB")))
    for damaged in (holed(whole), whole[: len(whole) // 2], whole[: len(whole) // 2] + b"\xff\xd9"):
        path.write_bytes(damaged)
        for read in (images.read_image, images.read_mask):
            with pytest.raises(DataError, match=r"x\.jpg: the file is damaged, and .* in a viewer, and save it anew"):
                read(path)


def test_jpeg_within_tiff(tmp_path):
    """Each strip is a JPEG stream of its own; the second has a hole."""
    path = tmp_path / "x.tif"
    parts = [jpeg(SMOOTH[:128]), jpeg(SMOOTH[128:])]
    tags = {256: 256, 257: 256, 258: 8, 259: 7, 262: 1, 277: 1, 278: 128}
    path.write_bytes(tiff(tags, parts))
    found = images.read_picture(path)
    decoded = [np.asarray(Image.open(io.BytesIO(part))) for part in parts]
    np.testing.assert_array_equal(found.pixels[..., 0], np.concatenate(decoded))
    path.write_bytes(tiff(tags, [parts[0], holed(parts[1])]))
    with pytest.raises(DataError, match=r"x\.tif: the file is damaged"):
        images.read_image(path)
    # As Pillow writes them, with the tables shared.
    Image.fromarray(RGB).save(path, compression="jpeg", quality=90)
    assert images.read_picture(path).pixels.shape == (256, 256, 3)
    content = path.read_bytes()
    path.write_bytes(content[:9000] + bytes(4096) + content[13096:])
    with pytest.raises(DataError, match=r"x\.tif: the file is damaged"):
        images.read_image(path)


def test_a_file_of_very_many_scans_is_refused(tmp_path):
    """Each goes over all of the image again: a small file could keep a decoder busy for hours."""
    whole = jpeg(SMOOTH, progressive=True)
    last = whole.rindex(b"\xff\xda")
    (tmp_path / "x.jpg").write_bytes(whole[:last] + whole[last:-2] * 501 + whole[-2:])
    with pytest.raises(DataError, match=r"x\.jpg: the file is damaged, .* \(more than 500 scans\)"):
        images.read_image(tmp_path / "x.jpg")


def test_what_is_no_dct_of_8_bits_is_not_asked_for_at_an_eighth(tmp_path):
    """simplejpeg ends the process over lossless JPEG."""
    dataset = pydicom.dcmread(bundled("SC_rgb_jpeg_gdcm.dcm"))
    lossless = get_frame(dataset.PixelData, 0, number_of_frames=1)
    assert jpeg_of.frame_of(lossless) == (0xC3, 8, 100, 100) and jpeg_of.damage(lossless) is None
    if (grey := bundled("JPGLosslessP14SV1_1s_1f_8b.dcm")) is not None:  # of the package pydicom-data
        assert jpeg_of.damage(get_frame(pydicom.dcmread(grey).PixelData, 0, number_of_frames=1)) is None
    assert jpeg_of.frame_of(jpeg(RGB[:40])) == (0xC0, 8, 40, 256)
    assert jpeg_of.frame_of(jpeg(SMOOTH, progressive=True)) == (0xC2, 8, 256, 256)
    # As libjpeg finds it: behind bytes that belong to no marker, and fill bytes; nothing behind the pixels or the end.
    whole = jpeg(RGB)
    odd = whole[:2] + b"\0\7\xff\xff\xfe\0\4\xff\xc3" + whole[2:]
    assert jpeg_of.frame_of(odd) == (0xC0, 8, 256, 256)
    for none in (b"", whole[:2], b"\xff\xd8\xff\xd9" + whole, b"\xff\xd8\xff\xda\0\2" + whole[2:], b"GIF"):
        assert jpeg_of.frame_of(none) is None and jpeg_of.damage(none) is None
    (tmp_path / "x.jpg").write_bytes(lossless)
    with contextlib.suppress(DataError):  # which some versions of Pillow decode
        assert images.read_image(tmp_path / "x.jpg").shape == (100, 100, 3)
