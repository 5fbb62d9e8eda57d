"""The end of a process that another one's end takes with it, as far as one process shows it."""

import pytest

from ddim_jax.runtime import processes
from ddim_jax.runtime.errors import DataError, InUseError
from ddim_jax.runtime.signals import StopRequest


class Ended(BaseException):
    """In place of the end of the process."""


@pytest.fixture
def one_of_two(monkeypatch):
    """Makes this process the second of two; the end of it is an exception with its status."""

    def end(status):
        raise Ended(status)

    monkeypatch.setattr("jax.process_count", lambda: 2)
    monkeypatch.setattr("jax.process_index", lambda: 1)
    monkeypatch.setattr(processes, "say_on_abort", lambda *_: None)  # or it would say it for the tests
    monkeypatch.setattr("os._exit", end)


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (DataError("x.png: no image"), 2, "x.png: no image"),
        (InUseError("runs/x: in use"), 75, "runs/x: in use"),
        (OSError(28, "No space left on device"), 2, "[Errno 28] No space left on device"),
        (KeyboardInterrupt(), 130, "stopped by Ctrl-C"),
        (ZeroDivisionError("a bug"), 1, "ZeroDivisionError: a bug"),
    ],
)
def test_an_error_ends_the_process_with_its_status(one_of_two, capsys, error, status, said):
    with pytest.raises(Ended) as end, processes.ending_together(StopRequest()):
        raise error
    assert end.value.args == (status,)
    written = capsys.readouterr().err
    assert written.endswith(f"error: process 1 of 2: {said}\n")
    assert ("Traceback" in written) == (status == 1)


def test_a_broken_connection_waits_for_the_runtime_to_find_out_whose(one_of_two, capsys, monkeypatch):
    waited = []
    monkeypatch.setattr("time.sleep", waited.append)
    with pytest.raises(Ended), processes.ending_together(StopRequest()):
        raise ValueError("UNKNOWN: Gloo AllGather failed: Connection reset by peer")
    assert waited == [60.0] and processes.HEARTBEAT_SECONDS < 60.0  # the runtime ends this process before
    assert capsys.readouterr().err.endswith("Connection reset by peer\n")


def test_what_is_said_of_a_lost_process(one_of_two):
    with processes.ending_together(StopRequest()) as peer_loss:
        assert ". There is no checkpoint yet. Start the same command again on all processes, " in str(peer_loss)
        peer_loss.checkpoint = "The last checkpoint is step 7 in runs/x"
    said = str(peer_loss)
    assert said.startswith("process 1 of 2 ends, for another one is lost: that failed, was killed or ran out of memory")
    assert said.endswith(f". The last checkpoint is step 7 in runs/x. {processes.GO_ON}")


def test_alone_an_error_is_an_error():
    with pytest.raises(DataError), processes.ending_together(StopRequest()):
        raise DataError("x.png: no image")
