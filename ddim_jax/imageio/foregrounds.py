"""The values that masks of one class have for their foreground, compared over a data set."""

from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

from ddim_jax.imageio.label_maps import TO_SAY
from ddim_jax.runtime.values import NAMED_AT_MOST, quantity


class Foreground(NamedTuple):
    """The value of the foreground of a lossless mask that holds 0 and one other value, which is read whatever it is.

    Attributes:
      key: equal for two masks that mean the same: a grey value, or a colour.
      value: as the file stores it and `data.labels` names it; None for a colour without an index.
      pixels: their number.
      name: of the file.
    """

    key: Hashable
    value: int | float | None
    pixels: int
    name: str


_noted: ContextVar[list[Foreground] | None] = ContextVar("noted", default=None)


@contextmanager
def noting(found: list[Foreground]) -> Iterator[None]:
    """Adds to `found` the foreground of each lossless mask that the thread reads by level in the block.

    One mask of 0 and 1 and another of 0 and 2 are two levels each: that they mean two classes shows in both alone.
    """
    token = _noted.set(found)
    try:
        yield
    finally:
        _noted.reset(token)


def note(key: Hashable, value: int | float | None, pixels: int, name: str) -> None:
    """Adds a `Foreground` to the list of the `noting` block that the thread is in, if it is in one."""
    if (found := _noted.get()) is not None:
        found.append(Foreground(key, value, pixels, name))


def describe_foregrounds(found: Sequence[Foreground]) -> str | None:
    """The message for masks of one data set with several foregrounds and the option that decides; None where all masks
    have the same."""
    keys: dict[Hashable, list[Foreground]] = {}
    for one in found:
        keys.setdefault(one.key, []).append(one)
    if len(keys) < 2:
        return None
    told = []
    for key, holding in sorted(keys.items(), key=lambda item: str(item[0]))[:NAMED_AT_MOST]:
        shown = [] if holding[0].value is None else [f"{holding[0].value:g}"]
        shown += [f"the colour {key}"] if isinstance(key, tuple) else []
        files = len({one.name for one in holding})
        pixels = quantity(sum(one.pixels for one in holding), "pixel")
        told.append(f"{' of '.join(shown)} ({pixels} in {files} of them, such as {holding[0].name})")
    values = sorted({one.value for one in found if one.value is not None})
    named = ", ".join(f'"NAME{k}": {value}' for k, value in enumerate(values[:NAMED_AT_MOST], 1))
    files = len({one.name for one in found})
    advice = f"--config.data.labels='{{{named}}}' for classes, a list such as " + (
        f'{{"NAME": [{", ".join(map(str, values[:NAMED_AT_MOST]))}]}} for several values of one class.'
    )
    if any(one.value is None for one in found):
        advice = "save the masks as grey numbers that data.labels names, or all with one colour."
    return (
        f"{files} masks have one value each besides the background, and not the same: {', '.join(told)}; expected the "
        f"same in all.{TO_SAY}{advice}"
    )
