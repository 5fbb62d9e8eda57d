"""The preflight: counts by hand, and settings that follow from them."""

import contextlib

import numpy as np
import pytest
from clinic_files import volume
from pair_files import save

from configs import folder as folder_config
from ddim_jax.data import load_dataset
from ddim_jax.data.facts import SIZES, PairFacts, is_lost
from ddim_jax.data.preflight import LEAST_STEPS, describe, examine, keeping_size, lost_at, recommend
from ddim_jax.data.seeded import seeded_split
from ddim_jax.data.split_warnings import unseen_classes
from ddim_jax.imageio.images import ReadOptions
from ddim_jax.labels import Labels
from ddim_jax.runtime.errors import DataError


def facts(kept_at, extent=7, values=(1,), levels=200, width=768, resized=None):
    lost = tuple(size for size in (*SIZES, 100) if kept_at is None or size < kept_at)
    return PairFacts(b"", 768, width, levels, values, 0.0001 if values else 0.0, extent, lost, (), resized or {})


def test_what_a_size_loses_and_which_keeps_enough():
    some = [facts(64)] * 12 + [facts(128)] * 27 + [facts(256)]
    assert [lost_at(some, size) for size in (32, 64, 100, 128, 256)] == [40, 28, 28, 1, 0]
    assert keeping_size(some) == 256 and keeping_size(some[:-1]) == 128 and keeping_size([facts(None)]) is None
    assert keeping_size([facts(64)] * 99 + [facts(None)]) == 64
    lines = {name: (found, advice) for name, found, advice in describe([*some, facts(0, 0, ())], 64)}
    assert lines["pairs"][0] == "41, 768 x 768 pixels"
    assert lines["classes"][0] == "1 (foreground in 40 pairs)"
    classes = Labels.create({"lung": 1, "heart": 2, "rib": 5})
    assert describe([facts(64), facts(64, values=(1, 3))], None, classes)[2] == (
        "classes",
        "3 (lung in 2, heart in 0, rib in 1 pairs)",
        "no mask has heart: look at data.labels",
    )
    assert lines["foreground"][0].endswith("its longest side 7 to 7 pixels; 1 mask is empty")
    assert lines["at 64 x 64"] == (
        "28 of 40 masks lose a class; 256 x 256 keeps a pixel of each in 99%",
        "raise data.image_size, or train on crops with data.crop",
    )
    assert describe([facts(0, 0, ())], 64)[-1][1:] == (
        "none: every mask is empty",
        "there is nothing to learn: look at the masks, and at data.labels",
    )
    assert describe([facts(64, width=9), facts(64)._replace(height=80)], None)[0][1] == "2, 9 to 768 x 80 to 768 pixels"
    assert "2 images have fewer than 32" in describe([facts(64, levels=14)] * 2, 64)[1][2]


def test_settings_say_why():
    small = dict(line[:2] for line in recommend([facts(512)] * 40, "cpu", 2))
    assert small == {"data.crop": "64", "train.batch_size": "16", "train.steps": "8000"}
    assert recommend([facts(None, 60)] * 40, "cpu", 2)[0][:2] == ("data.crop", "256")
    large = recommend([facts(32, 300)] * 1000, "cpu", 2)
    assert [line[:2] for line in large] == [
        ("data.image_size", "64"),
        ("train.batch_size", "16"),
        ("train.steps", "12500"),  # 250 * 800 / 16
    ]
    assert large[2][2].endswith("some 5 minutes on 2 idle cores with AVX-512")  # 12500 * 16 / 630 s = 317 s
    few = [facts(32, 300)] * 100
    assert recommend(few, "cpu", 1)[2][2].endswith("some 7 minutes on 1 idle core with AVX-512")  # 8000 * 16 / 315 s
    assert recommend(few, "cpu", 5)[2][2].endswith("some 1 minute on 5 idle cores with AVX-512")
    assert recommend([facts(32, 300)] * 697, "cpu", 2)[2][1:] == (
        "8700",  # 8712
        "some 250 passes over eight tenths of 697 pairs: 250 are aimed at, within 8000 to 20000 steps; "
        "some 4 minutes on 2 idle cores with AVX-512",
    )
    assert recommend([facts(32, 300)] * 5000, "gpu", 2)[2][1] == "20000"
    assert recommend([facts(192)], "gpu", 8)[0][1] == "192"


def test_no_fewer_steps_are_recommended_than_those_of_the_config():
    assert folder_config.get_config().train.steps == LEAST_STEPS == 8000
    assert folder_config.get_config().train.batch_size == 16


def test_a_size_that_keeps_a_pixel_and_draws_it_badly_is_not_recommended():
    small = [facts(192, resized={64: 0.25, 192: 0.7, 256: 0.8})] * 40
    assert recommend(small, "cpu", 2)[0][:2] == ("data.crop", "64")
    assert "masks have a Dice of 0.80" in recommend(small, "cpu", 2)[0][2]
    assert recommend([facts(192, resized={192: 0.7, 256: 0.95})] * 40, "cpu", 2)[0][:2] == ("data.image_size", "256")
    told, advice = describe([facts(32, resized={64: 0.5})] * 40, 64)[-1][1:]
    assert (
        told.startswith("0 of 40")
        and told.endswith("; the masks of that size, enlarged, have a Dice of 0.50")
        and "data.crop" in advice
    )
    assert describe([facts(32, resized={64: 0.95})] * 40, 64)[-1][2] == ""


def test_a_folder_is_read_and_the_loss_named(tmp_path):
    for number in range(4):
        mask = np.zeros((256, 256), np.uint8)
        mask[13:16, 20:23] = 255  # between rows 12 and 20, which 32 rows sample
        save(tmp_path / f"images/{number}.png", np.full((256, 256), number, np.uint8))
        save(tmp_path / f"masks/{number}.png", mask)
    lines = {name: found for name, found, _ in examine(tmp_path, 32, "cpu", 2)}
    assert lines["at 32 x 32"].startswith("4 of 4 masks lose a class; ")
    assert "the masks of that size, enlarged, have a Dice of 0.2" in lines["at 32 x 32"]  # 3 x 3 pixels, drawn as 8 x 8
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "masks"]


def test_pairs_are_described_before_the_files_without_a_partner(tmp_path):
    for number in range(3):
        save(tmp_path / f"images/{number}.png", np.full((40, 30), number, np.uint8))
        save(tmp_path / f"masks/{number}.png", np.tri(40, 30, dtype=np.uint8) * 255)
    (tmp_path / "masks/1.png").rename(tmp_path / "masks/7.png")
    lines = examine(tmp_path, 32, "cpu", 2)
    assert next(lines)[:2] == ("pairs", "2, 30 x 40 pixels")
    told = {}
    with pytest.raises(DataError, match=r"2 files of images/ and masks/ do not pair up") as caught:
        for name, found, _ in lines:
            told[name] = found
    assert told["classes"] == "1 (foreground in 2 pairs)" and "split" not in told
    assert "images/1.png has no mask" in str(caught.value) and "masks/7.png has no im" in str(caught.value)
    # What is wrong with the pairs is said with it.
    save(tmp_path / "masks/2.png", np.tri(40, 31, dtype=np.uint8) * 255)
    with pytest.raises(DataError, match=r"(?s)2 files of .* do not pair up.*1 of 2 pairs of .* cannot be used"):
        next(examine(tmp_path, 32, "cpu", 2))
    (tmp_path / "masks/0.png").rename(tmp_path / "masks/8.png")
    (tmp_path / "masks/2.png").rename(tmp_path / "masks/9.png")
    with pytest.raises(DataError, match="6 files of images/ and masks/ do not pair up"):
        next(examine(tmp_path, 32, "cpu", 2))


def test_files_without_a_partner_are_named_beside_a_volume_that_cannot_be_opened(tmp_path):
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
        for name in "ab":
            volume(tmp_path / f"{folder}/{name}.nii.gz", np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3) % 2)
    save(tmp_path / "images/c.png", np.eye(4, dtype=np.uint8))
    whole = (tmp_path / "images/a.nii.gz").read_bytes()
    (tmp_path / "images/a.nii.gz").write_bytes(b"no volume")
    for split in ("all", "train"):
        with pytest.raises(DataError, match=r"1 file of .* does not pair up by name; .*:\n.*images/c\.png has no mask"):
            load_dataset("folder", split, root=tmp_path, read_only=True)
    with pytest.raises(DataError, match=r"(?s)images/c\.png has no mask.*\n.*images/a\.nii\.gz: ") as caught:
        next(examine(tmp_path, 32, "cpu", 2))
    assert type(caught.value) is DataError
    (tmp_path / "images/a.nii.gz").write_bytes(whole)  # then the slices of both are described
    assert next(examine(tmp_path, 32, "cpu", 2))[1].startswith("6, ")


def test_ranges_of_16_bit_pictures_are_counted_where_they_differ(tmp_path):
    for number, top in enumerate((4000, 3000, 1000)):
        save(tmp_path / f"images/{number}.png", np.linspace(0, top, 64 * 64).astype(np.uint16).reshape(64, 64))
        save(tmp_path / f"masks/{number}.png", np.tri(64, dtype=np.uint8) * 255)
    lines = {name: line for name, *line in examine(tmp_path, 32, "cpu", 2)}
    advice = "for one scale of grey set data.window; 2047.5,4095 is 0 to 4095"
    assert lines["16-bit ranges"] == ["0 to 4095 in 2, 0 to 1023 in 1", advice]
    reading = ReadOptions(window=(2047.5, 4095.0))
    assert "16-bit ranges" not in dict(line[:2] for line in examine(tmp_path, 32, "cpu", 2, reading=reading))


def test_a_small_folder_is_told_what_its_splits_are_too_small_for(tmp_path):
    labels = Labels.create({"left lung": 1, "right lung": 2})
    drawn = seeded_split([str(number) for number in range(12)], 0)
    for name, split in drawn.items():
        mask = np.zeros((40, 40), np.uint8)
        mask[:9] = 1
        mask[20:] = 2 if split != "val" else 0
        save(tmp_path / f"images/{name}.png", np.full((40, 40), int(name), np.uint8))
        save(tmp_path / f"masks/{name}.png", mask)
    lines = {name: (found, advice) for name, found, advice in examine(tmp_path, 32, "cpu", 2, labels)}
    assert lines["pairs"] == ("12, 40 x 40 pixels", "few to train on: some hundred are usual")
    found, advice = lines["split"]
    assert found == "10 train, 1 val, 1 test; drawn by seed 0"
    assert advice.startswith("1 val and 1 test of 12 images: the Dice of fewer than 9 says little")
    assert lines["left and right"] == ("left lung and right lung", "set data.flips=False and sample.flips=False")
    assert "; no image of val has right lung: give each split some in a splits.csv" in advice
    # 8000 steps of 16 images, of 9.6: not the 250 passes that are aimed at.
    assert lines["train.steps"][1].startswith("some 13333 passes over eight tenths of 12 pairs: 250 are aimed at")
    assert not (tmp_path / "splits.csv").exists()
    unseen = unseen_classes({"val": [facts(64, values=(2,))], "test": []}, labels)
    assert unseen.startswith("no image of val has left lung")
    assert unseen_classes({"val": [facts(64, values=(1,)), facts(64, values=(2,))]}, labels) == ""
    assert unseen_classes({"val": [facts(64, values=())]}, labels) == ""  # no mask has anything, which is said once


def test_the_loss_at_a_size_is_that_of_the_evaluation(tmp_path):
    """At 60, which is none of the sizes that are tried for all, and where 32 loses more."""
    for number in range(12):
        mask = np.zeros((200, 200), np.uint8)
        mask[8 * number : 8 * number + 3, 16 * number : 16 * number + 3] = 1
        save(tmp_path / f"images/{number:02d}.png", np.full((200, 200), number, np.uint8))
        save(tmp_path / f"masks/{number:02d}.png", mask)
    source = load_dataset("folder", "all", root=tmp_path)
    lost = {size: sum(is_lost(source[row].mask, size) for row in range(12)) for size in (32, 60)}
    assert 0 < lost[60] < lost[32]
    lines = {name: found for name, found, _ in examine(tmp_path, 60, "cpu", 2)}
    assert lines["at 60 x 60"].startswith(f"{lost[60]} of 12 masks lose a class; ")


def test_masks_that_are_most_of_every_image_are_told_of(tmp_path):
    for number in range(3):
        mask = np.full((40, 40), 255, np.uint8)
        mask[10 + number : 20, 10:20] = 0
        save(tmp_path / f"images/{number}.png", np.full((40, 40), number, np.uint8))
        save(tmp_path / f"masks/{number}.png", mask)
    advice = "most of every image, up to its edges: look if the masks are inverted"
    assert {name: advice for name, _, advice in examine(tmp_path, 32, "cpu", 2)}["foreground"] == advice
    save(tmp_path / "masks/1.png", np.tri(40, k=-9, dtype=np.uint8) * 255)
    assert {name: advice for name, _, advice in examine(tmp_path, 32, "cpu", 2)}["foreground"] == ""


@pytest.mark.parametrize(
    ("table", "given", "told"),
    [
        ("stem,split\n0,train\n1,dev\n", {}, r"has 1 line that cannot be used:\n  line 3: stem '1', split 'dev'"),
        ("stem,split\n0,train\n1,train\n2,test\n", {}, r"no pair belongs to the split val \(by splits\.csv\); give"),
        ("stem,split,seed\n0,train,7\n1,val,7\n2,test,7\n", {}, "was drawn by seed 7, and data.split_seed is 0"),
        ("stem,split,seed\n0,train,7\n1,val,7\n2,test,7\n", {"seed": 7}, ""),
        ("stem,fold\n0,0\n1,1\n2,2\n", {}, "which only data.folds can do without. Add it, with train, val or test in"),
        ("stem,fold\n0,0\n1,1\n2,2\n", {"folds": 3, "fold": 2}, ""),
    ],
)
def test_a_split_that_a_training_refuses_is_refused_below_the_table(tmp_path, table, given, told):
    for number in range(3):
        save(tmp_path / f"images/{number}.png", np.full((40, 40), number, np.uint8))
        save(tmp_path / f"masks/{number}.png", np.tri(40, dtype=np.uint8) * 255)
    (tmp_path / "splits.csv").write_text(table)
    lines = {}
    with pytest.raises(DataError, match=told) if told else contextlib.nullcontext():
        for name, found, _ in examine(tmp_path, 32, "cpu", 2, **given):
            lines[name] = found
    rule = "fold 2 of 3 by splits.csv" if "folds" in given else "drawn by seed 7"
    assert lines.get("split") == (None if told else f"1 train, 1 val, 1 test; {rule}")
    assert list(lines)[-1] == "train.steps"


def test_a_picture_in_two_splits_is_told_whatever_its_mask(tmp_path):
    """Two of train are in test and in val under other names; those of one value are like any other."""
    split = dict.fromkeys("abcdefgh", "train") | dict.fromkeys("ijx", "val") | dict.fromkeys("kly", "test")
    rng = np.random.default_rng(0)
    pixels = {name: rng.integers(0, 256, (20, 24), np.uint8) for name in split}
    pixels |= {"i": pixels["b"], "k": pixels["a"], "l": pixels["a"], "x": np.zeros((20, 24), np.uint8)}
    pixels["y"] = pixels["x"]
    for number, name in enumerate(split):
        save(tmp_path / f"images/{name}.png", pixels[name])
        save(tmp_path / f"masks/{name}.png", np.repeat(np.uint8([0, 255]), [60 + number, 420 - number]).reshape(20, 24))
    (tmp_path / "splits.csv").write_text("stem,split\n" + "".join(f"{name},{one}\n" for name, one in split.items()))
    (advice,) = (advice for name, _, advice in examine(tmp_path, 32, "cpu", 2) if name == "split")
    assert advice.startswith("2 images are in more than one split, such as a of train = k of test: scores there")
    split = dict.fromkeys("abcdefghikl", "train") | {"x": "val", "y": "test", "j": "val"}
    (tmp_path / "splits.csv").write_text("stem,split\n" + "".join(f"{name},{one}\n" for name, one in split.items()))
    assert not any("more than one split" in advice for _, _, advice in examine(tmp_path, 32, "cpu", 2))
