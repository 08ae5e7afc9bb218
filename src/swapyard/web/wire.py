"""A client's transport: the flow of bytes on it in both directions, and the ways in which it ends."""

from __future__ import annotations

import asyncio
import socket
import struct

LINGER = 0.5
"""Seconds for which a client that was refused may go on sending before its connection is closed."""


class Wire:
    """Owned by the connection; a request and its reply use it to read, to write and to end."""

    __slots__ = ("_drained", "_is_reading", "is_congested", "is_lost", "loop", "transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self.transport = transport
        self.loop = loop
        # The client reads more slowly than we write.
        self.is_congested = False
        # The connection is gone: nothing can be read or written any more.
        self.is_lost = False
        self._is_reading = True
        self._drained: asyncio.Future[None] | None = None

    # Towards the client

    def congested(self) -> None:
        """The transport holds as much as it should."""
        self.is_congested = True

    def relieved(self) -> None:
        """The transport takes more, or nothing any more."""
        self.is_congested = False
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        self._drained = None

    def lost(self) -> None:
        """The connection has ended."""
        self.is_lost = True
        self.relieved()

    async def drained(self) -> None:
        """Wait until the client has taken what was written, or is gone."""
        while self.is_congested:
            if self._drained is None:
                self._drained = self.loop.create_future()
            await asyncio.shield(self._drained)

    # From the client

    def pause_reading(self) -> None:
        if self._is_reading:
            self._is_reading = False
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        if not self._is_reading:
            self._is_reading = True
            self.transport.resume_reading()

    # The end

    def close(self) -> None:
        """Close when what was written has been sent."""
        self.transport.close()

    def close_gently(self) -> None:
        """Close so that the client gets the answer although it is still sending.

        Closed with unread bytes, a connection is reset, and what the client had not read yet is lost to it.
        """
        if self.transport.can_write_eof():
            self.resume_reading()
            self.transport.write_eof()
            self.loop.call_later(LINGER, self.transport.close)
        else:
            self.transport.close()

    def reset(self) -> None:
        """Close with a reset: where only the end of the connection ends a body, a proper end would look like
        a complete answer."""
        sock = self.transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.close()


def ask_if_alive(sock: socket.socket, seconds: float) -> None:
    """Have the system ask, after each this many seconds of silence, whether the other side is still there."""
    if seconds <= 0:
        return
    whole = max(1, round(seconds))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    # TCP_KEEPALIVE is what macOS calls TCP_KEEPIDLE.
    for name in ("TCP_KEEPIDLE", "TCP_KEEPALIVE", "TCP_KEEPINTVL"):
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), whole)
