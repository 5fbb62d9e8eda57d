import signal
import threading

import pytest

from ddim_jax.training.interrupt import StopRequest, stop_on_signals

BOTH = (signal.SIGTERM, signal.SIGINT)


@pytest.mark.parametrize("number", BOTH)
def test_the_first_signal_is_noted(number):
    before = [signal.getsignal(n) for n in BOTH]
    with stop_on_signals() as stop:
        assert not stop and stop.signal_name is None
        signal.raise_signal(number)
        assert stop and stop.signal_name == number.name
    assert [signal.getsignal(n) for n in BOTH] == before


def test_the_second_acts_as_usual():
    # As usual for a program in the foreground; what was started in the background ignores it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with stop_on_signals() as stop:
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert stop.signal_name == "SIGTERM"


@pytest.mark.parametrize(("ended_by", "status"), [(None, 0), ("SIGTERM", 75), ("SIGINT", 130)])
def test_only_a_run_that_came_to_its_end_says_so(ended_by, status):
    request = StopRequest()
    request.signal_name, request.ended_by = "SIGTERM", ended_by  # a signal may come when nothing is left to stop
    assert request.exit_status == status


def test_handlers_come_back_after_an_error():
    before = [signal.getsignal(n) for n in BOTH]
    with pytest.raises(RuntimeError), stop_on_signals():
        raise RuntimeError
    assert [signal.getsignal(n) for n in BOTH] == before


def test_outside_the_main_thread_nothing_is_asked():
    seen = []

    def work():
        with stop_on_signals() as stop:
            seen.append(bool(stop))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]
