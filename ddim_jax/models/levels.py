"""Networks whose resolution halves from level to level: their sizes, the fields they share, and what is refused."""

import os
from typing import Any

import flax.linen as nn
import jax

from ddim_jax.fields import Field
from ddim_jax.runtime.errors import ConfigError

MOST_PARAMETERS = 2**31
"""A network of more, by a low estimate, is a mistake or an attack: its weights take 8 GiB."""

FIELDS = {
    "base_channels": Field(int, help="number of channels at the first level", low=8, high=4096, multiple=8),
    "channel_multipliers": Field(
        tuple, help="channels of each level, in units of base_channels", low=1, high=64, lengths=(1, 12)
    ),
    "blocks_per_level": Field(int, help="blocks at each level of the encoder", low=1, high=16),
    "attention_levels": Field(tuple, help="levels with attention, counted from 0", low=0, high=11),
    "norm_groups": Field(
        int,
        help="groups of the group normalisation, or their greatest common divisor with the channels",
        low=1,
        high=4096,
    ),
    "stem_stride": Field(int, help="side in pixels of the patches that the stem folds into channels", low=1, high=64),
    "remat": Field(
        bool,
        help="recompute activations in the backward pass (rematerialisation): less memory, more time",
        resume="free",
    ),
    "dropout": Field(float, help="dropout rate in training", low=0, below=1),
}
"""Fields of several networks, for `ddim_jax.models.ModelSpec.ranges`; what one network alone has stands in its file."""


class HalvedLevels:
    """The sizes that a network takes whose resolution halves from level to level.

    A Flax module with fields `stem_stride` and `channel_multipliers` inherits from it as well.
    """

    @property
    def size_multiple(self) -> int:
        """Height and width have to be multiples of this many pixels."""
        return self.stem_stride * 2 ** (len(self.channel_multipliers) - 1)

    def check_size(self, pictures: jax.Array) -> None:
        """Refuses images [B, H, W, C] of another size.

        Raises:
          ValueError: H or W is not a multiple of `size_multiple`.
        """
        height, width = pictures.shape[1:3]
        if height % self.size_multiple or width % self.size_multiple:
            raise ValueError(f"size {height} x {width}: both have to be multiples of {self.size_multiple}")


def check_levels(model: Any, lists: tuple[str, ...] = ()) -> None:
    """Refuses a network with more than `MOST_PARAMETERS` weights in its 3 x 3 convolutions, and levels that it lacks.

    Weights are estimated: even to count them, the network would have to be traced, which takes minutes for thousands of
    blocks.

    Args:
      model: a network with the fields base_channels, channel_multipliers and blocks_per_level.
      lists: its fields that name levels, counted from 0.

    Raises:
      ConfigError: names the field.
    """
    widths = (multiplier * model.base_channels for multiplier in model.channel_multipliers)
    weights = sum(2 * 9 * width**2 * (2 * model.blocks_per_level + 1) for width in widths)
    if weights > MOST_PARAMETERS:
        raise ConfigError(
            f"model.overrides: base_channels {model.base_channels}, channel_multipliers "
            f"{list(model.channel_multipliers)} and blocks_per_level {model.blocks_per_level} make a network of some "
            f"{weights:,} weights; expected at most {MOST_PARAMETERS:,}"
        )
    count = len(model.channel_multipliers)
    for name in lists:
        outside = [level for level in getattr(model, name) if level >= count]
        if outside:
            raise ConfigError(
                f"model.overrides.{name} is {list(getattr(model, name))}; expected levels from 0 to {count - 1}, as "
                "many as model.overrides.channel_multipliers has values"
            )


def check_memory(model: nn.Module, image_size: int) -> None:
    """Refuses images of which one array within the network would not fit into the memory of this machine.

    Raises:
      ConfigError: names the size, the bytes and the memory.
    """
    stem = getattr(model, "stem_stride", 1)
    numbers = {"the first level": (image_size // stem) ** 2 * getattr(model, "base_channels", 1)}
    if hasattr(model, "attention_levels") and hasattr(model, "channel_multipliers"):  # and in the bottleneck
        last = len(model.channel_multipliers) - 1
        numbers |= {
            f"the attention of level {level}": (image_size // (stem * 2**level)) ** 4
            for level in (*model.attention_levels, last)
        }
    where, most = max(numbers.items(), key=lambda item: item[1])
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if 4 * most > memory:
        raise ConfigError(
            f"data.image_size is {image_size}, for which one array of {where} takes {4 * most / 2**30:,.0f} GiB; this "
            f"machine has {memory / 2**30:,.0f} GiB. Lower it, or give the network more levels or a larger stem_stride"
        )
