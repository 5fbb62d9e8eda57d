"""The number of images that one program is made for, and the images of a list in such batches."""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import flax.linen as nn
import jax

from ddim_jax.models import Network
from ddim_jax.models.spec import example_inputs
from ddim_jax.preprocessing import Prepared
from ddim_jax.sampling_options import SamplingOptions

LARGEST = 64
"""Images of a batch that nobody asked for: they keep a device busy, and more would only wait for each other."""
_AT_ONCE = 4  # images of a list that wait on the device, where batches are small


def choose_batch_size(device: Any, bytes_of_sample: Callable[[], int], options: SamplingOptions, count: int) -> int:
    """The images that a program is made for where nobody says: as many as surely fit into the device's memory.

    On a CPU one. Elsewhere the largest power of two, up to `LARGEST`, of which all samples' layers would fit into half
    of the memory (`bytes_limit` of `memory_stats()`) if every layer's result were kept, which a program for inference
    does not do. No more than the next power of two above `count`; and one for a device that does not tell its memory,
    and for images at sizes of their own, each of which has a program of its own.

    Args:
      device: where the program runs, a `jax.Device`.
      bytes_of_sample: tells the `activation_bytes` of the network; asked for where it matters alone.
      options: of these, `samples` and `size`.
      count: images that there are.
    """
    memory = (device.memory_stats() or {}).get("bytes_limit") if device.platform != "cpu" else None
    if not memory or count < 2 or options.size == "native":
        return 1
    fitting = max(1, memory // 2 // (options.samples * bytes_of_sample()))
    return min(LARGEST, 2 ** int(math.log2(fitting)), 2 ** math.ceil(math.log2(count)))


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

    Neighbours of one shape make a batch, up to `size` of them. At most two batches wait, or a few images.
    """
    most = max(_AT_ONCE, 2 * size)
    waiting, batch = deque(), []
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
    yield from waiting
