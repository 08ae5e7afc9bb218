"""The listener: sockets and HTTP/1.1 bytes on one side, ASGI scopes on the other.

httptools parses; this module owns the order of requests on a connection, the flow control in both directions,
and who is refused before there is a request.  A client that leaves cancels the request's task at once.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from typing import Any, cast
from urllib.parse import unquote

import httptools

from swapyard.web.link import App, Headers, Link, Receive, Scope, Send, plain_head

__all__ = ["App", "Link", "Listener", "Receive", "Scope", "Send", "bind", "tls_context"]

HEAD_LIMIT_BYTES = 1024 * 1024
"""Longest request line plus headers; beyond it the answer is 431."""

MOST_HEADERS = 5_000
"""Most headers of a request, each of which is a step of its own; beyond it the answer is 431."""

LONGEST_DECODED_PATH_BYTES = 64 * 1024
"""Longest path whose escapes are decoded, each in a step of its own; no route has a longer one."""

BACKLOG = 2048

PIPELINED_LIMIT = 8
"""Requests that may wait behind the one that is being answered before their connection rests."""

LINGER = 0.5
"""Seconds for which a refused client may go on sending before its connection is closed."""

# From 2.4 on a server reports a client that left by itself, as this one does: nobody has to listen.
_ASGI = {"version": "3.0", "spec_version": "2.4"}


class _TooManyHeadersError(Exception):
    """Stops the parser."""


class Connection(asyncio.Protocol):
    """One client connection."""

    __slots__ = (
        "_client",
        "_deaf",
        "_drained",
        "_fed_bytes",
        "_header_bytes",
        "_headers",
        "_is_reading",
        "_link",
        "_listener",
        "_loop",
        "_parser",
        "_pipeline",
        "_running",
        "_scheme",
        "_server",
        "_upgraded",
        "_url",
        "after_upgrade",
        "is_congested",
        "transport",
    )

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        # None once the connection is lost.
        self._parser: httptools.HttpRequestParser | None = httptools.HttpRequestParser(self)
        # A request behind one that said "connection: close" is no error; it is not answered.
        self._parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.is_congested = False
        self._drained: asyncio.Future[None] | None = None
        self._is_reading = True
        # The request that is being read, the one that is being answered, and those in between.
        self._link: Link | None = None
        self._running: Link | None = None
        self._pipeline: deque[Link] = deque()
        self._url = b""
        self._headers: Headers = []
        # Of a head that is not complete: bytes that were fed to the parser, and bytes of whole headers.
        self._fed_bytes = self._header_bytes = 0
        self._upgraded = False
        self.after_upgrade = b""
        # Nothing that still comes matters.
        self._deaf = False

    # The transport's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do all that asyncio.Transport promises without being one.
        self.transport = cast(asyncio.Transport, transport)
        self._client = _address(transport.get_extra_info("peername"))
        self._server = _address(transport.get_extra_info("sockname"))
        self._scheme = "https" if transport.get_extra_info("sslcontext") else "http"
        self._listener.connections.add(self)

    def data_received(self, data: bytes) -> None:
        if self._parser is None or self._deaf or self.transport.is_closing():
            return
        if self._upgraded:
            self.after_upgrade += data
            if len(self.after_upgrade) > HEAD_LIMIT_BYTES:
                self.transport.close()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._upgraded = True
            self.after_upgrade = data[upgrade.args[0] :]
            if self._link is not None:
                self._link.keep_alive = False
        except httptools.HttpParserError as error:
            if isinstance(error.__context__, _TooManyHeadersError):
                self._refuse(431, "Request Header Fields Too Large")
            else:
                self._refuse(400, "Bad Request")
        else:
            if self._fed_bytes:
                self._fed_bytes += len(data)
                if self._fed_bytes > HEAD_LIMIT_BYTES:
                    self._refuse(431, "Request Header Fields Too Large")

    def connection_lost(self, _: Exception | None) -> None:
        self._listener.connections.discard(self)
        self.resume_writing()
        if self._running is not None and not self._running.answered:
            self._running.leave()
        # The parser holds this object's methods; without it the pair is freed at once.
        self._parser = None

    def pause_writing(self) -> None:
        self.is_congested = True

    def resume_writing(self) -> None:
        self.is_congested = False
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        self._drained = None

    async def drained(self) -> None:
        """Wait until the client has taken what was written."""
        while self.is_congested:
            if self._drained is None:
                self._drained = self._loop.create_future()
            await asyncio.shield(self._drained)

    def pause_reading(self) -> None:
        if self._is_reading:
            self._is_reading = False
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        if not self._is_reading:
            self._is_reading = True
            self.transport.resume_reading()

    # The parser's side

    def on_message_begin(self) -> None:
        self._url, self._headers = b"", []
        self._fed_bytes, self._header_bytes = 1, 0

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(self._headers) == MOST_HEADERS:
            raise _TooManyHeadersError
        self._headers.append((name.lower(), value))
        # A head whose last piece is the one too much is complete before data_received can count it.
        self._header_bytes += len(name) + len(value)

    def on_headers_complete(self) -> None:
        self._fed_bytes = 0
        if self._header_bytes > HEAD_LIMIT_BYTES:
            return self._refuse(431, "Request Header Fields Too Large")
        parser = self._parser
        assert parser is not None
        version = parser.get_http_version()
        fields = dict(reversed(self._headers))
        if b"host" not in fields and version == "1.1":
            return self._refuse(400, "Bad Request: missing required Host header")
        keep_alive = version != "1.0" and parser.should_keep_alive()
        scope = self._scope(parser.get_method(), version, fields)
        link = self._link = Link(self, scope, keep_alive)
        if self._running is None or self._running.answered:
            self._start(link)
        else:  # pipelined: its turn comes when the answer before it is complete
            self._pipeline.append(link)
            # Only who reads notices that a client leaves, so a few more may wait here.
            if len(self._pipeline) >= PIPELINED_LIMIT:
                self.pause_reading()
        return None

    def _scope(self, method: bytes, version: str, fields: dict[bytes, bytes]) -> Scope:
        """ASGI's description of the request, and `fields`: the first value under each header's name."""
        raw_path, query = _path_and_query(self._url)
        path = raw_path.decode("utf-8", "replace")
        return {
            "type": "http",
            "asgi": _ASGI,
            "http_version": version,
            "server": self._server,
            "client": self._client,
            "scheme": self._scheme,
            "root_path": "",
            "method": method.decode("ascii"),
            "path": unquote(path) if "%" in path and len(path) <= LONGEST_DECODED_PATH_BYTES else path,
            "raw_path": raw_path,
            "query_string": query,
            "headers": self._headers,
            "fields": fields,
        }

    def on_body(self, body: bytes) -> None:
        if self._link is not None and not self._link.answered:
            self._link.feed(body)

    def on_message_complete(self) -> None:
        if self._link is not None:
            self._link.feed_end()

    # One request after the other

    def _start(self, link: Link) -> None:
        if self.transport.is_closing():
            return
        self._running = link
        link.scope["link"] = link
        link.task = self._loop.create_task(link.run(self._listener.app), name="request")
        self._listener.tasks.add(link.task)
        link.task.add_done_callback(self._listener.tasks.discard)

    def request_answered(self, link: Link) -> None:
        """The answer is complete: on with the next request, or an end."""
        if self.transport.is_closing():
            return
        if not link.keep_alive:
            if link.more_body:
                self._hang_up_gently()
            else:
                self.transport.close()
            return
        self.resume_reading()
        if self._pipeline:
            self._start(self._pipeline.popleft())

    def finish(self) -> None:
        """Close when idle, else after the answer that is under way."""
        if self._running is None or self._running.answered:
            self.transport.close()
        else:
            self._running.keep_alive = False

    def release(self) -> tuple[asyncio.Transport, bytes]:
        """Forget the transport: somebody else owns it now, with what came behind the request."""
        self._listener.connections.discard(self)
        return self.transport, self.after_upgrade

    def _refuse(self, status: int, text: str) -> None:
        """Answer what never became a request, and close."""
        if self._running is not None and not self._running.answered:
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
            self.transport.write(plain_head(status, headers) + body)
            self._hang_up_gently()

    def _hang_up_gently(self) -> None:
        """Close so that the client gets the answer although it is still sending.

        Closed with unread bytes, a connection is reset, and what the client had not read yet is lost to it.
        """
        self._deaf = True
        if self.transport.can_write_eof():
            self.resume_reading()
            self.transport.write_eof()
            self._loop.call_later(LINGER, self.transport.close)
        else:
            self.transport.close()


def _path_and_query(url: bytes) -> tuple[bytes, bytes]:
    """Of a request target in any of its forms (RFC 9112 3.2); nearly all are a path, perhaps with a query."""
    if url.startswith(b"/") and b"#" not in url:
        path, _, query = url.partition(b"?")
        return path, query
    # What is missing is None, whatever the stubs say.
    parsed: Any = httptools.parse_url(url)
    return parsed.path or b"/", parsed.query or b""


def _address(name: object) -> tuple[str, int] | None:
    """Host and port of a socket's name; None for one that has none."""
    return (str(name[0]), int(name[1])) if isinstance(name, tuple) else None


class Listener:
    """Listening sockets and the connections they gave; one per program."""

    def __init__(self, app: App, tls: ssl.SSLContext | None = None) -> None:
        self.app = app
        self.connections: set[Connection] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self._tls = tls
        self._servers: list[asyncio.Server] = []

    def _connection(self) -> Connection:
        return Connection(self)

    async def listen(self, sockets: list[socket.socket]) -> None:
        loop = asyncio.get_running_loop()
        for sock in sockets:
            server = await loop.create_server(self._connection, sock=sock, ssl=self._tls, backlog=BACKLOG)
            self._servers.append(server)

    def close(self) -> None:
        """Accept nobody any more; idle connections close now, busy ones after their answer."""
        for server in self._servers:
            server.close()
        for connection in list(self.connections):
            connection.finish()

    async def drained(self) -> None:
        """Return when no request is running any more."""
        while self.tasks:
            await asyncio.wait(self.tasks)

    def abort(self) -> None:
        """Cancel the requests that are still running and drop their connections."""
        for task in list(self.tasks):
            task.cancel("the program ends")
        for connection in list(self.connections):
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
