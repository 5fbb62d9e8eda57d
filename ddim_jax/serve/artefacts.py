"""The artefacts of a slice: what the writers make of its result, and images for the page."""

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from ddim_jax.imageio.writers import Context
from ddim_jax.inference.jobs import Job
from ddim_jax.inference.segmentation import Segmentation
from ddim_jax.labels import Labels
from ddim_jax.preprocessing import resize_unit_map
from ddim_jax.registry import WRITERS

OF_A_SLICE = ("mask", "probability", "uncertainty", "overlay")
_LARGEST_SAMPLE = 512  # pixels of the longer side: they are for looking at


def artefacts(
    image: np.ndarray, samples: np.ndarray, result: Segmentation, job: Job, context: Context, folder: Path
) -> dict[str, bytes]:
    """The content of the files of a slice, by their names.

    Args:
      image: uint8 [H, W, 3].
      samples: as `fuse` takes them.
      result: of the slice.
      job: its source.
      context: of the results.
      folder: private, for files on their way.
    """
    return _written(image, result, job, context, folder) | {
        "picture.png": picture_png(image),
        "masks.png": _masks(result, context.labels),
        "samples.png": _samples(samples),
    }


def picture_png(image: np.ndarray) -> bytes:
    """An image uint8 [H, W, 3] as PNG, of one channel if its channels are equal; for looking at, so quickly packed."""
    grey = image[..., 0]
    same = np.array_equal(grey, image[..., 1]) and np.array_equal(grey, image[..., 2])
    return _png(np.ascontiguousarray(grey) if same else image)


def _written(image: np.ndarray, result: Segmentation, job: Job, context: Context, folder: Path) -> dict[str, bytes]:
    def write(kind: str) -> tuple[str, bytes]:
        writer = WRITERS.get(kind)
        path = folder / f"{kind}{writer.suffix}"
        writer().write(path, result, image, Path(job.files[0]), context)
        data = path.read_bytes()
        path.unlink()
        return path.name, data

    with ThreadPoolExecutor(len(OF_A_SLICE)) as pool:  # packing a large image takes longer than segmenting it
        return dict(pool.map(write, OF_A_SLICE))


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
