"""The number of images that are started together, and the images of a list in such batches."""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import flax.linen as nn
import jax

from ddim_jax.models import Network
from ddim_jax.models.spec import example_inputs
from ddim_jax.preprocessing import Prepared
from ddim_jax.runtime.limits import cores
from ddim_jax.sampling_options import SamplingOptions

T = TypeVar("T")

LARGEST = 64
"""Images of a batch that nobody asked for: they keep a device busy, and more would only wait for each other."""
_IN_TURN = 4
"""Images of a program of one step on a CPU, one after the other: of fewer, starting it takes more of the time."""
_SMALL = 64 * 2**20
"""Bytes of the layers of an image up to which its loops are too short to share: each thread has images of its own."""
_AT_ONCE = 4  # images of a list that wait on the device, where batches are small


def choose_batch_size(device: Any, bytes_of_sample: Callable[[], int], options: SamplingOptions, count: int) -> int:
    """The images of a batch where nobody says: as many as surely fit into the device's memory.

    Elsewhere than on a CPU the largest power of two, up to `LARGEST`, of which all samples' layers would fit into half
    of the memory (`bytes_limit` of `memory_stats()`) if every layer's result were kept, which a program for inference
    does not do. On a CPU some for each processor (`in_parts`), where an image of the network is too small to keep them
    all busy, one for each where there are fewer images or they take several steps; else one. No more than the next
    power of two above `count`; and one for a device that does not tell its memory, and for images at sizes of their
    own, each of which has a program of its own.

    Args:
      device: where the program runs, a `jax.Device`.
      bytes_of_sample: tells the `activation_bytes` of the network; asked for where it matters alone.
      options: of these, `samples`, `steps` and `size`.
      count: images that there are.
    """
    if count < 2 or options.size == "native":
        return 1
    if device.platform == "cpu":
        in_turn = max(1, _IN_TURN // options.steps)
        small = options.samples * bytes_of_sample() <= _SMALL
        fitting = cores() * (in_turn if count >= in_turn * cores() else 1) if small else 1
    else:
        memory = (device.memory_stats() or {}).get("bytes_limit", 0)
        fitting = memory and max(1, memory // 2 // (options.samples * bytes_of_sample()))
    return min(LARGEST, 2 ** int(math.log2(fitting or 1)), 2 ** math.ceil(math.log2(count)))


def in_parts(pictures: Sequence[T], size: int, device: Any) -> Iterator[list[T]]:
    """Cuts a batch of at most `size` images into those of a program each, filled up with the last one again.

    On a CPU there is a part for each processor, elsewhere one in all.
    """
    share = -(-size // cores()) if device.platform == "cpu" else size
    for first in range(0, len(pictures), share):
        part = pictures[first : first + share]
        yield [*part, *[part[-1]] * (share - len(part))]


def activation_bytes(model: nn.Module, params: Any, image_size: int) -> int:
    """The bytes of the results of all layers of one evaluation of the network for one sample; nothing is computed."""
    _, kept = jax.eval_shape(
        Network(model, capture_intermediates=True, mutable=["intermediates"]),
        params,
        *example_inputs(model, image_size),
    )
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(kept))


def in_batches(
    pictures: Iterable[Prepared], size: int, start: Callable[[Sequence[Prepared]], Sequence[Any]]
) -> Iterator[Any]:
    """Yields what `start` gives for each image, in their order, when those that follow are on their way already.

    Neighbours of one shape make a batch, up to `size` of them. At most two batches wait, or a few images; of these
    `cancel` is called where nobody asks for them any more.
    """
    most = max(_AT_ONCE, 2 * size)
    waiting, batch = deque(), []
    try:
        for picture in pictures:
            if batch and picture.pixels.shape != batch[0].pixels.shape:
                waiting += start(batch)
                batch = []
            batch.append(picture)
            if len(batch) == size:
                waiting += start(batch)
                batch = []
            while len(waiting) > most - size:
                yield waiting.popleft()
        waiting += start(batch) if batch else ()
        while waiting:
            yield waiting.popleft()
    finally:
        for one in waiting:
            one.cancel()
