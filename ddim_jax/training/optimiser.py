"""Adam and the learning rate over the steps, both from optax; on a CPU with kernels the same update in one pass."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from ddim_jax.ops import cpu_kernels
from ddim_jax.runtime.errors import ConfigError
from ddim_jax.schema import SCHEMA

_EPSILON = 1e-8
_ARRAYS_OF_A_CALL = 32
"""Arrays of the weights that one call of the kernel updates. XLA's fusion pass asks of every operand of a call whether
it may share memory with any result, and once more for each of them: the cube of their number. All 451 arrays of the
light network in one call took most of the time of compiling its step (docs/explanation/kernels.md)."""


def learning_rate_schedule(schedule: str, learning_rate: float, warmup_steps: int, steps: int) -> optax.Schedule:
    """Linear warm-up from 0 over `warmup_steps`, then constant, or a half cosine down to 1% at `steps`.

    Raises:
      ConfigError: an unknown schedule, a learning rate that is not a positive number, or a warm-up as long as `steps`.
    """
    _check(lr_schedule=schedule, learning_rate=learning_rate, warmup_steps=warmup_steps)
    if warmup_steps >= steps:
        raise ConfigError(
            f"train.warmup_steps is {warmup_steps}; expected 0 to below the {steps} steps of the schedule, which are "
            "those of the run or train.schedule_steps"
        )
    if schedule == "cosine":
        if warmup_steps == 0:
            return optax.cosine_decay_schedule(learning_rate, steps, alpha=0.01)
        return optax.warmup_cosine_decay_schedule(
            0.0, learning_rate, warmup_steps, steps, end_value=0.01 * learning_rate
        )
    if warmup_steps == 0:
        return optax.constant_schedule(learning_rate)
    return optax.warmup_constant_schedule(0.0, learning_rate, warmup_steps)


class Optimiser(NamedTuple):
    """An `optax.GradientTransformation`, its first two fields, with the settings that it was made with."""

    init: optax.TransformInitFn
    update: optax.TransformUpdateFn
    learning_rate: optax.Schedule
    beta1: float
    beta2: float
    gradient_clip: float


class Updated(NamedTuple):
    """Weights, average and state of the optimiser after an update, and the norm of the gradients before clipping."""

    params: Any
    average: Any
    opt_state: Any
    norm: jax.Array


def create_optimiser(
    learning_rate: optax.Schedule, *, beta1: float = 0.9, beta2: float = 0.999, gradient_clip: float = 0.0
) -> Optimiser:
    """Adam (the paper's optimiser), after clipping the gradient's global norm to `gradient_clip` where that is above 0.

    Raises:
      ConfigError: a decay rate outside [0, 1) or a negative clip.
    """
    _check(beta1=beta1, beta2=beta2, gradient_clip=gradient_clip)
    adam = optax.adam(learning_rate, b1=beta1, b2=beta2, eps=_EPSILON)
    chain = optax.chain(optax.clip_by_global_norm(gradient_clip), adam) if gradient_clip else adam
    return Optimiser(chain.init, chain.update, learning_rate, beta1, beta2, gradient_clip)


def configured_optimiser(fields: Mapping[str, Any], steps: int) -> Optimiser:
    """The optimiser of the section `train` of a resolved config, for a run of so many steps.

    Raises:
      ConfigError: as `learning_rate_schedule` and `create_optimiser`.
    """
    rate = learning_rate_schedule(
        fields["lr_schedule"], fields["learning_rate"], fields["warmup_steps"], fields["schedule_steps"] or steps
    )
    return create_optimiser(rate, **{name: fields[name] for name in ("beta1", "beta2", "gradient_clip")})


def updated(
    optimiser: optax.GradientTransformation | Optimiser,
    gradients: Any,
    opt_state: Any,
    params: Any,
    average: Any,
    decay: jax.Array,
    platform: str,
) -> Updated:
    """One update of the weights, and of their average, of which the share `decay` stays.

    Args:
      optimiser: of `create_optimiser`, or any other of optax.
      gradients, params, average: trees alike.
      opt_state: the optimiser's.
      decay: float32 [].
      platform: "cpu" for a program of a CPU.
    """
    if isinstance(optimiser, Optimiser) and platform == "cpu" and cpu_kernels.available():
        (about,) = (part for _, part in optax.tree.get_all_with_path(opt_state, "ScaleByAdamState"))
        kinds = [jax.tree.leaves(kind) for kind in (gradients, params, about.mu, about.nu, average)]
        if all(leaf.dtype == jnp.float32 for kind in kinds for leaf in kind):
            return _in_one_pass(optimiser, kinds, about.count, opt_state, jax.tree.structure(params), decay)
    updates, opt_state = optimiser.update(gradients, opt_state, params)
    params = optax.apply_updates(params, updates)
    average = jax.tree.map(lambda old, new: decay * old + (1.0 - decay) * new, average, params)
    return Updated(params, average, opt_state, optax.tree.norm(gradients))


def _in_one_pass(optimiser: Optimiser, kinds, count, opt_state, structure, decay) -> Updated:
    norm = cpu_kernels.norm_of(kinds[0])
    clip = optimiser.gradient_clip
    factor = jnp.where(norm < clip, 1.0, clip / norm) if clip else jnp.ones(())
    rate = jnp.asarray(optimiser.learning_rate(count), jnp.float32)
    count = optax.safe_increment(count)
    corrections = [1.0 / (1.0 - beta**count) for beta in (optimiser.beta1, optimiser.beta2)]
    numbers = jnp.stack([factor, rate, *corrections, decay])
    # After the norm, and so after all gradients: XLA would keep copies of weights that the way back still reads, were
    # they updated before its end.
    how = {"after": norm, "beta1": optimiser.beta1, "beta2": optimiser.beta2, "epsilon": _EPSILON}
    parts = [
        cpu_kernels.adam(numbers, *(kind[first : first + _ARRAYS_OF_A_CALL] for kind in kinds), **how)
        for first in range(0, len(kinds[0]), _ARRAYS_OF_A_CALL)
    ]
    updated_ = [[leaf for part in kind for leaf in part] for kind in zip(*parts, strict=True)]
    params, mu, nu, average = (jax.tree.unflatten(structure, leaves) for leaves in updated_)
    # The count of the steps of Adam is that of the schedule, too.
    return Updated(params, average, optax.tree.set(opt_state, count=count, mu=mu, nu=nu), norm)


def _check(**fields: object) -> None:
    for name, value in fields.items():
        SCHEMA["train"][name].check(f"train.{name}", value)
