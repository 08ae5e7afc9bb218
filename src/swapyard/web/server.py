"""The listener: sockets and HTTP/1.1 bytes on one side, ASGI scopes on the other.

uvicorn's httptools protocol does the parsing and the flow control.  Added here is what a relay needs and
ASGI has no words for: a client that leaves cancels the request's task at once, a broken answer can be cut,
1xx answers pass, and an upgraded connection can be taken over.  Each scope carries a `Link` for that.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from typing import Any, cast
from urllib.parse import unquote

import httptools
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from swapyard.web import errors

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

HEAD_LIMIT_BYTES = 1024 * 1024
"""Longest request line plus headers; beyond it the answer is 431."""

BACKLOG = 2048

PIPELINED_LIMIT = 8
"""Requests that may wait behind the one that is being answered before their connection rests."""

LINGER = 0.5
"""Seconds for which a refused client may go on sending before its connection is closed."""

BODILESS = frozenset({204, 304})
"""Statuses whose answers have no body, whatever their headers say.  Source: RFC 9110 6.4.1."""

log = logging.getLogger("swapyard.server")


class Link:
    """What a request may do with its client's connection beyond ASGI; found in `scope["link"]`."""

    __slots__ = ("_cycle", "_protocol")

    def __init__(self, protocol: Connection, cycle: Cycle) -> None:
        self._protocol = protocol
        self._cycle = cycle

    @property
    def started(self) -> bool:
        """Whether the answer's status line has gone out."""
        return self._cycle.response_started

    @property
    def status(self) -> int:
        """The status that went out, 0 while none did."""
        return self._cycle.status

    @property
    def body_bytes(self) -> int:
        """Bytes of the answer's body that went out so far."""
        return self._cycle.body_bytes

    @property
    def congested(self) -> bool:
        """Whether the client reads more slowly than we write; what need not be said is better left unsaid."""
        return self._protocol.flow.write_paused

    @property
    def client_left(self) -> bool:
        return self._cycle.disconnected

    def cut(self) -> None:
        """End the connection so that the client can tell that the answer is incomplete."""
        self._cycle.cut = True
        if self._cycle.ends_with_connection:
            _reset_on_close(self._protocol.transport)
        self._protocol.transport.close()

    def informational(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Pass a 1xx answer on; HTTP/1.0 clients do not know them."""
        if self._cycle.scope["http_version"] != "1.0" and not self._cycle.response_started:
            self._protocol.transport.write(_head(status, headers))

    def take_over(self, status: int, headers: list[tuple[bytes, bytes]]) -> tuple[asyncio.Transport, bytes]:
        """Answer an upgrade; from now on the transport and what the client already sent are the caller's."""
        self._cycle.response_started = self._cycle.response_complete = True
        self._cycle.status = status
        self._protocol.transport.write(_head(status, headers))
        return self._protocol.release(), self._protocol.after_upgrade


def _status_line(status: int) -> bytes:
    """Any three digits: what an upstream says beyond the registered classes is passed on, too."""
    return STATUS_LINE.get(status) or b"HTTP/1.1 %d \r\n" % status


def _head(status: int, headers: list[tuple[bytes, bytes]]) -> bytes:
    lines = [_status_line(status)]
    for name, value in headers:
        lines += (name, b": ", value, b"\r\n")
    lines.append(b"\r\n")
    return b"".join(lines)


def _reset_on_close(transport: asyncio.Transport) -> None:
    """Where only the end of the connection ends a body, a proper end would look like a complete answer."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class Cycle(RequestResponseCycle):
    """One request and its answer; `task` runs it, and ends early when the client leaves."""

    task: asyncio.Task[None] | None = None
    cut = False
    status = 0
    body_bytes = 0

    async def run_asgi(self, app: Any) -> None:
        try:
            await app(self.scope, self.receive, self.send)
        except asyncio.CancelledError:
            if not self.disconnected:
                self.transport.close()
                raise
        except Exception:
            log.exception("a bug in the handling of %s %s", self.scope["method"], self.scope["path"])
            await self._apologise()
        else:
            if not (self.response_complete or self.disconnected or self.cut):
                log.error("no complete answer to %s %s", self.scope["method"], self.scope["path"])
                await self._apologise()
        finally:
            self.on_response = lambda: None

    async def send(self, message: Any) -> None:
        """As the base, without its checks of names and values: these were parsed before or are our own."""
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if message["type"] == "http.response.body":
            self._write_body(message.get("body", b""), message.get("more_body", False))
        else:
            self._write_head(message["status"], message["headers"])

    def _write_head(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self.response_started = True
        self.waiting_for_100_continue = False
        self.status = status
        self.chunked_encoding = None
        self.expected_content_length = 0
        lines = [_status_line(status)]
        for name, value in headers:
            if name == b"content-length":
                self.chunked_encoding = False
                self.expected_content_length = int(value)
            elif name == b"connection" and not (self.keep_alive and b"close" not in value.lower()):
                # Said once, below.
                self.keep_alive = False
                continue
            lines += (name, b": ", value, b"\r\n")
        if self.scope["method"] == "HEAD" or status in BODILESS:
            self.chunked_encoding = False
            self.expected_content_length = 0
        elif self.chunked_encoding is None:
            if self.scope["http_version"] == "1.0":
                self.chunked_encoding = self.keep_alive = False
                self.expected_content_length = -1
            else:
                self.chunked_encoding = True
                lines.append(b"transfer-encoding: chunked\r\n")
        if not self.keep_alive:
            lines.append(b"connection: close\r\n")
        lines.append(b"\r\n")
        self.transport.write(b"".join(lines))

    def _write_body(self, body: bytes, more: bool) -> None:
        if self.response_complete or not self.response_started:
            raise RuntimeError("a body where none may be")
        size = len(body)
        if self.scope["method"] == "HEAD" or self.status in BODILESS:
            size = 0
        elif self.chunked_encoding:
            end = b"" if more else b"0\r\n\r\n"
            self.transport.write(b"%x\r\n%b\r\n%b" % (size, body, end) if size else end)
        elif size:
            if self.expected_content_length >= 0:
                self.expected_content_length -= size
                if self.expected_content_length < 0:
                    raise RuntimeError("an answer longer than its content-length")
            self.transport.write(body)
        self.body_bytes += size
        if not more:
            self._end()

    def _end(self) -> None:
        if self.expected_content_length > 0:
            raise RuntimeError("an answer shorter than its content-length")
        self.response_complete = True
        self.message_event.set()
        self.on_response()

    @property
    def ends_with_connection(self) -> bool:
        """Nothing but the end of the connection tells the client where this answer's body ends."""
        return self.response_started and self.expected_content_length < 0

    async def _apologise(self) -> None:
        if self.response_started:
            self.transport.close()
        else:
            await errors.send_internal_error(cast(Send, self.send))


class Connection(HttpToolsProtocol):
    """One client connection."""

    cycle: Cycle
    after_upgrade = b""
    # The request that is being answered; pipelined ones that wait behind it are `cycle` and `pipeline`.
    _running: Cycle | None = None
    _upgraded = False
    _deaf = False
    # Of a head that is not complete: bytes that were fed to the parser, and bytes of whole headers.
    _fed_bytes = 0
    _header_bytes = 0

    def data_received(self, data: bytes) -> None:
        if self._deaf or self.transport.is_closing():
            return
        if self._upgraded:
            self.after_upgrade += data
            if len(self.after_upgrade) > HEAD_LIMIT_BYTES:
                self.transport.close()
            return
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._upgraded = True
            self.cycle.keep_alive = False
            self.after_upgrade = data[upgrade.args[0] :]
        except httptools.HttpParserError:
            self.refuse(400, "Bad Request")
        else:
            if self._fed_bytes:
                self._fed_bytes += len(data)
                if self._fed_bytes > HEAD_LIMIT_BYTES:
                    self.refuse(431, "Request Header Fields Too Large")

    def on_message_begin(self) -> None:
        self._fed_bytes, self._header_bytes = 1, 0
        super().on_message_begin()
        # From 2.4 on a server reports a client that left by itself, as this one does: nobody has to listen.
        self.scope["asgi"]["spec_version"] = "2.4"

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        # A head whose last piece is the one too much is complete before data_received can count it.
        self._header_bytes += len(name) + len(value)

    def on_headers_complete(self) -> None:
        self._fed_bytes = 0
        version = self.parser.get_http_version()
        if self._header_bytes > HEAD_LIMIT_BYTES:
            return self.refuse(431, "Request Header Fields Too Large")
        if version == "1.1" and not any(name == b"host" for name, _ in self.headers):
            return self.refuse(400, "Bad Request: missing required Host header")
        url = httptools.parse_url(self.url)
        path = url.path.decode("utf-8", "replace") if url.path else "/"
        scope = cast(Scope, self.scope)
        scope["method"] = self.parser.get_method().decode("ascii")
        scope["http_version"] = version
        scope["path"] = unquote(path) if "%" in path else path
        scope["raw_path"] = url.path or b"/"
        scope["query_string"] = url.query or b""
        before, self.cycle = self.cycle, self._cycle(version != "1.0" and self.parser.should_keep_alive())
        scope["link"] = Link(self, self.cycle)
        if before is None or before.response_complete:
            self._start_asgi_task(self.cycle, self.app)
        else:  # pipelined: its turn comes when the answer before it is complete
            self.pipeline.appendleft((self.cycle, self.app))
            # Only who reads notices that a client leaves, so a few more may wait here.
            if len(self.pipeline) >= PIPELINED_LIMIT:
                self.flow.pause_reading()
        return None

    def _cycle(self, keep_alive: bool) -> Cycle:
        return Cycle(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=[],
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=keep_alive,
            on_response=self.on_response_complete,
        )

    def on_body(self, body: bytes) -> None:
        if self.cycle is not None:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self.cycle is not None:
            super().on_message_complete()

    def refuse(self, status: int, text: str) -> None:
        """Answer what never became a request, and close."""
        if self._running is not None and not self._running.response_complete:
            # The answer to an earlier request is under way: it is the last one, and nothing breaks into it.
            self._running.keep_alive = False
            self._deaf = True
            return
        body = text.encode()
        headers = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
        ]
        if not self.transport.is_closing():
            self.transport.write(_head(status, headers) + body)
            self._hang_up_gently()

    def _hang_up_gently(self) -> None:
        """Close so that the client gets the answer although it is still sending.

        Closed with unread bytes, a connection is reset, and what the client had not read yet is lost to it.
        """
        self._deaf = True
        if self.transport.can_write_eof():
            self.flow.resume_reading()
            self.transport.write_eof()
            self.loop.call_later(LINGER, self.transport.close)
        else:
            self.transport.close()

    def _should_upgrade(self) -> bool:
        # Upgrades are relayed like any request; the relay takes the connection over on a 101.
        return False

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        if self.transport.is_closing():
            return
        own = self._running = cast(Cycle, cycle)
        own.task = self.loop.create_task(own.run_asgi(app), name="request")
        self.tasks.add(own.task)
        own.task.add_done_callback(self.tasks.discard)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        running = self._running
        if running is not None and running.task is not None and not running.response_complete:
            running.disconnected = True
            running.task.cancel("the client left")

    def on_response_complete(self) -> None:
        # As the base, but an idle client connection is kept for as long as the client likes.
        if self.transport.is_closing():
            return
        if self._running is not None and not self._running.keep_alive:
            if self._running.more_body:
                self._hang_up_gently()
            else:
                self.transport.close()
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())

    def release(self) -> asyncio.Transport:
        """Forget the transport: somebody else owns it now."""
        self.connections.discard(self)
        return self.transport


class Listener:
    """Listening sockets and the connections they gave; one per program."""

    def __init__(self, app: App, tls: ssl.SSLContext | None = None) -> None:
        self._state = ServerState()
        config = Config(
            cast(Any, app), http="httptools", ws="none", lifespan="off", log_config=None, proxy_headers=False
        )
        config.load()
        self._config = config
        self._tls = tls
        self._servers: list[asyncio.Server] = []

    def _connection(self) -> Connection:
        return Connection(self._config, self._state, {})

    async def listen(self, sockets: list[socket.socket]) -> None:
        loop = asyncio.get_running_loop()
        for sock in sockets:
            server = await loop.create_server(self._connection, sock=sock, ssl=self._tls, backlog=BACKLOG)
            self._servers.append(server)

    def close(self) -> None:
        """Accept nobody any more; idle connections close now, busy ones after their answer."""
        for server in self._servers:
            server.close()
        for connection in list(self._state.connections):
            connection.shutdown()

    async def drained(self) -> None:
        """Return when no request is running any more."""
        while self._state.tasks:
            await asyncio.wait(self._state.tasks)

    def abort(self) -> None:
        """Cancel the requests that are still running and drop their connections."""
        for task in list(self._state.tasks):
            task.cancel("the program ends")
        for connection in list(self._state.connections):
            connection.transport.abort()


def tls_context(certificate: str, key: str) -> ssl.SSLContext:
    """Of a server that speaks HTTP/1.1.  Raises OSError, ssl.SSLError among them, for unusable files."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.set_alpn_protocols(["http/1.1"])
    return context


def bind(host: str, port: int) -> list[socket.socket]:
    """Listening sockets for host:port; an empty host means every address.  Raises OSError."""
    bound: list[socket.socket] = []
    try:
        for af, kind, proto, _, address in socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            if not host and af == socket.AF_INET6 and not socket.has_dualstack_ipv6():
                continue
            sock = socket.socket(af, kind, proto)
            bound.append(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if af == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            # Port 0 is given a number once, for all addresses.
            sock.bind((address[0], port or bound[0].getsockname()[1], *address[2:]))
            # Until a socket listens, another program may bind the same address: only now it is ours.
            sock.listen(BACKLOG)
            sock.setblocking(False)
    except OSError:
        for sock in bound:
            sock.close()
        raise
    return bound
