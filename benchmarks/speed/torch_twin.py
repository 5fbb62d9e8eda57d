"""`ddim` and `lightweight_ddim` in PyTorch, to be timed and compared against: the same graph, the same parameters.

`twin_of(model)` builds the network for a `DenoisingUNet`, and `benchmarks.speed.torch_trunk` has that of `trunk_ddim`.
Parameters are named as in the public DDIM reference code (`down.0.block.0.conv1.weight`), so
`ddim_jax.checkpoints.torch_weights` carries weights from one to the other.

Written for eager PyTorch at its best, and free of anything that breaks the graph under `torch.compile`. Everything runs
in the memory format of the parameters: after `twin.to(memory_format=torch.channels_last)` no activation is copied from
one format to another on a CPU. Arithmetic is in the dtype of the parameters, or under `torch.autocast`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.speed.torch_layers import group_norm, silu, space_to_depth, timestep_embedding
from benchmarks.speed.torch_trunk import TwinTrunk
from ddim_jax.models import DenoisingUNet, create_model
from ddim_jax.models.layers import MAX_GROUPS, light_groups
from ddim_jax.models.trunk_ddim import TrunkDDIM
from ddim_jax.runtime.errors import ConfigError

IN_CHANNELS = 4  # the noisy mask and the image
OUT_CHANNELS = 1


def create_twin(name: str, *, preset: str | None = None, **overrides) -> "TwinUNet | TwinTrunk":
    """The twin of `ddim_jax.models.create_model` with the same arguments; raises what that raises."""
    return twin_of(create_model(name, preset=preset, **overrides))


def twin_of(model: DenoisingUNet | TrunkDDIM) -> "TwinUNet | TwinTrunk":
    """The same network in PyTorch, float32, with PyTorch's own initial weights.

    Raises:
      ConfigError: a model of another class, which has no twin.
    """
    for network, twin in ((TrunkDDIM, TwinTrunk), (DenoisingUNet, TwinUNet)):
        if isinstance(model, network):
            return twin(model)
    raise ConfigError(f"{type(model).__name__} has no twin in PyTorch; expected ddim, lightweight_ddim or trunk_ddim")


class TwinUNet(nn.Module):
    """The U-Net of a `ddim_jax.models.DenoisingUNet`."""

    def __init__(self, model: DenoisingUNet):
        super().__init__()
        self.base_channels, self.stem_stride = model.base_channels, model.stem_stride
        light, norm_groups, blocks_per_level = model.light, model.norm_groups, model.blocks_per_level
        time_channels = 4 * model.base_channels
        widths = [multiplier * model.base_channels for multiplier in model.channel_multipliers]
        deepest = len(widths) - 1

        def block(entering: int, leaving: int) -> ResidualBlock:
            return ResidualBlock(
                entering, leaving, time_channels, light, norm_groups, model.dropout, model.channel_shuffle
            )

        def attention(level: int, channels: int, count: int) -> list[Attention]:
            return [
                Attention(channels, light, norm_groups) for _ in range(count if level in model.attention_levels else 0)
            ]

        self.temb = nn.Module()
        self.temb.dense = nn.ModuleList(
            [nn.Linear(model.base_channels, time_channels), nn.Linear(time_channels, time_channels)]
        )
        self.conv_in = nn.Conv2d(model.stem_stride**2 * IN_CHANNELS, model.base_channels, 3, padding=1)

        skips = [model.base_channels]
        self.down = nn.ModuleList()
        for level, width in enumerate(widths):
            entering = [skips[-1]] + [width] * (blocks_per_level - 1)
            stage = nn.Module()
            stage.block = nn.ModuleList([block(channels, width) for channels in entering])
            stage.attn = nn.ModuleList(attention(level, width, blocks_per_level))
            stage.downsample = Downsample(width) if level != deepest else None
            self.down.append(stage)
            skips += [width] * (blocks_per_level + (level != deepest))

        self.mid = nn.Module()
        self.mid.block_1 = block(widths[-1], widths[-1])
        self.mid.attn_1 = Attention(widths[-1], light, norm_groups)
        self.mid.block_2 = block(widths[-1], widths[-1])

        current = widths[-1]
        stages = []
        for level, width in reversed(list(enumerate(widths))):
            entering = [current] + [width] * blocks_per_level
            stage = nn.Module()
            stage.block = nn.ModuleList([block(channels + skips.pop(), width) for channels in entering])
            stage.attn = nn.ModuleList(attention(level, width, blocks_per_level + 1))
            stage.upsample = Upsample(width) if level else None
            stages.append(stage)
            current = width
        assert not skips
        self.up = nn.ModuleList(reversed(stages))

        self.norm_out = group_norm(norm_groups, current)
        self.conv_out = nn.Conv2d(current, model.stem_stride**2 * OUT_CHANNELS, 3, padding=1)

    def forward(self, noisy_mask: Tensor, image: Tensor, t: Tensor) -> Tensor:
        """[B, 1, H, W], [B, 3, H, W] in [-1, 1], int [B] -> float32 [B, 1, H, W].

        H and W are multiples of stem_stride * 2^(levels - 1).
        """
        dtype = self.conv_in.weight.dtype
        first, second = self.temb.dense
        # Every block takes SiLU of the embedding, so it is taken once.
        time = silu(second(silu(first(timestep_embedding(t, self.base_channels).to(dtype)))))

        x = self.conv_in(space_to_depth(torch.cat([noisy_mask, image], dim=1).to(dtype), self.stem_stride))
        skips = [x]
        for stage in self.down:
            for index, block in enumerate(stage.block):
                x = block(x, time)
                if len(stage.attn):
                    x = stage.attn[index](x)
                skips.append(x)
            if stage.downsample is not None:
                x = stage.downsample(x)
                skips.append(x)

        x = self.mid.block_1(x, time)
        x = self.mid.attn_1(x)
        x = self.mid.block_2(x, time)

        for stage in reversed(self.up):
            for index, block in enumerate(stage.block):
                x = block(torch.cat([x, skips.pop()], dim=1), time)
                if len(stage.attn):
                    x = stage.attn[index](x)
            if stage.upsample is not None:
                x = stage.upsample(x)

        x = self.conv_out(silu(self.norm_out(x)))
        # With one channel out, pixel_shuffle orders a patch as our depth to space does: row by row.
        return F.pixel_shuffle(x, self.stem_stride).float()


class ResidualBlock(nn.Module):
    """norm, SiLU, 3 x 3 conv, + time, norm, SiLU, dropout, 3 x 3 conv, + shortcut; both 3 x 3 grouped if light."""

    def __init__(
        self,
        entering: int,
        leaving: int,
        time_channels: int,
        light: bool,
        norm_groups: int,
        dropout: float,
        shuffle: bool,
    ):
        super().__init__()

        def conv(channels: int) -> nn.Conv2d:
            return nn.Conv2d(channels, leaving, 3, padding=1, groups=light_groups(channels, leaving) if light else 1)

        self.norm1 = group_norm(norm_groups, entering)
        self.conv1 = conv(entering)
        self.temb_proj = nn.Linear(time_channels, leaving)
        self.norm2 = group_norm(norm_groups, leaving)
        self.dropout = nn.Dropout(dropout)
        self.shuffle = nn.ChannelShuffle(self.conv1.groups) if shuffle else nn.Identity()
        self.conv2 = conv(leaving)
        self.nin_shortcut = nn.Conv2d(entering, leaving, 1) if entering != leaving else None

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """x [B, entering, H, W], time [B, time_channels] with SiLU applied -> [B, leaving, H, W]."""
        y = self.conv1(silu(self.norm1(x)))
        # The backward pass of a convolution does not need its result, so it may be overwritten.
        y += self.temb_proj(time)[:, :, None, None]
        y = self.conv2(self.shuffle(self.dropout(silu(self.norm2(y)))))
        y += x if self.nin_shortcut is None else self.nin_shortcut(x)
        return y


class Attention(nn.Module):
    """Self-attention over the pixels, one head, added to its input; if light, with grouped projections to C/4."""

    def __init__(self, channels: int, light: bool, norm_groups: int):
        super().__init__()
        inner = channels // 4 if light else channels

        def project(wish: int | None) -> nn.Conv2d:
            return nn.Conv2d(channels, inner, 1, groups=light_groups(channels, inner, wish) if light else 1)

        self.norm = group_norm(norm_groups, channels)
        self.q, self.k, self.v = project(None), project(MAX_GROUPS), project(MAX_GROUPS)
        self.proj_out = nn.Conv2d(inner, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W]."""
        y = self.norm(x)
        # [B, heads, pixels, channels]: a view in channels_last, and four dimensions are what the fused kernels take.
        q, k, v = (project(y).flatten(2).transpose(1, 2)[:, None] for project in (self.q, self.k, self.v))
        z = F.scaled_dot_product_attention(q, k, v, scale=q.shape[-1] ** -0.5)
        z = z[:, 0].transpose(1, 2).unflatten(2, x.shape[2:])
        # x comes first because the sum takes the memory format of the first term, and z is always channels_last.
        return x + self.proj_out(z)


class Downsample(nn.Module):
    """3 x 3 convolution with stride 2, padded below and to the right alone."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H/2, W/2]."""
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Every pixel repeated twice in both directions, then a 3 x 3 convolution."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, 2H, 2W]."""
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
