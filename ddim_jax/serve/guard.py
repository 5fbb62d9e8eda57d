"""The guard before every route: it decides who may ask and how much may be sent, adds headers, and logs."""

import hmac
import json
import time
from collections.abc import Collection
from typing import Any

from absl import logging
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect

from ddim_jax.serve.jobs import fault
from ddim_jax.serve.refusals import Refusal, refusal_of

OPEN = ("/", "/healthz", "/openapi.json", "/static")
"""Paths, and folders of such, that need no token: they tell nothing of anybody's images."""
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


class Guard:
    """An ASGI application around another.

    Args:
      app: the other.
      most_bytes: of a request's body, by its header and as it comes.
      token: that requests have to have as `Authorization: Bearer TOKEN`; None for none.
      hosts: names of this server, in any case, that requests may be for: those of another may come from a page whose
        name was made to lead here. None for any.
    """

    def __init__(self, app: Any, *, most_bytes: int, token: str | None = None, hosts: Collection[str] | None = None):
        self._app, self._most, self._token = app, most_bytes, token
        self._hosts = None if hosts is None else frozenset(name.lower() for name in hosts)  # as `host_name` gives them

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                return
            await self._app(scope, receive, send)
            return
        began, status, taken = time.monotonic(), 0, 0

        async def receive_bounded() -> Any:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self._most:
                raise Refusal(413, f"The upload has more than {self._most} bytes.")
            return message

        async def send_with_headers(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        try:
            refused = self._refusal(scope)
            if refused is not None:
                await answer(send_with_headers, refused)
            else:
                await self._app(scope, receive_bounded, send_with_headers)
        except ClientDisconnect:
            pass
        except Exception as error:
            refused = refusal_of(error) or fault(error)
            if not status:
                await answer(send_with_headers, refused)
        is_probe = status == 503 and scope["path"].endswith("/healthz")
        if scope["method"] != "GET" or (status >= 500 and not is_probe) or status == 401:
            # No path: it may hold the number of a result. Of a wrong token, who tried it.
            if status == 401:
                logging.info("a missing or wrong token, from %s", (scope.get("client") or ("an unknown address",))[0])
            logging.info("%s %s in %.2f s, %d bytes", scope["method"], status, time.monotonic() - began, taken)

    def _refusal(self, scope: Any) -> Refusal | None:
        headers = Headers(scope=scope)
        path = scope["path"].removeprefix(scope.get("root_path", "")) or "/"
        if path == "/healthz":  # the probe of a cluster calls the server by its address
            return None
        if self._hosts is not None and host_name(headers.get("host", "")) not in self._hosts:
            return Refusal(421, "This server is not known by that name; --allow-host NAME allows it.")
        if scope["method"] not in ("GET", "HEAD") and _is_of_another_site(headers):
            return Refusal(403, "A page of another site asks; only this server's own page may.")
        needs_token = path not in OPEN and not path.startswith("/static/")
        if self._token is not None and needs_token:
            kind, _, given = headers.get("authorization", "").partition(" ")
            if kind.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), self._token.encode()):
                return Refusal(401, "The token is missing or wrong.", {"WWW-Authenticate": "Bearer"})
        length = headers.get("content-length", "0")
        if not length.isascii() or not length.isdigit() or int(length[:20]) > self._most:
            return Refusal(413, f"The upload has more than {self._most} bytes.")
        return None


def _is_of_another_site(headers: Headers) -> bool:
    """True if a page of another site asks; browsers say so by Sec-Fetch-Site where there is TLS, else by Origin alone.

    A proxy may show the server at another port or scheme, so that names are compared.
    """
    if (site := headers.get("sec-fetch-site")) is not None:
        return site not in ("none", "same-origin")
    origin = headers.get("origin")
    return origin is not None and host_name(origin.partition("://")[2]) != host_name(headers.get("host", ""))


def host_name(header: str) -> str:
    """The name in a Host header in lower case, without the port and the dot at the end that a name may have."""
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.partition(":")[0].lower().removesuffix(".")


async def answer(send: Any, refusal: Refusal) -> None:
    """Sends a refusal as JSON."""
    body = body_of(refusal)
    headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), **(refusal.headers or {})}
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": refusal.status_code, "headers": pairs})
    await send({"type": "http.response.body", "body": body})


def body_of(refusal: Any) -> bytes:
    """The body of a refusal: {"status": 422, "error": "one sentence"}."""
    return json.dumps({"status": refusal.status_code, "error": refusal.detail}).encode()
