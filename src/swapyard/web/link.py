"""One request on its client's connection: its body as it comes in, its answer as it goes out."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from swapyard.web import errors

if TYPE_CHECKING:
    from swapyard.web.server import Connection

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

UNREAD_BYTES = 64 * 1024
"""Unread bytes of a request's body from which on its connection is not read any more."""

JOINED_BYTES = 64 * 1024
"""A body up to this size leaves in one write with what goes before it; a longer one is not worth copying."""

BODILESS = frozenset({204, 304})
"""Statuses whose answers have no body, whatever their headers say.  Source: RFC 9110 6.4.1."""

_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}".encode() for status in HTTPStatus}

log = logging.getLogger("swapyard.server")


class Link:
    """What a request may do with its client's connection; found in `scope["link"]`.

    `receive` and `send` are ASGI's.  `start`, `write` and `room` are the same without messages, for a relay
    that passes every chunk on; the rest is what ASGI has no words for.
    """

    __slots__ = (
        "_body",
        "_body_bytes",
        "_chunked",
        "_connection",
        "_expects_continue",
        "_is_cut",
        "_left_bytes",
        "_news",
        "_waiter",
        "answered",
        "body_bytes",
        "client_left",
        "keep_alive",
        "more_body",
        "scope",
        "status",
        "task",
    )

    def __init__(self, connection: Connection, scope: Scope, keep_alive: bool) -> None:
        self._connection = connection
        self.scope = scope
        self.keep_alive = keep_alive
        # Runs the request; ends early when the client leaves.
        self.task: asyncio.Task[None] | None = None
        self.client_left = False
        # The request's body: what has come and was not received, and whether the application knows of it.
        self.more_body = True
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._news = False
        self._waiter: asyncio.Future[None] | None = None
        self._expects_continue = scope["fields"].get(b"expect", b"").lower() == b"100-continue"
        # The answer: the status that went out, 0 while none did, and bytes of the body that went out so far.
        self.status = 0
        self.body_bytes = 0
        self.answered = False
        self._chunked = False
        # What the content-length still announces; below 0 the end of the connection ends the body.
        self._left_bytes = 0
        self._is_cut = False

    async def run(self, app: App) -> None:
        """Have this request answered."""
        try:
            await app(self.scope, self.receive, self.send)
        except asyncio.CancelledError:
            if not self.client_left:
                self._connection.transport.close()
                raise
        except Exception:
            log.exception("a bug in the handling of %s %s", self.scope["method"], self._path)
            await self._apologise()
        else:
            if not (self.answered or self.client_left or self._is_cut):
                log.error("no complete answer to %s %s", self.scope["method"], self._path)
                await self._apologise()
        finally:
            # Nothing of a request is left for the garbage collector.
            del self.scope["link"]

    @property
    def _path(self) -> str:
        """As it came over the wire: decoded, it could end a line of the log."""
        raw_path: bytes = self.scope["raw_path"]
        return raw_path.decode("ascii", "backslashreplace")

    async def _apologise(self) -> None:
        if self.started:
            self._connection.transport.close()
        else:
            await errors.send_internal_error(self.send)

    # The request's body

    def feed(self, data: bytes) -> None:
        """Bytes of the body have come."""
        self._body.append(data)
        self._body_bytes += len(data)
        if self._body_bytes > UNREAD_BYTES:
            self._connection.pause_reading()
        self._tell()

    def feed_end(self) -> None:
        """The body is complete."""
        self.more_body = False
        self._tell()

    def leave(self) -> None:
        """The client has left before it was answered."""
        self.client_left = True
        self._tell()
        if self.task is not None:
            self.task.cancel("the client left")

    def _tell(self) -> None:
        self._news = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def receive(self) -> dict[str, Any]:
        if self._expects_continue:
            self._expects_continue = False
            if not (self.started or self._connection.transport.is_closing()):
                self._connection.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._connection.resume_reading()
        while not (self._news or self.answered or self.client_left):
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        self._news = False
        if self.client_left or self.answered:
            return {"type": "http.disconnect"}
        body = b"".join(self._body)
        self._body.clear()
        self._body_bytes = 0
        return {"type": "http.request", "body": body, "more_body": self.more_body}

    # The answer

    async def send(self, message: dict[str, Any]) -> None:
        await self.room()
        if message["type"] == "http.response.body":
            self.write(message.get("body", b""), last=not message.get("more_body", False))
        else:
            self.start(message["status"], message["headers"])

    @property
    def started(self) -> bool:
        """Whether the answer's status line has gone out."""
        return self.status != 0

    @property
    def congested(self) -> bool:
        """Whether the client reads more slowly than we write; what need not be said is better left unsaid."""
        return self._connection.is_congested

    async def room(self) -> None:
        """Wait while the client is too slow for more."""
        if self._connection.is_congested and not self.client_left:
            await self._connection.drained()

    def start(self, status: int, headers: Headers, body: bytes = b"", *, last: bool = False) -> None:
        """Send status and headers, in one write with what is there of the body.

        Names and values are not checked: they were parsed before, or are our own.
        """
        if self.client_left:
            return
        self.status = status
        head = self._head(status, headers)
        if body or last:
            self._write(head, body, last)
        else:
            self._connection.transport.write(head)

    def write(self, body: bytes, *, last: bool = False) -> None:
        """Send some of the body."""
        if not self.client_left:
            self._write(b"", body, last)

    def _head(self, status: int, headers: Headers) -> bytes:
        method, version = self.scope["method"], self.scope["http_version"]
        fields = dict(headers)
        length, connection = fields.get(b"content-length"), fields.get(b"connection")
        if connection is not None and not (self.keep_alive and b"close" not in connection.lower()):
            # Said once, below.
            self.keep_alive = False
            headers = [header for header in headers if header[0] != b"connection"]
        lines = [_STATUS_LINES.get(status) or b"HTTP/1.1 %d " % status]
        lines += [b": ".join(header) for header in headers]
        if method == "HEAD" or status in BODILESS:
            self._left_bytes = 0
        elif length is not None:
            self._left_bytes = int(length)
        elif version == "1.0":
            self._left_bytes = -1
            self.keep_alive = False
        else:
            self._chunked = True
            lines.append(b"transfer-encoding: chunked")
        lines.append(b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n")
        return b"\r\n".join(lines)

    def _write(self, head: bytes, body: bytes, last: bool) -> None:
        if self.answered or not self.status:
            raise RuntimeError("a body where none may be")
        if body and (self.scope["method"] == "HEAD" or self.status in BODILESS):
            body = b""
        size = len(body)
        self.body_bytes += size
        if self._chunked:
            end = b"0\r\n\r\n" if last else b""
            data = b"%b%x\r\n%b\r\n%b" % (head, size, body, end) if size else head + end
        else:
            if self._left_bytes >= 0:
                self._left_bytes -= size
                if self._left_bytes < 0:
                    raise RuntimeError("an answer longer than its content-length")
            data = head + body if size <= JOINED_BYTES else body
        transport = self._connection.transport
        if data is body and head:
            transport.write(head)
        if data:
            transport.write(data)
        if last:
            self._end()

    def _end(self) -> None:
        if self._left_bytes > 0:
            raise RuntimeError("an answer shorter than its content-length")
        self.answered = True
        self._tell()
        self._connection.request_answered(self)

    # What ASGI has no words for

    def cut(self) -> None:
        """End the connection so that the client can tell that the answer is incomplete."""
        self._is_cut = True
        transport = self._connection.transport
        if self.started and self._left_bytes < 0:
            _reset_on_close(transport)
        transport.close()

    def informational(self, status: int, headers: Headers) -> None:
        """Pass a 1xx answer on; HTTP/1.0 clients do not know them."""
        if self.scope["http_version"] != "1.0" and not self.started:
            self._connection.transport.write(plain_head(status, headers))

    def take_over(self, status: int, headers: Headers) -> tuple[asyncio.Transport, bytes]:
        """Answer an upgrade; from now on the transport and what the client already sent are the caller's."""
        self.status, self.answered = status, True
        transport, early = self._connection.release()
        transport.write(plain_head(status, headers))
        return transport, early


def plain_head(status: int, headers: Headers) -> bytes:
    """Status line and headers as they are, with nothing added about a body."""
    lines = [_STATUS_LINES.get(status) or b"HTTP/1.1 %d " % status]
    lines += [b": ".join(header) for header in headers]
    return b"\r\n".join([*lines, b"\r\n"])


def _reset_on_close(transport: asyncio.Transport) -> None:
    """Where only the end of the connection ends a body, a proper end would look like a complete answer."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
