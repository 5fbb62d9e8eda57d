"""Training pairs of DICOM and NIfTI files."""

import nibabel
import numpy as np
import pydicom
import pytest
from dicom_files import bundled, ct_slice
from PIL import Image
from pydicom.uid import EnhancedCTImageStorage
from scipy import ndimage

from ddim_jax.data import load_dataset
from ddim_jax.data.datasets.folder import find_pairs
from ddim_jax.imageio import dicom, nifti_volume
from ddim_jax.imageio.images import ReadOptions
from ddim_jax.imageio.series import affine
from ddim_jax.imageio.stacks import open_stack
from ddim_jax.imageio.writers import Context
from ddim_jax.labels import Labels
from ddim_jax.registry import READERS, WRITERS
from ddim_jax.runtime.errors import DataError
from ddim_jax.sampling_options import SamplingOptions

CONTEXT = Context(
    "ddim_jax 0", "runs/a/checkpoints/1", "ab" * 32, 1, SamplingOptions(), segments={"foreground": "Lung"}
)


@pytest.fixture
def root(tmp_path):
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    return tmp_path


WINDOW = {"WindowCenter": 0, "WindowWidth": 2000, "VOILUTFunction": "LINEAR_EXACT"}


def volume(path, values):
    nibabel.save(nibabel.Nifti1Image(values, np.diag([-1.0, -1, 3, 1])), path)


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
    names = [{name[0] for name in load_dataset("folder", split, root=root).ids} for split in ("train", "val", "test")]
    assert [len(name) for name in names] == [1, 1, 1]
    volume(root / "masks/w_mask.nii.gz", np.zeros((6, 5, 3), np.uint8))
    with pytest.raises(DataError, match=r"has 3 slices of 6 x 5, .*w.nii.gz has 4 slices of 6 x 5"):
        load_dataset("folder", "all", root=root)[11]


def resampled(kind, scale):
    """An ellipsoid that was turned with linear interpolation, [x, y, slice]."""
    x, y, z = np.mgrid[:32, :32, :24]
    hard = (((x - 16) / 10) ** 2 + ((y - 16) / 8.5) ** 2 + ((z - 12) / 8.3) ** 2 < 1).astype(np.float32)
    soft = ndimage.rotate(ndimage.rotate(hard, 7, (0, 2), order=1, reshape=False), 5, (1, 2), order=1, reshape=False)
    return (np.clip(soft, 0, 1) * scale).astype(kind)


@pytest.mark.parametrize(
    "kind, scale, cut", [(np.float32, 1, 0.5), (np.uint8, 255, 127.5), (np.uint8, 100, 50), (np.float64, 4, 2)]
)
def test_a_soft_volume_is_cut_in_the_middle_of_its_own_range_and_not_of_a_slice(kind, scale, cut, root):
    values = resampled(kind, scale)
    volume(root / "images/v.nii.gz", np.zeros(values.shape, np.uint8))
    volume(root / "masks/v.nii.gz", values)
    source = load_dataset("folder", "all", root=root)
    np.testing.assert_array_equal([example.mask.T for example in source], (values > cut).transpose(2, 0, 1))
    tops = values.max(axis=(0, 1))
    assert ((tops > 0) & (tops <= cut)).any()  # slices with the tail of the structure alone
    soft = ((values > 0) & (values < values.max())).sum(axis=(0, 1))
    told = [f"soft mask ({n} values between 0 and {scale}, cut at {cut:g})" if n else None for n in soft]
    assert [(example.notes or (None,))[-1] for example in source][5:-5] == told[5:-5]
    exact = Labels.create({"a": 1})
    with pytest.raises(DataError, match=r"which data\.labels and data\.ignore do not have"):
        load_dataset("folder", "all", root=root, labels=exact)[12]


def test_a_soft_mask_of_one_slice_is_noted(root, monkeypatch):
    logged = []
    monkeypatch.setattr(nifti_volume, "log_notes", lambda path, notes: logged.append((path.name, *notes)))
    values = resampled(np.float32, 1)[..., 12:13]
    picture = open_stack([ct_slice(root / "images/v.dcm", np.zeros((32, 32)), **WINDOW)])
    nibabel.save(nibabel.Nifti1Image(values, affine(picture)), root / "masks/v.nii")
    (example,) = load_dataset("folder", "all", root=root)
    np.testing.assert_array_equal(example.mask.T, values[..., 0] > 0.5)
    between = ((values > 0) & (values < 1)).sum()
    assert example.notes[-1] == f"soft mask ({between} values between 0 and 1, cut at 0.5)"
    volume(root / "images/v.nii", np.zeros((32, 32, 24), np.uint8))
    (root / "images/v.dcm").unlink()
    volume(root / "masks/v.nii", resampled(np.float32, 1))
    assert len(list(load_dataset("folder", "all", root=root))) == 24
    between = ((resampled(np.float32, 1) > 0) & (resampled(np.float32, 1) < 1)).sum()
    assert logged == [
        ("v.nii", example.notes[-1]),
        ("v.nii", f"soft mask ({between} values between 0 and 1, cut at 0.5)"),
    ]


def test_few_levels_in_a_volume_are_no_soft_edges(root):
    volume(root / "images/v.nii", np.zeros((12, 12, 5), np.uint8))
    for levels, said in (((0.5, 1.0), r"3 well-separated levels \(0, 0.5, 1\)"), ((1, 2), "is a label map")):
        values = np.zeros((12, 12, 5), np.float32)
        values[2:8, 2:8, 1], values[2:8, 2:8, 2:4] = levels
        values[9, 9, 1:4] = levels[1]
        volume(root / "masks/v.nii", values)
        source = load_dataset("folder", "all", root=root)
        with pytest.raises(DataError, match=said):
            source[1]
        np.testing.assert_array_equal(source[3].mask.T, values[..., 3] > 0)
    thin = np.zeros((12, 12, 5))
    thin[6, 1:11, 2] = np.linspace(20, 90, 10)
    volume(root / "masks/v.nii", thin)
    with pytest.raises(DataError, match=r"v\.nii: its values go up to 90 and no 3 x 3 pixels agree on that"):
        load_dataset("folder", "all", root=root)[0]


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


def frames(path, values, steps):
    """Writes [n, H, W] as frames that lie one after the other by `steps` millimetres towards the head."""
    ct_slice(path, values.reshape(-1, values.shape[2]), Rows=values.shape[1], NumberOfFrames=len(values))
    file, shared, turned, measures = pydicom.dcmread(path), pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
    file.SOPClassUID = file.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    turned.ImageOrientationPatient = file.ImageOrientationPatient
    measures.PixelSpacing, measures.SliceThickness = file.PixelSpacing, file.SliceThickness
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [turned], [measures]
    file.SharedFunctionalGroupsSequence, file.PerFrameFunctionalGroupsSequence = [shared], []
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"):
        del file[name]
    for frame in range(len(values)):
        place, group = pydicom.Dataset(), pydicom.Dataset()
        place.ImagePositionPatient = [0, 0, steps * frame]
        group.PlanePositionSequence = [place]
        file.PerFrameFunctionalGroupsSequence.append(group)
    file.save_as(path)
    return open_stack([path])


def stored_otherwise(path, form):
    """Stores a NIfTI mask with other axes, or gives it another place."""
    image = nibabel.load(path)
    to_space = image.affine.copy()
    if form == "other axes":
        image = nibabel.as_closest_canonical(image).as_reoriented(np.array([[2, 1], [0, -1], [1, 1]]))
        to_space = image.affine
    elif form == "elsewhere":
        to_space[0, 3] += 0.02
    elif form == "mirrored":
        to_space[:, 0] *= -1
    values = np.asarray(image.dataobj)
    nibabel.save(nibabel.Nifti1Image(values, to_space), path)


@pytest.mark.parametrize("several", [True, False])
def test_a_nifti_mask_lies_on_its_dicom_picture_in_space(several, root):
    masks = np.random.default_rng(0).integers(0, 2, (4 if several else 1, 6, 5)).astype(np.uint8)
    values = masks.astype(int) * 2000 - 1000
    if several:
        stack = frames(root / "images/v.dcm", values, -3.0)  # from the head to the feet
    else:  # of a prone patient
        prone = {"ImageOrientationPatient": [-1, 0, 0, 0, -1, 0], **WINDOW}
        stack = open_stack([ct_slice(root / "images/v.dcm", values[0], **prone)])
    for form in ("as written", "other axes"):
        WRITERS.get("nifti")().write_stack(root / "masks/v.nii.gz", masks, None, stack, CONTEXT)
        stored_otherwise(root / "masks/v.nii.gz", form)
        source = load_dataset("folder", "all", root=root)
        np.testing.assert_array_equal([example.mask for example in source], masks)
        np.testing.assert_array_equal([example.image[..., 0] > 127 for example in source], masks)
    for form in ("elsewhere", "mirrored"):
        WRITERS.get("nifti")().write_stack(root / "masks/v.nii.gz", masks, None, stack, CONTEXT)
        stored_otherwise(root / "masks/v.nii.gz", form)
        with pytest.raises(DataError, match=r"v.nii.gz: lies elsewhere than .*v.dcm, by .* begin at .* the picture at"):
            load_dataset("folder", "all", root=root)[0]


def test_a_nifti_mask_of_a_picture_without_a_place_is_refused(root):
    Image.fromarray(np.zeros((6, 5), np.uint8)).save(root / "images/a.png")
    volume(root / "masks/a.nii.gz", np.ones((5, 6, 1), np.uint8))
    with pytest.raises(DataError, match=r"a.nii.gz: is NIfTI, and .*a.png has no place in space .* the mask as PNG"):
        load_dataset("folder", "all", root=root)[0]


@pytest.mark.parametrize(
    "field, value",
    [("orientation", [-1, 0, 0, 0, 1, 0]), ("position", [0, 0.02, 0]), ("spacing", [0.5, 0.76]), ("pixels", (4, 10))],
)
@pytest.mark.parametrize("several", [True, False])
def test_a_dicom_seg_mask_lies_where_its_picture_is(several, field, value, root):
    masks = np.ones((3 if several else 1, 8, 10), np.uint8)
    path = root / "images/v.dcm"
    values = masks.astype(int)
    stack = frames(path, values, 2.5) if several else open_stack([ct_slice(path, values[0], **WINDOW)])
    WRITERS.get("dicom-seg")().write_stack(root / "masks/v.dcm", masks, None, stack, CONTEXT)
    np.testing.assert_array_equal(load_dataset("folder", "all", root=root)[0].mask, masks[0])
    file = pydicom.dcmread(root / "masks/v.dcm")
    shared = file.SharedFunctionalGroupsSequence[0]
    if field == "orientation":
        shared.PlaneOrientationSequence[0].ImageOrientationPatient = value
    elif field == "spacing":
        shared.PixelMeasuresSequence[0].PixelSpacing = value
    elif field == "position":
        file.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0].ImagePositionPatient = value
    else:
        file.Rows, file.Columns = value
        file.PixelData = file.PixelData[: len(file.PixelData) // 2]
    file.save_as(root / "masks/v.dcm")
    with pytest.raises(DataError, match=rf"masks/v.dcm: .*{field}.*images/v.dcm has .*; expected the same"):
        load_dataset("folder", "all", root=root)[0]


def test_a_slice_and_its_mask_have_one_size_whatever_the_reader(root, monkeypatch):
    volume(root / "images/v.nii.gz", np.zeros((6, 5, 4), np.uint8))
    volume(root / "masks/v.nii.gz", np.zeros((6, 5, 4), np.uint8))
    smaller = staticmethod(lambda path, stack, index, labels: np.zeros((5, 5), np.uint8))
    monkeypatch.setattr(READERS.get("nifti"), "read_slice_mask", smaller)
    with pytest.raises(DataError, match=r"v.nii.gz is 6 x 5 pixels, its mask .* is 5 x 5; expected the same size"):
        load_dataset("folder", "all", root=root)[0]


def test_a_grey_dicom_mask_lies_where_its_picture_is(root):
    inside = np.eye(4, dtype=int)
    ct_slice(root / "images/a.dcm", inside, place=(0, 0, 5), **WINDOW)
    ct_slice(root / "masks/a.dcm", inside - 1024, place=(0, 0, 5))
    np.testing.assert_array_equal(load_dataset("folder", "all", root=root)[0].mask, inside)
    ct_slice(root / "masks/a.dcm", inside - 1024, place=(0, 0, 6))
    with pytest.raises(DataError, match=r"masks/a.dcm: frame 1 has the position \(0 0 6\), .*has \(0 0 5\)"):
        load_dataset("folder", "all", root=root)[0]


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
    ct_slice(root / "images/2.dcm", values, series="1.2.9", ImagePositionPatient=None)  # a picture by itself
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
        ct_slice(root / f"images/{number}.dcm", np.eye(8, dtype=int) * 200, number=number, patient=f"P{number}")
        Image.fromarray(np.eye(8, dtype=np.uint8) * 255).save(root / f"masks/{number}.png")
    opened, read_header = [], dicom.read_header
    monkeypatch.setattr(dicom, "read_header", lambda path: opened.append(str(path)) or read_header(path))
    options = {"root": root, "reading": ReadOptions(window=(100.0, 200.0)), "read_only": True}
    load_dataset("folder", "train", **options)
    first = len(opened)
    load_dataset("folder", "test", **options)
    assert len(opened) == first > 0
    ct_slice(root / "images/3.dcm", np.eye(8, dtype=int) * 100, number=3, patient="another patient")
    load_dataset("folder", "test", **options)
    assert {path for path in opened[first:]} == {str(root / "images/3.dcm")}
