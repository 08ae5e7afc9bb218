"""What the client of a model gets: an upstream's answer, a refusal of our own, or a stream that we began."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from swapyard.errors import RequestError
from swapyard.web import errors, sse
from swapyard.web.fields import is_event_stream
from swapyard.web.messages import Headers, Reply, Request

if TYPE_CHECKING:
    from swapyard.observe.exchange import Exchange

ANTHROPIC_PATHS = ("/messages", "/messages/count_tokens")


class ModelReply:
    """Where the bytes go, and how far they have come; tells the exchange what went out."""

    def __init__(self, request: Request, reply: Reply) -> None:
        self.request = request
        self._reply = reply
        self._anthropic = request.path.endswith(ANTHROPIC_PATHS)
        self._exchange: Exchange | None = None
        # We answered 200 with an event stream before the upstream said anything.
        self.is_ours = False
        self._is_stream = False
        # The upstream's bytes that went out last; b"" as long as there were none.
        self._last = b""

    def record(self, exchange: Exchange) -> None:
        """From here on what goes out is noted in `exchange`."""
        self._exchange = exchange
        self.request.id = exchange.request_id

    async def start(self, status: int, headers: Headers, chunk: bytes = b"", *, last: bool = False) -> None:
        """Status and headers, together with the first bytes of the upstream's answer if they are there."""
        fields = dict(headers)
        if self._exchange is not None:
            # One of the upstream's own goes through untouched; ours finds the row in the activity log.
            name = b"x-swapyard-request-id" if b"x-request-id" in fields else b"x-request-id"
            headers = [*headers, (name, self._exchange.request_id.encode())]
        self._is_stream = is_event_stream(headers)
        if self._exchange is not None:
            self._exchange.answered(status, headers)
        self._note(chunk)
        if self._reply.congested:
            await self._reply.room()
        self._reply.start(status, headers, chunk, last=last)

    def take_over(self, status: int, headers: Headers) -> tuple[asyncio.Transport, bytes]:
        """Answer an upgrade: the client's transport and what it already sent are the caller's now."""
        if self._exchange is not None:
            self._exchange.answered(status, headers)
        return self._reply.take_over(status, headers)

    @property
    def congested(self) -> bool:
        """Whether the client reads more slowly than we write; what need not be said is better left unsaid."""
        return self._reply.congested

    def informational(self, status: int, headers: Headers) -> None:
        """Pass a 1xx answer on."""
        self._reply.informational(status, headers)

    def redirect(self, status: int, location: str) -> None:
        errors.redirect(self._reply, status, location)

    def answer_plainly(self, status: int, text: str, headers: Headers) -> None:
        errors.answer_plainly(self._reply, status, text, headers)

    async def begin_stream(self) -> None:
        """Answer with an event stream of our own, to be continued by the upstream's."""
        self.is_ours = True
        await self.start(200, [*sse.HEADERS, (b"connection", b"keep-alive")])

    async def write(self, chunk: bytes, *, last: bool = False) -> None:
        """Bytes of the upstream's answer."""
        self._note(chunk)
        if self._reply.congested:
            await self._reply.room()
        self._reply.write(chunk, last=last)

    async def insert(self, event: bytes, *, last: bool = False) -> None:
        """Bytes of our own inside a stream."""
        if self._exchange is not None:
            self._exchange.inserted(event)
        if self._reply.congested:
            await self._reply.room()
        self._reply.write(event, last=last)

    async def refuse(self, error: RequestError) -> None:
        """End with an error, as well as what has already gone out allows.

        1. nothing yet: status and body.  2. a stream of ours, nothing of the upstream's: an error event and a
        proper end.  3. an upstream's stream: an error event, then the connection is cut.  4. anything else,
        and a stream whose length was announced: it is cut at once.  5. everything has gone out: nothing is
        left to say.
        """
        if self._reply.has_ended:
            return
        if not self._reply.has_started:
            accept = self.request.fields.get(b"accept", b"").decode("latin-1")
            status, headers, body = errors.render(error, accept, anthropic=self._anthropic)
            await self.start(status, headers)
            await self.insert(body, last=True)
            return
        event = self.event(errors.envelope_bytes(error, anthropic=self._anthropic), is_error=True)
        if self.is_ours and not self._last:
            await self.insert(event + self.end_mark, last=True)
            return
        if self._is_stream and not self._reply.is_counted:
            await self.insert(self._end_of_event() + event)
        self._reply.cut()

    def _note(self, chunk: bytes) -> None:
        if chunk:
            self._last = chunk
            if self._exchange is not None:
                self._exchange.body(chunk)

    def event(self, text: bytes, *, is_error: bool = False) -> bytes:
        """One server-sent event.

        Anthropic's clients tell an error by the event's name, OpenAI's by the member `error`.
        Source: Anthropic API reference, "Streaming messages", error events.
        """
        name = b"event: error\n" if is_error and self._anthropic else b""
        return name + b"".join(b"data: " + line + b"\n" for line in text.splitlines()) + b"\n"

    @property
    def end_mark(self) -> bytes:
        """What tells a client of this API that the stream is complete."""
        return b"" if self._anthropic else sse.DONE

    def _end_of_event(self) -> bytes:
        """What the upstream still owes before another event can follow: it may have broken off within one."""
        if not self._last or self._last.endswith((b"\n\n", b"\r\n\r\n")):
            return b""
        return b"\n" if self._last.endswith(b"\n") else b"\n\n"
