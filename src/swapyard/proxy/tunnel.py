"""Bytes copied both ways between a client and an upstream that have left HTTP behind, as websockets do."""

from __future__ import annotations

import asyncio

LINGER = 30.0
"""Seconds of silence after which a tunnel is cut that one side has already left."""


class Tunnel:
    """Joins two transports until both directions have ended; `run` owns both from its first step.

    A side that ends its direction (half-close) has the end passed on, and may still be sent to.  A side that
    does not take its bytes stops the other from being read: memory is bounded by the transports' buffers.
    """

    def __init__(
        self,
        client: asyncio.Transport,
        upstream: asyncio.Transport,
        *,
        from_client: bytes = b"",
        from_upstream: bytes = b"",
        linger: float = LINGER,
    ) -> None:
        """`from_client` and `from_upstream` are what was already read from each, and is sent first."""
        self._client = _End(self, client)
        self._upstream = _End(self, upstream)
        self._client.other, self._upstream.other = self._upstream, self._client
        self._early = ((self._client, from_client), (self._upstream, from_upstream))
        self._linger = linger
        self._timer: asyncio.TimerHandle | None = None
        self._seen_bytes = 0
        self._over = asyncio.Event()

    @property
    def from_client_bytes(self) -> int:
        """Bytes that went from the client to the upstream."""
        return self._client.received_bytes

    @property
    def from_upstream_bytes(self) -> int:
        """Bytes that went from the upstream to the client."""
        return self._upstream.received_bytes

    async def run(self) -> None:
        """Copy until both sides have ended; both transports are closed however it ends."""
        try:
            for end, data in self._early:
                end.join()
                if data:
                    end.data_received(data)
            for end, _ in self._early:
                end.begin()
            await self._over.wait()
        finally:
            if self._timer is not None:
                self._timer.cancel()
            self._client.transport.abort()
            self._upstream.transport.abort()

    def ended(self) -> None:
        """One end has said its last, or is gone."""
        if self._client.lost and self._upstream.lost:
            self._over.set()
        elif self._client.said_all and self._upstream.said_all:
            self._client.transport.close()
            self._upstream.transport.close()
        if self._timer is None:
            self._wait_on()

    def _wait_on(self) -> None:
        self._seen_bytes = self.from_client_bytes + self.from_upstream_bytes
        self._timer = asyncio.get_running_loop().call_later(self._linger, self._check_silence)

    def _check_silence(self) -> None:
        if self._seen_bytes == self.from_client_bytes + self.from_upstream_bytes:
            self._over.set()
        else:
            self._wait_on()


class _End(asyncio.Protocol):
    """One side of a tunnel."""

    other: _End

    def __init__(self, tunnel: Tunnel, transport: asyncio.Transport) -> None:
        self._tunnel = tunnel
        self.transport = transport
        self.received_bytes = 0
        # Nothing more comes from this side.
        self.said_all = False
        # The transport is closed.
        self.lost = False

    def join(self) -> None:
        if not self.transport.is_closing():
            self.transport.set_protocol(self)

    def begin(self) -> None:
        if self.transport.is_closing():
            # connection_lost went, or goes, to whoever had the transport before.
            self.connection_lost(None)
        elif not self.other.is_full:
            self.transport.resume_reading()

    @property
    def is_full(self) -> bool:
        _, high = self.transport.get_write_buffer_limits()
        return not self.transport.is_closing() and self.transport.get_write_buffer_size() > high

    def data_received(self, data: bytes) -> None:
        self.received_bytes += len(data)
        if not self.other.transport.is_closing():
            self.other.transport.write(data)

    def eof_received(self) -> bool:
        self._say_all()
        # TLS has no half-close: its transport closes now.
        return self.transport.can_write_eof()

    def connection_lost(self, _exc: Exception | None) -> None:
        self.lost = self.said_all = True
        if not self.other.transport.is_closing():
            self.other.transport.close()
        self._tunnel.ended()

    def pause_writing(self) -> None:
        if not self.other.transport.is_closing():
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if not self.other.transport.is_closing():
            self.other.transport.resume_reading()

    def _say_all(self) -> None:
        self.said_all = True
        if not self.other.transport.is_closing():
            if self.other.transport.can_write_eof():
                self.other.transport.write_eof()
            else:
                self.other.transport.close()
        self._tunnel.ended()


async def tunnel(
    client: asyncio.Transport, from_client: bytes, upstream: asyncio.Transport, from_upstream: bytes
) -> None:
    """Join a client and an upstream, each with what was already read from it, until both have ended."""
    await Tunnel(client, upstream, from_client=from_client, from_upstream=from_upstream).run()
