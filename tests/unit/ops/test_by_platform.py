"""The form that a program gets, and what is traced for it."""

import jax
import jax.numpy as jnp
import pytest

from ddim_jax.ops import by_platform


@pytest.mark.parametrize("alone", [True, False])
def test_the_value_and_the_gradient_are_those_of_the_cpus_form(alone, monkeypatch):
    monkeypatch.setattr(by_platform, "has_cpu_alone", lambda: alone)
    traced = []

    def form(name, factor):
        def of(x, y):
            traced.append(name)
            return factor * x * y

        return of

    def value(x, y):
        return by_platform.by_platform(x, y, cpu=form("cpu", 2.0), default=form("default", 5.0))

    assert jax.jit(value)(3.0, 4.0) == 24.0
    assert set(traced) == ({"cpu"} if alone else {"cpu", "default"})
    assert jax.jit(jax.grad(value))(3.0, 4.0) == 8.0


@pytest.mark.parametrize(
    ("backend", "others", "chosen", "alone"),
    [
        ("cpu", (), None, True),
        ("cpu", ("gpu",), None, False),
        ("gpu", ("gpu",), None, False),
        ("cpu", ("plugin",), "cpu,plugin", False),
    ],
)
def test_a_process_with_another_device_has_not_a_cpu_alone(backend, others, chosen, alone, monkeypatch):
    def devices(platform):
        if platform not in others:
            raise RuntimeError(f"unknown backend {platform}")
        return [jnp.zeros(())]

    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    monkeypatch.setattr(jax, "devices", devices)
    before = jax.config.jax_platforms
    jax.config.update("jax_platforms", chosen)
    try:
        assert by_platform.has_cpu_alone.__wrapped__() is alone
    finally:
        jax.config.update("jax_platforms", before)
