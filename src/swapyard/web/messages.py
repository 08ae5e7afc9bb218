"""One exchange with a client: its request as it comes in, and the reply as it goes out.

Both halves go through the same stages, each at its own pace:

| stage    | the request                                  | the reply                                     |
| -------- | -------------------------------------------- | --------------------------------------------- |
| `HEAD`   | (a request exists once its head is complete) | nothing has gone out                          |
| `BODY`   | more of the body may come                    | status and headers are out, the body is not   |
| `ENDED`  | the body is complete                         | the reply is complete                         |
| `CUT`    | no more of the body is taken: `ended_by`     | the connection ends within the reply          |
| `TUNNEL` | a websocket is asked for                     | the transport belongs to whoever took it over |
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from enum import Enum, auto
from http import HTTPStatus

from swapyard.errors import ClientDisconnected, Fault, RequestError
from swapyard.web.wire import Wire

Headers = list[tuple[bytes, bytes]]

UNREAD_BYTES = 64 * 1024
"""Unread bytes of a client from which on its connection is not read any more."""

DISCARDED_BYTES = 256 * 1024
"""Rest of a body that is read and dropped after its request was answered, so that the connection can be
kept.  Source of the number: Go's net/http."""

JOINED_BYTES = 64 * 1024
"""A body up to this size leaves in one write with what goes before it; a longer one is not worth copying."""

BODY_TIMEOUT = 60.0
"""Seconds that a client may be silent within a body that somebody reads, where nothing else is configured."""

BODILESS = frozenset({204, 304})
"""Statuses whose answers have no body, whatever their headers say.  Source: RFC 9110 6.4.1."""

_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}".encode() for status in HTTPStatus}


class Stage(Enum):
    """How far one half of an exchange is; the module's table says what that means for each."""

    HEAD = auto()
    BODY = auto()
    ENDED = auto()
    CUT = auto()
    TUNNEL = auto()


class _Framing(Enum):
    """What tells the client where the body of a reply ends.  Source: RFC 9112 6.3."""

    LENGTH = auto()
    CHUNKS = auto()
    CONNECTION = auto()


class Request:
    """What a client asks for.

    Header names are in lower case, order and repeats as sent; `fields` holds the first value of each name.
    `path` is decoded; `raw_path` and `query` are as they came.  `client` and `server` are the addresses of
    the socket, None where they have no port.
    """

    __slots__ = (
        "_cancelling",
        "_expects_continue",
        "_unread",
        "_waiter",
        "_wire",
        "client",
        "ended_by",
        "fields",
        "headers",
        "http_version",
        "id",
        "keep_alive",
        "left_bytes",
        "length",
        "method",
        "path",
        "query",
        "raw_path",
        "scheme",
        "server",
        "stage",
        "task",
        "unread_bytes",
    )

    def __init__(
        self,
        wire: Wire,
        method: str,
        raw_path: bytes,
        path: str,
        query: bytes,
        headers: Headers,
        fields: dict[bytes, bytes],
        http_version: str = "1.1",
        scheme: str = "http",
        client: tuple[str, int] | None = None,
        server: tuple[str, int] | None = None,
        keep_alive: bool = True,
        length: int | None = 0,
        stage: Stage = Stage.BODY,
    ) -> None:
        self._wire = wire
        self.method = method
        self.raw_path = raw_path
        self.path = path
        self.query = query
        self.headers = headers
        self.fields = fields
        self.http_version = http_version
        self.scheme = scheme
        self.client = client
        self.server = server
        # Whether the connection outlives this exchange, as far as is known.
        self.keep_alive = keep_alive
        # Names the exchange in the log, the activity log and a header of the reply; "" without a record.
        self.id = ""
        self.stage = stage
        # Bytes of the whole body, None when it comes in chunks; and those still to come, -1 if unknown.
        self.length = length
        self.left_bytes = -1 if length is None else length
        # Why the handling ends early; None as long as it does not.
        self.ended_by: RequestError | ClientDisconnected | None = None
        # Handles the request.
        self.task: asyncio.Task[None] | None = None
        self._cancelling: asyncio.Handle | None = None
        self._unread: list[bytes] = []
        # Of the body: bytes that are here and were not read.
        self.unread_bytes = 0
        self._waiter: asyncio.Future[None] | None = None
        self._expects_continue = b"expect" in fields and fields[b"expect"].lower() == b"100-continue"

    @property
    def is_complete(self) -> bool:
        """Whether the whole body is here: reading it does not wait."""
        return self.stage is Stage.ENDED

    @property
    def has_unread(self) -> bool:
        """Whether there is more to read without waiting."""
        return bool(self._unread)

    @property
    def wants_websocket(self) -> bool:
        return self.stage is Stage.TUNNEL

    @property
    def client_disconnected(self) -> bool:
        return isinstance(self.ended_by, ClientDisconnected)

    @property
    def may_be_kept(self) -> bool:
        """Whether what is still to come of the body allows another request on this connection."""
        if self.stage is Stage.BODY:
            # Whoever waits for our word before it sends its body may send it or not once it has an answer.
            return not self._expects_continue and self.left_bytes <= DISCARDED_BYTES
        return self.stage is Stage.ENDED

    async def read(self, timeout: float = BODY_TIMEOUT) -> bytes:
        """What has come of the body since the last call, at least one byte; b"" at its end.

        Raises why the handling ends early: ClientDisconnected, or a RequestError, which is TIMEOUT when the
        client is silent for `timeout` seconds (0 waits for ever).
        """
        while True:
            if self.ended_by is not None:
                self._spare_the_task()
                raise self.ended_by
            if self.stage is Stage.TUNNEL:
                return b""
            if self._unread:
                return self.take()
            if self.stage is not Stage.BODY:
                return b""
            await self._more(timeout)

    def take(self) -> bytes:
        """What is here of the body, without waiting."""
        unread = self._unread
        data = unread[0] if len(unread) == 1 else b"".join(unread)
        unread.clear()
        self.unread_bytes = 0
        self._wire.resume_reading()
        return data

    async def _more(self, timeout: float) -> None:
        if self._expects_continue:
            self._expects_continue = False
            if not self._wire.transport.is_closing():
                self._wire.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._wire.resume_reading()
        waiter = self._waiter = self._wire.loop.create_future()
        timer = self._wire.loop.call_later(timeout, self._stalled, timeout) if timeout > 0 else None
        try:
            await waiter
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()

    def _stalled(self, timeout: float) -> None:
        self.end(
            RequestError(Fault.REQUEST_TIMEOUT, f"nothing more of the request body came within {timeout:g} s")
        )

    async def disconnected(self) -> None:
        """Wait until the handling ends early; the task that handles the request is cancelled then."""
        await self._wire.loop.create_future()

    def end(self, cause: RequestError | ClientDisconnected) -> None:
        """End the handling early; the first cause counts.

        Whoever reads the body gets the cause raised.  Else the task that handles the request is cancelled,
        and `cause_of_end` tells it why.
        """
        if self.ended_by is not None:
            return
        self.ended_by = cause
        if self.stage is Stage.BODY:
            self.stage = Stage.CUT
        if self._waiter is not None:
            self._wake()
        elif self.task is not None:
            # In the next turn: a task that is cancelled before its first step never runs at all.
            self._cancelling = self._wire.loop.call_soon(self.task.cancel)

    def _spare_the_task(self) -> None:
        """Whoever learned the cause by other means need not be cancelled."""
        if self._cancelling is not None:
            self._cancelling.cancel()
            self._cancelling = None

    def cause_of_end(self) -> RequestError | None:
        """To be asked when the task was cancelled: why, if it may go on to tell the client; else None."""
        cause = self.ended_by
        if not isinstance(cause, RequestError):
            return None
        if self.task is not None:
            self.task.uncancel()
        return cause

    # For the connection

    def feed(self, data: bytes) -> None:
        """Bytes of the body have come; or, where a websocket is asked for, what comes behind the request."""
        if self.stage is not Stage.BODY and self.stage is not Stage.TUNNEL:
            return
        self._unread.append(data)
        self.unread_bytes += len(data)
        if self.unread_bytes > UNREAD_BYTES:
            self._wire.pause_reading()
        self._wake()

    def feed_end(self) -> None:
        """The body is complete."""
        if self.stage is Stage.BODY:
            self.stage = Stage.ENDED
            self._wake()

    def forget_body(self) -> None:
        """Nobody reads the body any more."""
        self._unread.clear()
        self.unread_bytes = 0

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Reply:
    """What the client gets.  `on_end` is called once, when the reply is complete."""

    __slots__ = (
        "_framing",
        "_left_bytes",
        "_on_end",
        "_request",
        "_wire",
        "body_bytes",
        "stage",
        "status",
    )

    def __init__(self, wire: Wire, request: Request, on_end: Callable[[], None]) -> None:
        self._wire = wire
        self._request = request
        self._on_end = on_end
        self.stage = Stage.HEAD
        # The status that went out, 0 while none did, and bytes of the body that went out so far.
        self.status = 0
        self.body_bytes = 0
        self._framing = _Framing.LENGTH
        # What the content-length still announces.
        self._left_bytes = 0

    @property
    def is_answered(self) -> bool:
        """Whether nothing is left to say: the reply is complete, or the connection somebody else's."""
        return self.stage is Stage.ENDED or self.stage is Stage.TUNNEL

    @property
    def has_ended(self) -> bool:
        """Whether nothing more can be said: complete, cut, or taken over."""
        return self.stage is not Stage.HEAD and self.stage is not Stage.BODY

    @property
    def has_started(self) -> bool:
        """Whether the status line has gone out."""
        return self.status != 0

    @property
    def is_counted(self) -> bool:
        """Whether a content-length says how long the body is: nothing of ours fits into it."""
        return self.stage is Stage.BODY and self._framing is _Framing.LENGTH

    @property
    def congested(self) -> bool:
        """Whether the client reads more slowly than we write; what need not be said is better left unsaid."""
        return self._wire.is_congested

    async def room(self) -> None:
        """Wait while the client is too slow for more."""
        if self._wire.is_congested:
            await self._wire.drained()

    def start(self, status: int, headers: Headers, body: bytes = b"", *, last: bool = False) -> None:
        """Send status and headers, in one write with what is there of the body.

        Names and values are not checked: they were parsed before, or are our own.
        """
        if self._wire.is_lost:
            return
        self.status = status
        self.stage = Stage.BODY
        head = self._head(status, headers)
        if body or last:
            self._write(head, body, last)
        else:
            self._wire.transport.write(head)

    def write(self, body: bytes, *, last: bool = False) -> None:
        """Send some of the body."""
        if not self._wire.is_lost:
            self._write(b"", body, last)

    def _head(self, status: int, headers: Headers) -> bytes:
        request = self._request
        fields = dict(headers)
        length, connection = fields.get(b"content-length"), fields.get(b"connection")
        if connection is not None and not (request.keep_alive and b"close" not in connection.lower()):
            # Said once, below.
            request.keep_alive = False
            headers = [header for header in headers if header[0] != b"connection"]
        lines = [_STATUS_LINES.get(status) or b"HTTP/1.1 %d " % status]
        lines += [b": ".join(header) for header in headers]
        if request.method == "HEAD" or status in BODILESS:
            self._left_bytes = 0
        elif length is not None:
            self._left_bytes = int(length)
        elif request.http_version == "1.0":
            self._framing = _Framing.CONNECTION
            request.keep_alive = False
        else:
            self._framing = _Framing.CHUNKS
            lines.append(b"transfer-encoding: chunked")
        if request.keep_alive and not request.may_be_kept:
            request.keep_alive = False
        lines.append(b"\r\n" if request.keep_alive else b"connection: close\r\n\r\n")
        return b"\r\n".join(lines)

    def _write(self, head: bytes, body: bytes, last: bool) -> None:
        if self.stage is not Stage.BODY:
            raise RuntimeError("a body where none may be")
        if body and (self._request.method == "HEAD" or self.status in BODILESS):
            body = b""
        size = len(body)
        self.body_bytes += size
        if self._framing is _Framing.CHUNKS:
            end = b"0\r\n\r\n" if last else b""
            data = b"%b%x\r\n%b\r\n%b" % (head, size, body, end) if size else head + end
        else:
            if self._framing is _Framing.LENGTH:
                self._left_bytes -= size
                if self._left_bytes < 0:
                    raise RuntimeError("an answer longer than its content-length")
            data = head + body if size <= JOINED_BYTES else body
        transport = self._wire.transport
        if data is body and head:
            transport.write(head)
        if data:
            transport.write(data)
        if last:
            if self._left_bytes > 0:
                raise RuntimeError("an answer shorter than its content-length")
            self.stage = Stage.ENDED
            self._on_end()

    def cut(self) -> None:
        """End the connection so that the client can tell that the reply is incomplete."""
        by_connection = self.stage is Stage.BODY and self._framing is _Framing.CONNECTION
        self.stage = Stage.CUT
        if by_connection:
            self._wire.reset()
        else:
            self._wire.close()

    def informational(self, status: int, headers: Headers) -> None:
        """Pass a 1xx answer on; HTTP/1.0 clients do not know them."""
        if self._request.http_version != "1.0" and self.stage is Stage.HEAD and not self._wire.is_lost:
            self._wire.transport.write(plain_head(status, headers))

    def take_over(self, status: int, headers: Headers) -> tuple[asyncio.Transport, bytes]:
        """Answer an upgrade; from now on the transport and what the client already sent are the caller's."""
        self.status, self.stage = status, Stage.TUNNEL
        self._wire.transport.write(plain_head(status, headers))
        self._on_end()
        return self._wire.transport, self._request.take()


Handler = Callable[[Request, Reply], Awaitable[None]]
"""Serves one request.  The reply is complete, cut or taken over when it returns; an exception is a bug."""


def plain_head(status: int, headers: Headers) -> bytes:
    """Status line and headers as they are, with nothing added about a body."""
    lines = [_STATUS_LINES.get(status) or b"HTTP/1.1 %d " % status]
    lines += [b": ".join(header) for header in headers]
    return b"\r\n".join([*lines, b"\r\n"])
