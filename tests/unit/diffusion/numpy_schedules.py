"""Schedules number by number, in plain Python floats; shares no code with the package."""

import math

import numpy as np


def cosine_alpha_bars(timesteps):
    """Nichol and Dhariwal, Eq. 17, with their bound of 0.999 on beta."""

    def f(k):
        return math.cos((k / timesteps + 0.008) / 1.008 * math.pi / 2) ** 2

    product, result = 1.0, []
    for k in range(1, timesteps + 1):
        product *= 1 - min(1 - f(k) / f(k - 1), 0.999)
        result.append(product)
    return np.array(result)


def zero_terminal(alpha_bars):
    """Lin et al., Algorithm 1."""
    signal = [math.sqrt(bar) for bar in alpha_bars]
    first, last = signal[0], signal[-1]
    return np.array([((value - last) * first / (first - last)) ** 2 for value in signal])
