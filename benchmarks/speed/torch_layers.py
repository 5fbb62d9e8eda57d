"""Parts of the networks in PyTorch: normalisation, SiLU, the embedding of timesteps, patches and channels."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPS = 1e-6


def group_norm(groups: int, channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(math.gcd(groups, channels), channels, eps=EPS)


def silu(x: Tensor) -> Tensor:
    """SiLU of a tensor that nobody else needs: in place unless a backward pass will ask for what went in."""
    return F.silu(x, inplace=not torch.is_grad_enabled())


def timestep_embedding(t: Tensor, channels: int) -> Tensor:
    """[B] -> float32 [B, channels]: sines of t f_k, then cosines; f_k = exp(-ln(10000) k / (channels/2 - 1))."""
    half = channels // 2
    frequencies = torch.exp(torch.arange(half, dtype=torch.float32, device=t.device) * (-math.log(1e4) / (half - 1)))
    angles = t.float()[:, None] * frequencies
    return torch.cat([torch.sin(angles), torch.cos(angles)], dim=-1)


def space_to_depth(x: Tensor, patch: int) -> Tensor:
    """[B, C, H, W] -> [B, patch^2 C, H/patch, W/patch], ordered (row, column, channel) as in `models.layers`."""
    if patch == 1:
        return x
    batch, channels, height, width = x.shape
    x = x.reshape(batch, channels, height // patch, patch, width // patch, patch).permute(0, 3, 5, 1, 2, 4)
    return x.reshape(batch, patch * patch * channels, height // patch, width // patch)


def depth_to_space(x: Tensor, patch: int) -> Tensor:
    """The inverse of `space_to_depth`; in channels_last both ends of its one copy are runs of channels.

    `F.pixel_shuffle`, which has another order of channels, takes longer where there are many (`conv_transpose2d` has
    one bias for the whole patch).
    """
    batch, channels, height, width = x.shape
    channels //= patch * patch
    x = x.permute(0, 2, 3, 1).reshape(batch, height, width, patch, patch, channels).transpose(2, 3)
    return x.reshape(batch, height * patch, width * patch, channels).permute(0, 3, 1, 2)
