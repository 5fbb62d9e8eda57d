"""The order of training examples, and batches read in that order.

Example number i of the endless training stream is a pure function of (seed, i): each pass over the data is a fresh
permutation. So the position in the data is the global step and nothing about it is stored: a run that resumes at step k
asks for step k, on any number of processes.
"""

import functools
import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ddim_jax.data.arrays import resized
from ddim_jax.data.facts import PixelBudget
from ddim_jax.data.sources import Example, Source, example_of

_ANNOTATORS = 2**62
"""The stream of random numbers that draws annotators, apart from that of the order and that of crops."""
UNLABELLED = 2**62 + 2**61
"""The stream of the order of unlabelled images, apart from that of the labelled ones beside them."""


class Order(NamedTuple):
    """The part of the endless training stream that a process reads.

    Attributes:
      batch_size: examples in a global batch, a multiple of process_count.
      seed: of the order, 0 to 2**64 - 1.
      start_step: the first global step.
      process_index, process_count: the share of each global batch; the shares, put together in the order of the
        processes, are the same batch for any process_count.
    """

    batch_size: int
    seed: int
    start_step: int = 0
    process_index: int = 0
    process_count: int = 1


def training_indices(n: int, order: Order, stream: int = 0) -> Iterator[np.ndarray]:
    """Yields this process's dataset rows of steps start_step, start_step + 1, ... without end.

    Args:
      n: rows in the data set, at least 1; it may be smaller than the batch.
      order: where in the stream.
      stream: 0, or `UNLABELLED` for an order of its own.

    Yields:
      int32 [batch_size / process_count], values in [0, n).

    Raises:
      ValueError: an argument is out of its range.
    """
    shares = Shares(n, order, stream)
    return map(shares.__getitem__, itertools.count())


def training_annotators(count: int, n: int, order: Order) -> Iterator[np.ndarray]:
    """Yields for the examples of `training_indices` their `drawn_annotator`, int32 in [0, count).

    Args:
      count: of annotators, at least 1.
      n, order: as for `training_indices`.
    """
    shares = Shares(n, order)
    return (
        np.array([drawn_annotator(order.seed, number, count) for number in shares.numbers(step).tolist()], np.int32)
        for step in itertools.count()
    )


def training_batches(
    source: Source, order: Order, *, image_size: int, read_threads: int = 8
) -> Iterator[dict[str, np.ndarray]]:
    """Yields the batches of `training_indices` with their images, read ahead by `read_threads` threads.

    Threads, not worker processes: decoding and resizing leave the interpreter's lock. Images stay uint8, a quarter of
    what float32 would send to the device.

    Args:
      source: the data set.
      order: where in the stream.
      image_size: S, in pixels.
      read_threads: number of batches that are read at once; 0 reads in the calling thread.

    Yields:
      {"image": uint8 [b, S, S, 3], "mask": uint8 [b, S, S] as `ddim_jax.labels` has it, "index": int32 [b], the rows of
      `source`}, with b = batch_size / process_count.

    Raises:
      ValueError: an argument is out of its range.
      DataError: a pair cannot be read; the message names the file.
    """
    shares = Shares(len(source), order)
    budget = PixelBudget()

    def fitted(row: int, number: int) -> tuple[np.ndarray, np.ndarray]:
        with budget.room_for(source, row):
            return resized(drawn(example_of(source, row), order.seed, number), image_size)

    def read(work: np.ndarray) -> dict[str, np.ndarray]:
        images, masks = zip(*(fitted(*one) for one in work.T.tolist()), strict=True)
        return {"image": np.stack(images), "mask": np.stack(masks), "index": work[0].astype(np.int32)}

    import grain  # not at the head: images that are all in memory do not need it, and it takes long to import

    options = grain.ReadOptions(num_threads=read_threads, prefetch_buffer_size=2 * read_threads)
    return iter(grain.MapDataset.source(Numbered(shares)).map(read).to_iter_dataset(options))


def drawn_annotator(seed: int, number: int, count: int) -> int:
    """The annotator, 0 .. count - 1, whose mask example `number` of the training stream has.

    A pure function of (seed, number), so each pass over the data draws anew and a run goes on to the same bit.
    """
    return int(np.random.Philox(key=np.array([seed, _ANNOTATORS + number], np.uint64)).random_raw() % count)


def drawn(example: Example, seed: int, number: int) -> Example:
    """The example with the mask of its `drawn_annotator`; as it is where there is one truth."""
    if example.annotators is None:
        return example
    mask = example.annotators[drawn_annotator(seed, number, len(example.annotators))]
    return example._replace(mask=mask, annotators=None)


class Shares:
    """Element k is this process's share of global batch start_step + k: int32 rows."""

    def __init__(self, n: int, order: Order, stream: int = 0):
        batch_size, seed, start_step, process_index, process_count = order
        if n < 1:
            raise ValueError("There are no examples to train on.")
        if batch_size < 1 or process_count < 1 or batch_size % process_count:
            raise ValueError(f"batch_size {batch_size} must be a positive multiple of the {process_count} processes.")
        if not 0 <= process_index < process_count or start_step < 0:
            raise ValueError(f"process_index {process_index} of {process_count} at step {start_step} does not exist.")
        self._n, self._seed, self._batch_size, self._stream = n, seed, batch_size, stream
        self._share = batch_size // process_count
        self._first = start_step * batch_size + process_index * self._share

    def __len__(self) -> int:
        return 2**40  # without end, for Grain

    def __getitem__(self, step: int) -> np.ndarray:
        passes, places = np.divmod(self.numbers(step), self._n)
        rows = np.empty(self._share, np.int32)
        for one in np.unique(passes):
            here = passes == one
            rows[here] = _order(self._n, self._seed, self._stream + int(one))[places[here]]
        return rows

    def numbers(self, step: int) -> np.ndarray:
        """The numbers of these examples in the training stream, int64."""
        return self._first + step * self._batch_size + np.arange(self._share)


class Numbered:
    """Element k is int64 [2, b]: the rows of a process's share of batch k, and their numbers in the stream."""

    def __init__(self, shares: Shares):
        self._shares = shares

    def __len__(self) -> int:
        return len(self._shares)

    def __getitem__(self, step: int) -> np.ndarray:
        return np.stack([self._shares[step].astype(np.int64), self._shares.numbers(step)])


# Grain's own shuffle gives one index at a time, which for the few hundred examples usual in medicine costs more than
# the rest of a batch of rows. The raw stream of Philox is the same in every release of NumPy.
@functools.lru_cache(maxsize=8)
def _order(n: int, seed: int, number: int) -> np.ndarray:
    """The permutation of range(n) that pass `number` over the data follows."""
    keys = np.random.Philox(key=np.array([seed, number], np.uint64)).random_raw(n)
    return np.argsort(keys, kind="stable").astype(np.int32)
