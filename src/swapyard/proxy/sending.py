"""The body of a request on its way to an upstream, written no faster than the upstream takes it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass

from swapyard.errors import Fault, RequestError
from swapyard.proxy.body import Body

PIECE_BYTES = 256 * 1024
"""Most that is written at once."""

SMALL_BYTES = 64 * 1024
"""A body up to this size leaves in one write with the head."""


@dataclass(slots=True)
class StreamedBody:
    """Chunks as they come; `length` is their sum when it is known, else None.  Can be sent only once.

    An exception out of `chunks` ends the exchange and comes out of it unchanged.
    """

    chunks: AsyncIterator[bytes]
    length: int | None = None
    started: bool = False


Payload = bytes | Body | StreamedBody
"""What can be sent.  Bytes and a Body can be sent again."""


def framing(method: bytes, payload: Payload) -> bytes:
    """The header line that tells the upstream where the body ends; empty when there is none to tell."""
    length = len(payload) if isinstance(payload, bytes) else payload.length
    if length is None:
        return b"transfer-encoding: chunked\r\n"
    if length or method in (b"POST", b"PUT", b"PATCH") or isinstance(payload, StreamedBody):
        return b"content-length: %d\r\n" % length
    return b""


def small(payload: Payload) -> bytes | None:
    """The whole body when it is short and at hand, else None."""
    if isinstance(payload, bytes):
        return payload if len(payload) <= SMALL_BYTES else None
    if isinstance(payload, StreamedBody) or payload.length > SMALL_BYTES:
        return None
    return bytes(payload.view())


def can_be_sent_again(payload: Payload) -> bool:
    """Whether a second try can send the same bytes."""
    return not (isinstance(payload, StreamedBody) and payload.started)


class Sender:
    """Writes one body; the connection tells it when the transport is full and when it is not.

    `on_sent` is called once, when the last byte has been handed to the transport; `on_failure` when the
    source of the body fails.  After `stop` neither is called.  Memory: one piece.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        payload: Payload,
        *,
        on_sent: Callable[[], None],
        on_failure: Callable[[Exception], None],
    ) -> None:
        self._transport = transport
        self._payload = payload
        self._on_sent = on_sent
        self._on_failure = on_failure
        # Cleared while the transport holds enough.
        self._room = asyncio.Event()
        self._room.set()
        self._pieces: Iterator[bytes | memoryview] | None = None
        self._scheduled: asyncio.Handle | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopped = False
        self.sent = False

    def start(self) -> None:
        if isinstance(self._payload, StreamedBody):
            self._payload.started = True
            self._task = asyncio.create_task(self._stream(self._payload), name="request body")
        else:
            self._pieces = _pieces(self._payload)
            self._write_piece()

    def pause(self) -> None:
        self._room.clear()

    def resume(self) -> None:
        self._room.set()
        if self._pieces is not None and self._scheduled is None and not self.sent:
            self._write_piece()

    def stop(self) -> asyncio.Task[None] | None:
        """Write nothing more.  A task that comes back is cancelled and has to be awaited."""
        self._stopped = True
        if self._scheduled is not None:
            self._scheduled.cancel()
        if self._task is not None and not self._task.done():
            self._task.cancel()
            return self._task
        return None

    def _write_piece(self) -> None:
        """Write the next piece.

        One for each turn of the loop: a transport that takes everything at once must not keep the loop
        busy for the whole of a long body.
        """
        self._scheduled = None
        if self._stopped or self._pieces is None or self._transport.is_closing():
            return
        piece = next(self._pieces, None)
        if piece is None:
            self._done()
            return
        self._transport.write(piece)
        if self._room.is_set():
            self._scheduled = asyncio.get_running_loop().call_soon(self._write_piece)

    def _done(self) -> None:
        self.sent = True
        if not self._stopped:
            self._on_sent()

    async def _stream(self, body: StreamedBody) -> None:
        try:
            if body.length is None:
                await self._stream_chunked(body.chunks)
            else:
                await self._stream_counted(body.chunks, body.length)
        except Exception as error:
            if not self._stopped:
                self._on_failure(error)
        else:
            self._done()

    async def _stream_chunked(self, chunks: AsyncIterator[bytes]) -> None:
        async for chunk in chunks:
            if chunk:
                self._transport.writelines((b"%x\r\n" % len(chunk), chunk, b"\r\n"))
                await self._room.wait()
        self._transport.write(b"0\r\n\r\n")

    async def _stream_counted(self, chunks: AsyncIterator[bytes], length: int) -> None:
        async for chunk in chunks:
            length -= len(chunk)
            if length < 0:
                raise RequestError(Fault.BAD_REQUEST, "the request body is longer than announced")
            self._transport.write(chunk)
            await self._room.wait()
        if length:
            raise RequestError(Fault.BAD_REQUEST, "the request body ended early")


def _pieces(payload: bytes | Body) -> Iterator[bytes | memoryview]:
    if isinstance(payload, Body):
        yield from payload.chunks(PIECE_BYTES)
        return
    view = memoryview(payload)
    for start in range(0, len(view), PIECE_BYTES):
        yield view[start : start + PIECE_BYTES]
