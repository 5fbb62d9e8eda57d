"""`trunk_ddim` in PyTorch: the same graph, the same parameters under the same names, with dots for slashes.

Written as `benchmarks.speed.torch_twin` is. `ddim_jax.checkpoints.torch_weights` carries weights from one to the other
with a table of names that is empty.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.speed.torch_layers import depth_to_space, group_norm, silu, space_to_depth, timestep_embedding
from ddim_jax.models.layers import light_groups
from ddim_jax.models.trunk_ddim import TrunkDDIM


class TwinTrunk(nn.Module):
    """The network of a `ddim_jax.models.trunk_ddim.TrunkDDIM` of one class."""

    def __init__(self, model: TrunkDDIM):
        super().__init__()
        self.trunk, self.head = Trunk(model), Head(model)

    def forward(self, noisy_mask: Tensor, image: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """[B, 1, H, W], [B, 3, H, W] in [-1, 1], int [B] -> what the head and the trunk answer, float32 [B, 1, H, W].

        H and W are multiples of stem_stride * 2^(levels - 1).
        """
        fine, coarse, logits = self.trunk(image)
        return self.head(noisy_mask, fine, coarse, logits, t).float(), logits.float()


class Trunk(nn.Module):
    """The U-Net of `ddim_jax.models.plain_unet.PlainUNet`; the modules have its names."""

    def __init__(self, model: TrunkDDIM):
        super().__init__()
        widths = list(model.widths)
        self.blocks, self.levels, self.stem_stride = model.blocks_per_level, len(widths), model.stem_stride
        self.dropout = nn.Dropout(model.dropout)

        def add_blocks(name: str, entering: int, leaving: int) -> None:
            for index in range(self.blocks):
                self.add_module(f"{name}_conv_{index}", nn.Conv2d(entering, leaving, 3, padding=1))
                self.add_module(f"{name}_norm_{index}", group_norm(model.norm_groups, leaving))
                entering = leaving

        entering = 3 * self.stem_stride**2
        for level, width in enumerate(widths):
            add_blocks(f"down_{level}", entering, width)
            entering = width
        for level in reversed(range(len(widths) - 1)):
            self.add_module(f"up_{level}_upsample", nn.Conv2d(widths[level + 1], 4 * widths[level], 1))
            add_blocks(f"up_{level}", 2 * widths[level], widths[level])
        self.conv_out = nn.Conv2d(widths[0], self.stem_stride**2, 1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[B, 3, H, W] -> features of the first and of the second level, logits [B, 1, H, W]."""
        x = space_to_depth(image.to(self.conv_out.weight.dtype), self.stem_stride)
        skips = []
        for level in range(self.levels):
            x = self.dropout(self._blocks(f"down_{level}", F.max_pool2d(x, 2) if level else x))
            skips.append(x)
        features = [skips.pop()]
        for level in reversed(range(self.levels - 1)):
            x = depth_to_space(getattr(self, f"up_{level}_upsample")(x), 2)
            x = self._blocks(f"up_{level}", torch.cat([x, skips.pop()], dim=1))
            features.append(x)
        # With one channel out, pixel_shuffle orders a patch as depth_to_space does.
        return features[-1], features[-2], F.pixel_shuffle(self.conv_out(x), self.stem_stride)

    def _blocks(self, name: str, x: Tensor) -> Tensor:
        for index in range(self.blocks):
            x = silu(getattr(self, f"{name}_norm_{index}")(getattr(self, f"{name}_conv_{index}")(x)))
        return x


class Head(nn.Module):
    """The head of `ddim_jax.models.trunk_ddim.Head`; the modules have its names."""

    def __init__(self, model: TrunkDDIM):
        super().__init__()
        first, second = model.widths[:2]
        self.base_channels, self.blocks, self.stem_stride = (
            model.base_channels, model.blocks_per_level, model.stem_stride
        )  # fmt: skip
        self.temb_dense = nn.Linear(self.base_channels, 4 * self.base_channels)
        self.in_conv = nn.Conv2d((2 * self.stem_stride) ** 2, second, 1)
        self.in_norm = group_norm(model.norm_groups, second)
        groups = light_groups(second, second) if model.light else 1
        for index in range(self.blocks):
            self.add_module(f"block_{index}_temb", nn.Linear(4 * self.base_channels, second))
            self.add_module(f"block_{index}_conv", nn.Conv2d(second, second, 3, padding=1, groups=groups))
            self.add_module(f"block_{index}_norm", group_norm(model.norm_groups, second))
        self.up_conv = nn.Conv2d(second, 4 * first, 1)
        self.up_norm = group_norm(model.norm_groups, first)
        self.out_conv = nn.Conv2d(first + self.stem_stride**2, self.stem_stride**2, 1)

    def forward(self, noisy_mask: Tensor, fine: Tensor, coarse: Tensor, logits: Tensor, t: Tensor) -> Tensor:
        """[B, 1, H, W], what the trunk made of the images, int [B] -> [B, 1, H, W]."""
        dtype = self.in_conv.weight.dtype
        time = silu(self.temb_dense(timestep_embedding(t, self.base_channels).to(dtype)))
        # Of one channel, pixel_unshuffle orders a patch as space_to_depth does.
        x = self.in_conv(F.pixel_unshuffle(noisy_mask.to(dtype), 2 * self.stem_stride))
        # The backward pass of a convolution does not need its result, so it may be overwritten.
        x += coarse
        x = silu(self.in_norm(x))
        for index in range(self.blocks):
            x = getattr(self, f"block_{index}_conv")(x)
            x += getattr(self, f"block_{index}_temb")(time)[:, :, None, None]
            x = silu(getattr(self, f"block_{index}_norm")(x))
        x = silu(self.up_norm(fine + depth_to_space(self.up_conv(x), 2)))
        x = torch.cat([x, F.pixel_unshuffle(logits, self.stem_stride)], dim=1)
        return F.pixel_shuffle(self.out_conv(x), self.stem_stride)
