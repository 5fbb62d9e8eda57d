"""Training losses and sampling in PyTorch, in the paper's setting and in the recommended one.

Both work with a network (noisy mask, image, t) and have the same methods; arrays are in PyTorch's order of axes.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.speed.inputs import RECOMMENDED, setting_of
from ddim_jax.diffusion import DiffusionProcess, timestep_grid


class NoisePrediction:
    """The paper's process: the network estimates the noise, DDIM without noise in its steps samples.

    Args:
      process: ours, which has the schedule.
      device: where the tensors lie.
    """

    def __init__(self, process: DiffusionProcess, device: torch.device):
        self._device = device
        self._alpha_bars = process.schedule.alpha_bars
        self._signals, self._sigmas = _rates(self._alpha_bars, 1.0, device)

    def draw(self, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Timesteps int32 [B] and noise [B, 1, H, W] for masks [B, 1, H, W]."""
        t = torch.randint(len(self._alpha_bars), (len(mask),), dtype=torch.int32, device=self._device)
        return t, torch.randn_like(mask)

    def loss(self, network, mask: Tensor, image: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """The mean loss, []; `mask` [B, 1, H, W] of -1 and 1, `image` [B, 3, H, W] in [-1, 1]."""
        return F.mse_loss(network(self._signals[t] * mask + self._sigmas[t] * noise, image, t), noise)

    def sampler(self, network, image: Tensor, noise: Tensor, steps: int):
        """Builds the function that makes samples [S, 1, H, W] of `image` [1, 3, H, W] in [-1, 1].

        It starts from `noise` [S, 1, H, W]. What does not depend on x_t is computed here.
        """
        image, alpha_bars = image.repeat(len(noise), 1, 1, 1), self._alpha_bars
        grid = timestep_grid(len(alpha_bars), steps)
        nexts = np.append(alpha_bars[grid][1:], 1.0)
        times = torch.as_tensor(grid, device=self._device)[:, None].expand(-1, len(noise))
        # Python floats: no tensor is made, moved or broadcast for them.
        factors = [
            tuple(map(float, np.sqrt([a, 1 - a, s, 1 - s]))) for a, s in zip(alpha_bars[grid], nexts, strict=True)
        ]

        @torch.inference_mode()
        def segment(_: Tensor | None = None) -> Tensor:
            x = noise
            for t, (signal, sigma, next_signal, next_sigma) in zip(times, factors, strict=True):
                eps = network(x, image, t)
                # DDIM with eta 0: x_s = signal_s (x_t - sigma_t eps) / signal_t + sigma_s eps.
                x = x * (next_signal / signal) + eps * (next_sigma - next_signal * sigma / signal)
            return x

        return segment


class MaskPrediction:
    """The recommended process: logits of the mask from a network that also gives its trunk's, one step of sampling.

    Args:
      process: ours, with prediction x0 and the loss bce_dice.
      device: where the tensors lie.
    """

    def __init__(self, process: DiffusionProcess, device: torch.device):
        self._device, self._power = device, process.timestep_power
        self._timesteps = process.num_train_timesteps
        self._signals, self._sigmas = _rates(process.schedule.alpha_bars, process.mask_scale, device)

    def draw(self, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Timesteps int32 [B], more of them late, and noise [B, 1, H, W] for masks [B, 1, H, W]."""
        quantile = torch.rand(len(mask), device=self._device)
        t = (self._timesteps * quantile ** (1.0 / self._power)).int().clamp_(max=self._timesteps - 1)
        return t, torch.randn_like(mask)

    def loss(self, network, mask: Tensor, image: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """The mean loss, []; as that of `NoisePrediction`."""
        truth = (mask + 1.0) / 2.0
        answers = network(self._signals[t] * mask + self._sigmas[t] * noise, image, t)
        return sum(_cross_entropy_dice(logits, truth) for logits in answers)

    def sampler(self, network, image: Tensor, noise: Tensor, steps: int):
        """Builds the function that makes samples [P S, 1, H, W], all of one image first, of `image` [P, 3, H, W].

        The images hold 0 to 255. The samples of one see it in turn as it is, mirrored left to right, top to bottom,
        and both, and are turned back. With one step and no more than four samples, no image is encoded twice. The
        function takes the noise [P S, 1, H, W] they start from, or draws it.
        """
        pictures, samples = len(image), len(noise) // len(image)
        assert steps == 1 and samples <= 4, "the trunk's work would have to be kept"
        mirrors = [[], [3], [2], [2, 3]][:samples]
        last = self._timesteps - 1
        t = torch.full((len(noise),), last, dtype=torch.int32, device=self._device)
        sigma, shape = float(self._sigmas[last]), noise.shape

        @torch.inference_mode()
        def segment(noise: Tensor | None = None) -> Tensor:
            noise = torch.randn(shape, device=self._device) if noise is None else noise
            seen = image.float() / 127.5 - 1.0
            turned = torch.stack([seen.flip(axes) if axes else seen for axes in mirrors], dim=1).flatten(0, 1)
            logits, _ = network(noise * sigma, turned, t)
            masks = torch.tanh(logits / 2.0).unflatten(0, (pictures, samples)).unbind(1)
            back = [mask.flip(axes) if axes else mask for mask, axes in zip(masks, mirrors, strict=True)]
            return torch.stack(back, dim=1).flatten(0, 1)

        return segment


def process_of(model: str, device: torch.device) -> NoisePrediction | MaskPrediction:
    """The process that a network is measured with."""
    process = DiffusionProcess.create(**setting_of(model).diffusion)
    return (MaskPrediction if model == RECOMMENDED else NoisePrediction)(process, device)


def _rates(alpha_bars: np.ndarray, mask_scale: float, device: torch.device) -> list[Tensor]:
    """The factors of the mask and of the noise in the network's input at each timestep; their squares add up to 1."""
    signal, noise = mask_scale * np.sqrt(alpha_bars), np.sqrt(1 - alpha_bars)
    norm = np.hypot(signal, noise) if mask_scale != 1.0 else 1.0
    return [
        torch.as_tensor(rate / norm, dtype=torch.float32, device=device)[:, None, None, None]
        for rate in (signal, noise)
    ]


def _cross_entropy_dice(logits: Tensor, truth: Tensor) -> Tensor:
    """The mean of `ddim_jax.diffusion.mask_losses.bce_dice.cross_entropy_dice` over the batch."""
    probability = torch.sigmoid(logits)
    overlap, total = (x.sum((1, 2, 3)) for x in (probability * truth, probability + truth))
    dice = (2.0 * overlap + 1.0) / (total + 1.0)
    return F.binary_cross_entropy_with_logits(logits, truth) + 1.0 - dice.mean()
