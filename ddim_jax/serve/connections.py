"""Connections on which no request is answered: bounded in time and in number.

uvicorn waits for the head of a request as long as a client likes, be it that nothing comes or a byte now and then. The
bodies of requests are bounded where they are received (`ddim_jax.serve.uploads`), and a connection has one request.
"""

import asyncio
import functools
import re
import socket
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from ddim_jax.serve.limits import Limits

ONE_REQUEST = [("Connection", "close")]
"""`headers` of `uvicorn.Config`: what is known of the first head of a connection is then known of all."""
_END_OF_HEAD = re.compile(rb"\n\r?\n")


class Connection(H11Protocol):
    """A connection that is closed if the head of its request does not come in time.

    Where too many wait for one, a new connection closes the one that has waited longest: a client that has something to
    ask asks at once, and those that say nothing keep it out no longer. Of uvicorn's class the methods of
    `asyncio.Protocol` alone are extended.

    Args:
      silent: the connections of the server whose heads are not there, oldest first, with the timers that close them.
      limits: of the server.
    """

    def __init__(self, *given: Any, silent: dict["Connection", asyncio.TimerHandle], limits: Limits, **named: Any):
        super().__init__(*given, **named)
        self._silent, self._limits, self._last = silent, limits, b""

    def connection_made(self, transport: Any) -> None:
        """Begins to wait for a request."""
        super().connection_made(transport)
        seconds = self._limits.silent_seconds
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux alone closes connections whose client takes nothing
            milliseconds = int(1000 * seconds)
            transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
        if len(self._silent) >= self._limits.silent:
            next(iter(self._silent)).close()
        self._transport = transport
        self._silent[self] = asyncio.get_running_loop().call_later(seconds, self.close)

    def data_received(self, data: bytes) -> None:
        """Waits no longer where the head ends."""
        if self in self._silent:
            self._last += data
            if _END_OF_HEAD.search(self._last):
                self._wait_no_longer()
            self._last = self._last[-2:]
        super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Waits no longer."""
        self._wait_no_longer()
        super().connection_lost(exc)

    def close(self) -> None:
        """Closes the connection."""
        self._wait_no_longer()
        self._transport.close()

    def _wait_no_longer(self) -> None:
        if (timer := self._silent.pop(self, None)) is not None:
            timer.cancel()


def connections(limits: Limits) -> Callable[..., Connection]:
    """Makes the connections of one server: `http` of `uvicorn.Config`."""
    return functools.partial(Connection, silent={}, limits=limits)
