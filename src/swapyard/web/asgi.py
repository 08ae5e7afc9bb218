"""The control plane behind the listener: an ASGI application as a handler of requests.

Only what is not on the way of a model's bytes goes through here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from swapyard.errors import ClientDisconnected, Fault, RequestError
from swapyard.web import errors
from swapyard.web.messages import Handler, Reply, Request

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

BODY_LIMIT_BYTES = 8 * 1024 * 1024
"""Longest body of a control request."""

LONGEST_TARGET_BYTES = 16 * 1024
"""Longest path and query of a control request."""

LONGEST_HEADERS_BYTES = 64 * 1024
"""Longest headers of a control request, all together."""

# From 2.4 on a server reports a client that disconnected by itself, as this one does: nobody has to listen.
_ASGI = {"version": "3.0", "spec_version": "2.4"}


def handler(app: App) -> Handler:
    """Serve requests with this application.

    Long heads are refused before the application sees them: frameworks split queries and cookies piece by
    piece, and Python before 3.11.10 and 3.12.6 cookies in quadratic time (CVE-2024-7592).  No cookie passes.

    HEAD is answered as GET without the body; `scope["head"]` tells routes that act, or never end.
    RequestError (TOO_LARGE, REQUEST_TIMEOUT, BAD_REQUEST) for a body that cannot be read.
    """

    async def serve(request: Request, reply: Reply) -> None:
        if len(request.raw_path) + len(request.query) > LONGEST_TARGET_BYTES:
            errors.answer_plainly(reply, 414, "URI Too Long\n")
        elif sum(len(name) + len(value) for name, value in request.headers) > LONGEST_HEADERS_BYTES:
            errors.answer_plainly(reply, 431, "Request Header Fields Too Large\n")
        else:
            await _Call(request, reply).run(app)

    return serve


class _Call:
    """One request in ASGI's words."""

    def __init__(self, request: Request, reply: Reply) -> None:
        self._request = request
        self._reply = reply
        self._has_received = False
        # Why the body could not be read: what the application makes of it is not what the client is told.
        self._failure: RequestError | ClientDisconnected | None = None

    async def run(self, app: App) -> None:
        request = self._request
        scope: MutableMapping[str, Any] = {
            "type": "http",
            "asgi": _ASGI,
            "http_version": request.http_version,
            "server": request.server,
            "client": request.client,
            "scheme": request.scheme,
            "root_path": "",
            "method": "GET" if request.method == "HEAD" else request.method,
            "path": request.path,
            "raw_path": request.raw_path,
            "query_string": request.query,
            "headers": [header for header in request.headers if header[0] != b"cookie"],
        }
        if request.method == "HEAD":
            scope["head"] = True
        try:
            await app(scope, self._receive, self._send)
        except Exception:
            if self._failure is None:
                raise
        if self._failure is not None:
            raise self._failure

    async def _receive(self) -> Message:
        if self._has_received:
            # The client's leaving cancels the task; there is nothing else to wait for.
            await self._request.disconnected()
            return {"type": "http.disconnect"}
        self._has_received = True
        try:
            body = await _body(self._request)
        except (RequestError, ClientDisconnected) as failure:
            self._failure = failure
            raise
        return {"type": "http.request", "body": body, "more_body": False}

    async def _send(self, message: Message) -> None:
        if self._failure is not None:
            return
        await self._reply.room()
        if message["type"] == "http.response.body":
            self._reply.write(message.get("body", b""), last=not message.get("more_body", False))
        else:
            self._reply.start(message["status"], list(message["headers"]))


async def _body(request: Request) -> bytes:
    parts, size_bytes = [], 0
    while part := await request.read():
        parts.append(part)
        size_bytes += len(part)
        if size_bytes > BODY_LIMIT_BYTES:
            raise RequestError(Fault.TOO_LARGE, f"the request body is larger than {BODY_LIMIT_BYTES} bytes")
    return b"".join(parts)
