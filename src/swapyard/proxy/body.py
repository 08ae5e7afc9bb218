"""A request's body: read completely, because its model must be known, but in bounded memory."""

from __future__ import annotations

import errno
import logging
import mmap
import os
import tempfile
from collections.abc import Iterable, Iterator
from typing import IO, Self

from swapyard.errors import Fault, RequestError
from swapyard.proxy.json_scan import let_go
from swapyard.proxy.splice import Spliced
from swapyard.web.messages import BODY_TIMEOUT, Request

IN_MEMORY_BYTES = 1024 * 1024
"""The request body that is kept in memory; a longer one lies in an unlinked temporary file."""

CHUNK_BYTES = 64 * 1024
"""What is sent at once by default."""

RESIDENT_BYTES = 8 * 1024 * 1024
"""How much of a mapped file may stay in memory while it is sent."""

log = logging.getLogger(__name__)

_FOR_LACK_OF_MEANS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""Errors that may be over in a moment; other errors of a temporary file need somebody to act."""


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
    """Reads bodies; `limit_bytes` is the request body limit, 0 for none, `timeout` that of `Request.read`."""

    def __init__(self, limit_bytes: int = 0, timeout: float = BODY_TIMEOUT) -> None:
        self._limit_bytes = limit_bytes
        self.timeout = timeout

    def at_hand(self, request: Request) -> Body | None:
        """The body of a request that has come as a whole and is short, as nearly all are; else None."""
        if request.wants_websocket:
            return Body()
        if not request.is_complete or request.unread_bytes > IN_MEMORY_BYTES:
            return None
        if self._limit_bytes and request.unread_bytes > self._limit_bytes:
            return None
        return Body(request.take())

    async def read(self, request: Request) -> Body:
        """The whole body of this request; whoever gets it closes it.

        Raises what `Request.read` raises; RequestError (TOO_LARGE) beyond the limit, (NO_SPACE, EXHAUSTED)
        when the system has no room for it.
        """
        first = await self._receive(request, 0)
        if request.is_complete and not request.has_unread:
            return Body(first)
        parts, length = [first], len(first)
        while length <= IN_MEMORY_BYTES:
            part = await self._receive(request, length)
            if not part:
                return Body(b"".join(parts))
            parts.append(part)
            length += len(part)
        with _temporary_file() as file:
            _write(file, parts)
            parts.clear()
            while part := await self._receive(request, length):
                _write(file, (part,))
                length += len(part)
            return Body(_mapped(file))

    async def _receive(self, request: Request, so_far: int) -> bytes:
        part = await request.read(self.timeout)
        if self._limit_bytes and so_far + len(part) > self._limit_bytes:
            raise RequestError(
                Fault.TOO_LARGE, f"the request body is larger than the limit of {self._limit_bytes} bytes"
            )
        return part


def _gathered(segments: tuple[bytes | memoryview, ...], length: int) -> bytes | mmap.mmap:
    if length <= IN_MEMORY_BYTES:
        return b"".join(segments)
    with _temporary_file() as file:
        _write(file, segments)
        return _mapped(file)


def _temporary_file() -> IO[bytes]:
    """Without a buffer: what cannot be written is known at once, not when the file is closed."""
    try:
        return tempfile.TemporaryFile(prefix="swapyard-body-", buffering=0)
    except OSError as error:
        raise _no_room(error) from error


def _write(file: IO[bytes], parts: Iterable[bytes | memoryview]) -> None:
    try:
        for part in parts:
            view = memoryview(part)
            while len(view):
                written = file.write(view)
                view = view[written:]
    except OSError as error:
        raise _no_room(error) from error


def _mapped(file: IO[bytes]) -> mmap.mmap:
    try:
        # The mapping holds the (already unlinked) file by a descriptor of its own.
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise _no_room(error) from error


def _no_room(error: OSError) -> RequestError:
    """What a client is told, and the log, when a long body finds no place."""
    why = os.strerror(error.errno).lower() if error.errno else str(error)
    try:
        where = tempfile.gettempdir()
    except OSError:
        where = "any temporary directory"
    message = f"no room for the request body in {where}: {why}"
    log.error(message)
    if error.errno in _FOR_LACK_OF_MEANS:
        return RequestError(Fault.EXHAUSTED, message, retry_after=1)
    return RequestError(Fault.NO_SPACE, message)


def _unmap(mapping: mmap.mmap) -> None:
    try:
        mapping.close()
    except BufferError:
        # A view is still in use; the mapping ends with the last one.
        return
