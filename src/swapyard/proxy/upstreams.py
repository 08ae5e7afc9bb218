"""Whoever answers behind one base URL, a local process or a peer: its kept connections, and how to ask it."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Mapping
from types import TracebackType

from swapyard.config.schema import Timeouts
from swapyard.errors import Fault, RequestError
from swapyard.proxy.answers import Answer, Stage
from swapyard.proxy.connection import ClosedUnansweredError, Connection, OnInformational
from swapyard.proxy.dialing import Dialer, parse_base_url
from swapyard.proxy.headers import Headers
from swapyard.proxy.sending import Payload, StreamedBody, can_be_sent_again, framing
from swapyard.web.fields import first

__all__ = [
    "Answer",
    "Stage",
    "StreamedBody",
    "Upstream",
    "UpstreamExchange",
    "UpstreamRequest",
]

FRAMING = frozenset({b"content-length", b"transfer-encoding"})

IDLE_LIMIT = 100
"""Most connections that are kept for one upstream while nobody uses them."""


class UpstreamRequest:
    """What to ask.

    `target` is path and query, without those of the base URL.  Header names are lower case; Content-Length
    and Transfer-Encoding among them are replaced by what `body` is, Host is added when it is missing.
    `upgrade`: a 101 answer to a websocket is welcome.  `on_informational` is called for every 1xx but 100
    and 101, from within the event loop's callback: it must not raise.
    """

    __slots__ = ("body", "headers", "method", "on_informational", "target", "upgrade")

    def __init__(
        self,
        method: bytes,
        target: bytes,
        headers: Headers | None = None,
        body: Payload = b"",
        upgrade: bool = False,
        on_informational: OnInformational | None = None,
    ) -> None:
        self.method = method
        self.target = target
        self.headers: Headers = [] if headers is None else headers
        self.body = body
        self.upgrade = upgrade
        self.on_informational = on_informational


class Upstream:
    """One base URL.  Belongs to one event loop."""

    def __init__(
        self,
        base_url: str,
        timeouts: Timeouts | None = None,
        *,
        environ_proxies: Mapping[str, str] | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        """`environ_proxies` holds HTTP_PROXY, HTTPS_PROXY and NO_PROXY; None goes directly.

        `ssl_context` for https, None verifies against the system's certificates.  Raises ValueError when
        `base_url` is not an http:// or https:// URL.
        """
        self._origin, path, self._base_query = parse_base_url(base_url)
        self._base_path = path.rstrip(b"/")
        self._timeouts = timeouts or Timeouts()
        self._dialer = Dialer(self._origin, self._timeouts, environ_proxies or {}, ssl_context)
        self._idle: deque[Connection] = deque()
        self._busy: set[Connection] = set()
        self._sweep_timer: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def authority(self) -> bytes:
        """Host, and port where the base URL names one: the Host header for a peer."""
        return self._origin.authority

    @property
    def idle_connections(self) -> int:
        """How many connections are kept at the moment."""
        return sum(not connection.transport.is_closing() for connection in self._idle)

    def exchange(self, request: UpstreamRequest) -> UpstreamExchange:
        """Ask, and hold the answer for the length of the block.

        Entering sends the request and waits for status and headers; it raises UpstreamError (BAD_GATEWAY,
        GATEWAY_TIMEOUT).  Leaving before the end of the answer closes the connection at once.
        """
        return UpstreamExchange(self, request)

    def close(self) -> None:
        """Close idle connections now, busy ones when their exchange ends."""
        self._closed = True
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()
            self._sweep_timer = None
        while self._idle:
            self._idle.pop().close()

    def abort(self) -> None:
        """Close all connections now; whoever waits for an answer on one gets UpstreamGoneError."""
        self.close()
        for connection in self._busy:
            connection.transport.abort()

    # For the exchange

    def kept_connection(self) -> Connection | None:
        """The connection used last among those that are still open."""
        while self._idle:
            connection = self._idle.pop()
            if not connection.transport.is_closing():
                return connection
        return None

    async def new_connection(self) -> Connection:
        return await self._dialer.dial()

    def keep(self, connection: Connection) -> None:
        """Take a connection back, for another exchange if it can serve one."""
        self._busy.discard(connection)
        if connection.transport.is_closing():
            return
        if self._closed or len(self._idle) >= IDLE_LIMIT:
            connection.close()
            return
        self._idle.append(connection)
        if self._timeouts.idle_conn > 0:
            connection.idle_since = connection.loop.time()
            if self._sweep_timer is None:
                self._sweep_timer = connection.loop.call_later(self._timeouts.idle_conn, self._sweep)

    def send(self, connection: Connection, request: UpstreamRequest, head: bytes) -> Answer:
        self._busy.add(connection)
        expects = (first(request.headers, b"expect") or b"").lower() == b"100-continue"
        return connection.ask(
            head,
            request.body,
            bodyless=request.method == b"HEAD",
            upgrade=request.upgrade,
            header_timeout=max(0.0, self._timeouts.response_header),
            expect_timeout=max(0.0, self._timeouts.expect_continue) if expects else 0.0,
            on_informational=request.on_informational,
        )

    def head(self, request: UpstreamRequest) -> bytes:
        """Everything up to the body.  RequestError when a part of it would break out of its line."""
        proxy = self._dialer.proxy if self._origin.scheme == "http" else None
        lines = [
            b"%b %b HTTP/1.1" % (request.method, self._target(request.target, absolute=proxy is not None))
        ]
        lines += [name + b": " + value for name, value in request.headers if name not in FRAMING]
        if first(request.headers, b"host") is None:
            lines.append(b"host: " + self._origin.authority)
        if proxy is not None and proxy.authorization is not None:
            lines.append(b"proxy-authorization: " + proxy.authorization)
        head = b"\r\n".join(lines)
        breaks = len(lines) - 1
        if head.count(b"\n") != breaks or head.count(b"\r") != breaks or lines[0].count(b" ") != 2:
            raise RequestError(Fault.BAD_REQUEST, "a line break or a blank where none may be")
        return b"%b\r\n%b\r\n" % (head, framing(request.method, request.body))

    def _target(self, target: bytes, *, absolute: bool) -> bytes:
        """Base URL and request joined: one slash between the paths, `&` between the queries."""
        if not target.startswith(b"/"):
            target = b"/" + target
        if self._base_query:
            path, _, query = target.partition(b"?")
            target = path + b"?" + self._base_query + (b"&" + query if query else b"")
        target = self._base_path + target
        return b"http://" + self._origin.authority + target if absolute else target

    def _sweep(self) -> None:
        """Close what was idle for too long; one timer for all of them, due when the oldest is."""
        loop = asyncio.get_running_loop()
        self._sweep_timer = None
        limit = self._timeouts.idle_conn
        while self._idle and (
            self._idle[0].transport.is_closing() or self._idle[0].idle_since + limit <= loop.time()
        ):
            self._idle.popleft().close()
        if self._idle:
            self._sweep_timer = loop.call_at(self._idle[0].idle_since + limit, self._sweep)


class UpstreamExchange:
    """One request with its answer: `async with upstream.exchange(request) as answer`."""

    __slots__ = ("_connection", "_request", "_upstream")

    def __init__(self, upstream: Upstream, request: UpstreamRequest) -> None:
        self._upstream = upstream
        self._request = request
        self._connection: Connection | None = None

    async def __aenter__(self) -> Answer:
        head = self._upstream.head(self._request)
        kept = self._upstream.kept_connection()
        if kept is not None:
            try:
                return await self._ask(kept, head)
            except ClosedUnansweredError:
                # The upstream may have closed it at the very moment of reuse: once more, on a new one.
                if not can_be_sent_again(self._request.body):
                    raise
        return await self._ask(await self._upstream.new_connection(), head)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._connection is not None:
            await self._leave(self._connection)

    async def _ask(self, connection: Connection, head: bytes) -> Answer:
        try:
            answer = self._upstream.send(connection, self._request, head)
            await answer.head()
        except BaseException:
            await self._leave(connection)
            raise
        self._connection = connection
        return answer

    async def _leave(self, connection: Connection) -> None:
        if (sending := connection.leave()) is not None:
            await asyncio.wait([sending])
        self._upstream.keep(connection)
