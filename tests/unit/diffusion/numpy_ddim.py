"""DDIM in float64 NumPy, written from the equations of Song et al. 2021 alone; shares no code with the package."""

from fractions import Fraction

import numpy as np


def alpha_bars(timesteps=1000, start=1e-4, end=0.02):
    product, result = 1.0, []
    for k in range(timesteps):
        product *= 1.0 - (start + (end - start) * k / (timesteps - 1))
        result.append(product)
    return np.array(result)


def grid(timesteps, steps):
    """T-1 - k T/steps, with k T/steps rounded to the nearest whole number, halves up, in exact arithmetic."""
    return [timesteps - 1 - int(Fraction(k * timesteps, steps) + Fraction(1, 2)) for k in range(steps)]


def clean_and_noise(prediction, output, x, a_t):
    """Solves x = sqrt(a_t) x_0 + sqrt(1 - a_t) eps with what the network says of x_0 and eps."""
    if prediction == "noise":
        return (x - (1 - a_t) ** 0.5 * output) / a_t**0.5, output
    if prediction == "x0":
        return output, (x - a_t**0.5 * output) / (1 - a_t) ** 0.5
    # Two equations: x = a x_0 + b eps, v = a eps - b x_0.
    both = np.linalg.solve([[a_t**0.5, (1 - a_t) ** 0.5], [-((1 - a_t) ** 0.5), a_t**0.5]], [x.ravel(), output.ravel()])
    return both[0].reshape(x.shape), both[1].reshape(x.shape)


def sample(denoise, noise, steps, *, prediction="noise", eta=0.0, z=None, clip=None, timesteps=1000, bars=None):
    """`denoise(x_t, t)` with a plain int t; `z` [steps, ...] is the noise drawn at each step; `bars` all alpha_bar.

    Returns every x_t [steps + 1, ...] and every estimate of x_0 [steps, ...].
    """
    bars = alpha_bars(timesteps) if bars is None else bars
    visited = grid(len(bars), steps)
    x = np.asarray(noise, np.float64)
    all_x, all_x0 = [x], []
    for k, t in enumerate(visited):
        a_t = bars[t]
        a_s = bars[visited[k + 1]] if k + 1 < steps else 1.0
        x0, eps = clean_and_noise(prediction, denoise(x, t), x, a_t)
        if clip is not None:
            x0 = np.clip(x0, -clip, clip)
            eps = (x - a_t**0.5 * x0) / (1 - a_t) ** 0.5
        sigma = eta * ((1 - a_s) / (1 - a_t)) ** 0.5 * (1 - a_t / a_s) ** 0.5  # Eq. 16
        x = a_s**0.5 * x0 + max(1 - a_s - sigma**2, 0.0) ** 0.5 * eps  # Eq. 12
        if eta > 0:
            x = x + sigma * z[k]
        all_x.append(x)
        all_x0.append(x0)
    return np.stack(all_x), np.stack(all_x0)
