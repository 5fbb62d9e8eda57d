"""Valid inputs of every kind the programs read, made on the spot: what is damaged to see how it is refused."""

import io
import json

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ddim_jax.config import resolve_config
from tests import picture_files

SIZE = 24


def pixels(seed: int = 0, size: int = SIZE) -> np.ndarray:
    """uint8 [size, size, 3] with smooth parts and noise."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(0, 200, size)[:, None, None] + rng.integers(0, 40, (size, size, 3))
    return ramp.astype(np.uint8)


def mask_pixels(size: int = SIZE) -> np.ndarray:
    """uint8 [size, size]: a disc of 255 on 0."""
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    return np.where(y**2 + x**2 < (size / 3) ** 2, 255, 0).astype(np.uint8)


def encoded(picture: Image.Image | np.ndarray, kind: str, **options) -> bytes:
    """The bytes of an image file of a kind (PNG, JPEG, BMP, TIFF, GIF)."""
    picture = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def picture_seeds() -> list[bytes]:
    """Image files of every kind and mode: depths, tiles, palettes, transparency, texts, EXIF, several frames."""
    rgb, mask = Image.fromarray(pixels()), Image.fromarray(mask_pixels())
    alpha = rgb.copy()
    alpha.putalpha(mask)
    deep = Image.fromarray(pixels()[..., 0].astype(np.uint16) * 200)
    real = Image.fromarray(pixels()[..., 0].astype(np.float32) / 255)
    palette = rgb.quantize(16)
    exif = Image.Exif()
    exif[0x0112] = 6
    texts = PngInfo()
    texts.add_text("Comment", "text " * 50, zip=True)
    texts.add_itxt("Title", "text " * 50, "en", "Title", zip=True)
    colours = {"1": mask.convert("1"), "L": mask, "P": palette, "LA": alpha.convert("LA"), "RGB": rgb, "RGBA": alpha}
    png = [encoded(picture, "PNG") for picture in (*colours.values(), deep)]
    png += [encoded(rgb, "PNG", exif=exif, pnginfo=texts), encoded(palette, "PNG", transparency=3)]
    png += [encoded(rgb, "PNG", save_all=True, append_images=[mask.convert("RGB")])]
    jpeg = [encoded(picture, "JPEG", quality=90) for picture in (rgb, mask, rgb.convert("CMYK"))]
    jpeg += [encoded(rgb, "JPEG", progressive=True, exif=exif)]
    bmp = [encoded(picture, "BMP") for picture in (colours["1"], mask, palette, rgb)]
    whole = (*colours.values(), deep, real, rgb.convert("CMYK"), rgb.convert("YCbCr"), rgb.convert("LAB"))
    tiff = [encoded(picture, "TIFF") for picture in whole]
    tiff += [encoded(rgb, "TIFF", compression=name) for name in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")]
    tiff += [encoded(colours["1"], "TIFF", compression="tiff_lzw"), encoded(rgb, "TIFF", big_tiff=True, exif=exif)]
    tiff += [encoded(deep, "TIFF", compression="tiff_lzw"), encoded(real, "TIFF", compression="tiff_adobe_deflate")]
    tiff += [encoded(rgb, "TIFF", save_all=True, append_images=[rgb])]
    numbers = np.dstack([pixels(), pixels(1)]).astype(np.uint16) * 17
    png += [picture_files.png(numbers[..., :count], kind) for count, kind in ((2, 4), (3, 2), (4, 6))]
    sides = {256: SIZE, 257: SIZE, 258: (16, 16, 16), 259: 1, 262: 2, 277: 3}
    tiff += [picture_files.tiff(sides, numbers[..., :3].astype("<u2").tobytes())]
    tiles = [np.full((16, 16), value, np.uint8).tobytes() for value in (0, 80, 160, 240)]
    tiff += [picture_files.tiff(picture_files.grey_tags(SIZE, SIZE, t322=16, t323=16), tiles)]
    strips = [encoded(pixels()[rows], "JPEG") for rows in (slice(0, 16), slice(16, SIZE))]
    tiff += [picture_files.tiff({**sides, 258: (8, 8, 8), 259: 7, 262: 6, 278: 16}, strips)]
    large = np.asarray(rgb.resize((200, 200), Image.Resampling.BICUBIC))
    jpeg += [encoded(large, "JPEG", quality=95), encoded(large, "JPEG", restart_marker_rows=2)]
    gif = [encoded(palette, "GIF"), encoded(palette, "GIF", save_all=True, append_images=[mask.convert("P")])]
    return [*png, *jpeg, *bmp, *tiff, *gif]


def split_seeds() -> list[bytes]:
    """Tables of splits: commas and semicolons, quotes, a byte-order mark, Windows line ends, further columns."""
    rows = [("a", "train"), ("b/c", "val"), ("d e", "test"), ("f", "Training")]
    plain = "stem,split\n" + "".join(f"{stem},{split}\n" for stem, split in rows)
    more = "id,Split,stem\n" + "".join(f"1,{split},{stem}\n" for stem, split in rows)
    texts = [plain, plain.replace(",", ";"), plain.replace("\n", "\r\n"), "\ufeff" + plain, more]
    return [text.encode() for text in [*texts, 'stem,split\n"a, ""b""",train\n\n"c\nd",val\n']]


INDEXED = ("a", "b", "sub/c", "d")
"""The names in those indices; the last one failed, where it is there."""
MTIME_NS = 7 * 10**9
"""Times of change of their images, of five bytes."""


def index_seeds() -> list[bytes]:
    """Indices of an output folder as sample.py writes them, one with a failed image."""
    done = {"bytes": 5, "mtime_ns": MTIME_NS, "status": "ok", "outputs": ["mask"], "height": 4, "width": 5, "area": 3}
    done |= {"mean_uncertainty": 0.25, "doubt": 0.5, "seconds": 0.1}
    lines = [{"name": name, "file": f"/in/{name}.png", **done} for name in INDEXED[:3]]
    failed = {"name": "d", "file": "/in/d.png", "bytes": 0, "mtime_ns": 1, "status": "failed", "reason": "empty"}
    return ["".join(json.dumps(line) + "\n" for line in group).encode() for group in (lines, [*lines, failed])]


SETTINGS = {
    "checkpoint": "runs/mine/checkpoints/5",
    "weights": "00ff",
    "step": 5,
    "samples": 3,
    "steps": 2,
    "seed": 0,
    "protocol": "mean",
    "threshold": 0.5,
    "size": "model",
    "flips": False,
    "sampler": "ddim",
    "ensemble": "mean",
    "eta": 0.0,
    "clip_x0": None,
}
"""The content of settings.json of an output folder."""


def config_seeds() -> list[bytes]:
    """The base config for each system, as JSON."""
    from configs import base

    content = base.get_config().to_dict()
    found = []
    for name in ("lightweight_ddim", "unet", "medsegdiff"):
        content["model"]["name"] = name
        found.append(json.dumps(content).encode())
    return found


TRAINED_ON = {"train_ids_sha256": "00ff", "train_examples": 12, "val_ids_sha256": "ff00"}
"""The part of a checkpoint's metadata about the data."""


def metadata_seeds() -> list[bytes]:
    """The metadata of a checkpoint of each system, as JSON."""
    configs = [resolve_config(json.loads(content)) for content in config_seeds()]
    return [
        json.dumps({"config": config, "package_version": "0.1.0", "data": TRAINED_ON}).encode() for config in configs
    ]
