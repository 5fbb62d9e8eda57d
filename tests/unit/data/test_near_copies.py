"""Images of different splits that were saved again are told; those that are only alike are not."""

import numpy as np
import pytest
from pair_files import save, write_splits
from PIL import Image

from ddim_jax.data.facts import facts_of
from ddim_jax.data.near_copies import near_copies
from ddim_jax.data.preflight import examine
from ddim_jax.data.sources import Example
from ddim_jax.preprocessing import resize_image

SHAPE = (96, 112)


def scene(number, anatomy=0.0):
    """Structures of several sizes; of `anatomy` a share that all images have in common."""

    def structures(seed):
        rng = np.random.default_rng(seed)
        sizes = (3, 6, 12, 24, 48)
        parts = [resize_image(np.tile(rng.integers(0, 256, (size, size, 1), np.uint8), 3), SHAPE) for size in sizes]
        return np.mean(parts, axis=0)

    return (anatomy * structures(0) + (1 - anatomy) * structures(number)).astype(np.uint8)


def facts(pixels):
    return facts_of(Example("x", pixels, np.zeros(pixels.shape[:2], np.uint8)))


CHANGES = {
    "smaller": lambda pixels: resize_image(pixels, (48, 56)),
    "halved": lambda pixels: np.asarray(Image.fromarray(pixels).resize((56, 48), Image.Resampling.BICUBIC)),
    "larger": lambda pixels: resize_image(pixels, (150, 180)),
    "brighter": lambda pixels: np.clip(pixels.astype(int) + 40, 0, 255).astype(np.uint8),
    "flatter": lambda pixels: (pixels * 0.6 + 20).astype(np.uint8),
    "gamma": lambda pixels: (255 * (pixels / 255) ** 1.4).astype(np.uint8),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_told(change):
    train = {f"{number}": facts(scene(number)) for number in range(1, 17)}
    test = {"copy": facts(CHANGES[change](scene(3))), "new": facts(scene(20))}
    assert near_copies({"train": train, "val": {}, "test": test}) == ["3 of train and copy of test"]
    del train["16"]  # then they are too few
    assert near_copies({"train": train, "val": {}, "test": test}) == []


@pytest.mark.parametrize("in_common", ["anatomy", "frame"])
def test_what_is_alike_and_no_copy_is_not_told(in_common):
    """Half of all images is the same; and what is one value, or the same to the pixel, is no near copy."""
    screen = 255 * np.random.default_rng(0).integers(0, 2, (12, 14, 1), np.uint8).repeat(8, 0).repeat(8, 1)

    def alike(number):
        if in_common == "anatomy":
            return scene(number, anatomy=0.5)
        pixels = np.tile(screen, 3)
        pixels[24:72, 24:88] = scene(number)[24:72, 24:88]
        return pixels

    train = {f"{number}": facts(alike(number)) for number in range(1, 17)}
    train |= {"even": facts(np.full((*SHAPE, 3), 7, np.uint8))}
    test = {f"{number}": facts(alike(number)) for number in range(17, 23)}
    test |= {"even": facts(np.full((*SHAPE, 3), 9, np.uint8)), "same": train["1"]}
    assert near_copies({"train": train, "test": test}) == []
    details = [np.frombuffer(test[name].thumbnail, np.uint8) for name in ("17", "18")]
    assert in_common == "anatomy" or np.corrcoef(details)[0, 1] > 0.9


def test_the_report_names_them(tmp_path):
    for number in range(1, 20):
        save(tmp_path / f"images/{number}.png", scene(number))
    for number, quality in ((5, 50), (9, 80)):
        Image.fromarray(scene(number)).save(tmp_path / f"images/again{number}.jpg", quality=quality)
    for file in (tmp_path / "images").iterdir():
        save(tmp_path / f"masks/{file.stem}.png", np.repeat(np.uint8([0, 255]), [5000, 5752]).reshape(SHAPE))
    write_splits(tmp_path, train=range(1, 17), val=[17, "again5"], test=[18, 19, "again9"])
    lines = {name: line for name, *line in examine(tmp_path, 32, "cpu", 2)}
    told = "2 pairs of images of different splits: 5 of train and again5 of val, 9 of train and again9 of test"
    assert lines["near copies"][0] == told and lines["near copies"][1].startswith(
        "look at them. Of an image and its copy"
    )
    assert "more than one split" not in lines["split"][1]
    write_splits(tmp_path, train=[*range(1, 17), "again5", "again9"], val=[17], test=[18, 19])
    assert "near copies" not in {name for name, *_ in examine(tmp_path, 32, "cpu", 2)}
