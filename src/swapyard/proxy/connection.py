"""One HTTP/1.1 connection to an upstream: a request goes out, its answer comes in, as often as it lasts.

httptools parses; this module owns the states, the flow control in both directions, and the timeouts of one
exchange.  Nothing here decides where to connect or what is kept alive: that is `proxy/upstreams.py`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import NoReturn, cast

import httptools

from swapyard.errors import Fault, UpstreamError, UpstreamGoneError
from swapyard.proxy.answers import Answer, Stage
from swapyard.proxy.headers import Headers, response_headers
from swapyard.proxy.sending import Payload, Sender, small
from swapyard.web.fields import first, is_websocket, tokens

HEAD_LIMIT_BYTES = 1024 * 1024
"""Most bytes of an answer before its body: status lines and headers, of informational answers as well.

The same limit holds for what comes within a body without being of it: trailers, chunk extensions, zeros
before a chunk's size.
"""

HEADER_LIMIT = 1000
"""Most headers of one answer, those of informational answers before it included; trailers count as well."""

INFORMATIONAL_LIMIT = 32
"""Most informational answers (100, 102, 103) before the final one."""

INFORMATIONAL = (100, 102, 103)
"""What may come before the answer unasked (RFC 9110 15.2, RFC 2518 10.1, RFC 8297)."""

CODINGS = (b"chunked", b"identity")
"""Transfer codings of an answer that can be passed on: no other was asked for (RFC 9112 6.1)."""

OnInformational = Callable[[int, Headers], None]


class ClosedUnansweredError(UpstreamGoneError):
    """The connection ended without one byte of an answer; on a kept connection that may be no fault."""


class _RefusedError(Exception):
    """Ends the parsing of an answer that cannot be passed on; the exchange has its error by then."""


class Connection(asyncio.Protocol):
    """The protocol on the transport; `ask` begins an exchange, `leave` ends it."""

    transport: asyncio.Transport

    def __init__(self, peer: str) -> None:
        # host:port, for messages
        self._peer = peer
        self.loop = asyncio.get_running_loop()
        self._parser: httptools.HttpResponseParser | None = None
        self._answer: Answer | None = None
        self._sender: Sender | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._header_timeout = 0.0
        self._on_informational: OnInformational | None = None
        self._bodyless = False
        self._upgrade = False
        self._expecting = False
        # Since the last byte of a body, or since the exchange began: bytes, headers, informational answers.
        self._head_bytes = 0
        self._header_count = 0
        self._informational_count = 0
        self._keep_alive = True
        # The answer's head names a transfer coding.
        self._is_coded = False
        # Point in time (of the loop) at which it became idle.
        self.idle_since = 0.0

    # The exchange's side

    def ask(
        self,
        head: bytes,
        payload: Payload,
        *,
        bodyless: bool,
        upgrade: bool,
        header_timeout: float,
        expect_timeout: float,
        on_informational: OnInformational | None,
    ) -> Answer:
        """Send a request, of which `head` is everything up to the body.

        `bodyless`: no answer to this has a body (HEAD).  `header_timeout` counts from the last byte of the
        request, 0 waits for ever.  `expect_timeout` above 0: hold the body back until the upstream asks
        for it, or for that long.
        """
        if self._parser is None:
            self._parser = httptools.HttpResponseParser(self)
            # A trailer may say what it likes; in a head the two are refused below.
            self._parser.set_dangerous_leniencies(lenient_chunked_length=True)
        answer = self._answer = Answer(self.transport, self.loop)
        self._head_bytes = self._header_count = self._informational_count = 0
        self._bodyless = bodyless
        self._upgrade = upgrade
        self._header_timeout = header_timeout
        self._on_informational = on_informational
        at_hand = None if expect_timeout else small(payload)
        if at_hand is not None:
            self.transport.write(head + at_hand)
            self._sent()
            return answer
        self.transport.write(head)
        self._sender = Sender(self.transport, payload, on_sent=self._sent, on_failure=self._fail)
        if expect_timeout:
            self._expecting = True
            self._set_timer(expect_timeout, self._send_body)
        else:
            self._sender.start()
        return answer

    def leave(self) -> asyncio.Task[None] | None:
        """End the exchange; the connection is closed at once unless it can serve another one.

        A task that comes back is cancelled and has to be awaited before anything else happens.
        """
        answer, self._answer = self._answer, None
        sender, self._sender = self._sender, None
        self._cancel_timer()
        self._on_informational = None
        self._expecting = False
        sent = sender is None or sender.sent
        if (
            answer is None
            or answer.stage is not Stage.ENDED
            or not (sent and self._keep_alive)
            or self.transport.is_closing()
        ):
            self.transport.abort()
        elif answer.is_full:
            self.transport.resume_reading()
        return sender.stop() if sender is not None else None

    def close(self) -> None:
        """Close while idle."""
        self.transport.close()

    # The request's way out

    def _send_body(self) -> None:
        self._expecting = False
        self._cancel_timer()
        if self._sender is not None:
            self._sender.start()

    def _sent(self) -> None:
        answer = self._answer
        if self._header_timeout and answer is not None and answer.stage in (Stage.AWAITED, Stage.HEAD):
            self._set_timer(self._header_timeout, self._no_head)

    def _no_head(self) -> None:
        self._fail(
            UpstreamError(
                Fault.GATEWAY_TIMEOUT, f"{self._peer}: no response headers within {self._header_timeout:g} s"
            )
        )

    def _set_timer(self, seconds: float, action: Callable[[], None]) -> None:
        self._timer = self.loop.call_later(seconds, action)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # The transport's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do all that asyncio.Transport promises without being one.
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        answer = self._answer
        if answer is None or self._parser is None or answer.stage is Stage.ENDED:  # nobody asked for more
            self._keep_alive = False
            self.transport.abort()
            return
        if answer.stage is Stage.TUNNEL:  # not taken over yet
            answer.early(data)
            self.transport.pause_reading()
            return
        self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            answer.early(data[upgrade.args[0] :])
            self.transport.pause_reading()
        except httptools.HttpParserError as error:
            self._unreadable(answer, error)
        self._bound(answer)
        answer.arrived()

    def _bound(self, answer: Answer) -> None:
        """Read no further than what there is room for."""
        if answer.stage is Stage.ENDED or answer.stage is Stage.TUNNEL:
            return
        if self._head_bytes > HEAD_LIMIT_BYTES:
            where = "trailers" if answer.stage is Stage.BODY else "response headers"
            self._fail(self._broken(f"its {where} are too long"))
        elif answer.is_full and not self.transport.is_closing():
            self.transport.pause_reading()

    def eof_received(self) -> None:
        self._lost(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost(exc)
        # The parser holds this object's methods; without it the pair is freed at once.
        self._parser = None

    def pause_writing(self) -> None:
        if self._sender is not None:
            self._sender.pause()

    def resume_writing(self) -> None:
        if self._sender is not None and not self._expecting:
            self._sender.resume()

    def _lost(self, error: Exception | None) -> None:
        answer = self._answer
        if answer is None or answer.is_broken or answer.stage in (Stage.ENDED, Stage.TUNNEL):
            return
        why = "it closed the connection" if error is None else cause(error)
        if answer.stage is Stage.AWAITED:
            self._fail(ClosedUnansweredError(Fault.BAD_GATEWAY, f"{self._peer}: no answer, {why}"))
        elif answer.stage is Stage.BODY and error is None and _ends_with_connection(answer.headers):
            self._keep_alive = False
            answer.stage = Stage.ENDED
            answer.arrived()
        else:
            self._fail(UpstreamGoneError(Fault.BAD_GATEWAY, self._broke_off(why)))

    def _unreadable(self, answer: Answer, error: httptools.HttpParserError) -> None:
        self._keep_alive = False
        if answer.stage is not Stage.ENDED:
            self._fail(self._broken(f"not a valid HTTP/1.1 response ({error})"))

    def _broken(self, why: str) -> UpstreamError:
        return UpstreamError(Fault.BAD_GATEWAY, self._broke_off(why))

    def _broke_off(self, why: str) -> str:
        return f"{self._peer}: the answer broke off, {why}"

    def _fail(self, error: Exception) -> None:
        answer = self._answer
        if answer is not None:
            answer.fail(error)
        self._cancel_timer()
        if self._sender is not None:
            self._sender.stop()
        self.transport.abort()

    # The parser's side

    def on_message_begin(self) -> None:
        answer = self._answer
        if answer is None or answer.stage is Stage.ENDED:  # a second answer to one request
            self._keep_alive = False
        else:
            answer.stage = Stage.HEAD
            self._is_coded = False

    def on_status(self, reason: bytes) -> None:
        if self._answer is not None and self._answer.stage is Stage.HEAD:
            self._answer.reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        answer = self._answer
        if answer is None or answer.stage is Stage.ENDED:
            return
        self._header_count += 1
        if self._header_count > HEADER_LIMIT:
            self._refuse("it has too many headers")
        if answer.stage is Stage.HEAD:
            name = name.lower()
            answer.headers.append((name, value))
            if name == b"transfer-encoding":
                self._is_coded = True
                if value.strip().lower() not in CODINGS:
                    self._refuse("its transfer coding is none that was asked for")

    def on_headers_complete(self) -> None:
        answer, parser = self._answer, self._parser
        if answer is None or parser is None or answer.stage is not Stage.HEAD:
            return
        answer.status = status = parser.get_status_code()
        if status < 200:
            if status == 101:
                self._switch(answer)
            elif status not in INFORMATIONAL:
                self._refuse(f"{status:03} is no status of an answer")
            return
        if self._head_bytes > HEAD_LIMIT_BYTES and _size(answer.headers) > HEAD_LIMIT_BYTES:
            # Its last piece is the one too much: it is complete before data_received looks at the count.
            self._refuse("its response headers are too long")
        if self._is_coded and first(answer.headers, b"content-length") is not None:
            self._refuse("it has both a length and a transfer coding")
        self._head_bytes = self._header_count = 0
        self._cancel_timer()
        if self._sender is not None and (self._expecting or status >= 300):
            # Nothing in the rest of the body can change this answer.
            self._sender.stop()
        if self._bodyless:
            self._end_without_body(answer, parser)
        else:
            answer.stage = Stage.BODY

    def on_body(self, data: bytes) -> None:
        answer = self._answer
        if answer is not None and answer.stage is Stage.BODY:
            self._head_bytes = 0
            answer.push(data)
        else:  # bytes behind the end
            self._keep_alive = False

    def on_message_complete(self) -> None:
        answer, parser = self._answer, self._parser
        if answer is None or parser is None:
            return
        if answer.stage is Stage.BODY:
            self._keep_alive = parser.should_keep_alive() and self._keep_alive
            answer.stage = Stage.ENDED
        elif answer.stage is Stage.HEAD:
            self._pass_informational(answer)

    def _refuse(self, why: str) -> NoReturn:
        """Fail the exchange from within a callback of the parser, and parse nothing more."""
        self._fail(self._broken(why))
        raise _RefusedError

    def _switch(self, answer: Answer) -> None:
        if not (
            self._upgrade
            and is_websocket(answer.headers)
            and first(answer.headers, b"content-length") is None
        ):
            self._refuse("it switched to a protocol that was not asked for")
        self._cancel_timer()
        answer.stage = Stage.TUNNEL

    def _pass_informational(self, answer: Answer) -> None:
        status, headers = answer.status, answer.headers
        answer.status, answer.reason, answer.headers = 0, b"", []
        self._informational_count += 1
        if self._informational_count > INFORMATIONAL_LIMIT:
            self._refuse(f"{INFORMATIONAL_LIMIT} informational answers came before it")
        if status == 100:
            # The answer to our own expectation; the listener answers the client's.
            if self._expecting:
                self._send_body()
        elif self._on_informational is not None:
            self._on_informational(status, response_headers(headers))

    def _end_without_body(self, answer: Answer, parser: httptools.HttpResponseParser) -> None:
        """End an answer to HEAD.

        llhttp cannot be told that no body follows, so the state it is in now is of no more use.
        """
        closing = any(token.lower() == b"close" for token in tokens(answer.headers, b"connection"))
        self._keep_alive = self._keep_alive and not closing and parser.get_http_version() == "1.1"
        self._parser = None
        answer.stage = Stage.ENDED


def cause(error: Exception) -> str:
    """The reason in an operating system's error, in a few words."""
    number = error.errno if isinstance(error, OSError) else None
    if number is not None and number > 0:
        text = os.strerror(number)
    else:
        text = str(error) or ("timed out" if isinstance(error, TimeoutError) else type(error).__name__)
    return text[:1].lower() + text[1:]


def _size(headers: Headers) -> int:
    return sum(len(name) + len(value) for name, value in headers)


def _ends_with_connection(headers: Headers) -> bool:
    """Whether only the end of the connection can end this body.  Source: RFC 9112 6.3."""
    if first(headers, b"content-length") is not None:
        return False
    codings = list(tokens(headers, b"transfer-encoding"))
    return not codings or codings[-1].lower() != b"chunked"
