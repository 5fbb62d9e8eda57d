"""The stop of several processes, which a step of the real training tells to all."""

import jax
import jax.numpy as jnp
import pytest
from revealed import pictures, prepared

from ddim_jax.runtime.signals import StopRequest
from ddim_jax.training import stopping
from ddim_jax.training.nan_guard import LossWatch
from ddim_jax.training.sharding import data_mesh
from ddim_jax.training.stopping import Stop


@pytest.fixture
def one_of_two(monkeypatch):
    monkeypatch.setattr("jax.process_count", lambda: 2)
    monkeypatch.setattr("jax.process_index", lambda: 0)


def asked(name=None):
    request = StopRequest()
    request.signal_name = name
    return request


def test_one_process_stops_at_once_and_its_batches_stay_as_they_are():
    request = asked()
    stop = Stop(request, data_mesh(8, jax.devices()[:1]))
    batch = {"row": jnp.arange(8)}
    assert stop.flagged(batch) is batch and not stop and not stop.is_asked_anywhere()
    request.signal_name = "SIGTERM"
    assert stop and stop.is_asked_anywhere() and stop.reason() == ("SIGTERM", "SIGTERM")


def test_one_process_that_asks_for_it_stops():
    stop = Stop(asked(), data_mesh(8, jax.devices()[:1]))
    stop.ask()
    assert stop and stop.is_asked_anywhere()


@pytest.mark.parametrize("name", [None, "SIGINT", "by itself"])
def test_several_stop_when_a_step_that_is_done_says_so(one_of_two, monkeypatch, name):
    train_step, state, batch = prepared(*pictures(), devices=jax.devices()[:1], seed=0, step=0)
    stop = Stop(asked(None if name == "by itself" else name), data_mesh(8, jax.devices()[:1]))
    if name == "by itself":
        stop.ask()
    watch = LossWatch(stop=stop)
    monkeypatch.setattr("jax.process_count", lambda: 1)  # what makes an array of the flags has one process here
    flagged = stop.flagged(batch)
    assert set(flagged) == {*batch, "stop"}
    state, metrics = train_step(state, flagged)
    watch.add(1, metrics)
    assert not stop  # the step may be under way: the other process does not know its answer either
    assert set(watch.drain()) == {"loss", "gradient_norm"}
    assert bool(stop) is (name is not None)


def test_all_know_the_first_process_that_got_a_signal(one_of_two, monkeypatch):
    given = []
    monkeypatch.setattr(stopping, "allgather_int", lambda value: given.append(value) or [0, 15])
    stop = Stop(asked(), data_mesh(8, jax.devices()[:1]))
    assert stop.reason() == ("SIGTERM", "SIGTERM to process 1")
    assert stop.is_asked_anywhere() and stop and given == [0, 0]
