"""MedSegDiff (Wu et al., MIDL 2023, arXiv 2211.00611): a denoiser whose view of the image follows the noisy mask.

An encoder for the noisy mask x_t and an encoder for the image run side by side; a decoder turns the sum of their
features into the estimate of the noise (the paper's Eq. 2). At some levels the image's features are weighted by those
of the mask (dynamic conditional encoding), from which high-frequency noise was filtered before (FF-Parser).

Where the paper and its public code differ:

- The fusion is the paper's: LN(m_image) * LN(m_mask) * m_image, at its two middle stages. The code has neither fusion
  nor FF-Parser unless it is told `--version 1`; then it multiplies the image's features by two maps of the mask's, one
  over the pixels and one over the channels, at four stages.
- The mask's encoder sees x_t alone, as in the paper; the code concatenates the image.
- The paper has the noise prediction of DDPM alone, and so has this. The code besides learns the variance, and trains a
  whole U-Net on the image with a loss on its mask, weight 10. It noises masks in {0, 1}.
- Channels, levels, blocks and attention are those of the code's example at 256 x 256. The paper gives the downsamplings
  of its networks alone: 4, 5, 6 and 6 for S, B, L and ++.
- The paper infers with 100 steps, 25 samples and STAPLE; 1000 steps and 5 samples are those of the code's README, and
  its `staple()` is the squared mean.

Where both leave no choice to a network whose parameters must not depend on the size of the image, or are silent:

- The code has one learned complex number for each frequency of a 256 x 256 image. Here the map is learned on a fixed
  grid of frequencies, in cycles per pixel, and interpolated to those of the feature map. It starts as the identity.
- Layer normalisation is over all features of an example, with a scale and a shift for each channel.
- The skip connections carry the sum of the two encoders' features, at every block.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ddim_jax.fields import Field
from ddim_jax.models.layers import (
    Attention,
    Conv,
    Norm,
    decode,
    residual_block,
    space_to_depth,
    time_features,
)
from ddim_jax.models.levels import FIELDS, HalvedLevels, check_levels
from ddim_jax.models.spec import ModelSpec
from ddim_jax.ops import filter_spectrum
from ddim_jax.registry import MODELS


class FFParser(nn.Module):
    """Multiplies the spectrum of each channel by a learned complex map (the paper's Eq. 4 to 6).

    Attributes:
      frequency_bins: intervals of the learned grid from frequency 0 to the highest, half a cycle per pixel; between its
        points the map is linear.
    """

    frequency_bins: int = 16

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[batch, H, W, C] -> the same shape and dtype; float32 inside."""
        height, width, channels = x.shape[1:]
        bins = self.frequency_bins

        def initial(key, shape):
            # The identity, as real and imaginary parts: the optimiser and the checkpoints see real numbers alone.
            return jnp.zeros(shape).at[..., 0].set(1.0)

        weight = self.param("weight", initial, (2 * bins + 1, bins + 1, channels, 2))
        rows = _interpolation((np.fft.fftfreq(height) + 0.5) * 2 * bins, 2 * bins + 1)
        columns = _interpolation(np.fft.rfftfreq(width) * 2 * bins, bins + 1)
        weight = jnp.einsum("hi,wj,ijcp->hwcp", rows, columns, weight)
        return filter_spectrum(x.astype(jnp.float32), weight).astype(x.dtype)


class DynamicEncoding(nn.Module):
    """LN(image) * LN(FF-Parser(mask)) * image (the paper's Eq. 3): the image's features as the mask's want them."""

    frequency_bins: int = 16

    @nn.compact
    def __call__(self, image: jax.Array, mask: jax.Array) -> jax.Array:
        """Two feature maps [batch, H, W, C] -> the image's, weighted."""
        mask = FFParser(self.frequency_bins, name="ff_parser")(mask)
        return Norm(1, name="norm_image")(image) * Norm(1, name="norm_mask")(mask) * image


class MedSegDiff(HalvedLevels, nn.Module):
    """eps_theta(x_t, c, t) of MedSegDiff. Height and width have to be multiples of `size_multiple`.

    Attributes:
      base_channels: channels at the first level; the time embedding has four times as many.
      channel_multipliers: of base_channels, one for each level; the resolution halves from level to level.
      blocks_per_level: residual blocks at a level on the way down, in each encoder; one more on the way up.
      attention_levels: the levels, counted from 0, with attention after each block of the mask's encoder and of the
        decoder; the bottleneck always has one.
      fusion_levels: the levels after whose blocks the image's features are fused with the mask's.
      frequency_bins: resolution of the FF-Parser.
      norm_groups: groups of the group normalisation, or their greatest common divisor with the channels.
      dropout: rate inside the residual blocks while training.
      stem_stride: side of the patches the stem folds into channels (space to depth), 1 for none.
      remat: whether training keeps only what enters each residual block and computes its inside again on the way back
        (Chen et al. 2016, arXiv 1604.06174): less memory, more time, the same values.
      mask_channels: of the noisy mask and of what is estimated (`ddim_jax.labels.Labels.channels`).
      dtype: of the arithmetic ("float32" or "bfloat16"); parameters, normalisation, softmax and FFT are float32.
    """

    base_channels: int = 128
    channel_multipliers: tuple[int, ...] = (1, 1, 2, 2, 4, 4)
    blocks_per_level: int = 2
    attention_levels: tuple[int, ...] = (4,)
    fusion_levels: tuple[int, ...] = (2, 3)
    frequency_bins: int = 16
    norm_groups: int = 32
    dropout: float = 0.0
    stem_stride: int = 1
    remat: bool = False
    mask_channels: int = 1
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, noisy_mask: jax.Array, image: jax.Array, t: jax.Array, *, train: bool = False) -> jax.Array:
        """[B, H, W, C], [B, H, W, 3] in [-1, 1], int [B] -> float32 [B, H, W, C], C = `mask_channels`.

        Raises:
          ValueError: H or W is not a multiple of `size_multiple`.
        """
        self.check_size(noisy_mask)

        def conv(name: str, features: int, **options) -> Conv:
            return Conv(features, dtype=self.dtype, name=name, **options)

        def block(name: str, features: int, x: jax.Array) -> jax.Array:
            layer = residual_block(self.remat)(features, False, self.norm_groups, self.dropout, self.dtype, name=name)
            return layer(x, time, train)

        def attend(name: str, x: jax.Array) -> jax.Array:
            return Attention(False, self.norm_groups, self.dtype, name=name)(x)

        def stem(name: str, x: jax.Array) -> jax.Array:
            return conv(name, self.base_channels)(space_to_depth(x.astype(self.dtype), self.stem_stride))

        def downsample(name: str, x: jax.Array) -> jax.Array:
            return conv(name, x.shape[-1], strides=2, padding=((0, 1), (0, 1)))(x)

        time = time_features(t, self.base_channels, self.dtype)
        levels = len(self.channel_multipliers)
        x, c = stem("mask_in", noisy_mask), stem("image_in", image)
        skips = [x + c]
        for level, multiplier in enumerate(self.channel_multipliers):
            features = multiplier * self.base_channels
            for index in range(self.blocks_per_level):
                x = block(f"mask_{level}_block_{index}", features, x)
                c = block(f"image_{level}_block_{index}", features, c)
                if level in self.attention_levels:
                    x = attend(f"mask_{level}_attn_{index}", x)
                if level in self.fusion_levels and index == self.blocks_per_level - 1:
                    c = DynamicEncoding(self.frequency_bins, name=f"fusion_{level}")(c, x)
                skips.append(x + c)
            if level != levels - 1:
                x, c = downsample(f"mask_{level}_downsample", x), downsample(f"image_{level}_downsample", c)
                skips.append(x + c)

        return decode(self, x + c, skips, block, attend)


def _interpolation(places: np.ndarray, count: int) -> np.ndarray:
    """Weights float32 [places, count] of the linear interpolation of `count` points 0, 1, ... at `places`."""
    return np.maximum(1.0 - np.abs(places[:, None] - np.arange(count)), 0.0).astype(np.float32)


DEFAULTS = {
    "train": {"learning_rate": 1e-4},  # its paper's
    "sample": {"sampler": "ddpm", "steps": 1000, "protocol": "mean"},
}
"""Ancestral sampling over all timesteps."""
SMALL = {
    "base_channels": 16,
    "channel_multipliers": (1, 2, 3, 4),
    "blocks_per_level": 1,
    "attention_levels": (),
    "fusion_levels": (1, 2),
    "frequency_bins": 8,
    "norm_groups": 8,
    "stem_stride": 2,
}
"""For CPUs."""

OWN = {
    "fusion_levels": Field(tuple, help="levels where image and mask are fused, counted from 0", low=0, high=11),
    "frequency_bins": Field(int, help="frequency bins of the FF-Parser", low=1, high=256),
}

MODELS.register("medsegdiff")(
    ModelSpec(
        MedSegDiff,
        defaults=DEFAULTS,
        presets={"small": SMALL},
        ranges=FIELDS | OWN,
        check=functools.partial(check_levels, lists=("attention_levels", "fusion_levels")),
    )
)
