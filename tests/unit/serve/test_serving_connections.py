"""Connections of the running server whose clients send nothing, little by little, or read nothing."""

import contextlib
import socket
import threading
import time

import pytest
import uvicorn
from served import half, network, png

from ddim_jax.cli import serve as command
from ddim_jax.serve.app import create_app
from ddim_jax.serve.limits import Limits


@contextlib.contextmanager
def running(limits, app=None, connections=512):
    """A server as the command runs it, in a thread, at a port of its own; gives the server and the port."""
    options = command.parse_arguments(None, ["--ckpt", "A", "--port", "0"])
    config = command.server_config(app or create_app([network()], limits), options, limits)
    config.limit_concurrency = connections
    server = uvicorn.Server(config)
    with config.bind_socket() as listening:
        listening.listen(500)
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            yield server, listening.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(20)


def post(body, *headers, length=None):
    """A request that asks for a result."""
    lines = ["POST /segment HTTP/1.1", "Host: localhost", f"Content-Length: {length or len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def connected(port, data=b""):
    one = socket.create_connection(("127.0.0.1", port), timeout=60)
    one.sendall(data)
    return one


def status(port, data):
    with connected(port, data) as one:
        return one.recv(100).split()[1]


def is_closed(one):
    """True once the server has closed the connection."""
    with contextlib.suppress(ConnectionResetError):
        while one.recv(2**16):
            pass
    return True


def until(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_connections_without_a_request_keep_nobody_out():
    with running(Limits(silent=30), connections=64) as (server, port), contextlib.ExitStack() as open_ones:
        for said in (b"", b"POST /seg", post(b"", length=5)[:60]) * 100:
            open_ones.enter_context(connected(port, said))
        assert status(port, post(png(half()))) == b"200"
        until(lambda: len(server.server_state.connections) <= 30)


def test_a_head_that_does_not_come_in_time():
    with running(Limits(silent_seconds=0.4)) as (_, port):
        for begins in (b"", b"GET / HT"):
            began = time.monotonic()
            with connected(port, begins) as one:
                drops = threading.Event()

                def drop(one=one, drops=drops):
                    with contextlib.suppress(OSError):
                        while not drops.wait(0.05):
                            one.sendall(b"x")

                thread = threading.Thread(target=drop)
                thread.start()
                assert is_closed(one)
                drops.set()
                thread.join()
            assert 0.3 < time.monotonic() - began < 10


def test_a_head_in_parts_is_answered_once_and_its_body_may_take_its_time():
    asked = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r"
    body = png(half())
    with running(Limits(silent_seconds=0.3)) as (_, port):
        with connected(port, asked) as one:
            time.sleep(0.1)
            one.sendall(b"\n" + asked + b"\n")
            answers = b""
            while received := one.recv(2**16):
                answers += received
            assert answers.count(b"HTTP/1.1 200 OK") == 1 and b"connection: close" in answers.lower()
        with connected(port, post(body)[:-9]) as one:
            time.sleep(0.6)  # longer than a head may take
            one.sendall(body[-9:])
            assert one.recv(100).split()[1] == b"200"


def test_bodies_that_do_not_come_take_no_place_of_other_clients():
    """Clients behind a proxy on the same machine are told apart by what it says of them."""
    with running(Limits(receiving=8)) as (_, port), contextlib.ExitStack() as open_ones:
        stalled = post(b"x", "X-Forwarded-For: 10.0.0.9", length=100)
        answered = [open_ones.enter_context(connected(port, stalled)) for _ in range(8)]
        refused = [one for one in answered[6:] if one.recv(100).split()[1] == b"503"]
        assert len(refused) == 2  # a client has three quarters of the eight
        assert status(port, post(png(half()), "X-Forwarded-For: 10.0.0.9")) == b"503"
        assert status(port, post(png(half()), "X-Forwarded-For: 10.0.0.8")) == b"200"


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="a bound that Linux alone has")
def test_a_client_that_does_not_read_its_answer():
    async def app(scope, receive, send):
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": bytes(2**26)})

    asked = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with running(Limits(silent_seconds=0.5), app) as (server, port), connected(port, asked) as one:
        assert one.recv(1)
        assert len(server.server_state.connections) == 1
        until(lambda: not server.server_state.connections)
