"""Palettes and tables of grey levels in DICOM files, of either order of bytes, width and sign."""

import numpy as np
import pydicom
import pytest
from dicom_files import ct_slice

from ddim_jax.imageio.images import ReadOptions, read_image
from ddim_jax.runtime.errors import DataError

PLAIN_WINDOW = {"WindowCenter": 127.5, "WindowWidth": 255, "VOILUTFunction": "LINEAR_EXACT"}  # 0 to 255 as they are


def grey(path, **options):
    return read_image(path, ReadOptions(**options))[..., 0].tolist()


def palette(path, entries, order="<", bits=16, words="u2"):
    """Writes the values 0, 1, 2 with these colours."""
    dataset = pydicom.dcmread(ct_slice(path, np.array([[0, 1, 2, 9]]) - 1024, PixelRepresentation=0))
    del dataset.RescaleSlope, dataset.RescaleIntercept
    dataset.PhotometricInterpretation = "PALETTE COLOR"
    for colour, own in zip(("Red", "Green", "Blue"), np.transpose(entries), strict=True):
        dataset.add_new(f"{colour}PaletteColorLookupTableDescriptor", "US", [len(own), 0, bits])
        dataset.add_new(f"{colour}PaletteColorLookupTableData", "OW", as_words(own, order, words))
    return big_endian(dataset, path) if order == ">" else dataset.save_as(path)


def as_words(entries, order, words):
    content = np.asarray(entries, f"<{words}").tobytes()
    return np.frombuffer(content, "<u2").astype(f"{order}u2").tobytes()


def big_endian(dataset, path):
    dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
    fresh = pydicom.Dataset()
    fresh.update(dataset)
    fresh.file_meta = dataset.file_meta
    fresh.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRBigEndian
    fresh.save_as(path, enforce_file_format=True)


@pytest.mark.parametrize("order", ["<", ">"])
def test_palettes_of_either_order_and_width(order, tmp_path):
    """Values behind the last entry have its colour."""
    shown = [[0, 200, 7], [255, 1, 130], [9, 8, 250], [0, 0, 0]]
    path, expected = tmp_path / "a.dcm", [[*shown[:3], shown[3]]]
    palette(path, np.multiply(shown, 257), order)
    np.testing.assert_array_equal(read_image(path), expected)
    palette(path, shown, order)  # eight bits, called and kept as 16
    np.testing.assert_array_equal(read_image(path), expected)
    palette(path, shown, order, 8, "u1")
    np.testing.assert_array_equal(read_image(path), expected)


def test_entries_of_16_bits_that_an_image_does_not_use_decide_too(tmp_path):
    """An image of dark colours alone, whose entries are below 256."""
    palette(tmp_path / "a.dcm", [[200, 100, 50]] * 10 + [[65535, 0, 0]])
    assert read_image(tmp_path / "a.dcm").tolist() == [[[0, 0, 0]] * 4]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("name", ["ModalityLUTSequence", "VOILUTSequence"])
def test_tables_of_words(name, order, tmp_path):
    """A table of 1000 entries with 8 bits each, whose places need more; and one of 16."""
    values = np.array([[-5, 0, 300, 999, 30000]])
    for bits, entries in ((8, np.arange(1000) // 4), (16, np.arange(1000) * 60)):
        dataset = pydicom.dcmread(ct_slice(tmp_path / "a.dcm", values - 1024, RescaleIntercept=0))
        item = pydicom.Dataset()
        item.add_new("LUTDescriptor", "SS", [1000, 0, bits])
        item.add_new("LUTData", "OW", as_words(entries, order, "u2"))
        setattr(dataset, name, [item])
        if order == ">":
            big_endian(dataset, tmp_path / "a.dcm")
        else:
            dataset.save_as(tmp_path / "a.dcm")
        top = 2.0**bits - 1 if name == "VOILUTSequence" else 255.0
        # A window that shows the modality's values as they are.
        window = {"window": (127.5, 255.0)} if name == "ModalityLUTSequence" else {}
        expected = np.clip(entries[[0, 0, 300, 999, 999]] * 255 / top, 0, 255)
        np.testing.assert_allclose(grey(tmp_path / "a.dcm", **window)[0], expected, atol=0.51)


@pytest.mark.parametrize("implicit", [False, True])
@pytest.mark.parametrize("kind", ["US", "SS"])
@pytest.mark.parametrize(
    ("name", "signed", "intercept", "first"),
    [
        ("ModalityLUTSequence", 1, 0, -2048),
        ("VOILUTSequence", 0, -1024, -1024),  # unsigned values, negative only behind the modality's intercept
        ("VOILUTSequence", 1, 0, -1024),
        ("VOILUTSequence", 0, 0, 40000),
        ("VOILUTSequence", 1, 32768, 40000),
        ("VOILUTSequence", 0, 0, 100),
    ],
)
def test_the_first_value_of_a_table_has_the_sign_of_values(name, signed, intercept, first, kind, implicit, tmp_path):
    """In either type that it may be written in, and without one."""
    values = np.array([[-1, 0, 1, 17, 63, 99]]) + first - intercept
    stored = np.clip(values, 0, None) if not signed else values
    path = ct_slice(
        tmp_path / "a.dcm",
        stored,
        RescaleIntercept=intercept,
        PixelRepresentation=signed,
        PixelData=stored.astype("<i4").astype("<u2").tobytes(),
        **PLAIN_WINDOW,
    )
    dataset, item, entries = pydicom.dcmread(path), pydicom.Dataset(), np.arange(64) * 4
    wrapped = (first + 2**15) % 2**16 - 2**15 if kind == "SS" else first % 2**16
    item.add_new("LUTDescriptor", kind, [64, wrapped, 8])
    item.add_new("LUTData", "OW", as_words(entries, "<", "u2"))
    setattr(dataset, name, [item])
    if implicit:
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
    dataset.save_as(path, implicit_vr=implicit, little_endian=True)
    assert grey(path)[0] == [0, 0, 4, 68, 252, 252]


@pytest.mark.parametrize("name", ["ModalityLUTSequence", "VOILUTSequence"])
@pytest.mark.parametrize(
    ("descriptor", "entries", "said"),
    [
        (
            [4096, 0, 16],
            np.arange(200),
            "LUTData ({name}) has 200 entries, its LUTDescriptor says 4096; expect",
        ),
        ([0, 0, 16], np.arange(200), "LUTData ({name}) has 200 entries, its LUTDescriptor says 65536;"),
        # More bytes than entries, and fewer than those take.
        ([300, 0, 16], np.arange(200), "LUTData ({name}) has 200 entries, its LUTDescriptor says 300;"),
        ([300, 0, 8], np.arange(100), "LUTData ({name}) has 200 entries, its LUTDescriptor says 300;"),
        ([300, 0], np.arange(300), "LUTDescriptor ({name}) has not three whole numbers, expected those of entries"),
        (None, np.arange(300), "LUTDescriptor ({name}) has not three whole numbers, expected those of entries"),
        ([300, 0, 16], None, "has no LUTData ({name}), expected the 300 entries of its table; copy it again"),
    ],
)
def test_a_table_that_is_cut_says_what_is_there(name, descriptor, entries, said, tmp_path):
    path = ct_slice(tmp_path / "a.dcm", np.array([[0, 1, 2]]) - 1024)
    dataset, item = pydicom.dcmread(path), pydicom.Dataset()
    if descriptor is not None:
        item.add_new("LUTDescriptor", "US", descriptor)
    if entries is not None:
        item.add_new("LUTData", "OW", as_words(entries, "<", "u2"))
    setattr(dataset, name, [item])
    dataset.save_as(path)
    with pytest.raises(DataError, match=r"a\.dcm: ") as error:
        read_image(path)
    assert said.format(name=name) in str(error.value)


def test_eight_bits_that_are_called_sixteen_and_packed_two_to_a_word(tmp_path):
    """Some ultrasound devices write them so."""
    shown = [[0, 200, 7], [255, 1, 130], [9, 8, 250], [0, 0, 0]]
    palette(tmp_path / "a.dcm", shown, "<", 16, "u1")
    np.testing.assert_array_equal(read_image(tmp_path / "a.dcm"), [[*shown[:3], shown[3]]])


def test_a_palette_that_is_cut_says_which(tmp_path):
    palette(tmp_path / "a.dcm", np.multiply([[0, 200, 7]] * 4, 257))
    dataset = pydicom.dcmread(tmp_path / "a.dcm")
    dataset.GreenPaletteColorLookupTableData = dataset.GreenPaletteColorLookupTableData[:6]
    dataset.save_as(tmp_path / "a.dcm")
    said = "GreenPaletteColorLookupTableData has 3 entries, its GreenPaletteColorLookupTableDescriptor says 4;"
    with pytest.raises(DataError, match=rf"a\.dcm: its {said}"):
        read_image(tmp_path / "a.dcm")
