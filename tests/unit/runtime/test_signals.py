import signal
import subprocess
import sys
import threading

import pytest

from ddim_jax.runtime.signals import StopRequest, cleaned_up_on_sigterm, left_on_ctrl_c, stop_on_signals

BOTH = (signal.SIGTERM, signal.SIGINT)


def test_a_terminal_that_is_gone_stops_too_unless_that_is_ignored():
    for number in (signal.SIGHUP, signal.SIGXCPU):
        before = signal.signal(number, signal.SIG_DFL)  # the tests may run under nohup themselves
        try:
            with stop_on_signals() as stop:
                signal.raise_signal(number)
                assert stop.signal_name == number.name
            signal.signal(number, signal.SIG_IGN)  # as nohup does
            with stop_on_signals() as stop:
                signal.raise_signal(number)
                assert not stop
        finally:
            signal.signal(number, before)


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


BUSY = """
import hashlib, sys
from ddim_jax.runtime.signals import StopRequest, stop_on_signals

with stop_on_signals() as request:
    request.leave_at_once(lambda name: print(name, "and nothing lost", flush=True))
    if sys.argv[1] == "later":
        request.leave_at_once(None)
    print("begun", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", int(sys.argv[2]))  # in C, where no handler of Python is called
    print(request.signal_name, "noted")
"""


@pytest.mark.parametrize(
    ("when", "rounds", "number", "said", "status"),
    [
        ("first", 10**9, signal.SIGTERM, "SIGTERM and nothing lost\n", 75),  # the rounds would take minutes
        ("first", 10**9, signal.SIGINT, "SIGINT and nothing lost\n", 130),
        ("later", 10**6, signal.SIGTERM, "SIGTERM noted\n", 0),
    ],
)
def test_what_holds_the_main_thread_does_not_hold_the_first_step(when, rounds, number, said, status):
    program = [sys.executable, "-c", BUSY, when, str(rounds)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "begun\n"
        process.send_signal(number)
        assert process.communicate(timeout=60)[0] == said
    assert process.returncode == status


def test_afterwards_a_signal_is_noted_and_nothing_is_left_behind():
    before = signal.set_wakeup_fd(-1)
    with stop_on_signals() as stop:
        stop.leave_at_once(pytest.fail)
        stop.leave_at_once(None)
        signal.raise_signal(signal.SIGTERM)
        assert stop.signal_name == "SIGTERM"
    assert signal.set_wakeup_fd(before) == -1 and "signals" not in {thread.name for thread in threading.enumerate()}


def test_a_block_in_another_of_the_same_request_changes_nothing():
    before = [signal.getsignal(n) for n in BOTH]
    with stop_on_signals() as stop:
        outer = [signal.getsignal(n) for n in BOTH]
        with stop_on_signals(stop) as inner:
            assert inner is stop and [signal.getsignal(n) for n in BOTH] == outer
        assert [signal.getsignal(n) for n in BOTH] == outer
        signal.raise_signal(signal.SIGTERM)
        assert stop.signal_name == "SIGTERM" and [signal.getsignal(n) for n in BOTH] == before


def test_ctrl_c_is_as_it_was_after_the_block():
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with left_on_ctrl_c("left"):
            assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with left_on_ctrl_c("left"):
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, usual)


def test_listening_needs_no_library():
    program = "import sys, ddim_jax.runtime.signals; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"absl", "jax", "jaxlib", "numpy", "rich"} & set(done.stdout.split())


def test_sigterm_ends_a_program_after_its_clean_up(capsys):
    cleaned = []
    before = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with pytest.raises(SystemExit) as ended, cleaned_up_on_sigterm("nothing was written"):
            try:
                signal.raise_signal(signal.SIGTERM)
            finally:
                cleaned.append(signal.getsignal(signal.SIGTERM))  # a second one acts as usual
        assert ended.value.code == 75 and cleaned == [signal.SIG_DFL]
        assert capsys.readouterr().err == "nothing was written\n"
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        with cleaned_up_on_sigterm("nothing was written"):
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
