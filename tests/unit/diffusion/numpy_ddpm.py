"""Ancestral sampling in float64 NumPy: the posterior of x_s by Bayes' rule, as a product of two normal densities."""

import numpy as np
from numpy_ddim import alpha_bars, clean_and_noise, grid


def sample(denoise, noise, steps, z, *, prediction="noise", clip=None, timesteps=1000, bars=None):
    """`denoise(x_t, t)` with a plain int t; `z` [steps, ...] is the noise drawn at each step; `bars` all alpha_bar.

    Returns every x_t [steps + 1, ...] and every estimate of x_0 [steps, ...].
    """
    bars = alpha_bars(timesteps) if bars is None else bars
    visited = grid(len(bars), steps)
    x = np.asarray(noise, np.float64)
    all_x, all_x0 = [x], []
    for k, t in enumerate(visited):
        x0, _ = clean_and_noise(prediction, denoise(x, t), x, bars[t])
        if clip is not None:
            x0 = np.clip(x0, -clip, clip)
        if k + 1 == steps:
            x = x0
        else:
            bar = bars[visited[k + 1]]
            kept = bars[t] / bar  # x_t = sqrt(kept) x_s + sqrt(1 - kept) z
            likelihood, prior = kept / (1 - kept), 1 / (1 - bar)  # precisions of x_s given x_t, and given x_0
            mean = (x * kept**0.5 / (1 - kept) + bar**0.5 * x0 * prior) / (likelihood + prior)
            x = mean + (likelihood + prior) ** -0.5 * z[k]
        all_x.append(x)
        all_x0.append(x0)
    return np.stack(all_x), np.stack(all_x0)
