"""DPM-Solver++(2M) in float64 NumPy with the lambda and the exponentials of Lu et al. 2022, Algorithm 2.

Infinite lambda included. Shares no code with the package.
"""

import numpy as np
from numpy_ddim import clean_and_noise, grid


def sample(denoise, noise, steps, bars, *, prediction="noise", clip=None):
    """`denoise(x_t, t)` with a plain int t; `bars` holds alpha_bar of every timestep.

    Returns every x_t [steps + 1, ...] and every estimate of x_0 [steps, ...].
    """
    visited = grid(len(bars), steps)
    a = np.append(bars[visited], 1.0)
    alpha, sigma = np.sqrt(a), np.sqrt(1 - a)
    with np.errstate(divide="ignore"):
        lam = np.log(alpha) - np.log(sigma)
    x = np.asarray(noise, np.float64)
    all_x, all_x0 = [x], []
    for i in range(1, steps + 1):
        x0, _ = clean_and_noise(prediction, denoise(x, visited[i - 1]), x, a[i - 1])
        if clip is not None:
            x0 = np.clip(x0, -clip, clip)
        h = lam[i] - lam[i - 1]
        if i == 1 or i == steps:
            data = x0
        else:
            r = (lam[i - 1] - lam[i - 2]) / h
            data = (1 + 1 / (2 * r)) * x0 - 1 / (2 * r) * all_x0[-1]
        x = sigma[i] / sigma[i - 1] * x - alpha[i] * np.expm1(-h) * data
        all_x.append(x)
        all_x0.append(x0)
    return np.stack(all_x), np.stack(all_x0)
