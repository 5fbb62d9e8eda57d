"""Connections of uvicorn on which no request is answered: bounded in time and in number.

uvicorn waits for the head of a request as long as a client likes, be it that nothing comes or a byte now and then. The
bodies of requests are bounded where they are received (`ddim_jax.serve.uploads`).
"""

import asyncio
import functools
import socket
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from ddim_jax.serve.limits import Limits


class Connection(H11Protocol):
    """A connection that is closed if the head of its next request does not come in time.

    Where too many wait for one, a new connection closes the one that has waited longest: a client that has something to
    ask asks at once, and those that say nothing keep it out no longer.

    Args:
      silent: the connections of the server on which no request is answered, oldest first, with the timers that close
        them.
      limits: of the server.
    """

    def __init__(self, *given: Any, silent: dict["Connection", asyncio.TimerHandle], limits: Limits, **named: Any):
        super().__init__(*given, **named)
        self._silent, self._limits = silent, limits

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux alone closes connections whose client takes nothing
            milliseconds = int(1000 * self._limits.silent_seconds)
            transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
        self._wait()

    def handle_events(self) -> None:
        super().handle_events()
        if self.cycle is not None and not self.cycle.response_complete:
            self._wait_no_longer()

    def on_response_complete(self) -> None:
        self._wait()
        super().on_response_complete()  # the next request may be there already

    def connection_lost(self, error: Exception | None) -> None:
        self._wait_no_longer()
        super().connection_lost(error)

    def _wait(self) -> None:
        if self.transport.is_closing():
            return
        if len(self._silent) >= self._limits.silent:
            next(iter(self._silent))._close()
        self._silent[self] = self.loop.call_later(self._limits.silent_seconds, self._close)

    def _wait_no_longer(self) -> None:
        if (timer := self._silent.pop(self, None)) is not None:
            timer.cancel()

    def _close(self) -> None:
        self._wait_no_longer()
        self.transport.close()


def connections(limits: Limits) -> Callable[..., Connection]:
    """Makes the connections of one server: `http` of `uvicorn.Config`."""
    return functools.partial(Connection, silent={}, limits=limits)
