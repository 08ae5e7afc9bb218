"""An upstream's answer while it arrives: what has come, what is still to come, and who waits for it."""

from __future__ import annotations

import asyncio
from enum import Enum, auto

from swapyard.proxy.headers import Headers

UNREAD_BYTES = 256 * 1024
"""Unread bytes of an answer from which on the upstream's socket is not read any more."""


class Stage(Enum):
    """How far an answer is."""

    AWAITED = auto()
    HEAD = auto()
    BODY = auto()
    # Switching protocols: what follows is not HTTP.
    TUNNEL = auto()
    ENDED = auto()


class Answer:
    """An upstream's answer while it arrives; good until its exchange ends.

    Header names are lower case, order and repeats as sent.  Trailers are not kept (RFC 9110 6.5.1).
    """

    __slots__ = (
        "_early",
        "_error",
        "_loop",
        "_transport",
        "_unread",
        "_unread_bytes",
        "_waiter",
        "headers",
        "reason",
        "stage",
        "status",
    )

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self.status = 0
        self.reason = b""
        self.headers: Headers = []
        self.stage = Stage.AWAITED
        self._transport = transport
        # Asking for the running loop costs a system call in Python 3.11.
        self._loop = loop
        self._unread: list[bytes] = []
        self._unread_bytes = 0
        self._early = bytearray()
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def ended(self) -> bool:
        """Whether everything has arrived: `take` gives the rest, nothing has to be awaited."""
        return self.stage is Stage.ENDED

    async def read(self) -> bytes:
        """All bytes of the body that have arrived, at least one; b"" at the end.

        Raises UpstreamError when the upstream broke off before the end, after what had arrived was read.
        """
        while not self._unread:
            if self.stage is Stage.ENDED:
                return b""
            await self._more()
        return self.take()

    def take(self) -> bytes:
        """The bytes of the body that are here, without waiting; b"" says nothing about the end."""
        unread = self._unread
        if not unread:
            return b""
        data = unread[0] if len(unread) == 1 else b"".join(unread)
        unread.clear()
        if self.is_full and not self._transport.is_closing():
            self._transport.resume_reading()
        self._unread_bytes = 0
        return data

    def tunnel(self) -> tuple[asyncio.Transport, bytes]:
        """After a 101: the transport, not reading for now, and what arrived behind the head.

        The caller sets its own protocol on the transport before it awaits anything.  The transport is
        closed with the exchange at the latest.
        """
        assert self.stage is Stage.TUNNEL
        return self._transport, bytes(self._early)

    # For the connection

    async def head(self) -> None:
        """Wait until status and headers are here."""
        while self.stage is Stage.AWAITED or self.stage is Stage.HEAD:
            await self._more()

    async def _more(self) -> None:
        if self._error is not None:
            raise self._error
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def arrived(self) -> None:
        """Wake the reader, once for everything that came in one read."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def push(self, data: bytes) -> None:
        self._unread.append(data)
        self._unread_bytes += len(data)

    @property
    def is_full(self) -> bool:
        return self._unread_bytes > UNREAD_BYTES

    def early(self, data: bytes) -> None:
        self._early += data

    @property
    def is_broken(self) -> bool:
        return self._error is not None

    def fail(self, error: Exception) -> None:
        if self._error is None and self.stage is not Stage.ENDED:
            self._error = error
        self.arrived()
