"""DICOM headers that claim what is not so: refused or noted, without a word of them."""

import numpy as np
import pydicom
import pytest
from dicom_damage import damage
from dicom_files import ct_slice

from ddim_jax.imageio import dicom_bounds
from ddim_jax.imageio.images import ReadOptions, read_image, read_picture
from ddim_jax.imageio.stacks import open_stack
from ddim_jax.runtime.errors import DataError

HU = np.array([[-1000, -160, 40], [240, 400, 3000]])


def test_no_error_quotes_the_header(tmp_path):
    path = ct_slice(tmp_path / "a.dcm", HU, PatientID="Secret^Id")
    whole = path.read_bytes()
    at = whole.index(b"\x28\x00\x10\x00US")  # Rows
    for damaged in (whole[:at], whole[:-3], whole.replace(b"DS\x08\0-1024.0 ", b"DS\x08\0Secret^N"), b"", b"\0" * 999):
        assert damaged != whole
        path.write_bytes(damaged)
        with pytest.raises(DataError) as error:
            read_image(path)
        assert str(path) in str(error.value) and "Secret" not in str(error.value)
        assert error.value.__suppress_context__ or error.value.__context__ is None


def test_a_header_that_claims_more_than_there_is_fills_no_memory(tmp_path):
    for claim, frames, size in (
        ({"Rows": 60000, "Columns": 60000}, 1, 7200000000),
        ({"Rows": 6000, "Columns": 6000}, 1, 72000000),
        ({"NumberOfFrames": 10**6}, 10**6, 12000000),
    ):
        path = ct_slice(tmp_path / "a.dcm", HU, **claim)
        with pytest.raises(DataError, match=rf"PixelData has 12 bytes, expected {size} \({frames} frames? of"):
            read_image(path)
        file = pydicom.dcmread(ct_slice(path, HU))
        file.compress(pydicom.uid.RLELossless, generate_instance_uid=False)  # whose length the element does not say
        for name, value in claim.items():
            setattr(file, name, value)
        file.save_as(path)
        said = {
            60000: "60000 x 60000 pixels, expected at most",
            6000: r"the runs of an RLE frame give \d+ values .*, expected Rows x Columns, 36000000",
        }
        with pytest.raises(DataError, match=said.get(claim.get("Rows"), "holds 1000000 frames, expected one")):
            read_image(path)
    with pytest.raises(DataError, match=r"a\.dcm: its pixels have no frame 2 of the 3 that NumberOfFrames says"):
        file.NumberOfFrames = 3
        file.save_as(path)
        open_stack([path]).read(1)


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"PhotometricInterpretation": None}, "has no PhotometricInterpretation that is known for 1 value a pixel"),
        ({"PhotometricInterpretation": "HSV"}, "expected one of MONOCHROME1, MONOCHROME2, PALETTE COLOR. Convert"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "lacks its RedPaletteColorLookupTableDescriptor or Red"),
        ({"SamplesPerPixel": None}, "has no SamplesPerPixel, which DICOM images have to say"),
        ({"PixelRepresentation": None}, "has no PixelRepresentation,"),
        ({"PixelRepresentation": 7}, "has the PixelRepresentation 7; expected 0 or 1"),
        ({"PixelData": None}, r"has no pixels \(PixelData\) in its \d{3,4} bytes; it is truncated, or was"),
        ({"NumberOfFrames": -2}, "has the NumberOfFrames -2; expected 1 or more"),
        ({"NumberOfFrames": 5}, r"PixelData has 12 bytes, expected 60 \(5 frames of 3 x 2 pixels of 1 x 16 bits\)"),
    ],
)
def test_what_an_image_lacks_is_named(tmp_path, attributes, said):
    path = ct_slice(tmp_path / "x.dcm", HU, **attributes)
    with pytest.raises(DataError, match=rf"x\.dcm: .*{said}"):
        read_image(path)
    with pytest.raises(DataError, match=said):
        open_stack([path]).read(0)


@pytest.mark.parametrize("name", ["NumberOfFrames", "RescaleSlope", "RescaleIntercept"])
def test_what_is_no_number_is_named_and_not_quoted(name, tmp_path):
    path = ct_slice(tmp_path / "x.dcm", HU, **{name: 1})
    damage(path, name, b"Secret")
    with pytest.raises(DataError, match=rf"x\.dcm: .*{name}") as error:
        read_image(path)
    assert "Secret" not in str(error.value) and "truncated" not in str(error.value)


@pytest.mark.parametrize("name", ["WindowCenter", "WindowWidth"])
def test_a_window_that_is_no_number_has_a_note(name, tmp_path):
    values = np.arange(16).reshape(4, 4)
    plain = read_picture(ct_slice(tmp_path / "x.dcm", values)).pixels
    path = ct_slice(tmp_path / "a.dcm", values, WindowCenter=3, WindowWidth=3)
    damage(path, name, b"4096,0")
    found = read_picture(path)
    np.testing.assert_array_equal(found.pixels, plain)
    said = ("no number", "3") if name == "WindowCenter" else ("3", "no number")
    assert found.notes == (
        f"window not used (its centre is {said[0]} and its width {said[1]}; the range of the values is)",
    )


@pytest.mark.parametrize("syntax", ["explicit", "implicit", "odd", "big"])
def test_a_file_that_is_cut_says_what_is_there(tmp_path, syntax):
    """However it is encoded; odd: without types, in a file that says types."""
    path, values = tmp_path / "x.dcm", np.arange(64).reshape(8, 8)
    file = pydicom.dcmread(ct_slice(path, values))
    uids = {"implicit": "1.2.840.10008.1.2", "big": "1.2.840.10008.1.2.2"}
    fresh = pydicom.Dataset()
    fresh.update(file)
    fresh.file_meta = file.file_meta
    fresh.file_meta.TransferSyntaxUID = uids.get(syntax, "1.2.840.10008.1.2.1")
    if syntax != "odd":
        fresh.save_as(path, enforce_file_format=True)
    else:
        with open(path, "wb") as written:
            written.write(bytes(128) + b"DICM")
            pydicom.filewriter.write_file_meta_info(written, fresh.file_meta, enforce_standard=False)
            body = pydicom.filebase.DicomFileLike(written)
            body.is_little_endian, body.is_implicit_VR = True, True
            pydicom.filewriter.write_dataset(body, fresh)
    path.write_bytes(path.read_bytes()[:-5])
    said = r"is truncated, it ends after 123 bytes of PixelData, expected 128 \(1 frame of 8 x 8 pixels of"
    with pytest.raises(DataError, match=rf"x\.dcm: {said}.*; copy it again, or save it anew"):
        read_image(path)


def test_a_deflated_file_is_refused(tmp_path):
    path = ct_slice(tmp_path / "x.dcm", np.arange(64).reshape(8, 8))
    file = pydicom.dcmread(path)
    file.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1.99"
    file.save_as(path, enforce_file_format=True)
    for cut in (None, -9):
        path.write_bytes(path.read_bytes()[:cut])
        with pytest.raises(DataError, match=r"x\.dcm: is deflated \(Deflated .*\); save it without compression\.$"):
            read_image(path)


def test_a_frame_that_is_cut_says_what_is_there(tmp_path):
    path = ct_slice(tmp_path / "x.dcm", np.arange(64).reshape(8, 8))
    file = pydicom.dcmread(path)
    file.compress(pydicom.uid.RLELossless, generate_instance_uid=False)
    file.save_as(path)
    whole = path.read_bytes()
    at = whole.rindex(b"\xfe\xff\x00\xe0")  # the item of the frame
    length = int.from_bytes(whole[at + 4 : at + 8], "little")
    path.write_bytes(whole[: at + 8 + length - 3])
    said = rf"is truncated, it ends after {length - 3} of the {length} bytes of part 2 of its pixels; copy it again"
    with pytest.raises(DataError, match=rf"x\.dcm: {said}"):
        read_image(path)


def test_other_formats_are_known_by_their_first_bytes(tmp_path):
    path = tmp_path / "x.dcm"
    for content, kind in ((b"\x89PNG\r\n\x1a\n", "PNG"), (b"\xff\xd8\xff\xe0", "JPEG"), (b"PK\x03\x04", "zip")):
        path.write_bytes(content + bytes(500))
        with pytest.raises(DataError, match=rf"x\.dcm: is no DICOM file \(it is a {kind} file\); expected the letters"):
            read_image(path)


def test_a_kind_in_small_letters_is_that_kind(tmp_path):
    for kind in ("MONOCHROME1", "MONOCHROME2"):
        expected = read_image(ct_slice(tmp_path / "a.dcm", HU, PhotometricInterpretation=kind))
        path = ct_slice(tmp_path / "b.dcm", HU, PhotometricInterpretation=kind.lower())
        np.testing.assert_array_equal(read_image(path), expected)


def test_a_header_of_too_many_attributes(tmp_path, monkeypatch):
    path = ct_slice(tmp_path / "x.dcm", np.zeros((4, 4)))
    monkeypatch.setattr(dicom_bounds, "_HEADER_STEPS", 40)
    with pytest.raises(
        DataError, match=r"x\.dcm: its header has more than 20 attributes, expected fewer; copy it again"
    ):
        read_image(path)


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"RescaleSlope": 0}, "has the RescaleSlope 0 and the RescaleIntercept -1024, which give no values"),
        ({"RescaleSlope": "1e300"}, "has the RescaleSlope 1e.300 and"),
        ({"RescaleSlope": "1e-300"}, "has the RescaleSlope 1e-300 and"),
        ({"RescaleSlope": "-1e31"}, "has the RescaleSlope -1e.31 and"),
        (
            {"RescaleIntercept": "1e300"},
            "has the RescaleSlope 1 and the RescaleIntercept 1e.300, which give no values; expected finite numbers",
        ),
        ({"BitsStored": 17}, r"has 17 bits stored \(BitsStored\) of 16; expected 1 to 16"),
        ({"BitsStored": 0}, r"has 0 bits stored \(BitsStored\) of 16; expected 1 to 16"),
        ({"BitsStored": None}, r"does not say how many bits a value has \(BitsStored\)"),
    ],
)
def test_numbers_that_make_no_picture_are_refused(tmp_path, attributes, said):
    path = ct_slice(tmp_path / "x.dcm", np.arange(16).reshape(4, 4), **attributes)
    with pytest.raises(DataError, match=rf"x\.dcm: {said}"):
        read_image(path)


def test_a_window_that_is_none_has_a_note(tmp_path):
    values = np.arange(16).reshape(4, 4)
    plain = read_picture(ct_slice(tmp_path / "x.dcm", values))
    for number, width in enumerate((0, -5)):
        path = ct_slice(tmp_path / f"{number}.dcm", values, WindowCenter=3, WindowWidth=width)
        found = read_picture(path)
        np.testing.assert_array_equal(found.pixels, plain.pixels)
        said = f"window not used (its centre is 3 and its width {width}; the range of the values is)"
        assert found.notes == (said,) == open_stack([path]).notes(0)
        assert read_picture(path, ReadOptions(window=(3.0, 5.0))).notes == ()
    assert plain.notes == read_picture(ct_slice(tmp_path / "y.dcm", values, WindowCenter=3, WindowWidth=9)).notes == ()


def test_a_window_that_shows_nothing_is_told_of_and_an_image_of_one_value_by_that(tmp_path):
    window = ReadOptions(window=(9000.0, 10.5))
    found = read_picture(ct_slice(tmp_path / "x.dcm", HU), window)
    told = "the window 9000,10.5 shows every pixel alike, so the result is empty; leave it out or widen it"
    assert found.notes == (f"even ({told})",)
    flat = ct_slice(tmp_path / "flat.dcm", np.zeros((2, 3)))
    told = ("even (there is one value in all pixels, so the result is empty)",)
    assert read_picture(flat).notes == read_picture(flat, window).notes == told
    assert read_picture(tmp_path / "x.dcm").notes == ()


@pytest.mark.parametrize("syntax", ["explicit", "implicit"])
def test_frames_that_the_header_does_not_count_are_not_left_out(tmp_path, syntax):
    path, values = tmp_path / "x.dcm", np.arange(36).reshape(6, 6)
    uid = {"explicit": "1.2.840.10008.1.2.1", "implicit": "1.2.840.10008.1.2"}[syntax]
    for rows, refused in ((6, False), (3, True), (2, True), (5, False)):
        file = pydicom.dcmread(ct_slice(path, values, Rows=rows))
        file.file_meta.TransferSyntaxUID = uid
        file.save_as(path, implicit_vr=syntax == "implicit", little_endian=True)
        if refused:
            with pytest.raises(DataError, match=f"PixelData has 72 bytes, expected {rows * 12} "):
                read_image(path)
        else:
            assert read_image(path).shape == (rows, 6, 3)


@pytest.mark.parametrize(
    ("syntax", "said"),
    [
        ("1.2.840.10008.1.2.4.100", "is a video (MPEG2 Main Profile / Main Level); export the frames"),
        ("1.2.840.10008.1.2.4.102.1", "is a video (Fragmentable MPEG-4 AVC/H.264 High Profile / Level 4.1); export"),
        ("1.2.840.10008.1.2.4.108", "is a video (HEVC/H.265 Main 10 Profile / Level 5.1); export"),
        ("1.2.840.10008.1.2.7.1", "is a video (SMPTE ST 2110-20 Uncompressed Progressive Active Video); export"),
        ("1.2.840.10008.1.2.4.94", "is encoded as JPIP Referenced, which is not decoded here; save it without"),
        ("1.2.3.4", "its encoding (TransferSyntaxUID) is not known; save it without compression"),
    ],
)
def test_what_is_decoded_nowhere_is_refused_by_its_name(tmp_path, syntax, said):
    """Many frames are refused as one is: they are not said to be too many, nor the stream to be damaged."""
    path = ct_slice(tmp_path / "x.dcm", HU, NumberOfFrames=3, PhotometricInterpretation="YBR_PARTIAL_420")
    file = pydicom.dcmread(path)
    file.PixelData = pydicom.encaps.encapsulate([b"\0\0\0\x18ftypmp42" + bytes(500)], has_bot=False)
    file["PixelData"].is_undefined_length = True
    file.file_meta.TransferSyntaxUID = syntax
    file.save_as(path, implicit_vr=False, little_endian=True)
    for read in (read_image, lambda path: open_stack([path])):
        with pytest.raises(DataError) as error:
            read(path)
        assert str(error.value).startswith(f"{path}: {said}")


@pytest.mark.parametrize(
    ("centres", "widths", "count"),
    [([40, -600], [400, 1500], 2), ([40, 40], [400, 400], 1), ([40, -600, 300], [400, 1500, 1500], 3), (40, 400, 1)],
)
def test_of_several_windows_the_first_is_used_and_told(centres, widths, count, tmp_path):
    """Equal ones, as some scanners write them, are one."""
    values = np.linspace(-1000, 1000, 16).reshape(4, 4)
    path = ct_slice(tmp_path / "a.dcm", values, WindowCenter=centres, WindowWidth=widths)
    said = f"first of {count} windows used (centre 40, width 400; another can be given)"
    assert read_picture(path).notes == open_stack([path]).notes(0) == ((said,) if count > 1 else ())
    given = read_picture(path, ReadOptions(window=(40.0, 400.0)))
    assert given.notes == ()
    np.testing.assert_array_equal(given.pixels, read_picture(path).pixels)
