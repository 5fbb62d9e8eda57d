"""Images without masks: which of a folder are trained on, and which are left out, and told."""

import hashlib

import numpy as np
import pytest
from clinic_files import WINDOW
from dicom_files import ct_slice
from pair_files import save
from PIL import Image

from ddim_jax.data import load_dataset
from ddim_jax.data.sources import Example
from ddim_jax.data.unlabelled import load_unlabelled, looks_like_any
from ddim_jax.preprocessing import resize_image
from ddim_jax.runtime.errors import DataError


class Labelled:
    """A split of images in memory."""

    def __init__(self, *images):
        self.ids, self._images = tuple(map(str, range(len(images)))), images

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, row):
        return Example(self.ids[row], self._images[row], np.zeros(self._images[row].shape[:2], np.uint8))


def scene(number):
    """A smooth image of its own."""
    coarse = np.random.default_rng(number).integers(0, 256, (6, 6, 1), np.uint8)
    return resize_image(np.tile(coarse, 3), (96, 112))


SPLITS = {"train": Labelled(scene(0), scene(1)), "val": Labelled(scene(2)), "test": Labelled(scene(3))}


def load(folder, splits=SPLITS, most=10**6, **options):
    return load_unlabelled(folder, splits, 16, most=most, **options)


def test_pictures_are_read_at_the_training_size_with_their_digests(tmp_path):
    for name, number in (("b.png", 11), ("a/c.png", 12)):
        save(tmp_path / name, scene(number))
    found = load(tmp_path)
    assert found.ids == ("a/c.png", "b.png")
    np.testing.assert_array_equal(found.images, [resize_image(scene(number), (16, 16)) for number in (12, 11)])
    pixels = scene(12)
    digest = hashlib.sha256(np.array(pixels.shape, "<u8").tobytes() + pixels.tobytes()).hexdigest()
    assert found.digests["unlabelled/a/c.png"] == digest
    assert found.told == ()


def test_pictures_of_every_split_are_left_out_and_named_however_they_were_saved(tmp_path):
    save(tmp_path / "new.png", scene(11))
    save(tmp_path / "copied.png", scene(0))
    Image.fromarray(scene(1)).save(tmp_path / "again.jpg", quality=60)
    save(tmp_path / "small.png", resize_image(scene(2), (48, 56)))
    Image.fromarray(resize_image(scene(3), (192, 224))).save(tmp_path / "large.jpg", quality=90)
    found = load(tmp_path)
    assert found.ids == ("new.png",)
    assert found.told == (
        "2 of 5 unlabelled images are of the train split and left out: again.jpg, copied.png",
        "1 of 5 unlabelled images are of the val split and left out: small.png",
        "1 of 5 unlabelled images are of the test split and left out: large.jpg",
    )
    (tmp_path / "new.png").unlink()
    with pytest.raises(DataError, match=r"no image is left.*of the test split.*large\.jpg"):
        load(tmp_path)


def test_other_images_of_patients_of_validation_and_test_are_left_out(tmp_path):
    """Known by PatientID whatever their folder, or by the first folder; those of the training split may be there."""
    labelled, more = tmp_path / "labelled", tmp_path / "more"
    for number in range(30):
        patient = number // 5
        place = labelled / f"images/p{patient}" if number % 5 < 3 else more / f"p{patient}"
        place.mkdir(parents=True, exist_ok=True)
        if patient % 2:  # of whom the file says nothing
            save(place / f"{number:02d}.png", scene(number))
        else:
            values = scene(number)[..., 0].astype(int)
            ct_slice(
                place / f"{number:02d}.dcm", values, patient=f"Secret{patient}", series=f"1.2.{number + 1}", **WINDOW
            )
        if number % 5 < 3:
            save(labelled / f"masks/p{patient}/{number:02d}.png", np.tri(96, 112, dtype=np.uint8) * 255)
    (more / "p4").rename(more / "elsewhere")
    (labelled / "splits.csv").write_text("stem,split\np0,train\np1,train\np2,val\np3,val\np4,test\np5,test\n")

    def found(groups):
        names = ("train", "val", "test")
        splits = {split: load_dataset("folder", split, root=labelled, groups=groups) for split in names}
        return load(more, splits, groups=groups)

    both = found("folder")
    assert both.ids == ("p0/03.dcm", "p0/04.dcm", "p1/08.png", "p1/09.png")
    assert both.told == (
        "4 of 12 unlabelled images are of patients of the val split and left out: p2/13.dcm, p2/14.dcm, p3/18.png, "
        "p3/19.png",
        "4 of 12 unlabelled images are of patients of the test split and left out: elsewhere/23.dcm, "
        "elsewhere/24.dcm, p5/28.png, p5/29.png",
    )
    assert len(both.images) == len(both.digests) == 4
    alone = found("none")
    assert alone.ids == (*both.ids, "p3/18.png", "p3/19.png", "p5/28.png", "p5/29.png")
    # A folder that the training split has images of too is no patient of another split.
    lines = [
        f"p{number}/{5 * number + part:02d},{'train' if part else 'test'}" for number in (1, 3, 5) for part in range(3)
    ]
    (labelled / "splits.csv").write_text("stem,split\np0,train\np2,val\np4,test\n" + "\n".join(lines))
    assert found("folder").ids == alone.ids


class OfPatients(Labelled):
    """A test split that says its patients."""

    patients = frozenset({("patient", "Secret"), ("folder", "P0")})


def scan(file, number, patient):
    file.parent.mkdir(parents=True, exist_ok=True)
    ct_slice(file, scene(number)[..., 0].astype(int), patient=patient, series=f"1.2.{number}", **WINDOW)


def test_folders_of_images_that_are_left_out_by_patient_are_left_out_too(tmp_path):
    """Labelled images of one PatientID or one first folder are of one group likewise, and so are theirs."""
    scan(tmp_path / "q/x.dcm", 11, "Secret")
    save(tmp_path / "q/y.png", scene(12))
    scan(tmp_path / "q/z.dcm", 13, "Other")
    scan(tmp_path / "r/x.dcm", 14, "Other")
    save(tmp_path / "r/y.png", scene(15))
    scan(tmp_path / "s/x.dcm", 16, "Third")
    scan(tmp_path / "flat.dcm", 17, "Fourth")
    splits = {"test": OfPatients(scene(3))}
    found = load(tmp_path, splits)
    assert found.ids == ("flat.dcm", "s/x.dcm")
    assert found.told == (
        "5 of 7 unlabelled images are of patients of the test split and left out: q/x.dcm, q/y.png, q/z.dcm, r/x.dcm, "
        "r/y.png",
    )
    assert load(tmp_path, splits, groups="none").ids == (
        "flat.dcm", "q/y.png", "q/z.dcm", "r/x.dcm", "r/y.png", "s/x.dcm"
    )  # fmt: skip
    splits["test"].trained_on = frozenset({("patient", "Other")})  # so that r is a folder of the training split's
    assert load(tmp_path, splits).ids == ("flat.dcm", "r/x.dcm", "r/y.png", "s/x.dcm")
    # A copy of a test image tells of its patient too.
    scan(tmp_path / "s/copy.dcm", 18, "Secret")
    shown = {"test": OfPatients(load(tmp_path / "s", SPLITS).images[0])}
    (tmp_path / "flat.dcm").unlink()
    with pytest.raises(DataError, match=r"no image is left .* s/x\.dcm\. Set data\.groups=none if the folders are no"):
        load(tmp_path, shown)


def test_what_shares_a_folder_with_the_training_split_is_kept_in_a_pre_training_on_it(root):
    """By a table of somebody's own that divides a folder whose files name two patients."""
    for number, patient in enumerate("AABBC"):
        scan(root / f"images/{'p0' if number < 4 else 'p1'}/{number}.dcm", number, patient)
        save(root / f"masks/{'p0' if number < 4 else 'p1'}/{number}.png", np.tri(96, 112, dtype=np.uint8) * 255)
    (root / "splits.csv").write_text("stem,split\np0/0,train\np0/1,train\np0/2,test\np0/3,val\np1,test\n")
    splits = {split: load_dataset("folder", split, root=root) for split in ("val", "test")}
    assert splits["test"].patients == {("patient", "B"), ("patient", "C"), ("folder", "p1")}
    assert load(root / "images", splits).ids == ("p0/0.dcm", "p0/1.dcm")


@pytest.mark.parametrize("below", ["", "images/", "Image/"])
def test_first_folders_are_compared_below_images_in_any_case(below, tmp_path):
    save(tmp_path / f"{below}p0/new.png", scene(11))
    save(tmp_path / f"{below}p1/new.png", scene(12))
    found = load(tmp_path, {"test": OfPatients(scene(3))})
    assert found.ids == (f"{below}p1/new.png",)
    assert found.told == (
        f"1 of 2 unlabelled images are of patients of the test split and left out: {below}p0/new.png",
    )


def test_files_that_cannot_be_read_are_left_out_and_named(tmp_path):
    save(tmp_path / "good.png", scene(11))
    (tmp_path / "torn.png").write_bytes((tmp_path / "good.png").read_bytes()[:99])
    found = load(tmp_path)
    assert found.ids == ("good.png",)
    assert len(found.told) == 1
    assert found.told[0].startswith("1 of 2 unlabelled images cannot be read and are left out: ")
    assert "torn.png" in found.told[0]
    (tmp_path / "good.png").unlink()
    with pytest.raises(DataError, match=r"(?s)none of 1 image can be read \(data.unlabelled\).*torn\.png"):
        load(tmp_path)


def test_folders_that_cannot_be_meant_are_refused(tmp_path):
    with pytest.raises(DataError, match="no such file or folder"):
        load(tmp_path / "away")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("none")
    with pytest.raises(DataError, match=r"no images \(but other files: \.txt 1\)"):
        load(tmp_path / "empty")
    save(tmp_path / "pairs/images/a.png", scene(11))
    save(tmp_path / "pairs/masks/a.png", np.zeros((96, 112), np.uint8))
    with pytest.raises(DataError, match="has a folder masks; masks would be taken for images"):
        load(tmp_path / "pairs")
    assert load(tmp_path / "pairs/images").ids == ("a.png",)
    with pytest.raises(DataError, match=r"1 image of 16 x 16 takes 768 bytes.*data\.resident_bytes=767"):
        load(tmp_path / "pairs/images", most=767)


def test_names_that_are_no_text_are_told(tmp_path):
    """An archive made on Windows leaves such names: their digests could not be written into pixels.csv."""
    for name in ("a", "gr\udcfcn", "sub/\udcff"):
        save(tmp_path / f"{name}.png", scene(11))
    message = r"(?s)2 images .*\(data[.]unlabelled\).*gr\\xfcn[.]png: the name is not UTF-8.*pixels[.]csv; rename"
    with pytest.raises(DataError, match=message):
        load(tmp_path)


def test_slices_of_a_volume_are_pictures(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    values = np.random.default_rng(0).normal(size=(20, 24, 3)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / "scan.nii.gz")
    found = load(tmp_path)
    assert found.ids == tuple(f"scan.nii.gz#{number:03d}" for number in (1, 2, 3))
    assert len({image.tobytes() for image in found.images}) == 3


def test_alike_is_below_four_levels_of_root_mean_square():
    base = np.full((1, 2, 2, 3), 100, np.uint8)
    others = np.stack([base[0] + 3, base[0] - 3, base[0] + 4, base[0]])
    others[3, 0, 0, 0] += 14  # 14^2 / 12 is above 16, 13^2 / 12 below
    np.testing.assert_array_equal(looks_like_any(others, base), [True, True, False, False])
    others[3, 0, 0, 0] -= 1
    np.testing.assert_array_equal(looks_like_any(others, base), [True, True, False, True])
