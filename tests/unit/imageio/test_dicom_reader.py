"""Values, windows, colours, tables and encodings of single DICOM files."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_files import bundled, ct_slice
from pydicom.pixels import apply_voi_lut, pixel_array

from ddim_jax.imageio.images import ReadOptions, count_pixels, read_image, read_mask
from ddim_jax.imageio.listing import iterate_images
from ddim_jax.imageio.stacks import open_stack
from ddim_jax.labels import Labels
from ddim_jax.runtime.errors import DataError

HU = np.array([[-1000, -160, 40], [240, 400, 3000]])


def grey(path, **options):
    picture = read_image(path, ReadOptions(**options))
    assert picture.dtype == np.uint8 and (picture == picture[..., :1]).all()
    return picture[..., 0].tolist()


def test_a_window_counts_in_hounsfield_units(tmp_path):
    path = ct_slice(tmp_path / "a.dcm", HU)
    assert grey(path, window=(40.0, 400.0)) == [[0, 0, 128], [255, 255, 255]]
    ct_slice(path, HU, WindowCenter=[40, 0], WindowWidth=[401, 10])  # the first of two
    # PS3.3 C.11.2.1.2.1: (x - (c - 0.5)) / (w - 1) + 0.5
    assert grey(path) == [[0, 0, round((0.5 / 400 + 0.5) * 255)], [255, 255, 255]]
    assert grey(path, window=(0.0, 2000.0)) == [[0, 107, 133], [158, 179, 255]]  # (400.5 / 1999 + 0.5) * 255 = 178.6


def test_monochrome1_is_turned_round(tmp_path):
    path = ct_slice(tmp_path / "a.dcm", HU, PhotometricInterpretation="MONOCHROME1")
    assert grey(path, window=(40.0, 400.0)) == [[255, 255, 127], [0, 0, 0]]


def test_one_hot_pixel_changes_nothing_where_no_window_is_given(tmp_path):
    values = np.tile(np.arange(100), (100, 1))
    plain = grey(ct_slice(tmp_path / "a.dcm", values))
    values[0, 0] = 30000
    hot = grey(ct_slice(tmp_path / "b.dcm", values))
    assert np.abs(np.subtract(hot, plain)[1:]).max() <= 3 and max(plain[0]) == 255 and min(plain[1]) == 0


@pytest.mark.parametrize(
    ("dtype", "values", "padding"),
    [
        (np.int16, np.linspace(-1000, 3000, 64).astype(int), -32768),
        (np.int16, np.linspace(-1000, 32767, 64).astype(int), -32768),
        (np.int16, np.linspace(-1000, 3000, 64).astype(int), 32767),
        (np.uint16, np.linspace(40000, 65535, 64).astype(int), 0),
        (np.int32, np.linspace(-(2**31) + 1000, -(2**31) + 1100, 64).astype(int), -(2**31)),
        (np.uint32, np.linspace(2**32 - 101, 2**32 - 1, 64).astype(int), 0),
    ],
)
@pytest.mark.parametrize("window", [False, True])
def test_values_at_the_ends_of_their_type_stay_in_order(tmp_path, dtype, values, padding, window):
    stored = np.full((8, 9), padding, dtype)
    stored[:, :8] = values.reshape(8, 8)
    low, high = np.percentile(values, [0.5, 99.5])
    said = {"WindowCenter": (low + high) / 2, "WindowWidth": high - low, "VOILUTFunction": "LINEAR_EXACT"}
    bits = 8 * stored.itemsize
    path = ct_slice(
        tmp_path / "a.dcm",
        np.zeros((8, 9)),
        RescaleIntercept=0,
        BitsAllocated=bits,
        BitsStored=bits,
        HighBit=bits - 1,
        PixelRepresentation=int(stored.dtype.kind == "i"),
        PixelData=stored.tobytes(),
        **(said if window else {}),
    )
    dataset = pydicom.dcmread(path)
    if bits == 16:  # the attribute has no longer form
        dataset.add_new("PixelPaddingValue", "US", padding % 2**16)  # the sign is often lost
    elif not window:
        return
    dataset.save_as(path)
    expected = np.clip((values - low) / (high - low) * 255, 0, 255).reshape(8, 8)
    np.testing.assert_allclose(np.array(grey(path))[:, :8], expected, atol=1.01)


@pytest.mark.parametrize("ends", [(-900, -600), (-600, -900), (2**16 - 900, 2**16 - 600)])
def test_all_values_of_a_range_of_padding_take_no_part_in_the_range(ends, tmp_path):
    stored = np.concatenate([np.arange(-900, -600), np.arange(1000, 1100)]).reshape(20, 20)
    path = ct_slice(tmp_path / "a.dcm", stored, RescaleIntercept=0, PixelData=stored.astype("<i2").tobytes())
    dataset = pydicom.dcmread(path)
    for name, value in zip(("PixelPaddingValue", "PixelPaddingRangeLimit"), ends, strict=True):
        dataset.add_new(name, "US" if value > 0 else "SS", value)
    dataset.save_as(path)
    low, high = np.percentile(stored[15:], [0.5, 99.5])
    expected = np.clip((stored - low) / (high - low) * 255, 0, 255)
    np.testing.assert_allclose(grey(path), expected, atol=0.51)


@pytest.mark.parametrize(("signed", "first"), [(True, -128), (False, 0)])
def test_eight_bits_of_either_sign(tmp_path, signed, first):
    stored = np.arange(first, first + 256).reshape(16, 16)
    attributes = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PixelRepresentation": int(signed)}
    content = stored.astype(np.int8 if signed else np.uint8).tobytes()
    path = ct_slice(
        tmp_path / "a.dcm", stored, RescaleIntercept=-first, RescaleSlope=1, PixelData=content, **attributes
    )
    assert np.array_equal(grey(path, window=(127.5, 255.0)), np.arange(256).reshape(16, 16))


def test_the_file_s_own_window_is_that_of_pydicom():
    path = bundled("MR_small.dcm")
    dataset = pydicom.dcmread(path)
    shown = apply_voi_lut(dataset.pixel_array, dataset).astype(float)
    low = dataset.WindowCenter - 0.5 - (dataset.WindowWidth - 1) / 2
    assert shown.min() >= -(2**15)
    expected = np.clip((dataset.pixel_array - low) / (dataset.WindowWidth - 1) * 255, 0, 255)
    np.testing.assert_allclose(np.array(grey(path)), expected, atol=0.51)
    scaled = (shown + 2**15) / (2**16 - 1) * 255
    np.testing.assert_allclose(scaled, expected, atol=0.51)


@pytest.mark.parametrize("name", ["RLE", "bigendian", "expb", "implicit", "jp2klossless", "jpeg_ls_lossless", "padded"])
def test_encodings_that_lose_nothing_give_the_same_picture(name):
    assert grey(bundled(f"MR_small_{name}.dcm")) == grey(bundled("MR_small.dcm"))


@pytest.mark.parametrize("syntax", [None, pydicom.uid.RLELossless])
@pytest.mark.parametrize("implicit", [False, True])
def test_values_without_types_in_a_file_that_says_types_and_the_reverse(implicit, syntax, tmp_path):
    """The element says how it is written, not the file's meta header."""
    path = ct_slice(tmp_path / "a.dcm", HU)
    expected, dataset = grey(path), pydicom.dcmread(path)
    said = pydicom.uid.ExplicitVRLittleEndian if implicit else pydicom.uid.ImplicitVRLittleEndian
    if syntax is not None:
        dataset.compress(syntax, generate_instance_uid=False)
        said = syntax
    dataset.preamble = bytes(128)
    with open(path, "wb") as file:
        file.write(bytes(128) + b"DICM")
        dataset.file_meta.TransferSyntaxUID = said
        pydicom.filewriter.write_file_meta_info(file, dataset.file_meta, enforce_standard=False)
        body = pydicom.filebase.DicomFileLike(file)
        body.is_little_endian, body.is_implicit_VR = True, implicit
        pydicom.filewriter.write_dataset(body, pydicom.Dataset(dataset))
    assert grey(path) == expected
    if syntax is None:
        content = path.read_bytes()
        at = content.index(b"\x28\0\x10\0") + 8  # Rows, behind tag and length, or tag, type and length
        assert content[at : at + 2] == b"\2\0"
        path.write_bytes(content[:at] + b"\1\0" + content[at + 2 :])
        with pytest.raises(DataError, match="PixelData has 12 bytes, expected 6 "):
            read_image(path)


def test_the_bundled_file_of_jpeg_without_types():
    picture = read_image(bundled("SC_rgb_jpeg.dcm"))
    np.testing.assert_array_equal(picture, pydicom.dcmread(bundled("SC_rgb_jpeg.dcm")).pixel_array)


@pytest.mark.parametrize("name", ["examples_palette.dcm", "examples_ybr_color.dcm", "SC_rgb_rle_16bit.dcm"])
def test_colours_become_rgb(name):
    path = bundled(name)
    picture = open_stack([path]).read(0)
    expected = pixel_array(path, index=0)
    if expected.ndim == 2:
        expected = pydicom.pixels.apply_color_lut(expected, pydicom.dcmread(path))
    if expected.dtype == np.uint16:
        expected = expected >> 8
    np.testing.assert_array_equal(picture, expected)


def test_a_frame_of_damaged_jpeg_data_is_refused(tmp_path):
    content = Path(bundled("SC_rgb_jpeg_dcmtk.dcm")).read_bytes()
    middle = (content.index(b"\xff\xda") + len(content)) // 2
    (tmp_path / "a.dcm").write_bytes(content[:middle] + bytes(200) + content[middle + 200 :])
    with pytest.raises(DataError, match=r"a\.dcm: frame 1 is damaged, and pixels behind .* \(Corrupt JPEG data"):
        read_image(tmp_path / "a.dcm")


def test_what_no_installed_library_decodes_is_said_with_the_library():
    with pytest.raises(DataError, match=r"JPEG-lossy.dcm: JPEG with 12 bits needs python-gdcm or pylibjpeg-libjpeg"):
        read_image(bundled("JPEG-lossy.dcm"))


def test_files_without_a_picture_are_named_by_their_kind():
    for name, kind in (("rtdose.dcm", "a dose"), ("reportsi.dcm", "a report"), ("rtplan.dcm", "a file without pixels")):
        with pytest.raises(DataError, match=f"{name}: is {kind}, no image"):
            read_image(bundled(name))


def test_scanners_write_files_without_a_suffix(tmp_path):
    for name in ("IM000001", "1.2.840.113619.2.5"):
        ct_slice(tmp_path / name, HU)
    (tmp_path / "README").write_text("no image")
    passed = []
    found = [path.name for path in iterate_images(tmp_path, passed.append)]
    assert found == ["1.2.840.113619.2.5", "IM000001"] and passed == [str(tmp_path / "README")]
    assert grey(tmp_path / "IM000001") == grey(ct_slice(tmp_path / "a.dcm", HU))
    assert count_pixels(tmp_path / "IM000001") == 6


def test_a_grey_file_is_a_mask(tmp_path):
    inside = np.zeros((8, 8), int)
    inside[2:5, 2:6] = 1
    path = ct_slice(tmp_path / "m.dcm", inside - 1024)
    np.testing.assert_array_equal(read_mask(path), inside)
    ct_slice(path, 3 * inside - 1024)
    np.testing.assert_array_equal(read_mask(path, Labels.create({"organ": 3})), inside)


@pytest.mark.parametrize(
    "white, black, rest", [(0, 1, {}), (0, 255, {}), (0, 65535, {}), (-128, 127, {"BitsStored": 8})]
)
def test_a_mask_with_white_as_the_smallest_value_is_turned_round(white, black, rest, tmp_path):
    inside = np.zeros((8, 8), int)
    inside[2:5, 2:6] = 1
    signed = {"PixelRepresentation": int(white < 0), "PhotometricInterpretation": "MONOCHROME1", **rest}
    path = ct_slice(tmp_path / "m.dcm", np.where(inside, white, black) - 1024, **signed)
    np.testing.assert_array_equal(read_mask(path), inside)
    window = ((white + black) / 2 - 1024.0, float(black - white))
    np.testing.assert_array_equal(read_image(path, ReadOptions(window=window))[..., 0] > 127, inside)
    with pytest.raises(DataError, match=r"m.dcm: is MONOCHROME1, .* data.labels .* save the mask as MONOCHROME2"):
        read_mask(path, Labels.create({"organ": 3}))


@pytest.mark.parametrize("value, found", [(0, 1), (65535, 0), (1, None)])
def test_an_even_mask_with_white_as_the_smallest_value(value, found, tmp_path):
    unsigned = {"PixelRepresentation": 0, "PhotometricInterpretation": "MONOCHROME1"}
    path = ct_slice(tmp_path / "m.dcm", np.full((4, 4), value - 1024), **unsigned)
    if found is None:
        with pytest.raises(DataError, match=r"has the value 1 throughout, .* white \(0\) nor black \(65535\)"):
            read_mask(path)
    else:
        np.testing.assert_array_equal(read_mask(path), np.full((4, 4), found))
