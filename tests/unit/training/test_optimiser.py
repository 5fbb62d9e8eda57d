import functools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from absl import logging

from ddim_jax.ops import cpu_kernels
from ddim_jax.runtime.errors import ConfigError
from ddim_jax.training.optimiser import configured_optimiser, create_optimiser, learning_rate_schedule, updated


def values(schedule, steps):
    return [float(schedule(step)) for step in steps]


def test_constant():
    assert values(learning_rate_schedule("constant", 0.5, 0, 10), (0, 5, 10**6)) == [0.5] * 3
    warm = learning_rate_schedule("constant", 0.5, 4, 10)
    np.testing.assert_allclose(values(warm, (0, 1, 2, 3, 4, 5, 100)), [0, 0.125, 0.25, 0.375, 0.5, 0.5, 0.5], rtol=1e-6)


def test_cosine_ends_at_a_hundredth():
    def by_hand(part):
        return 0.4 * (0.01 + 0.99 * (1 + math.cos(math.pi * part)) / 2)

    cold = learning_rate_schedule("cosine", 0.4, 0, 100)
    expected = [0.4, by_hand(0.25), 0.4 * 0.505, by_hand(0.99), 0.004, 0.004]
    np.testing.assert_allclose(values(cold, (0, 25, 50, 99, 100, 500)), expected, rtol=1e-5)
    warm = learning_rate_schedule("cosine", 0.4, 20, 100)
    expected = [0, 0.2, 0.4, by_hand(0.25), by_hand(0.5), 0.004, 0.004]
    np.testing.assert_allclose(values(warm, (0, 10, 20, 40, 60, 100, 500)), expected, rtol=1e-5, atol=1e-9)


def test_schedules_are_made_without_a_word(caplog):
    logging.set_verbosity(logging.INFO)
    try:
        for name in ("constant", "cosine"):
            learning_rate_schedule(name, 0.4, 0, 100)
    finally:
        logging.set_verbosity(logging.WARNING)
    assert not caplog.records


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("linear", 0.1, 0, 10), "train.lr_schedule is 'linear'; expected one of constant, cosine"),
        (("constant", 0.0, 0, 10), "train.learning_rate is 0.0"),
        (("cosine", 0.1, 10, 10), "train.warmup_steps is 10; expected 0 to below the 10 steps"),
    ],
)
def test_schedules_that_cannot_work_name_the_field(arguments, message):
    with pytest.raises(ConfigError, match=message):
        learning_rate_schedule(*arguments)


def adam_by_hand(gradients, rate, beta1, beta2, clip):
    w, m, v = np.zeros(2), np.zeros(2), np.zeros(2)
    for k, gradient in enumerate(np.asarray(gradients, float), start=1):
        norm = np.linalg.norm(gradient)
        if clip and norm > clip:
            gradient = gradient * clip / norm
        m = beta1 * m + (1 - beta1) * gradient
        v = beta2 * v + (1 - beta2) * gradient**2
        w = w - rate * (m / (1 - beta1**k)) / (np.sqrt(v / (1 - beta2**k)) + 1e-8)
    return w


@pytest.mark.parametrize("clip", [0.0, 1.0])
def test_adam(clip):
    """A long gradient (norm 5, clipped) and two short ones (norm .5, not): clipping changes what Adam makes of them."""
    gradients = [[3.0, 4.0], [0.4, -0.3], [-0.3, 0.4]]
    optimiser = create_optimiser(optax.constant_schedule(0.1), beta1=0.8, beta2=0.95, gradient_clip=clip)
    params = {"w": jnp.zeros(2)}
    state = optimiser.init(params)
    for gradient in gradients:
        updates, state = optimiser.update({"w": jnp.array(gradient)}, state, params)
        params = optax.apply_updates(params, updates)
    np.testing.assert_allclose(params["w"], adam_by_hand(gradients, 0.1, 0.8, 0.95, clip), rtol=1e-5)
    assert abs(adam_by_hand(gradients, 0.1, 0.8, 0.95, 1.0) - adam_by_hand(gradients, 0.1, 0.8, 0.95, 0.0)).max() > 0.01


@pytest.mark.parametrize(("schedule_steps", "length"), [(0, 40), (80, 80)])
def test_the_optimiser_of_a_config_has_its_fields(schedule_steps, length):
    fields = {"lr_schedule": "cosine", "learning_rate": 0.4, "warmup_steps": 20, "schedule_steps": schedule_steps}
    found = configured_optimiser(fields | {"beta1": 0.8, "beta2": 0.95, "gradient_clip": 2.0}, 40)
    assert (found.beta1, found.beta2, found.gradient_clip) == (0.8, 0.95, 2.0)
    # Halfway down from .4 at 20 to .004 at the end of the schedule, which is the run's unless the config says another.
    half = (20 + length) // 2
    np.testing.assert_allclose([found.learning_rate(step) for step in (10, 20, half)], [0.2, 0.4, 0.202], rtol=1e-5)


@pytest.mark.needs_kernels
@pytest.mark.parametrize("clip", [0.0, 1.0])
def test_one_pass_over_the_weights_is_the_update_of_optax(clip):
    """Arrays of no, one and several parts of the kernel, over steps of which some are clipped."""
    optimiser = create_optimiser(lambda count: 0.1 / (1 + count), beta1=0.8, beta2=0.95, gradient_clip=clip)
    rng = np.random.default_rng(0)
    shapes = {"a": (), "b": (3,), "c": (2, 3, 7000), "none": (0, 4)}
    params = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    states = {platform: (params, params, optimiser.init(params)) for platform in ("cpu", "another")}
    update = jax.jit(
        lambda platform, gradients, params, average, state, decay: updated(
            optimiser, gradients, state, params, average, decay, platform
        ),
        static_argnums=0,
    )
    for size in (1e-4, 1.0, 3e-3):
        gradients = {name: (size * rng.normal(size=shape)).astype(np.float32) for name, shape in shapes.items()}
        new = {platform: update(platform, gradients, *old, 0.7) for platform, old in states.items()}
        states = {platform: (one.params, one.average, one.opt_state) for platform, one in new.items()}
        assert jax.tree.structure(new["cpu"]) == jax.tree.structure(new["another"])
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-7), new["cpu"], new["another"])
    assert np.abs(new["cpu"].params["c"] - params["c"]).mean() > 0.01


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"beta1": 1.0}, "train.beta1 is 1.0; expected a number from 0 to below 1"),
        ({"gradient_clip": -1.0}, "train.gradient_clip is -1.0"),
    ],
)
def test_optimisers_that_cannot_work_name_the_field(fields, message):
    with pytest.raises(ConfigError, match=message):
        create_optimiser(optax.constant_schedule(0.1), **fields)


@pytest.mark.parametrize("warmup", [0, 3])
def test_the_last_rate_of_a_cosine_stays_after_its_end(warmup):
    rate = learning_rate_schedule("cosine", 1e-3, warmup, 10)
    np.testing.assert_allclose([float(rate(step)) for step in (10, 11, 500)], 1e-5, rtol=1e-5)


@pytest.mark.needs_kernels
def test_many_arrays_are_updated_in_several_calls_and_none_is_copied():
    """XLA takes the cube of the arrays of a call to compile it, and copies weights updated before the way back ends."""
    layers = 70
    optimiser = create_optimiser(optax.constant_schedule(0.1))
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5, 11)).astype(np.float32)
    params = [rng.normal(0.0, 0.3, (11, 11)).astype(np.float32) for _ in range(layers)]

    def loss(params):
        return jnp.sum(functools.reduce(lambda y, kernel: jnp.tanh(y @ kernel), params, x) ** 2)

    def step(platform, params, average, state):
        return updated(optimiser, jax.grad(loss)(params), state, params, average, 0.7, platform)

    step = jax.jit(step, static_argnums=0, donate_argnums=(1, 2, 3))
    begun = [jax.tree.map(jnp.array, (params, params, optimiser.init(params))) for _ in range(2)]
    program = step.lower("cpu", *begun[0]).compile()
    calls = [line for line in program.as_text().splitlines() if 'custom_call_target="ddim_jax_adam"' in line]
    assert len(calls) == 3
    assert not re.findall(r"= f32\[11,11\]\S* copy\(", program.as_text())
    new = program(*begun[0]), step("another", *begun[1])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-6), *new)


@pytest.mark.needs_kernels
def test_what_the_kernel_cannot_update_is_left_to_optax():
    """Moments, too, may be kept in another type than the weights."""
    optimiser = create_optimiser(optax.constant_schedule(0.1))
    params = {"a": jnp.full((3,), 2.0)}
    state = optimiser.init(params)
    (about,) = (part for _, part in optax.tree.get_all_with_path(state, "ScaleByAdamState"))
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), about.mu)
    for own, calls in ((state, 1), (optax.tree.set(state, mu=half), 0)):
        step = jax.jit(lambda own: updated(optimiser, params, own, params, params, 0.7, "cpu"))
        assert step.lower(own).as_text().count("@ddim_jax_adam(") == calls
        np.testing.assert_allclose(step(own).params["a"], 1.9, rtol=1e-5)


def test_the_kernel_of_adam_refuses_other_arrays():
    numbers, one = jnp.ones(5), [jnp.ones(3)]
    how = {"after": jnp.ones(()), "beta1": 0.9, "beta2": 0.99, "epsilon": 1e-8}
    with pytest.raises(ValueError, match=r"kinds of \[1, 1, 1, 1\] arrays; expected five of one number"):
        cpu_kernels.adam(numbers, one, one, one, one, **how)
    with pytest.raises(ValueError, match="arrays of bfloat16; expected float32"):
        cpu_kernels.adam(numbers, one, one, [jnp.ones(3, jnp.bfloat16)], one, one, **how)
