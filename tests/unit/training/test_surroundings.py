"""What the bits of a run depend on: recorded, and named when a run goes on elsewhere."""

import platform

import jax
import pytest

from ddim_jax.training.surroundings import surroundings, warn_of_changes


@pytest.fixture
def now():
    return surroundings()


def test_what_is_recorded(now, monkeypatch):
    assert now["jax"] == jax.__version__
    assert now["devices"] == f"{jax.device_count()} x {jax.devices()[0].device_kind}"
    assert now["processor"].startswith(f"{platform.machine()} ") or jax.default_backend() != "cpu"
    assert all(isinstance(value, str) for value in now.values())
    monkeypatch.setenv("XLA_FLAGS", "--xla_b=1  --xla_a=2")
    assert surroundings()["XLA_FLAGS"] == "--xla_a=2 --xla_b=1"
    monkeypatch.setattr("ddim_jax.training.surroundings.available", lambda: False)
    assert surroundings()["compiled kernels"] == "none"


@pytest.mark.attack("16.7")
def test_what_differs_is_named_with_both_values(now, caplog):
    warn_of_changes(now, now, 8)
    warn_of_changes(None, now, 8)  # of a run that did not record it
    warn_of_changes({**now, "one more": "x"}, now, 8)
    warn_of_changes({name: now[name] for name in ("jax", "jaxlib")}, now, 8)
    assert caplog.text == ""
    warn_of_changes({**now, "jaxlib": "0.4.1", "XLA_FLAGS": "--xla_cpu_enable_fast_math=true"}, now, 8)
    (record,) = caplog.records
    assert "step 8 was saved (jaxlib: 0.4.1 there, " in record.getMessage()
    assert (
        f"; XLA_FLAGS: --xla_cpu_enable_fast_math=true there, {now['XLA_FLAGS'] or 'none'}"[:60] in record.getMessage()
    )
    assert "will not be equal to the bit" in record.getMessage()


@pytest.mark.attack("16.7")
@pytest.mark.parametrize("odd", [[], 3, {"jax": None}, {"jax": [1, 2]}, {"jax": {"x": 1}}])
def test_odd_records_end_no_run(odd, now):
    warn_of_changes(odd, now, 8)
