"""Training on crops of the images at their own scale, in which the foreground is more frequent than in the images.

Where example number i of the training stream is cut is a pure function of (seed, i) and its mask, so nothing about it
is stored and a run goes on to the same bit, on any number of processes.
"""

import threading
from collections.abc import Iterator, Sequence

import numpy as np

from ddim_jax.data.arrays import Arrays
from ddim_jax.data.facts import PixelBudget, values_of
from ddim_jax.data.pipeline import Numbered, Order, Shares, drawn
from ddim_jax.data.sources import Example, Source, example_of
from ddim_jax.preprocessing import pad_to

_STREAM = 2**63  # of the random numbers, apart from those of the order


def cut(example: Example, size: int, seed: int, number: int, *, on_foreground: bool | None = None) -> Example:
    """One square of a pair, at its own scale.

    Half of the crops lie anywhere. The other half hold a pixel of the foreground, at a place of the crop that is drawn
    evenly; of several values of the mask, each is as frequent. An image that is smaller is continued by its edge.

    Args:
      example: the pair.
      size: side of the crop in pixels.
      seed, number: of the crop: the same numbers give the same crop.
      on_foreground: True or False for a crop of one of the kinds; None draws it.
    """
    shape = tuple(max(side, size) for side in example.mask.shape)
    image, mask = pad_to(example.image, shape), pad_to(example.mask[..., None], shape)[..., 0]
    kind, which, pixel, down, right = np.random.Philox(key=np.array([seed, _STREAM + number], np.uint64)).random_raw(5)
    if on_foreground is None:
        on_foreground = bool(kind >> np.uint64(63))
    values = values_of(mask) if on_foreground else ()
    if values:
        places = np.flatnonzero(mask == values[int(which) % len(values)])
        row, column = divmod(int(places[int(pixel) % len(places)]), shape[1])
        y, x = row - int(down) % size, column - int(right) % size
        y, x = min(max(y, 0), shape[0] - size), min(max(x, 0), shape[1] - size)
    else:
        y, x = int(down) % (shape[0] - size + 1), int(right) % (shape[1] - size + 1)
    return Example(example.id, image[y : y + size, x : x + size], mask[y : y + size, x : x + size])


def training_crops(
    source: Source, order: Order, *, size: int, keep_bytes: int, read_threads: int = 8
) -> Iterator[dict[str, np.ndarray]]:
    """Yields the batches of `training_indices`, of each pair a crop; see `training_batches`.

    Args:
      source: the data set.
      order: where in the stream, as for `training_indices`.
      size: side of the crops in pixels.
      keep_bytes: as many bytes of decoded images are kept in memory; the others are read each time.
      read_threads: number of batches that are made at once; 0 makes them in the calling thread.

    Yields:
      {"image": uint8 [b, size, size, 3], "mask": uint8 [b, size, size]}.
    """
    shares = Shares(len(source), order)
    budget, kept, free, keeping = PixelBudget(), {}, keep_bytes, threading.Lock()

    def one(row: int, number: int) -> Example:
        nonlocal free
        example = kept.get(row)
        if example is None:
            with budget.room_for(source, row):
                example = example_of(source, row)
                crop = cut(drawn(example, order.seed, number), size, order.seed, number)
            with keeping:
                if (bytes_left := free - example.nbytes) >= 0 and row not in kept:
                    free, kept[row] = bytes_left, example
            return crop
        return cut(drawn(example, order.seed, number), size, order.seed, number)

    def made(work: np.ndarray) -> dict[str, np.ndarray]:
        crops = [one(row, number) for row, number in work.T.tolist()]
        return {"image": np.stack([crop.image for crop in crops]), "mask": np.stack([crop.mask for crop in crops])}

    import grain  # not at the head: images that are all in memory do not need it, and it takes long to import

    options = grain.ReadOptions(num_threads=read_threads, prefetch_buffer_size=2 * read_threads)
    return iter(grain.MapDataset.source(Numbered(shares)).map(made).to_iter_dataset(options))


def validation_crops(source: Source, rows: Sequence[int], size: int, seed: int) -> Arrays:
    """Two crops of each of the pairs `rows`, always the same: one that holds foreground, one that lies anywhere."""
    crops = []
    for row in rows:
        example = example_of(source, row)
        crops += [cut(example, size, seed, 2 * row + kind, on_foreground=kind == 0) for kind in (0, 1)]
    ids = tuple(crop.id for crop in crops)
    return Arrays(ids, np.stack([crop.image for crop in crops]), np.stack([crop.mask for crop in crops]), {})
