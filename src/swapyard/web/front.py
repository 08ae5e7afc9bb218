"""The front door: access log, preflights, then the data plane or the control plane."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

from swapyard.observe.log_lines import is_access_logged
from swapyard.web import cors
from swapyard.web.server import App, Receive, Scope, Send

AccessLog = Callable[[Scope, float], None]
"""(scope, seconds): called once when a request has ended; its `link` knows what went out."""

Find = Callable[[Scope], App | None]
"""Who serves this request on the data plane; None when the path is not one of its own."""


class Front:
    """One ASGI callable for the listener."""

    def __init__(self, find: Find, control: App, access_log: AccessLog) -> None:
        self._find = find
        self._control = control
        self._access_log = access_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = perf_counter()
        try:
            await self._app(scope)(scope, receive, send)
        finally:
            if is_access_logged(scope["path"]):
                self._access_log(scope, perf_counter() - begun)

    def _app(self, scope: Scope) -> App:
        if scope["method"] == "OPTIONS":
            return _preflight
        return self._find(scope) or self._control_plane

    async def _control_plane(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "HEAD":
            # Control routes answer HEAD as GET without the body; `head` tells those that act or never end.
            scope = {**scope, "method": "GET", "head": True}
        await self._control(scope, receive, send)


async def _preflight(scope: Scope, _: Receive, send: Send) -> None:
    head = cors.preflight(scope["headers"])
    await send({"type": "http.response.start", "status": 204, "headers": head})
    await send({"type": "http.response.body", "body": b""})
