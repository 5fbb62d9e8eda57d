"""Facts about pairs, with masks whose fate at each size can be told by hand, and the bound on pixels read at once."""

import threading
import time

import numpy as np
from loaded_arrays import load_arrays
from pair_files import save_pair
from PIL import Image

from ddim_jax.data import Example, Joined, Subset, check_source, load_dataset
from ddim_jax.data.facts import PairFacts, PixelBudget, facts_of, is_lost, resized_dice
from ddim_jax.labels import Labels
from ddim_jax.preprocessing import resize_mask


def test_facts_of_a_pair():
    image, mask = np.zeros((100, 200, 3), np.uint8), np.zeros((100, 200), np.uint8)
    image[..., 1] = np.arange(200) // 2
    mask[50:52, 100:103], mask[0, 0] = 1, 255
    facts = facts_of(Example("a", image, mask))
    assert facts[1:-2] == PairFacts(b"", 100, 200, 100, (1,), 6 / 20_000, 3, (32,))[1:-2]
    # 32 rows of 3.125 pixels sample rows 48 and 51, and columns 96 and 103 (of 6.25): at 64 row 50 and column 101.
    assert is_lost(mask, 32) and not is_lost(mask, 64)
    mask[60] = 2
    assert facts_of(Example("a", image, mask)).values == (1, 2)
    empty = facts_of(Example("a", image, np.full((100, 200), 255, np.uint8)))
    assert (empty.values, empty.share, empty.extent, empty.lost) == ((), 0.0, 0, ())


def test_the_resized_dice_is_that_of_the_mask_enlarged_again():
    mask = np.zeros((8, 8), np.uint8)
    mask[2, 2] = 1  # 4 rows sample rows 1, 3, 5, 7: the centre is kept, and enlarged to 2 x 2 pixels of 0.75 * 0.75
    assert is_lost(mask, 4) and resized_dice(mask, 4) == 2 * 1 / (1 + 4) and resized_dice(mask, 8) == 1
    example = Example("a", np.zeros((8, 8, 3), np.uint8), mask)
    assert facts_of(example, resized_at=(4, 8)).resized == {4: 0.4, 8: 1}
    assert facts_of(example, resized_at=(4, 8)).lost == facts_of(example, image_size=4).lost == (4,)
    mask[2:6, 2:6] = 1
    assert resized_dice(mask, 4) == 1
    mask[0, 7], mask[7, 7] = (
        2,
        255,
    )  # sampled by no row, so kept at (0, 3): 2 x 2 pixels again, less or more of the edge
    assert resized_dice(mask, 4) == (1 + 2 / (1 + 4)) / 2


def test_classes_that_overlap_are_counted_by_their_bits():
    labels = Labels.create({"a": [1, 3], "b": [2, 3]}, multilabel=True)
    mask = np.zeros((100, 100), np.uint8)
    mask[:50], mask[50:52, 50:52], mask[99] = 1, 3, 255
    facts = facts_of(Example("a", np.zeros((100, 100, 3), np.uint8), mask), labels)
    assert facts.values == (1, 2) and facts.share == 5004 / 10_000
    mask[60:, :50] = 2  # at 32 the 3 is lost, and neither class
    assert 32 not in facts_of(Example("a", np.zeros((100, 100, 3), np.uint8), mask), labels).lost


def test_digests_differ_with_one_pixel_and_with_the_shape():
    image, mask = np.zeros((4, 6, 3), np.uint8), np.zeros((4, 6), np.uint8)
    digests = {facts_of(Example("a", image, mask)).sha256}
    digests.add(facts_of(Example("a", image.reshape(6, 4, 3), mask.reshape(6, 4))).sha256)
    image[0, 0, 2] = 1
    digests.add(facts_of(Example("a", image, mask)).sha256)
    mask[3, 5] = 1
    digests.add(facts_of(Example("a", image, mask)).sha256)
    assert len(digests) == 4


def test_a_value_that_would_vanish_keeps_the_pixel_at_its_centre():
    mask = np.zeros((768, 768), np.uint8)
    mask[100:105, 301:306] = 1
    mask[400:410, 400:410] = 2
    mask[0, :2] = 255
    small = resize_mask(mask, (64, 64))
    assert (np.argwhere(small == 1) == [[102 * 64 // 768, 303 * 64 // 768]]).all() and (small == 1).sum() == 1
    assert (small == 2).sum() == 1 and not (small == 255).any()
    assert resize_mask(mask, (256, 256))[33:35, 100:102].sum() == 4  # nothing is added to what is left


def test_the_pixel_at_the_centre_is_that_of_its_row_and_its_column():
    mask = np.zeros((768, 1024), np.uint8)
    mask[100:105, 701:706] = 1
    assert np.argwhere(resize_mask(mask, (64, 48))).tolist() == [[102 * 64 // 768, 703 * 48 // 1024]]


def test_values_that_would_vanish_do_not_take_each_others_pixel():
    mask = np.zeros((768, 768), np.uint8)
    mask[301:304, 301:303], mask[301:304, 303:305], mask[304:306, 301:303] = 1, 2, 3  # all in row and column 25 of 64
    small = resize_mask(mask, (64, 64))
    assert [(small == value).sum() for value in (1, 2, 3)] == [1, 1, 1] and small[25, 25] == 1
    assert np.abs(np.argwhere(small) - 25).max() == 1
    mask[:] = 0
    mask[306, 306], mask[307, 307] = 1, 2  # the nearest pixel keeps 1 alone
    assert np.unique(resize_mask(mask, (64, 64))).tolist() == [0, 1, 2]
    assert np.unique(resize_mask(np.array([[1, 2, 3]], np.uint8), (1, 1))).size == 1


def test_the_pixels_that_are_read_at_once_are_bounded(tmp_path, monkeypatch):
    """A budget of 500 pixels has room for two pairs of 240 at once; a pair of 5000 is read alone."""
    from ddim_jax.data import arrays, facts, pipeline

    pixels, inside, most = [240] * 6 + [5000], [], []

    class Slow:
        name, ids = "slow", tuple("abcdefg")

        def __len__(self):
            return 7

        def count_pixels(self, row):
            return pixels[row]

        def __getitem__(self, row):
            inside.append(pixels[row])
            most.append(sum(inside))
            time.sleep(0.02)
            inside.remove(pixels[row])
            return Example(self.ids[row], np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.uint8))

    monkeypatch.setattr(arrays, "PixelBudget", lambda: facts.PixelBudget(500))
    monkeypatch.setattr(pipeline, "PixelBudget", lambda: facts.PixelBudget(500))
    load_arrays(Slow(), 4)
    assert sorted(set(most)) in ([240, 480, 5000], [240, 5000]) and len(most) == 7
    most.clear()
    batches = pipeline.training_batches(Slow(), pipeline.Order(7, seed=0), image_size=4, read_threads=4)
    for _ in range(3):
        next(batches)
    assert max(most) == 5000 and all(total in (240, 480, 5000) for total in most)


def test_a_part_and_a_union_of_sources_tell_the_pixels_of_their_pairs(tmp_path):
    sizes = {"a": 10, "b": 20}
    for name, side in sizes.items():
        picture = Image.new("RGB", (side, side))
        for kind in ("images", "masks"):
            (tmp_path / name / kind).mkdir(parents=True)
            picture.save(tmp_path / name / kind / f"{name}.png")
    small, large = (load_dataset("folder", "all", root=tmp_path / name) for name in sizes)
    both = Joined([small, large])
    assert [both.count_pixels(row) for row in (0, 1)] == [200, 800]
    assert (both.part, both.ids, both.groups) == ((0, 1), ("a", "b"), ("a", "b"))
    part = Subset(both, [1])
    assert (part.ids, len(part), part.count_pixels(0)) == (("b",), 1, 800)
    assert part[0].image.shape == (20, 20, 3)

    class InMemory:
        name, ids = "memory", ("c",)

        def __len__(self):
            return 1

    assert Subset(InMemory(), [0]).count_pixels(0) == 0


def test_a_header_that_cannot_be_read_takes_no_room_and_frees_it(tmp_path):
    save_pair(tmp_path / "images/a.png", tmp_path / "masks/a.png")
    source = load_dataset("folder", "all", root=tmp_path)
    assert source.count_pixels(0) == 240
    check_source(source)
    (tmp_path / "images/a.png").write_bytes(b"no image")
    budget, done = PixelBudget(100), []
    with budget.room_for(source, 0), budget.room_for(source, 0):
        pass
    save_pair(tmp_path / "images/a.png", tmp_path / "masks/a.png")

    def later():
        with budget.room_for(source, 0):
            done.append(1)

    with budget.room_for(source, 0):
        thread = threading.Thread(target=later)
        thread.start()
        time.sleep(0.05)
        assert not done
    thread.join(5)
    assert done == [1]
