"""Batches for the training step, from a data set held on the device or read as it goes."""

from collections.abc import Iterator

import jax
import numpy as np
from absl import logging
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from ddim_jax.data import Source, Subset, load_arrays, training_batches, training_indices
from ddim_jax.training.sharding import global_batch, place
from ddim_jax.training.step import Batch


class Feed:
    """Gives the batches of a training set from any step on.

    A data set whose resized uint8 pictures take at most `resident_bytes` lies on every device and never leaves it; only
    row numbers travel; each process reads its share of the files. A larger one is read by threads ahead of the step
    that needs it, by each process the pictures of its share of the batch.

    Raises:
      DataError: pairs that cannot be used; the files are named.
    """

    def __init__(self, source: Source, mesh: Mesh, *, image_size: int, batch_size: int, seed: int, resident_bytes: int):
        self._source = source
        self._mesh = mesh
        self._image_size = image_size
        self._order = {
            "batch_size": batch_size,
            "seed": seed,
            "process_index": jax.process_index(),
            "process_count": jax.process_count(),
        }
        size = len(source) * image_size * image_size * 4  # three channels and the mask
        self._resident = None
        if size <= resident_bytes:
            self._resident = place(mesh, _load_together(source, image_size))
        else:
            logging.info("%.1f GB of pictures are read as training goes (data.resident_bytes)", size / 1e9)

    def batches(self, start_step: int) -> Iterator[Batch]:
        """The batches of steps start_step, start_step + 1, ... without end."""
        if self._resident is not None:
            for rows in training_indices(len(self._source), start_step=start_step, **self._order):
                yield {**self._resident, **global_batch(self._mesh, {"row": rows})}
        else:
            local = training_batches(self._source, image_size=self._image_size, start_step=start_step, **self._order)
            for batch in local:
                yield global_batch(self._mesh, {"image": batch["image"], "mask": batch["mask"]})


def _load_together(source: Source, image_size: int) -> dict[str, np.ndarray]:
    """All pictures on every process, each file read by one of them."""
    index, count = jax.process_index(), jax.process_count()
    share = -(-len(source) // count)
    # All shares have one length; what the last one has too much is cut off again.
    rows = np.arange(index * share, (index + 1) * share) % len(source)
    arrays = load_arrays(source if count == 1 else Subset(source, rows.tolist()), image_size)
    own = {"images": arrays.images, "masks": arrays.masks}
    if count == 1:
        return own
    every = multihost_utils.process_allgather(own, tiled=True)
    return {name: array[: len(source)] for name, array in every.items()}
