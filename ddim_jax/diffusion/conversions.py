"""The three quantities a network may predict, and the exact way from each to the clean mask and the noise.

All follow from x_t = a x_0 + b eps with a = sqrt(alpha_bar_t), the signal rate, and b = sqrt(1 - alpha_bar_t), the
noise rate: a^2 + b^2 = 1. The arguments are arrays that broadcast against each other.
"""

from ddim_jax.diffusion.schedule import Schedule
from ddim_jax.runtime.errors import ConfigError

PREDICTIONS = ("noise", "x0", "v")


def check_prediction(prediction: str, schedule: Schedule) -> None:
    """Refuses a prediction from which the clean mask cannot be had.

    Raises:
      ConfigError: not one of `PREDICTIONS`; or "noise" with a schedule that ends at alpha_bar = 0, where x_t is the
        noise and says nothing about x_0.
    """
    if prediction not in PREDICTIONS:
        raise ConfigError(f"diffusion.prediction is {prediction!r}; expected one of {', '.join(PREDICTIONS)}")
    if prediction == "noise" and schedule.alpha_bars[-1] == 0.0:
        raise ConfigError(
            "diffusion.prediction is 'noise' and diffusion.zero_terminal_snr is true: x_t of the last timestep is the "
            "noise itself, from which no mask follows; expected diffusion.prediction 'x0' or 'v', or "
            "diffusion.zero_terminal_snr false"
        )


def x0_from_noise(x_t, noise, signal_rate, noise_rate):
    """The clean mask that `x_t` and its noise imply: (x_t - sqrt(1 - alpha_bar_t) eps) / sqrt(alpha_bar_t).

    DDIM, Song et al. 2021, Eq. 12 with sigma = 0; docs/explanation/method.md says how the paper's Eq. 4 differs.
    """
    return (x_t - noise_rate * noise) / signal_rate


def noise_from_x0(x_t, x0, signal_rate, noise_rate):
    """The noise that `x_t` and the estimate of its clean mask imply: the inverse of `x0_from_noise`."""
    return (x_t - signal_rate * x0) / noise_rate


def v_from_x0_and_noise(x0, noise, signal_rate, noise_rate):
    """v = sqrt(alpha_bar_t) eps - sqrt(1 - alpha_bar_t) x_0 (Salimans and Ho, ICLR 2022, arXiv 2202.00512)."""
    return signal_rate * noise - noise_rate * x0


def x0_and_noise_from_v(x_t, v, signal_rate, noise_rate):
    """The pair (x_0, eps) that `x_t` and v imply.

    (x_t, v) is (x_0, eps) rotated, so this is the rotation back: it divides by nothing and magnifies no error.
    """
    return signal_rate * x_t - noise_rate * v, noise_rate * x_t + signal_rate * v


def x0_and_noise(prediction: str, output, x_t, signal_rate, noise_rate):
    """The pair (x_0, eps) that `x_t` and the network's `output` imply; `prediction` says what the output estimates."""
    if prediction == "noise":
        return x0_from_noise(x_t, output, signal_rate, noise_rate), output
    if prediction == "x0":
        return output, noise_from_x0(x_t, output, signal_rate, noise_rate)
    return x0_and_noise_from_v(x_t, output, signal_rate, noise_rate)
