"""Grey levels of DICOM files whose values are signed, or whose window is narrow."""

import warnings

import numpy as np
import pytest
from dicom_files import ct_slice

from ddim_jax.imageio.images import ReadOptions, read_image, read_mask, read_picture
from ddim_jax.imageio.stacks import open_stack
from ddim_jax.labels import Labels
from ddim_jax.runtime.errors import DataError

PLAIN = {"RescaleSlope": None, "RescaleIntercept": None, "RescaleType": None, "BitsAllocated": 8}


@pytest.mark.parametrize(("bits", "signed"), [(8, 0), (8, 1), (6, 0), (6, 1)])
def test_all_values_of_eight_bits_are_told_apart(bits, signed, tmp_path):
    low = -(2 ** (bits - 1)) if signed else 0
    values = np.arange(low, low + 2**bits).reshape(4, -1)
    path = ct_slice(tmp_path / "a.dcm", values, **PLAIN, BitsStored=bits, HighBit=bits - 1, PixelRepresentation=signed,
                    PixelData=values.astype(np.int8 if signed else np.uint8).tobytes())  # fmt: skip
    expected = np.round(np.arange(2**bits) * 255 / (2**bits - 1)).reshape(values.shape)
    np.testing.assert_array_equal(read_image(path)[..., 0], expected)
    stack = open_stack([path])
    centre, width = stack.window(0)
    assert (centre - width / 2, width) == (low, 2**bits - 1)
    np.testing.assert_array_equal(stack.with_window((centre, width)).read(0)[..., 0], expected)


RAMP = np.arange(-128, 128).reshape(16, 16)


@pytest.mark.parametrize("width", [0.4, 1, 8, 100])
@pytest.mark.parametrize("function", [None, "LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_a_file_s_own_window_given_changes_nothing(function, width, tmp_path):
    said = {} if function is None else {"VOILUTFunction": function}
    path = ct_slice(tmp_path / "a.dcm", RAMP, WindowCenter=40, WindowWidth=width, **said)
    stack = open_stack([path])
    assert stack.window(0) == (40, width)
    np.testing.assert_array_equal(stack.with_window((40.0, width)).read(0), read_image(path))
    np.testing.assert_array_equal(read_image(path, ReadOptions(window=(40.0, width))), read_image(path))


def test_a_given_window_is_shown_by_the_function_of_the_one_that_it_replaces(tmp_path):
    def shown(**own):
        path = ct_slice(tmp_path / "a.dcm", RAMP[8:9, :8], **own)  # 0 to 7
        return read_image(path, ReadOptions(window=(4.0, 8.0)))[0, :, 0]

    linear = np.round(255 * np.arange(8) / 7)  # PS3.3 C.11.2.1.2.1: ((x - 3.5) / 7 + 0.5) * 255
    exact = np.round(255 * np.arange(8) / 8)  # C.11.2.1.3.2: ((x - 4) / 8 + 0.5) * 255
    sigmoid = np.round(255 / (1 + np.exp(-4 * (np.arange(8) - 4) / 8)))  # C.11.2.1.3.1
    wide = {"WindowCenter": 0, "WindowWidth": 4000}
    np.testing.assert_array_equal(shown(**wide), linear)
    np.testing.assert_array_equal(shown(**wide, VOILUTFunction="LINEAR_EXACT"), exact)
    np.testing.assert_array_equal(shown(**wide, VOILUTFunction="SIGMOID"), sigmoid)
    np.testing.assert_array_equal(shown(), exact)  # there is none to replace
    np.testing.assert_array_equal(shown(WindowCenter=0, WindowWidth=-1, VOILUTFunction="SIGMOID"), exact)


def test_the_window_that_slices_share_given_changes_nothing(tmp_path):
    """Neither to a slice without one, nor to one of another function."""
    functions = {0: "LINEAR_EXACT", 1: "SIGMOID", 2: "LINEAR"}
    for number in range(4):
        own = {"WindowCenter": number, "WindowWidth": 9, "VOILUTFunction": functions.get(number)}
        ct_slice(tmp_path / f"{number}.dcm", RAMP, place=(0, 0, number), number=number,
                 **(own if number in functions else {}))  # fmt: skip
    files = sorted(tmp_path.iterdir())
    stack, given = open_stack(files), open_stack(files, ReadOptions(window=(1.0, 9.0)))
    assert (
        stack.window(3) == (1, 9)
        and stack.remarks[0].startswith("windows differ")
        and given.remarks == stack.remarks[1:]
    )
    for number in range(4):
        np.testing.assert_array_equal(stack.with_window((1.0, 9.0)).read(number), stack.read(number))
        np.testing.assert_array_equal(given.read(number), stack.read(number))


@pytest.mark.parametrize("width", [2, 1e-5, 1e-30])
def test_a_narrow_sigmoid_warns_of_nothing(width, tmp_path):
    values = np.array([[-3000, -1, 0], [1, 2, 3000]])
    path = ct_slice(tmp_path / "a.dcm", values, WindowCenter=0, WindowWidth=width, VOILUTFunction="SIGMOID")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shown = read_image(path)[..., 0]
    near = 255 / (1 + np.exp(2)) if width == 2 else 0  # PS3.3 C.11.2.1.3.1, one unit beside the centre
    far = 255 / (1 + np.exp(4)) if width == 2 else 0
    np.testing.assert_array_equal(shown, np.round([[0, near, 127.5], [255 - near, 255 - far, 255]]))


@pytest.mark.parametrize(
    ("kind", "shape", "white_is_low"),
    [
        ("MONOCHROME2", None, False),
        ("MONOCHROME2", "IDENTITY", False),
        ("MONOCHROME2", "INVERSE", True),
        ("MONOCHROME2", "LIN OD", False),
        ("MONOCHROME1", None, True),
        ("MONOCHROME1", "INVERSE", True),
        ("MONOCHROME1", "IDENTITY", False),
    ],
)
def test_the_presentation_shape_says_which_end_is_white(kind, shape, white_is_low, tmp_path):
    """PS3.3 C.11.6.1.2; a shape that the kind contradicts has a note."""
    values = np.arange(256).reshape(16, 16)
    said = {"PhotometricInterpretation": kind} | ({"PresentationLUTShape": shape} if shape else {})
    window = {"WindowCenter": 127.5, "WindowWidth": 255, "VOILUTFunction": "LINEAR_EXACT"}
    path = ct_slice(tmp_path / "a.dcm", values, RescaleIntercept=-1024, **said, **window)
    found, stack = read_picture(path), open_stack([path])
    np.testing.assert_array_equal(found.pixels[..., 0], 255 - values if white_is_low else values)
    contradicted = {(kind, shape)} <= {("MONOCHROME2", "INVERSE"), ("MONOCHROME1", "IDENTITY")}
    end = "smallest" if white_is_low else "largest"
    note = f"PresentationLUTShape followed ({shape}, which {kind} contradicts; the {end} value is white)"
    assert found.notes == ((note,) if contradicted else ()) == stack.notes(0)
    assert stack.white_is_low is white_is_low


def test_a_mask_of_either_shape(tmp_path):
    inside = np.zeros((8, 8), int)
    inside[2:5, 2:6] = 1
    for kind, shape, stored in (("MONOCHROME2", "INVERSE", 1 - inside), ("MONOCHROME1", "IDENTITY", inside)):
        said = {"PhotometricInterpretation": kind, "PresentationLUTShape": shape}
        path = ct_slice(tmp_path / "m.dcm", 3 * stored - 1024, PixelRepresentation=0, **said)
        np.testing.assert_array_equal(read_mask(path), inside)
        if shape == "INVERSE":
            with pytest.raises(DataError, match="is of the PresentationLUTShape INVERSE, white as the smallest value"):
                read_mask(path, Labels.create({"organ": 3}))
        else:
            np.testing.assert_array_equal(read_mask(path, Labels.create({"organ": 3})), inside)
