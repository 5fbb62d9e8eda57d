"""The artefacts of a slice: what the writers make of its result, and images for the page."""

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from ddim_jax.imageio.writers import Outputs
from ddim_jax.inference.segmentation import Segmentation
from ddim_jax.labels import Labels
from ddim_jax.preprocessing import resize_unit_map
from ddim_jax.registry import WRITERS
from ddim_jax.runtime.errors import DataError

OWN = ("picture", "masks", "samples")
"""The images for the page, by the names that no writer's file may have beside them."""
_LARGEST_SAMPLE = 512  # pixels of the longer side: they are for looking at


def artefacts(
    image: np.ndarray, samples: np.ndarray, result: Segmentation, source: Path, outputs: Outputs
) -> tuple[dict[str, tuple[str, bytes]], dict[str, str]]:
    """The files of a slice, and why there is none of some kinds.

    Args:
      image: uint8 [H, W, 3].
      samples: as `fuse` takes them.
      result: of the slice.
      source: the slice's file.
      outputs: of kinds none of which is one of `OWN`, with a private folder for files on their way.

    Returns:
      name and content of each file, by its kind or as `OWN` has it; and the reasons by kind.
    """
    made, unavailable = _written(image, result, source, outputs)
    own = dict(zip(OWN, (picture_png(image), _masks(result, outputs.context.labels), _samples(samples)), strict=True))
    return made | {name: (f"{name}.png", data) for name, data in own.items()}, unavailable


def picture_png(image: np.ndarray) -> bytes:
    """An image uint8 [H, W, 3] as PNG, of one channel if its channels are equal; for looking at, so quickly packed."""
    grey = image[..., 0]
    same = np.array_equal(grey, image[..., 1]) and np.array_equal(grey, image[..., 2])
    return _png(np.ascontiguousarray(grey) if same else image)


def _written(
    image: np.ndarray, result: Segmentation, source: Path, outputs: Outputs
) -> tuple[dict[str, tuple[str, bytes]], dict[str, str]]:
    kinds = outputs.kinds

    def write(kind: str) -> bytes | DataError:
        writer = WRITERS.get(kind)
        path = outputs.folder / f"{kind}{writer.suffix}"
        try:
            writer().write(path, result, image, source, outputs.context)
            return path.read_bytes()
        except DataError as error:  # the source lacks what this format needs; there are others
            return error
        finally:
            path.unlink(missing_ok=True)

    with ThreadPoolExecutor(max(1, len(kinds))) as pool:  # packing a large image takes longer than segmenting it
        found = dict(zip(kinds, pool.map(write, kinds), strict=True))
    unavailable = {kind: str(error) for kind, error in found.items() if isinstance(error, DataError)}
    made = {kind: (f"{kind}{WRITERS.get(kind).suffix}", found[kind]) for kind in kinds if kind not in unavailable}
    return made, unavailable


def _masks(result: Segmentation, labels: Labels) -> bytes:
    """The masks of all classes side by side, 0 and 255."""
    parts = [
        np.uint8(255) * labels.of_class(result.mask, number + 1).astype(np.uint8) for number in range(labels.count)
    ]
    return _png(np.concatenate(parts, axis=1))


def _samples(samples: np.ndarray) -> bytes:
    """The samples below each other, 0 where a pixel is outside for certain and 255 inside; classes side by side."""
    maps = np.clip(samples * 0.5 + 0.5, 0, 1).reshape(*samples.shape[:3], -1)
    height, width = maps.shape[1:3]
    scale = min(1.0, _LARGEST_SAMPLE / max(height, width))
    shape = max(1, round(height * scale)), max(1, round(width * scale))
    rows = [np.concatenate([resize_unit_map(one, shape) for one in np.moveaxis(sample, -1, 0)], 1) for sample in maps]
    return _png(np.round(np.concatenate(rows) * 255).astype(np.uint8))


def _png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG", compress_level=1)
    return file.getvalue()
