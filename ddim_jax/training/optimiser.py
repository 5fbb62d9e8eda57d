"""Adam and the learning rate over the steps, both from optax."""

import optax

from ddim_jax.runtime.errors import ConfigError
from ddim_jax.schema import SCHEMA


def learning_rate_schedule(schedule: str, learning_rate: float, warmup_steps: int, steps: int) -> optax.Schedule:
    """Linear warm-up from 0 over `warmup_steps`, then constant, or a half cosine down to 1% at `steps`.

    Raises:
      ConfigError: an unknown schedule, a learning rate that is not a positive number, or a warm-up as long as the run.
    """
    _check(lr_schedule=schedule, learning_rate=learning_rate, warmup_steps=warmup_steps)
    if warmup_steps >= steps:
        raise ConfigError(f"train.warmup_steps is {warmup_steps}; expected 0 to below the {steps} steps of the run")
    if schedule == "cosine":
        if warmup_steps == 0:
            return optax.cosine_decay_schedule(learning_rate, steps, alpha=0.01)
        return optax.warmup_cosine_decay_schedule(
            0.0, learning_rate, warmup_steps, steps, end_value=0.01 * learning_rate
        )
    if warmup_steps == 0:
        return optax.constant_schedule(learning_rate)
    return optax.warmup_constant_schedule(0.0, learning_rate, warmup_steps)


def create_optimiser(
    learning_rate: optax.Schedule, *, beta1: float = 0.9, beta2: float = 0.999, gradient_clip: float = 0.0
) -> optax.GradientTransformation:
    """Adam (the paper's optimiser), after clipping the gradient's global norm to `gradient_clip` where that is above 0.

    Raises:
      ConfigError: a decay rate outside [0, 1) or a negative clip.
    """
    _check(beta1=beta1, beta2=beta2, gradient_clip=gradient_clip)
    adam = optax.adam(learning_rate, b1=beta1, b2=beta2)
    return optax.chain(optax.clip_by_global_norm(gradient_clip), adam) if gradient_clip else adam


def _check(**fields: object) -> None:
    for name, value in fields.items():
        SCHEMA["train"][name].check(f"train.{name}", value)
