"""The front door: preflights, then the data plane or the control plane."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from swapyard.web import cors
from swapyard.web.messages import Handler, Reply, Request

Find = Callable[[Request], Handler | None]
"""Who serves this request on the data plane; None when the path is not one of its own."""


class Front:
    """The handler of the listener."""

    def __init__(self, find: Find, control: Handler) -> None:
        self._find = find
        self._control = control

    def __call__(self, request: Request, reply: Reply) -> Awaitable[None]:
        if request.method == "OPTIONS":
            return _preflight(request, reply)
        return (self._find(request) or self._control)(request, reply)


async def _preflight(request: Request, reply: Reply) -> None:
    reply.start(204, cors.preflight(request.headers), last=True)
