import gzip
import re
import struct
import zipfile

import nibabel
import numpy as np
import pytest

from ddim_jax.imageio.containers import files_inside
from ddim_jax.imageio.images import ReadOptions, count_pixels, read_image, read_mask, read_picture
from ddim_jax.imageio.stacks import open_stack
from ddim_jax.inference.jobs import Job
from ddim_jax.inference.sliced_image import SlicedImage
from ddim_jax.labels import Labels
from ddim_jax.runtime.errors import DataError

SHAPE = (5, 6, 7)


def saved(path, values, codes="RAS", spacing=(1, 1, 3)):
    affine = np.diag([0.0, 0, 0, 1])
    for axis, code in enumerate(codes):
        world = next(k for k, pair in enumerate(("LR", "PA", "IS")) if code in pair)
        affine[world, axis] = spacing[axis] * (1 if code in "RAS" else -1)
    image = nibabel.Nifti1Image(values, affine)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)
    return path


def landmark(codes, spacing, world):
    """A volume whose one bright voxel lies farthest towards `world`, such as L, P and S."""
    values = np.zeros(SHAPE, np.uint8)
    values[tuple(-1 if code in world else 0 for code in codes)] = 255
    return values, codes, spacing


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("codes", ["RAS", "LPS", "ARI", "SPL"])
def test_slices_are_turned_as_radiologists_see_them(codes, suffix, tmp_path):
    def slice_of(across, world):
        spacing = [3 if code in across else 1 for code in codes]
        stack = open_stack([saved(tmp_path / f"v{suffix}", *landmark(codes, spacing, world))])
        assert stack.count == SHAPE[next(axis for axis, code in enumerate(codes) if code in across)]
        seen = np.stack([stack.read(number)[..., 0] for number in range(stack.count)])
        return [int(place) for place in np.argwhere(seen == 255)[0]], [side - 1 for side in seen.shape]

    place, last = slice_of("SI", "LPS")  # axial: the left on the right, the back below, the head last
    assert place == last
    place, last = slice_of("AP", "LIP")  # coronal: the left on the right, the feet below
    assert place == last
    place, last = slice_of("RL", "PIL")  # sagittal: the back on the right, the feet below
    assert place == last


def test_a_qform_that_shows_a_file_otherwise_than_its_sform_is_refused(tmp_path):
    def with_forms(sform, qform, codes=(2, 1)):
        image = nibabel.Nifti1Image(np.zeros((20, 16, 6), np.int16), np.diag([1.0, 1, 5, 1]))
        image.header.set_xyzt_units("mm")
        image.set_sform(sform, code=codes[0])
        image.set_qform(qform, code=codes[1])
        nibabel.save(image, tmp_path / "v.nii")
        return tmp_path / "v.nii"

    upright, mirrored, fallen = np.diag([1.0, 1, 5, 1]), np.diag([-1.0, 1, 5, 1]), np.eye(4)
    fallen[:3, :3] = [[1, 0, 0], [0, 0, 5], [0, 1, 0]]
    for qform, codes in ((mirrored, "L, A, S"), (fallen, "R, S, A")):
        both = rf"v.nii: its sform \(code 2\) .* towards R, A, S, its qform \(code 1\) towards {codes}; expected"
        with pytest.raises(DataError, match=both):
            open_stack([with_forms(upright, qform)])
        with pytest.raises(DataError, match=both):
            read_mask(with_forms(upright, qform))
        for one_alone in ((2, 0), (0, 1)):
            remarks = open_stack([with_forms(upright, qform, one_alone)]).remarks
            assert not any("qform" in remark for remark in remarks)
    for moved, remarks in ((0.4, []), (3.0, ["sform and qform differ (by up to 3 at a corner; the sform is used)"])):
        elsewhere = upright.copy()
        elsewhere[0, 3] = moved
        stack = open_stack([with_forms(upright, elsewhere)])
        assert stack.remarks == remarks and stack.affine[0, 3] == 0
    path = with_forms(upright, mirrored)
    content = bytearray(path.read_bytes())
    content[256:268] = np.full(3, 9, "<f4").tobytes()  # no quaternion
    path.write_bytes(content)
    assert open_stack([path]).remarks == []


@pytest.mark.parametrize(
    ("codes", "spacing", "slice_axis", "axis", "plane"),
    [
        ("SRA", (1, 1, 1.004), None, 0, "axial"),
        ("RAS", (0.7, 0.7, 0.625), None, 2, "axial"),  # a CT whose slices are thinner than its pixels are wide
        ("RAS", (0.98, 0.98, 0.5), 1, 2, "axial"),
        ("PIR", (0.7, 0.9, 5), None, 2, "sagittal"),
        ("RAS", (3, 0.5, 0.52), None, 0, "sagittal"),
        ("ASR", (0.4, 1, 1), None, 0, "coronal"),
        ("RAS", (1, 1, 1), 0, 0, "sagittal"),
        ("RAS", (5, 1, 2), None, 0, "sagittal"),
        ("RAS", (0.5, 0.7, 0.9), 1, 1, "coronal"),  # all differ
        ("RAS", (0.5, 2, 3), None, 2, "axial"),
        ("RAS", (0.9, 0.7, 0.5), None, 2, "axial"),
    ],
)
def test_slices_lie_across_the_spacing_that_is_the_odd_one_out(codes, spacing, slice_axis, axis, plane, tmp_path):
    path = saved(tmp_path / "v.nii", np.zeros(SHAPE, np.int16), codes, spacing)
    image = nibabel.load(path)
    image.header.set_dim_info(slice=slice_axis)
    nibabel.save(image, tmp_path / "w.nii")
    stack = open_stack([tmp_path / "w.nii"])
    assert (stack.count, stack.plane) == (SHAPE[axis], plane)
    told = [remark for remark in stack.remarks if remark.startswith("slices are")]
    sides = " x ".join(f"{side:g}" for side in spacing)
    across = f"slices are {plane} (across axis {axis + 1}; spacings {sides})"
    assert told == ([] if plane == "axial" else [across])


def test_results_lie_where_the_values_lay(tmp_path):
    rng = np.random.default_rng(0)
    values = rng.integers(-9, 9, SHAPE).astype(np.int16)
    for codes in ("RAS", "PIR", "LSA"):
        stack = open_stack([saved(tmp_path / "v.nii.gz", values, codes, (2, 1, 1))])
        slices = np.stack([stack.read(number)[..., 0] for number in range(stack.count)])
        image = stack.image_of(stack.as_stored((slices > 127).astype(np.uint8)), "about")
        nibabel.save(image, tmp_path / "out.nii.gz")
        back = nibabel.load(tmp_path / "out.nii.gz")
        np.testing.assert_array_equal(back.affine, nibabel.load(tmp_path / "v.nii.gz").affine)
        assert back.get_data_dtype() == np.uint8
        np.testing.assert_array_equal(np.asarray(back.dataobj), values > -0.5)


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_results_have_no_text_of_their_source(kind, tmp_path):
    image = kind(np.zeros(SHAPE, np.int16), np.eye(4))
    image.header.set_intent("z score", (), "Secret^Name")
    for name in {"data_type", "db_name", "aux_file", "descrip"} & set(image.header.keys()):
        image.header[name] = b"Secret^Name"[: image.header[name].dtype.itemsize]
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"Secret^Name"))
    nibabel.save(image, tmp_path / "v.nii")
    assert (tmp_path / "v.nii").read_bytes().count(b"Secret") >= 4
    made = open_stack([tmp_path / "v.nii"]).image_of(np.zeros(SHAPE, np.uint8), "about")
    nibabel.save(made, tmp_path / "out.nii")
    assert isinstance(made, kind) and b"Secret" not in (tmp_path / "out.nii").read_bytes()
    assert made.header.get_intent() == ("none", (), "") and made.header["descrip"].item() == b"about"


def test_a_window_and_the_range_of_all_slices(tmp_path):
    values = np.zeros((4, 5, 3), np.float32) + np.array([-100, 0, 300], np.float32)
    path = saved(tmp_path / "v.nii", values)
    assert [int(open_stack([path]).read(k).mean()) for k in range(3)] == [0, 64, 255]
    stack = open_stack([path], ReadOptions(window=(0.0, 200.0)))
    assert [int(stack.read(k).mean()) for k in range(3)] == [0, 128, 255]
    values[0, 0, 0], values[1, 1, 0] = np.nan, np.inf
    assert open_stack([saved(path, values)]).read(0).max() == 255


def test_values_that_are_no_numbers_are_counted(tmp_path):
    values = np.linspace(0, 1, 60, dtype=np.float32).reshape(4, 5, 3)
    values[0, 0, 0], values[1, 2, 0], values[3, 4, 0], values[2, 2, 2] = np.nan, np.inf, -np.inf, np.nan
    stack = open_stack([saved(tmp_path / "v.nii", values)])
    assert [len(stack.notes(index)) for index in range(3)] == [1, 0, 1]
    assert [stack.notes(index) for index in (0, 1)] == [
        ("not finite (3 values are NaN or infinite; NaN is shown black)",), ()
    ]  # fmt: skip
    found = read_picture(saved(tmp_path / "one.nii", values[..., :1]))
    assert found.notes == ("not finite (3 values are NaN or infinite; NaN is shown black)",)
    source = SlicedImage(Job(str(tmp_path), "v.nii", "v"), ReadOptions())
    seen = [source.read(index).pixels[..., 0] for index in range(3)]
    shown = stack.upright(values)
    assert [int(seen[0][np.isnan(shown[0])][0]), int(seen[0][shown[0] == np.inf][0])] == [0, 255]
    assert source.notes == ("not finite (2 of 3 slices; 3 values are NaN or infinite; NaN is shown black)",)


def test_one_slice_is_a_picture_and_a_mask(tmp_path):
    values = np.zeros((6, 4, 1), np.uint8)
    values[1:3, 2:] = 2
    path = saved(tmp_path / "m.nii.gz", values, "LPS", (1, 1, 1))
    assert read_image(path).shape == (4, 6, 3) and count_pixels(path) == 24
    np.testing.assert_array_equal(read_image(path)[..., 0], values[..., 0].T)
    np.testing.assert_array_equal(read_mask(path, Labels.create({"organ": 2})), values[..., 0].T // 2)
    with pytest.raises(DataError, match="holds 7 slices, expected one"):
        read_image(saved(tmp_path / "v.nii", np.zeros(SHAPE, np.int16)))


def damaged(whole):
    longer = bytearray(whole)
    longer[40:56] = np.array([3, 600, 600, 600, 1, 1, 1, 1], "<i2").tobytes()
    bomb = bytearray(whole)
    bomb[40:56] = np.array([3, 30000, 30000, 30000, 1, 1, 1, 1], "<i2").tobytes()
    offset = bytearray(whole)
    offset[108:112] = np.float32(1e9).tobytes()
    no_map = bytearray(whole)
    no_map[280:328] = np.full(12, np.nan, "<f4").tobytes()
    kind = bytearray(whole)
    kind[70:72] = b"\xff\x7f"
    negative = bytearray(whole)
    negative[40:56] = np.array([3, 60, 50, -1, 1, 1, 1, 1], "<i2").tobytes()
    return {
        "negative": (bytes(negative), "holds 60 x 50 x -1 values; expected two or three dimensions"),
        "empty": (b"", "is empty"),
        "no NIfTI": (b"\0" * 999, "is no NIfTI file"),
        "cut": (whole[:-5], "truncated or damaged"),
        "cut in the header": (whole[:300], "is no NIfTI file"),
        "cut in a header of NIfTI-2": (struct.pack("<i4s", 540, b"n+2\0") + bytes(400), "is no NIfTI file; expected"),
        "longer": (bytes(longer), "truncated or damaged"),
        "bomb": (bytes(bomb), "too many"),
        "offset": (bytes(offset), "begin at byte 1e"),
        "affine": (bytes(no_map), "its affine"),
        "kind": (bytes(kind), "truncated, damaged"),
    }


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("case", damaged(b"\0" * 400))
def test_damaged_files_are_named(case, packed, tmp_path):
    whole = saved(tmp_path / "v.nii", np.zeros((60, 50, 1), np.int16), "LPS", (1, 1, 1)).read_bytes()
    content, message = damaged(whole)[case]
    path = tmp_path / ("d.nii.gz" if packed else "d.nii")
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(DataError, match=message) as error:
        read_image(path)
    assert str(path) in str(error.value)


def test_a_flipped_bit_in_a_packed_file_is_seen(tmp_path):
    values = np.random.default_rng(0).integers(0, 99, (40, 40, 1)).astype(np.int16)
    whole = bytearray(saved(tmp_path / "v.nii.gz", values).read_bytes())
    for at in (len(whole) // 2, len(whole) - 6):
        flipped = bytearray(whole)
        flipped[at] ^= 16
        (tmp_path / "d.nii.gz").write_bytes(flipped)
        with pytest.raises(DataError, match="truncated, damaged") as error:
            read_image(tmp_path / "d.nii.gz")
        assert "(error)" not in str(error.value)
    flipped = bytearray(whole)
    flipped[20:60] = b"\xff" * 40
    (tmp_path / "d.nii.gz").write_bytes(flipped)
    with pytest.raises(DataError, match=r"truncated, damaged or no NIfTI file \(its compressed data are damaged\)"):
        read_image(tmp_path / "d.nii.gz")


def test_what_a_cut_file_has_is_said(tmp_path):
    values = np.random.default_rng(0).integers(0, 99, (6, 5, 1)).astype(np.int16)
    whole = saved(tmp_path / "v.nii", values).read_bytes()
    (tmp_path / "d.nii").write_bytes(whole[:-3])
    said = "its 409 bytes cannot hold a header of 352 and the 60 of 6 x 5 x 1 values of int16; copy it again"
    with pytest.raises(DataError, match=rf"d\.nii: is truncated or damaged: {said}"):
        read_image(tmp_path / "d.nii")
    for content, found in ((whole[:-3], "57"), (whole + bytes(2**20 + 1), f"more than {60 + 2**20}")):
        (tmp_path / "d.nii.gz").write_bytes(gzip.compress(content))
        with pytest.raises(DataError, match=rf"its values have {found} bytes, its header says 60; copy it again"):
            read_image(tmp_path / "d.nii.gz")
    packed = gzip.compress(whole)
    (tmp_path / "d.nii.gz").write_bytes(packed[:-12])
    with pytest.raises(DataError, match=r"truncated, damaged or no NIfTI file \(it ends early\); copy it again"):
        read_image(tmp_path / "d.nii.gz")


def test_a_name_that_says_another_packing_is_told(tmp_path):
    whole = saved(tmp_path / "v.nii", np.zeros((6, 5, 1), np.int16)).read_bytes()
    for name, content, said in (
        ("d.nii.gz", whole, r"is named \.gz and not compressed \(it is a NIfTI file\); rename it"),
        ("e.nii", gzip.compress(whole), r"is not named \.gz and compressed \(it is a gzip file\); rename it"),
        ("f.nii", b"NRRD0005" + bytes(400), r"is no NIfTI file \(it is a NRRD file\); expected a header of 348 bytes"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=rf"{name}: {said}"):
            read_image(tmp_path / name)


def test_times_are_refused_with_the_command_for_one_volume(tmp_path, monkeypatch):
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 4, 4, 2), np.int16), np.eye(4)), tmp_path / "t.nii")
    with pytest.raises(DataError, match="holds 4 x 4 x 4 x 2 values; expected two or three dimensions") as caught:
        read_image(tmp_path / "t.nii")
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 5, 3, 1), np.int16), np.diag([1, 1, 2, 1])), tmp_path / "one.nii")
    assert open_stack([tmp_path / "one.nii"]).count == 3
    program = re.search(r'the first: python -c "([^"]+)"', str(caught.value))[1]
    monkeypatch.chdir(tmp_path)
    exec(program.replace("FILE", "t.nii").replace("NEW", "v"))
    assert nibabel.load("v.nii.gz").shape == (4, 4, 4)


@pytest.mark.parametrize(
    ("unit", "area"), [("mm", 2.0 * 1.5), ("micron", 2.0 * 1.5 * 1e-6), ("meter", 2.0 * 1.5 * 1e6), ("unknown", None)]
)
def test_the_area_of_a_pixel_is_known_where_the_unit_is(unit, area, tmp_path):
    image = nibabel.Nifti1Image(np.zeros(SHAPE, np.uint8), np.diag([2.0, 1.5, 9.0, 1.0]))
    image.header.set_xyzt_units(unit)
    nibabel.save(image, tmp_path / "v.nii")
    assert open_stack([tmp_path / "v.nii"]).pixel_area(3) == (None if area is None else pytest.approx(area))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            np.zeros((4, 5, 6, 7), np.int16),
            r"holds 4 x 5 x 6 x 7 values; expected two or .* volume\. Save",
        ),
        (np.zeros((4, 5, 1, 7), np.float32), r"holds 4 x 5 x 1 x 7 values"),
        (np.zeros((4, 5, 6, 1, 3), np.float32), r"holds 4 x 5 x 6 x 1 x 3 values"),
        (np.zeros((4, 5, 6), np.complex64), r"holds complex numbers, expected real numbers or RGB; save it so"),
    ],
)
def test_what_is_no_picture_and_no_volume_is_refused_with_its_shape_or_kind(values, said, tmp_path):
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / "v.nii.gz")
    for read in (read_image, read_mask, lambda path: open_stack([path])):
        with pytest.raises(DataError, match=f"v.nii.gz: {said}") as error:
            read(tmp_path / "v.nii.gz")
        assert len(error.value.args) == 1


def test_colours_with_alpha_lie_on_black(tmp_path):
    values = np.zeros((4, 5, 1), [(name, "u1") for name in "RGBA"])
    values["R"], values["B"], values["A"] = 200, 100, 128
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / "v.nii")
    assert (read_image(tmp_path / "v.nii") == [100, 0, 50]).all()


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_volume_in_a_zip_is_that_volume(suffix, tmp_path):
    values = np.random.default_rng(0).integers(-90, 900, SHAPE).astype(np.int16)
    path = saved(tmp_path / f"v{suffix}", values)
    with zipfile.ZipFile(tmp_path / "scans.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(path, f"p1/v{suffix}")
        archive.writestr(f"p1/cut{suffix}", path.read_bytes()[:-40])
        archive.writestr("p1/readme.txt", "no image")
    passed = []
    found = files_inside(tmp_path / "scans.zip", passed.append)
    assert [file.name for file in found] == [f"cut{suffix}", f"v{suffix}"] and len(passed) == 1
    stack, whole = open_stack([found[1]]), open_stack([path])
    assert stack.count == SHAPE[2] and np.array_equal(stack.affine, whole.affine)
    for index in range(stack.count):
        np.testing.assert_array_equal(stack.read(index), whole.read(index))
    with pytest.raises(DataError, match=rf"scans\.zip/p1/cut{suffix}: is truncated"):
        open_stack([found[0]]).read(0)
    with zipfile.ZipFile(tmp_path / "none.zip", "w") as archive:
        archive.writestr("readme.txt", "no image")
    with pytest.raises(DataError, match=r"none\.zip: holds no DICOM or NIfTI files\. Unpack it"):
        files_inside(tmp_path / "none.zip")
