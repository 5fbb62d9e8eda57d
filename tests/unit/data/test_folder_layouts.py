"""A folder that is laid out in another way is refused with words on what to do."""

import shutil

import numpy as np
import pytest
from clinic_files import volume
from dicom_files import ct_series
from pair_files import mask, picture, save

from ddim_jax.data import load_dataset
from ddim_jax.data.layouts import MASK_WORDS
from ddim_jax.runtime.errors import DataError

LAYOUT = "Expected DIR/images/NAME.png with DIR/masks/NAME.png."


def test_missing_and_empty_folders(tmp_path):
    with pytest.raises(DataError, match="nowhere: no such folder"):
        load_dataset("folder", "train", root=tmp_path / "nowhere")
    (tmp_path / "d1.zip").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"data.root is .*d1\.zip: is a file; unpack it, and give the folder"):
        load_dataset("folder", "train", root=tmp_path / "d1.zip")
    (tmp_path / "d1.zip").unlink()
    (tmp_path / "pictures").mkdir()
    with pytest.raises(DataError, match="has no folder images and no folder masks; it holds pictures"):
        load_dataset("folder", "train", root=tmp_path)
    (tmp_path / "images").mkdir()
    with pytest.raises(DataError, match="has no folder masks; it holds images, pictures"):
        load_dataset("folder", "train", root=tmp_path)
    (tmp_path / "masks").mkdir()
    with pytest.raises(
        DataError, match=rf"it holds nothing\. Its parent {tmp_path} has images and masks: give that\. {LAYOUT}$"
    ):
        load_dataset("folder", "train", root=tmp_path / "images")
    with pytest.raises(DataError, match=rf"it holds nothing\. {LAYOUT}$"):
        load_dataset("folder", "train", root=tmp_path / "pictures")
    with pytest.raises(DataError, match=r"folder .*images holds no images"):
        load_dataset("folder", "train", root=tmp_path)


def test_the_layout_of_nnunet_is_known_by_its_folders_and_by_its_names(tmp_path):
    for number in range(12):
        save(tmp_path / f"imagesTr/case_{number:03d}_0000.png", picture(number))
        save(tmp_path / f"labelsTr/case_{number:03d}.png", mask(number))
    told = "This is nnU-Net's layout: link each file of imagesTr into images without _0000 in its name, and labelsTr as"
    with pytest.raises(DataError) as caught:
        load_dataset("folder", "all", root=tmp_path)
    assert str(caught.value).endswith(f"it holds imagesTr, labelsTr. {told} masks. {LAYOUT}")
    for theirs, ours in (("imagesTr", "images"), ("labelsTr", "masks")):
        (tmp_path / ours).symlink_to(theirs)
    with pytest.raises(DataError, match="24 files") as caught:
        load_dataset("folder", "all", root=tmp_path)
    assert caught.value.args[-1].startswith(
        "The images have nnU-Net's _0000 in their names; drop it, or link each file"
    )
    for file in (tmp_path / "imagesTr").iterdir():
        file.rename(file.with_name(file.name.replace("_0000", "")))
    assert len(load_dataset("folder", "all", root=tmp_path)) == 12
    save(tmp_path / "images/x.png", picture(0))
    with pytest.raises(DataError, match=r"x\.png has no mask$"):
        load_dataset("folder", "all", root=tmp_path)


def test_volumes_of_the_decathlon_and_several_channels_are_told_apart(tmp_path):
    for name in ("imagesTr/._hip_001.nii.gz", "imagesTr/hip_001.nii.gz", "labelsTr/hip_001.nii.gz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(
        DataError, match=rf"Segmentation Decathlon: link imagesTr as images, and labelsTr as masks\. {LAYOUT}$"
    ):
        load_dataset("folder", "all", root=tmp_path)
    (tmp_path / "imagesTr/hip_001.nii.gz").rename(tmp_path / "imagesTr/hip_001_0000.nii.gz")
    (tmp_path / "imagesTr/hip_001_0001.nii.gz").touch()
    with pytest.raises(
        DataError, match=r"nnU-Net's layout: .*, _0000 and _0001, which are not taken together: link the"
    ):
        load_dataset("folder", "all", root=tmp_path)
    for number in range(4):
        save(tmp_path / f"images/c{number // 2}_000{number % 2}.png", picture(number))
        save(tmp_path / f"masks/c{number // 2}.png", mask(number))
    with pytest.raises(DataError, match="6 files") as caught:
        load_dataset("folder", "all", root=tmp_path)
    assert caught.value.args[-1].startswith(
        "The images have nnU-Net's several channels, _0000 and _0001, which are not"
    )


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("p0/image.png", "p0/mask.png"), "it holds p0. "),
        (("x0.png", "x0_mask.png"), "it holds x0.png, x0_mask.png. "),
        (("images/x0.png", "Labels/x0.png"), "it holds Labels, images. Rename Labels to masks. "),
        (("imgs/x0.png", "masks/x0.png"), "it holds imgs, masks. Rename imgs to images. "),
        (("image/0.png", "mask/0.png"), "it holds image, mask. Rename image to images and mask to masks. "),
        (("images/0.png", "label/0.png", "mask/0.png"), "it holds images, label, mask. "),
    ],
)
def test_other_layouts_are_told_the_expected_one_and_folders_their_names(tmp_path, names, told):
    for name in names:
        save(tmp_path / name, mask(0))
    with pytest.raises(DataError) as caught:
        load_dataset("folder", "all", root=tmp_path)
    assert str(caught.value).endswith(told + LAYOUT)


def test_masks_without_the_folders_of_their_images_are_told_where_they_belong(tmp_path):
    for number in range(2):
        save(tmp_path / f"images/p0{number}/x{number}.png", picture(number))
        save(tmp_path / f"masks/x{number}.png", mask(number))
    told = r"expected each mask where its image is, folders included \(masks/p07/x\.png for images/p07/x\.png\), with"
    with pytest.raises(DataError, match=told):
        load_dataset("folder", "all", root=tmp_path)


@pytest.mark.parametrize("word", [f"{mark}{word}" for mark in "_-" for word in MASK_WORDS])
def test_every_ending_of_a_mask_is_taken_and_named_where_files_do_not_pair(tmp_path, word):
    for number in range(3):
        save(tmp_path / f"images/x{number}.png", picture(number))
        save(tmp_path / f"masks/x{number}{word}.png", mask(number))
    assert load_dataset("folder", "all", root=tmp_path).ids == ("x0", "x1", "x2")
    (tmp_path / f"masks/x0{word}.png").unlink()
    with pytest.raises(DataError) as caught:
        load_dataset("folder", "all", root=tmp_path)
    named = "with or without _mask, _masks, _segmentation, _seg, _label or _labels, or with - for _:"
    assert named in str(caught.value) and f"_{word[1:]}" in named


def test_masks_whose_number_stands_behind_the_word_are_told_their_names(tmp_path):
    for number in range(5):
        save(tmp_path / f"images/p/img_{number}.png", picture(number))
        save(tmp_path / f"masks/p/img_Mask_{number}.png", mask(number))
    told = ": a number at the end counts the masks of one image"
    with pytest.raises(DataError, match="10 files") as caught:
        load_dataset("folder", "all", root=tmp_path)
    assert caught.value.args[-1] == f"Rename p/img_Mask_0 to p/img_0_Mask, and 4 more likewise{told}"
    shutil.rmtree(tmp_path / "images")
    shutil.rmtree(tmp_path / "masks")
    for number, (image, own) in enumerate({"a": "a_mask", "a_1": "a_mask_1", "b (2)": "b-seg (2)"}.items()):
        save(tmp_path / f"images/{image}.png", picture(number))
        save(tmp_path / f"masks/{own}.png", mask(number))
    with pytest.raises(DataError, match="3 files") as caught:  # a_mask_1 is taken for a second one of a
        load_dataset("folder", "all", root=tmp_path)
    assert caught.value.args[-1] == f"Rename b-seg (2) to b (2)-seg, and 1 more likewise{told}"
    (tmp_path / "images/a_1.png").unlink()
    (tmp_path / "masks/b-seg (2).png").unlink()
    with pytest.raises(DataError, match=r"b \(2\)\.png has no mask$"):
        load_dataset("folder", "all", root=tmp_path)


@pytest.mark.parametrize(
    ("image", "own", "told"),
    [
        ("x{}", "mask_x{}", 'masks begin with "mask_": rename them without it, such as mask_x17 to x17'),
        ("x{}", "x{} mask", 'masks end in " mask": rename them without it, such as x17 mask to x17'),
        ("p/x{}_im", "p/x{}_mask", 'images end in "_im": rename them without it, such as p/x17_im to p/x17'),
        (
            "img-{}",
            "gt-{}-old",
            'images begin with "img-" and those of masks begin with "gt-" and end in "-old": rename them '
            "without it, such as img-17 to 17 and gt-17-old to 17",
        ),
    ],
)  # fmt: skip
def test_names_with_a_common_beginning_or_end_are_told_to_drop_it(tmp_path, image, own, told):
    for number in (17, 18, 29):
        save(tmp_path / f"images/{image.format(number)}.png", picture(number))
        save(tmp_path / f"masks/{own.format(number)}.png", mask(number))
    with pytest.raises(DataError, match="6 files") as caught:
        load_dataset("folder", "all", root=tmp_path)
    assert caught.value.args[-1] == f"The names of {told}, and 3 pair up"


@pytest.mark.parametrize(
    ("images", "masks"),
    [(("c_001", "c_002"), ("c_011", "c_012")), (("a", "b"), ("mask_c", "mask_d")), (("x",), ("mask_x",))],
)
def test_names_that_differ_in_numbers_or_are_of_others_are_not_told_to_be_renamed(tmp_path, images, masks):
    for folder, names in (("images", images), ("masks", masks)):
        for name in names:
            save(tmp_path / f"{folder}/{name}.png", mask(0))
    with pytest.raises(DataError, match="pair up by name") as caught:
        load_dataset("folder", "all", root=tmp_path)
    assert len(caught.value.args) == 1 + len(images) + len(masks)


def test_folders_of_masks_may_be_of_annotators_or_of_structures(tmp_path):
    for name in ("images", "leftMask", "rightMask"):
        (tmp_path / name).mkdir()
    told = r"\(masks of several annotators: --annotators leftMask,rightMask, .*; of several structures: unite them into"
    with pytest.raises(DataError, match=told):
        load_dataset("folder", "all", root=tmp_path)


def test_a_mask_of_a_whole_series_of_files_is_told_how_to_become_a_pair(tmp_path):
    (tmp_path / "masks").mkdir()
    for number in range(3):
        ct_series(tmp_path / f"images/p{number}", count=4, seed=number)
        volume(tmp_path / f"masks/p{number}_seg.nii.gz", np.eye(12, 10, dtype=np.uint8)[..., None].repeat(4, 2))
    with pytest.raises(DataError, match="15 files") as caught:
        load_dataset("folder", "all", root=tmp_path)
    series = "images/p0 is a folder of 4 DICOM files, with one mask"
    assert caught.value.args[-1] == (
        f"{series}, and so are 2 more: save each series as one NIfTI file, images/p0.nii.gz"
    )
    for number in (1, 2):
        (tmp_path / f"masks/p{number}_seg.nii.gz").unlink()
    with pytest.raises(DataError, match="13 files") as caught:
        load_dataset("folder", "all", root=tmp_path)
    assert caught.value.args[-1] == f"{series}: save each series as one NIfTI file, images/p0.nii.gz"
