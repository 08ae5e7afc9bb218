"""A request's body: read completely, because its model must be known, but in bounded memory."""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import IO, Any, Self

from swapyard.errors import Fault, RequestError, SwapyardError
from swapyard.proxy.json_scan import let_go
from swapyard.proxy.splice import Spliced

IN_MEMORY_BYTES = 1024 * 1024
"""The request body that is kept in memory; a longer one lies in an unlinked temporary file."""

CHUNK_BYTES = 64 * 1024
"""What is sent at once by default."""

RESIDENT_BYTES = 8 * 1024 * 1024
"""How much of a mapped file may stay in memory while it is sent."""

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


class ClientLeft(SwapyardError):  # noqa: N818 - a fact about the client, not a failure of ours
    """The client closed its connection before its request had arrived completely."""


class Body:
    """The bytes of one request's body: in memory, in a mapped file, or segments that refer to another body.

    Close it when the request is over.  Views that outlive it keep their bytes readable, and allocated.
    """

    __slots__ = ("_over", "_segments", "_source", "length")

    def __init__(self, source: bytes | mmap.mmap = b"") -> None:
        self._source: bytes | mmap.mmap | None = source
        self._segments: tuple[bytes | memoryview, ...] = (source,) if isinstance(source, bytes) else ()
        self._over: Body | None = None
        # Bytes, for Content-Length.
        self.length = len(source)

    @classmethod
    def of(cls, spliced: Spliced, over: Body | None = None) -> Body:
        """A body made of segments; `over` is the body they refer to, closed together with this one."""
        body = cls()
        body._source, body._segments, body._over = None, spliced.segments, over
        body.length = spliced.length
        return body

    def view(self) -> bytes | mmap.mmap:
        """The whole text, for scanning.  Segments are put together once, in memory or in a file."""
        if self._source is None:
            self._source = _gathered(self._segments, self.length)
        return self._source

    def chunks(self, size: int = CHUNK_BYTES) -> Iterator[bytes | memoryview]:
        """The body in order, in pieces of at most `size` bytes; none for an empty body."""
        segments = self._segments or (memoryview(self.view()),)
        resident = 0
        for segment in segments:
            view = memoryview(segment)
            for start in range(0, len(view), size):
                piece = view[start : start + size]
                yield piece
                resident += len(piece)
                if resident >= RESIDENT_BYTES:
                    self.rest()
                    resident = 0
        self.rest()

    def rest(self) -> None:
        """Let go of the memory that a mapped file has taken while it was read; it can be read again."""
        if self._source is not None:
            let_go(self._source)
        if self._over is not None:
            self._over.rest()

    def close(self) -> None:
        """Give memory and file back; harmless when repeated."""
        source, self._source, self._segments = self._source, b"", ()
        if isinstance(source, mmap.mmap):
            _unmap(source)
        if self._over is not None:
            self._over.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class BodyReader:
    """Reads bodies from ASGI; `limit_bytes` is the request body limit, 0 for none."""

    def __init__(self, limit_bytes: int = 0) -> None:
        self._limit_bytes = limit_bytes

    async def read(self, receive: Receive) -> Body:
        """The whole body of the current request; whoever gets it closes it.

        Raises ClientLeft when the client goes before the end, RequestError (TOO_LARGE) beyond the limit.
        """
        first, more = await self._receive(receive, 0)
        if not more:
            return Body(first)
        parts, length = [first], len(first)
        while more and length <= IN_MEMORY_BYTES:
            part, more = await self._receive(receive, length)
            parts.append(part)
            length += len(part)
        if length <= IN_MEMORY_BYTES:
            return Body(b"".join(parts))
        with tempfile.TemporaryFile(prefix="swapyard-body-") as file:
            file.writelines(parts)
            parts.clear()
            while more:
                part, more = await self._receive(receive, length)
                file.write(part)
                length += len(part)
            return Body(_mapped(file))

    async def _receive(self, receive: Receive, so_far: int) -> tuple[bytes, bool]:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientLeft
        part = message.get("body", b"")
        if self._limit_bytes and so_far + len(part) > self._limit_bytes:
            raise RequestError(
                Fault.TOO_LARGE, f"the request body is larger than the limit of {self._limit_bytes} bytes"
            )
        return bytes(part), bool(message.get("more_body", False))


def _gathered(segments: tuple[bytes | memoryview, ...], length: int) -> bytes | mmap.mmap:
    if length <= IN_MEMORY_BYTES:
        return b"".join(segments)
    with tempfile.TemporaryFile(prefix="swapyard-body-") as file:
        file.writelines(segments)
        return _mapped(file)


def _mapped(file: IO[bytes]) -> mmap.mmap:
    file.flush()
    # The mapping holds the (already unlinked) file by a descriptor of its own.
    return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _unmap(mapping: mmap.mmap) -> None:
    try:
        mapping.close()
    except BufferError:
        # A view is still in use; the mapping ends with the last one.
        return
