"""Training pairs of DICOM and NIfTI files."""

import nibabel
import numpy as np
import pydicom
import pytest
from clinic_files import CONTEXT, WINDOW, volume
from dicom_files import bundled, ct_slice
from PIL import Image

from ddim_jax.data import check_source, load_dataset
from ddim_jax.data.datasets.folder import find_pairs
from ddim_jax.data.unlabelled import load_unlabelled
from ddim_jax.imageio import dicom
from ddim_jax.imageio.images import ReadOptions
from ddim_jax.imageio.series import affine
from ddim_jax.imageio.stacks import open_stack
from ddim_jax.registry import WRITERS
from ddim_jax.runtime.errors import DataError


def test_a_slice_with_masks_of_three_formats(root):
    values = np.zeros((8, 10), int)
    values[2:5, 3:7] = 200
    inside = (values > 0).astype(np.uint8)
    for number, name in enumerate(("a", "b", "c")):
        ct_slice(root / f"images/{name}.dcm", values, number=number, patient=f"P{number}")
    Image.fromarray(inside * 255).save(root / "masks/a.png")
    stack = open_stack([root / "images/b.dcm"])
    WRITERS.get("dicom-seg")().write_stack(root / "masks/b_seg.dcm", inside[None], None, stack, CONTEXT)
    nibabel.save(
        nibabel.Nifti1Image(inside.T[..., None], affine(open_stack([root / "images/c.dcm"]))), root / "masks/c.nii.gz"
    )
    source = load_dataset("folder", "all", root=root, reading=ReadOptions(window=(100.0, 200.0)))
    assert source.ids == ("a", "b", "c")
    for example in (source[0], source[1], source[2]):
        np.testing.assert_array_equal(example.mask, inside)
        np.testing.assert_array_equal(example.image, np.repeat(inside[..., None] * 255, 3, -1))
        assert example.pixel_mm == (0.5, 0.75)


def test_the_slices_of_volumes_are_pairs_that_stay_together(root):
    rng = np.random.default_rng(0)
    for name in ("u", "v", "w"):
        values = rng.integers(0, 2, (6, 5, 4)).astype(np.uint8)
        volume(root / f"images/{name}.nii.gz", values * 200)
        volume(root / f"masks/{name}_mask.nii.gz", values)
    source = load_dataset("folder", "all", root=root)
    assert source.ids[:5] == ("u#001", "u#002", "u#003", "u#004", "v#001")
    np.testing.assert_array_equal(source[11].mask, values[..., 3].T)
    np.testing.assert_array_equal(source[11].image[..., 0], values[..., 3].T * 200)
    for groups in ("none", "folder"):  # which says nothing of volumes
        of_split = [load_dataset("folder", split, root=root, groups=groups) for split in ("train", "val", "test")]
        assert [len({name[0] for name in one.ids}) for one in of_split] == [1, 1, 1]
        assert sum((one.groups for one in of_split), ()) == sum(((one.ids[0][0],) * 4 for one in of_split), ())
    volume(root / "masks/w_mask.nii.gz", np.zeros((6, 5, 3), np.uint8))
    with pytest.raises(DataError, match=r"has 3 slices of 6 x 5, .*w.nii.gz has 4 slices of 6 x 5"):
        load_dataset("folder", "all", root=root)[11]


def test_volumes_that_are_cut_in_different_planes_are_refused_with_their_numbers(root, caplog):
    def put(name, spacing):
        for kind in ("images", "masks"):
            values = np.zeros((6, 5, 4), np.uint8)
            nibabel.save(nibabel.Nifti1Image(values, np.diag([*spacing, 1.0])), root / kind / f"{name}.nii.gz")

    for name, spacing in (("a", (1, 3, 1)), ("b", (1, 3, 1))):
        put(name, spacing)
    caplog.set_level("INFO")
    assert len(load_dataset("folder", "all", root=root)) == 10
    assert "the slices of 2 volumes are coronal" in caplog.text
    put("c", (1, 1, 0.6))
    told = r"1 axial \(such as .*c\.nii\.gz\), 2 coronal \(such as .*a\.nii\.gz\); expected one plane"
    with pytest.raises(DataError, match=told):
        load_dataset("folder", "all", root=root)
    with pytest.raises(DataError, match=told):
        load_unlabelled(root / "images", {}, 8, most=2**20)


@pytest.mark.parametrize(
    ("kind", "slope", "window", "is_told"),
    [
        (np.int16, 1, None, True),
        (np.float32, 1, None, True),
        (np.uint8, 2, None, True),
        (np.uint8, 1, None, False),
        (np.int16, 1, (100.0, 200.0), False),
    ],
)
def test_nifti_images_without_a_window_are_told_of(kind, slope, window, is_told, root, caplog):
    for name in ("u", "v"):
        for folder in ("images", "masks"):
            image = nibabel.Nifti1Image(np.zeros((6, 5, 4), kind if folder == "images" else np.uint8), np.eye(4))
            image.header.set_slope_inter(slope if folder == "images" else 1, 0)
            nibabel.save(image, root / folder / f"{name}.nii.gz")
    load_dataset("folder", "all", root=root, reading=ReadOptions(window=window))
    told = "2 NIfTI images are each shown by the range of its values, such as"
    assert (told in caplog.text and "set data.window" in caplog.text) == is_told


def test_what_is_wrong_with_a_volume_is_said_once_and_not_for_each_slice(root):
    for name in "vw":
        volume(root / f"images/{name}.nii.gz", np.zeros((6, 5, 4), np.uint8))
        volume(root / f"masks/{name}.nii.gz", np.zeros((6, 5, 3), np.uint8))
    with pytest.raises(DataError, match=r"8 of 8 pairs of .* cannot be used:") as caught:
        check_source(load_dataset("folder", "all", root=root))
    assert [line.split("/")[-1].split(" ")[0] for line in caught.value.args[1:]] == ["v.nii.gz", "w.nii.gz"]


def test_frames_with_a_dicom_seg_file(root):
    stack = open_stack([bundled("emri_small.dcm")])
    (root / "images/e.dcm").write_bytes(stack.files[0].read_bytes())
    masks = np.random.default_rng(0).integers(0, 2, (10, 64, 64)).astype(np.uint8)
    WRITERS.get("dicom-seg")().write_stack(root / "masks/e.dcm", masks, None, stack, CONTEXT)
    source = load_dataset("folder", "all", root=root)
    assert len(source) == 10
    for number in (0, 9):
        np.testing.assert_array_equal(source[number].mask, masks[number])
        np.testing.assert_array_equal(source[number].image, stack.read(number))


def one_of(root, name, patient):
    ct_slice(root / f"images/{name}.dcm", np.zeros((4, 4)), series=f"1.2.{int(name)}", patient=patient, **WINDOW)
    Image.fromarray(np.eye(4, dtype=np.uint8) * 255).save(root / f"masks/{name}.png")


def test_pictures_of_one_patient_stay_together_and_the_table_tells_nothing_of_him(root):
    for number in range(12, 24):
        one_of(root, f"{number}", f"Secret{number // 4}")

    def drawn():
        found = {split: load_dataset("folder", split, root=root).ids for split in ("train", "val", "test")}
        return {name: split for split, ids in found.items() for name in ids}

    before = drawn()
    assert len(find_pairs(root)) == 12 and sorted(before.values()) == ["test"] * 4 + ["train"] * 4 + ["val"] * 4
    assert all(before[str(number)] == before[str(number // 4 * 4)] for number in range(12, 24))
    table = (root / "splits.csv").read_text()
    for number in range(12, 24):  # for all other identities it is the same
        one_of(root, f"{number}", f"Other{number // 4}")
    (root / "splits.csv").unlink()
    assert drawn() == before and (root / "splits.csv").read_text() == table
    for name, patient in (("01", 5), ("02", 4), ("30", 3), ("31", 5), ("03", 9), ("32", 9)):
        one_of(root, name, f"Other{patient}")
    after = drawn()
    assert {name: after[name] for name in before} == before
    assert [after[name] for name in ("01", "02", "30", "31")] == [before[name] for name in ("20", "16", "12", "20")]
    assert after["03"] == after["32"]
    assert drawn() == after and "Other" not in (root / "splits.csv").read_text()


def test_slices_of_a_series_without_a_window_need_one(root):
    """Read one by one, each would have its own range; `sample` gives them a common one."""
    for number, top in enumerate((300, 1000, 3000)):
        values = np.linspace(0, top, 16).reshape(4, 4).astype(int)
        ct_slice(root / f"images/{number}.dcm", values, number=number, place=(0.0, 0.0, number))
        Image.fromarray(np.eye(4, dtype=np.uint8) * 255).save(root / f"masks/{number}.png")
    with pytest.raises(DataError, match=r"3 DICOM files are single slices .* set data\.window") as error:
        load_dataset("folder", "all", root=root)
    assert str(root / "images/2.dcm") in "".join(error.value.args)
    reading = ReadOptions(window=(500.0, 1000.0))
    stack = open_stack([root / f"images/{number}.dcm" for number in range(3)], reading)
    source = load_dataset("folder", "all", root=root, reading=reading)
    for number in range(3):
        np.testing.assert_array_equal(source[number].image, stack.read(number))
    for number in range(2):  # those that say it are no concern
        ct_slice(root / f"images/{number}.dcm", values, number=number, WindowCenter=500, WindowWidth=1000)
    assert len(load_dataset("folder", "all", root=root, reading=reading)) == 3
    with pytest.raises(DataError, match="1 DICOM files are single"):
        load_dataset("folder", "all", root=root)
    ct_slice(root / "images/2.dcm", values, series="1.2.9")  # the only one of its series here, which may have more
    with pytest.raises(DataError, match=r"1 DICOM files are single .*\n  .*images/2.dcm: says no window") as error:
        load_dataset("folder", "all", root=root)
    assert str(root / "images/1.dcm") not in str(error.value)
    ct_slice(root / "images/2.dcm", values, series="1.2.9", ImagePositionPatient=None)  # an image by itself
    assert len(load_dataset("folder", "all", root=root)) == 3


@pytest.mark.parametrize("folders", ["aaa", "abc"])
def test_slices_of_a_series_whose_windows_differ_need_one(folders, root, caplog):
    """Read one by one, each would be shown with its own; `sample` shows all with that of the middle one."""
    values = np.arange(0, 1600, 100).reshape(4, 4)
    files = []
    for number, folder in enumerate(folders):
        for kind in ("images", "masks"):
            (root / kind / folder).mkdir(exist_ok=True)
        files.append(root / f"images/{folder}/{number}.dcm")
        window = {"WindowCenter": 100 * (number + 1), "WindowWidth": 200 * (number + 1)}
        ct_slice(files[-1], values, number=number, place=(0, 0, number), **window)
        Image.fromarray(np.eye(4, dtype=np.uint8) * 255).save(root / f"masks/{folder}/{number}.png")
    with pytest.raises(DataError, match=r"3 DICOM files .* data\.window .*\n.*: 3 kinds of windows in 3 slices"):
        load_dataset("folder", "all", root=root)
    for number, file in enumerate(files):  # a table of its own each, which a series shows too
        table = pydicom.Dataset()
        table.LUTDescriptor, table.LUTData = [4, 0, 16], np.array([0, 100 * number, 200, 65535], "<u2").tobytes()
        ct_slice(file, values, number=number, place=(0, 0, number), WindowCenter=9, VOILUTSequence=[table])
    source, stack = load_dataset("folder", "all", root=root), open_stack(files)
    for number in range(3):
        np.testing.assert_array_equal(source[number].image, stack.read(number))
    assert "middle one" not in caplog.text
    for number, file in enumerate(files):  # of a series each
        ct_slice(file, values, series=f"1.2.{number}", WindowCenter=100 * (number + 1), WindowWidth=200)
    assert len(load_dataset("folder", "all", root=root)) == 3
    assert "3 DICOM files are the only slices of their series here, and their windows differ, such as" in caplog.text


def test_names_that_are_uids_keep_their_last_number(root):
    for number in (4, 5):
        ct_slice(root / f"images/1.2.840.7.{number}", np.zeros((4, 4)), series=f"1.2.{number}", **WINDOW)
        Image.fromarray(np.eye(4, dtype=np.uint8) * 255).save(root / f"masks/1.2.840.7.{number}.png")
    assert [(pair.id, pair.mask.name) for pair in find_pairs(root)] == [
        (f"1.2.840.7.{number}", f"1.2.840.7.{number}.png") for number in (4, 5)
    ]


def test_the_headers_of_a_set_are_read_once_for_all_of_its_splits(root, monkeypatch):
    for number in range(4):
        values = np.eye(8, dtype=int) * 200
        ct_slice(root / f"images/{number}.dcm", values, number=number, patient=f"P{number}", **WINDOW)
        Image.fromarray(np.eye(8, dtype=np.uint8) * 255).save(root / f"masks/{number}.png")
    opened, read_header = [], dicom.read_header
    monkeypatch.setattr(dicom, "read_header", lambda path: opened.append(str(path)) or read_header(path))
    options = {"root": root, "read_only": True}
    source = load_dataset("folder", "train", **options)
    assert sorted(opened) == [str(root / f"images/{number}.dcm") for number in range(4)]
    assert source.count_pixels(0) == 2 * 64
    load_dataset("folder", "test", **options)
    first = len(opened)
    assert first == 4
    ct_slice(root / "images/3.dcm", np.eye(8, dtype=int) * 100, number=3, patient="another patient", **WINDOW)
    load_dataset("folder", "test", **options)
    assert opened[first:] == [str(root / "images/3.dcm")]
