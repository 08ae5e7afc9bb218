"""The listener: a client's bytes on one side, requests and replies on the other.

httptools parses; this module owns the order of requests on a connection, where one message ends and the next
begins, who is refused before there is a request, and how long a client may be silent.  One request of a
connection is handled at a time; what comes behind it waits as bytes, bounded, until its reply is complete.

What a connection does with bytes depends on the stage of the request they belong to:

| stage    | bytes are                                | it ends with                                    |
| -------- | ---------------------------------------- | ----------------------------------------------- |
| `HEAD`   | a head, up to its empty line             | `BODY` or `TUNNEL`; a refusal: `CUT`            |
| `BODY`   | the body, up to its length or last chunk | `ENDED`; broken framing ends the request: `CUT` |
| `ENDED`  | kept, the next request's                 | the reply is complete: `HEAD`, or a close       |
| `TUNNEL` | kept, a websocket's                      | whoever takes the transport over, or a close    |
| `CUT`    | ignored: the last word has been said     | a close                                         |

A message ends only where a piece of bytes that was handed to the parser ends: a head and a body in chunks
end with an empty line, a body with a length after that length.  So the parser never sees two messages in one
piece, and nothing behind a refusal is parsed.
"""

from __future__ import annotations

import asyncio
import logging
import re
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any, cast
from urllib.parse import unquote

import httptools

from swapyard.errors import ClientDisconnected, Fault, RequestError
from swapyard.web import errors
from swapyard.web.fields import is_websocket as is_websocket_upgrade
from swapyard.web.messages import (
    DISCARDED_BYTES,
    UNREAD_BYTES,
    Handler,
    Headers,
    Reply,
    Request,
    Stage,
    plain_head,
)
from swapyard.web.wire import Wire, ask_if_alive

__all__ = ["Handler", "Limits", "Listener", "Reply", "Request", "bind", "tls_context"]

HEAD_LIMIT_BYTES = 1024 * 1024
"""Longest request line plus headers, and longest trailers; beyond it the answer is 431."""

MOST_HEADERS = 5_000
"""Most headers of a request, each of which is a step of its own; beyond it the answer is 431."""

LONGEST_DECODED_PATH_BYTES = 64 * 1024
"""Longest path whose escapes are decoded, each in a step of its own; no route has a longer one."""

BACKLOG = 2048

KEEP_ALIVE = 15
"""Seconds of silence after which the system asks whether a client is still there, and between two questions.
Source: Go's net.ListenConfig."""

COPIED_BYTES = 16 * 1024
"""A piece up to this size is copied out of what came with it: that is faster than a view on it."""

_EMPTY_LINE = b"\r\n\r\n"
_LINE_ENDS = re.compile(rb"[\r\n]*")
_TOO_LONG = "Request Header Fields Too Large"

OnEnd = Callable[[Request, Reply, float], None]
"""(request, reply, seconds): called once when a request has ended, however."""

log = logging.getLogger("swapyard.server")


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds that a client may take.

    `head`: from the first byte of a head to its last, and for the rest of a body that nobody reads any more.
    `idle`: between two requests; longer than pooled clients keep theirs, so that they close first.
    """

    head: float = 30.0
    idle: float = 200.0

    @property
    def period(self) -> float:
        """Between two looks at all connections; a limit is kept to this precision."""
        return min(5.0, self.head / 3)


class _RefusedError(Exception):
    """Stops the parser: nothing more of this connection is looked at."""


class Connection(asyncio.Protocol):
    """One client connection."""

    __slots__ = (
        "_at",
        "_client",
        "_discarded_bytes",
        "_head_bytes",
        "_headers",
        "_listener",
        "_loop",
        "_parser",
        "_reply",
        "_request",
        "_scheme",
        "_server",
        "_silent_since",
        "_stage",
        "_tail",
        "_unparsed",
        "_url",
        "wire",
    )

    wire: Wire

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        # None once the connection is lost.
        self._parser: httptools.HttpRequestParser | None = _parser_for(self)
        self._stage = Stage.HEAD
        # What has come and was not parsed yet, from `_at` on; the last bytes before it, of the same message.
        self._unparsed = b""
        self._at = 0
        self._tail = b""
        # Of the head, or of what is no body in a body of chunks: bytes that were fed to the parser.
        self._head_bytes = 0
        self._url = b""
        self._headers: Headers = []
        # Bytes of a body that came after its request was answered.
        self._discarded_bytes = 0
        # The exchange that is under way; None before the first.
        self._request: Request | None = None
        self._reply: Reply | None = None
        # When the present wait for the client began: point in time of the listener's last look at it.
        self._silent_since = listener.looked_at

    # The transport's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do all that asyncio.Transport promises without being one.
        self.wire = Wire(cast(asyncio.Transport, transport), self._loop)
        self._client = _address(transport.get_extra_info("peername"))
        self._server = _address(transport.get_extra_info("sockname"))
        self._scheme = "https" if transport.get_extra_info("sslcontext") else "http"
        self._listener.connections.add(self)

    def data_received(self, data: bytes) -> None:
        if self._stage is Stage.CUT or self.wire.transport.is_closing():
            return
        if self._stage is Stage.TUNNEL:
            assert self._request is not None
            self._request.feed(data)
            return
        self._unparsed = self._unparsed[self._at :] + data if self._at < len(self._unparsed) else data
        self._at = 0
        self._parse()

    def connection_lost(self, _: Exception | None) -> None:
        self._listener.connections.discard(self)
        self.wire.lost()
        self.end_exchange(ClientDisconnected("client disconnected"))
        self._stage = Stage.CUT
        # The parser holds this object's methods; without it the pair is freed at once.
        self._parser = None

    def pause_writing(self) -> None:
        self.wire.congested()

    def resume_writing(self) -> None:
        self.wire.relieved()

    # From bytes to messages

    def _parse(self) -> None:
        """Hand what has come to the parser, piece by piece, until a request is complete and not answered."""
        data = self._unparsed
        while self._at < len(data):
            stage = self._stage
            if stage is Stage.HEAD:
                self._feed_head(data)
            elif stage is Stage.BODY:
                self._feed_body(data)
            elif stage is Stage.ENDED:
                if len(data) - self._at > UNREAD_BYTES:
                    self.wire.pause_reading()
                return
            else:
                if stage is Stage.TUNNEL and self._request is not None:
                    self._request.feed(data[self._at :])
                break
        self._unparsed, self._at = b"", 0

    def _feed_head(self, data: bytes) -> None:
        if not self._head_bytes and not self._begin_head(data):
            return
        end = self._block_end(data)
        self._head_bytes += end - self._at
        if self._head_bytes > HEAD_LIMIT_BYTES:
            self._refuse(431, _TOO_LONG)
        else:
            self._feed(data, end)

    def _begin_head(self, data: bytes) -> bool:
        """Pass over empty lines before a head (RFC 9112 2.2); False when there is nothing else."""
        if data[self._at] in b"\r\n":
            found = _LINE_ENDS.match(data, self._at)
            assert found is not None
            self._at = found.end()
            if self._at == len(data):
                return False
        self._silent_since = self._listener.looked_at
        return True

    def _feed_body(self, data: bytes) -> None:
        request = self._request
        assert request is not None
        if request.left_bytes >= 0:
            end = min(self._at + request.left_bytes, len(data))
            request.left_bytes -= end - self._at
            self._feed(data, end)
            return
        end = self._block_end(data)
        self._head_bytes += end - self._at
        self._feed(data, end)
        if self._head_bytes > HEAD_LIMIT_BYTES and self._stage is Stage.BODY:
            self._break(RequestError(Fault.HEAD_TOO_LARGE, "the trailers of the request are too long"))

    def _block_end(self, data: bytes) -> int:
        """Where the piece that begins at `_at` ends: behind the next empty line, or with the data.

        The line may have begun in the piece before.
        """
        start = self._at
        if self._tail:
            across = (self._tail + data[start : start + 3]).find(_EMPTY_LINE)
            if across >= 0:
                end = start + across + 4 - len(self._tail)
                self._tail = b""
                return end
        found = data.find(_EMPTY_LINE, start)
        if found >= 0:
            self._tail = b""
            return found + 4
        self._tail = (self._tail + data[max(start, len(data) - 3) :])[-3:]
        return len(data)

    def _feed(self, data: bytes, end: int) -> None:
        start, self._at = self._at, end
        if self._parser is None:
            return
        try:
            if start == 0 and end == len(data):
                self._parser.feed_data(data)
            elif end - start <= COPIED_BYTES:
                self._parser.feed_data(data[start:end])
            else:
                self._parser.feed_data(memoryview(data)[start:end])
        except httptools.HttpParserUpgrade:
            if self._stage is Stage.HEAD:
                self._read_on()
        except httptools.HttpParserError as error:
            self._unreadable(error)

    def _read_on(self) -> None:
        """Read the body of a request whose upgrade is not taken: the parser takes its head for the end.

        Another parser is told of a request with the same framing.  A server may ignore an upgrade (RFC 9110
        7.8), and the request is answered as if it had not asked.
        """
        assert self._request is not None
        length = self._request.length
        framing = b"transfer-encoding: chunked" if length is None else b"content-length: %d" % length
        self._parser = _parser_for(_BodyOnly(self))
        self._parser.feed_data(b"POST / HTTP/1.1\r\n" + framing + b"\r\n\r\n")
        self._stage = Stage.BODY

    def read_heads(self) -> None:
        """The body whose head another parser took for the end of HTTP is complete."""
        self._parser = _parser_for(self)

    def _unreadable(self, error: httptools.HttpParserError) -> None:
        if self._stage is Stage.CUT:
            return
        if isinstance(error, httptools.HttpParserCallbackError):
            log.error("a bug in the reading of a request", exc_info=error)
        if self._stage is Stage.HEAD:
            self._refuse(400, "Bad Request")
        elif self._stage is Stage.BODY:
            self._break(RequestError(Fault.BAD_REQUEST, f"the request body is not valid HTTP/1.1: {error}"))

    def _break(self, cause: RequestError) -> None:
        """The body cannot be read to its end: its request is answered with the cause, and is the last one."""
        self._stage = Stage.CUT
        self._tail = b""
        request, reply = self._request, self._reply
        assert request is not None and reply is not None
        request.keep_alive = False
        if reply.is_answered:
            self.wire.close_gently()
        else:
            request.end(cause)

    # The parser's side

    def on_message_begin(self) -> None:
        self._url, self._headers = b"", []

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        # Behind a body they are trailers, and dropped.  Source: RFC 9110 6.5.1.
        if self._stage is Stage.HEAD:
            if len(self._headers) == MOST_HEADERS:
                self._refuse(431, _TOO_LONG)
                raise _RefusedError
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        parser = self._parser
        assert parser is not None
        version = parser.get_http_version()
        headers = self._headers
        fields = dict(reversed(headers))
        if version not in ("1.1", "1.0"):
            return self._refuse(505, "HTTP Version Not Supported")
        if b"host" not in fields:
            if version == "1.1":
                return self._refuse(400, "Bad Request: missing required Host header")
        elif len(fields) < len(headers) and sum(name == b"host" for name, _ in headers) > 1:
            return self._refuse(400, "Bad Request: more than one Host header")
        length: int | None = 0
        if b"transfer-encoding" in fields:
            if b"content-length" in fields:
                return self._refuse(400, "Bad Request: Content-Length beside Transfer-Encoding")
            codings = b", ".join(value for name, value in headers if name == b"transfer-encoding").lower()
            if version == "1.0" or codings.rpartition(b",")[2].strip() != b"chunked":
                return self._refuse(400, "Bad Request: invalid Transfer-Encoding")
            if codings != b"chunked":
                return self._refuse(501, "Not Implemented: a Transfer-Encoding other than chunked")
            length = None
        elif b"content-length" in fields:
            length = int(fields[b"content-length"])
        method = parser.get_method().decode("ascii")
        if method == "CONNECT":
            return self._refuse(405, "Method Not Allowed")
        target = _path_and_query(self._url)
        if target is None:
            return self._refuse(400, "Bad Request: invalid request target")
        upgrades = parser.should_upgrade()
        is_websocket = upgrades and length == 0 and method == "GET" and is_websocket_upgrade(headers)
        path = target[0].decode("utf-8", "replace")
        request = Request(
            self.wire,
            method,
            target[0],
            unquote(path) if "%" in path and len(path) <= LONGEST_DECODED_PATH_BYTES else path,
            target[1],
            headers,
            fields,
            version,
            self._scheme,
            self._client,
            self._server,
            keep_alive=version == "1.1" and parser.should_keep_alive() and not is_websocket,
            length=length,
            stage=Stage.TUNNEL if is_websocket else Stage.BODY,
        )
        self._begin(request)
        self._tail = b""
        self._head_bytes = 0
        if not upgrades or length == 0:
            self._stage = Stage.BODY
        return None

    def on_body(self, body: bytes) -> None:
        if self._stage is not Stage.BODY:
            return
        self._head_bytes = 0
        request, reply = self._request, self._reply
        assert request is not None and reply is not None
        if reply.is_answered:
            self._discard(len(body))
        else:
            request.feed(body)

    def on_message_complete(self) -> None:
        if self._stage is not Stage.BODY:
            return
        request, reply = self._request, self._reply
        assert request is not None and reply is not None
        self._tail = b""
        self._head_bytes = 0
        if request.length is None:
            # What trailers said of the connection must not reach the next request.
            self._parser = _parser_for(self)
        if request.wants_websocket:
            self._stage = Stage.TUNNEL
        elif reply.is_answered:
            self._stage = Stage.HEAD
        else:
            self._stage = Stage.ENDED
            request.feed_end()

    # One request after the other

    def _begin(self, request: Request) -> None:
        self._request = request
        self._reply = Reply(self.wire, request, self._answered)
        self._discarded_bytes = 0
        task = request.task = self._loop.create_task(self._run(request, self._reply), name="request")
        self._listener.tasks.add(task)
        task.add_done_callback(self._listener.tasks.discard)

    async def _run(self, request: Request, reply: Reply) -> None:
        """Have the request answered; a bug ends it alone."""
        begun = perf_counter()
        try:
            await self._listener.handler(request, reply)
        except asyncio.CancelledError:
            cause = request.cause_of_end()
            if cause is None:
                self.wire.close()
                raise
            self._refuse_late(request, reply, cause)
        except (RequestError, ClientDisconnected) as cause:
            self._refuse_late(request, reply, cause)
        except Exception:
            log.exception("a bug in the handling of %s %s", request.method, _printable(request))
            self._refuse_late(request, reply, errors.INTERNAL_ERROR)
        else:
            if not (reply.has_ended or self.wire.is_lost):
                log.error("no complete answer to %s %s", request.method, _printable(request))
                self._refuse_late(request, reply, errors.INTERNAL_ERROR)
        finally:
            self._listener.on_end(request, reply, perf_counter() - begun)

    def _refuse_late(self, request: Request, reply: Reply, cause: RequestError | ClientDisconnected) -> None:
        """Answer with the cause, or cut a reply that has begun."""
        if reply.has_ended or self.wire.is_lost:
            return
        if reply.has_started or not isinstance(cause, RequestError):
            reply.cut()
        else:
            errors.refuse(reply, cause, request.fields.get(b"accept", b"").decode("latin-1"))

    def _answered(self) -> None:
        """The reply is complete: on with the next request, or an end."""
        request, reply = self._request, self._reply
        assert request is not None and reply is not None
        if reply.stage is Stage.TUNNEL:
            self._stage = Stage.CUT
            self._listener.connections.discard(self)
            return
        if self.wire.transport.is_closing():
            return
        self._silent_since = self._listener.looked_at
        if not request.keep_alive:
            complete = self._stage is Stage.ENDED or self._stage is Stage.TUNNEL
            self._stage = Stage.CUT
            if complete:
                self.wire.close()
            else:
                self.wire.close_gently()
            return
        request.forget_body()
        self.wire.resume_reading()
        # Else what is still to come of the body is dropped.
        if self._stage is Stage.ENDED:
            self._stage = Stage.HEAD
            if self._unparsed:
                self._parse()

    def _discard(self, size: int) -> None:
        self._discarded_bytes += size
        if self._discarded_bytes > DISCARDED_BYTES:
            self._stage = Stage.CUT
            self.wire.close_gently()

    def finish(self) -> None:
        """Close when idle, else after the reply that is under way."""
        if self._reply is None or self._reply.is_answered or self._request is None:
            self.wire.close()
        else:
            self._request.keep_alive = False

    def end_exchange(self, cause: RequestError | ClientDisconnected) -> None:
        """End the request that is under way, if there is one."""
        if self._request is not None and self._reply is not None and not self._reply.is_answered:
            self._request.end(cause)

    def check_silence(self, now: float, limits: Limits) -> None:
        """End what the client has not gone on with for too long."""
        if self._stage is Stage.ENDED or self._stage is Stage.TUNNEL:
            return
        if self._stage is Stage.BODY and self._reply is not None and not self._reply.is_answered:
            return
        is_idle = self._stage is Stage.HEAD and not self._head_bytes
        if now - self._silent_since < (limits.idle if is_idle else limits.head):
            return
        if is_idle:
            self.wire.close()
        elif self._stage is Stage.HEAD:
            self._refuse(408, "Request Timeout: the request head is not complete")
        elif self._stage is Stage.BODY or not self._is_answering():
            self.wire.transport.abort()

    def _is_answering(self) -> bool:
        return self._reply is not None and not self._reply.has_ended

    def _refuse(self, status: int, text: str) -> None:
        """Answer what never became a request, and close."""
        self._stage = Stage.CUT
        self._silent_since = self._listener.looked_at
        body = text.encode()
        headers = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
        ]
        if not self.wire.transport.is_closing():
            self.wire.transport.write(plain_head(status, headers) + body)
            self.wire.close_gently()


class _BodyOnly:
    """What a parser tells a connection that knows the head already."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def on_body(self, body: bytes) -> None:
        self._connection.on_body(body)

    def on_message_complete(self) -> None:
        self._connection.on_message_complete()
        self._connection.read_heads()


def _parser_for(protocol: Connection | _BodyOnly) -> httptools.HttpRequestParser:
    parser = httptools.HttpRequestParser(protocol)
    # A trailer may say what it likes; in a head the two are refused by ourselves.
    parser.set_dangerous_leniencies(lenient_chunked_length=True)
    return parser


def _printable(request: Request) -> str:
    """The path as it came over the wire: decoded, it could end a line of the log."""
    return request.raw_path.decode("ascii", "backslashreplace")


def _path_and_query(url: bytes) -> tuple[bytes, bytes] | None:
    """Of a request target in any of its forms (RFC 9112 3.2); nearly all are a path, perhaps with a query.

    None when it has none of these forms.
    """
    if url.startswith(b"/") and b"#" not in url:
        path, _, query = url.partition(b"?")
        return path, query
    try:
        # What is missing is None, whatever the stubs say.
        parsed: Any = httptools.parse_url(url)
    except httptools.HttpParserInvalidURLError:
        return None
    return parsed.path or b"/", parsed.query or b""


def _address(name: object) -> tuple[str, int] | None:
    """Host and port of a socket's name; None for one that has none."""
    return (str(name[0]), int(name[1])) if isinstance(name, tuple) else None


class Listener:
    """Listening sockets and the connections they gave; one per program."""

    def __init__(
        self,
        handler: Handler,
        on_end: OnEnd,
        tls: ssl.SSLContext | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.handler = handler
        self.on_end = on_end
        self.connections: set[Connection] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        # When all connections were looked at last, on the loop's clock.
        self.looked_at = 0.0
        self._limits = limits or Limits()
        self._timer: asyncio.TimerHandle | None = None
        self._tls = tls
        self._servers: list[asyncio.Server] = []

    def _connection(self) -> Connection:
        return Connection(self)

    async def listen(self, sockets: list[socket.socket]) -> None:
        loop = asyncio.get_running_loop()
        self._look()
        for sock in sockets:
            server = await loop.create_server(self._connection, sock=sock, ssl=self._tls, backlog=BACKLOG)
            self._servers.append(server)

    def _look(self) -> None:
        """Look at every connection from time to time: cheaper than a timer for each request."""
        loop = asyncio.get_running_loop()
        self.looked_at = loop.time()
        for connection in list(self.connections):
            connection.check_silence(self.looked_at, self._limits)
        self._timer = loop.call_later(self._limits.period, self._look)

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

    def end_requests(self, cause: RequestError) -> None:
        """End the requests that are still running; their clients learn the cause."""
        for connection in list(self.connections):
            connection.end_exchange(cause)

    def abort(self) -> None:
        """Cancel the requests that are still running and drop their connections."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for task in list(self.tasks):
            task.cancel("the program ends")
        for connection in list(self.connections):
            connection.wire.transport.abort()


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
            # Connections that are accepted inherit this.
            ask_if_alive(sock, KEEP_ALIVE)
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
