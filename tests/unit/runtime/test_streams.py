"""Streams that cannot be written to stop nothing, and say at most once that they are not read."""

import contextlib
import os
import sys
import threading

import pytest

from ddim_jax.runtime import streams
from ddim_jax.runtime.signals import StopRequest


@pytest.fixture
def as_stream(monkeypatch):
    """A stream on a descriptor, known as standard output."""
    monkeypatch.setattr(streams, "_outputs", {})
    opened = []

    def make(descriptor):
        stream = streams._stream(descriptor, None)
        streams._outputs = {1: streams._outputs[descriptor]}
        monkeypatch.setattr(sys, "stdout", stream)
        opened.append(descriptor)
        return stream

    yield make
    for descriptor in opened:
        os.close(descriptor)


def test_what_cannot_be_encoded_is_written_as_python_has_it(as_stream, tmp_path):
    stream = as_stream(os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT))
    print("naïve", "\udcff", file=stream, flush=True)
    assert (tmp_path / "log").read_bytes() == "naïve \\udcff\n".encode()
    assert streams.lost_output() is None


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_full_disk_loses_what_was_said_and_tells(as_stream):
    stream = as_stream(os.open("/dev/full", os.O_WRONLY))
    for _ in range(3):
        print("x" * 10_000, file=stream, flush=True)
    assert streams.lost_output() == "No space left on device"


def test_a_reader_that_leaves_is_told_of_once_and_its_leaving_is_no_loss(as_stream):
    reader, writer = os.pipe()
    os.close(reader)
    stream, told = as_stream(writer), []

    def tell():
        told.append(1)
        print("nobody reads this", file=stream, flush=True)  # as the message of a run that stops

    streams.when_unread(tell)
    for _ in range(2):
        print("x", file=stream, flush=True)
    assert told == [1] and streams.lost_output() is None


def test_a_full_pipe_that_does_not_block_is_waited_for(as_stream):
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    stream = as_stream(writer)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, b"x" * 65536)
    drain = threading.Timer(0.1, lambda: os.read(reader, 2**20))
    drain.start()
    print("the end", file=stream, flush=True)
    drain.join()
    assert os.read(reader, 2**20).endswith(b"the end\n") and streams.lost_output() is None
    os.close(reader)


def test_without_a_reader_a_run_is_asked_to_stop_as_by_a_signal():
    request = StopRequest()
    request.ask("SIGPIPE")
    assert request and request.signal_name == "SIGPIPE"
    request.ended_by = request.signal_name
    assert request.exit_status == 75
    request.ask("SIGTERM")
    assert request.signal_name == "SIGPIPE"
