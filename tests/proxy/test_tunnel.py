"""Tunnels between real sockets: bytes, back-pressure, half-closes, and no way to be left hanging."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from swapyard.proxy.tunnel import Tunnel, tunnel

Run = Callable[[Coroutine[Any, Any, None]], None]
Far = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def pair() -> AsyncIterator[tuple[asyncio.Transport, Far]]:
    """A connected pair: the transport that a tunnel gets, and the far end that the test holds."""
    near_socket, far_socket = _tcp_pair()
    loop = asyncio.get_running_loop()
    near, _ = await loop.create_connection(asyncio.Protocol, sock=near_socket)
    near.pause_reading()
    reader, writer = await asyncio.open_connection(sock=far_socket)
    try:
        yield near, (reader, writer)
    finally:
        near.abort()
        writer.transport.abort()
        await asyncio.sleep(0)


def _tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    for sock in (near, far):
        sock.setblocking(False)
    return near, far


def test_bytes_go_both_ways_until_both_sides_have_ended(run: Run) -> None:
    async def main() -> None:
        async with pair() as (client, far_client), pair() as (upstream, far_upstream):
            joined = Tunnel(client, upstream)
            async with asyncio.TaskGroup() as group:
                group.create_task(joined.run())
                far_client[1].write(b"ping")
                assert await far_upstream[0].readexactly(4) == b"ping"
                far_upstream[1].write(b"pong!")
                assert await far_client[0].readexactly(5) == b"pong!"
                far_client[1].close()
                assert await far_upstream[0].read() == b""
                far_upstream[1].close()
            assert (joined.from_client_bytes, joined.from_upstream_bytes) == (4, 5)
            assert client.is_closing() and upstream.is_closing()

    run(main())


def test_what_was_already_read_goes_first(run: Run) -> None:
    async def main() -> None:
        async with pair() as (client, far_client), pair() as (upstream, far_upstream):
            far_client[1].write(b" client")
            far_upstream[1].write(b" upstream")
            async with asyncio.TaskGroup() as group:
                group.create_task(tunnel(client, b"early", upstream, b"early"))
                assert await far_upstream[0].readexactly(12) == b"early client"
                assert await far_client[0].readexactly(14) == b"early upstream"
                far_client[1].close()
                far_upstream[1].close()

    run(main())


@pytest.mark.parametrize("first", ["client", "upstream"])
def test_a_half_close_is_passed_on_and_the_other_direction_goes_on(run: Run, first: str) -> None:
    async def main() -> None:
        async with pair() as (client, far_client), pair() as (upstream, far_upstream):
            ending, other = (far_client, far_upstream) if first == "client" else (far_upstream, far_client)
            async with asyncio.TaskGroup() as group:
                group.create_task(Tunnel(client, upstream).run())
                ending[1].write(b"last words")
                ending[1].write_eof()
                assert await other[0].read() == b"last words"
                other[1].write(b"an answer to them")
                other[1].write_eof()
                assert await ending[0].read() == b"an answer to them"

    run(main())


def test_a_side_that_does_not_read_stops_the_other_and_loses_nothing(run: Run) -> None:
    async def main() -> None:
        async with pair() as (client, far_client), pair() as (upstream, far_upstream):
            client.set_write_buffer_limits(high=64 * 1024)
            async with asyncio.TaskGroup() as group:
                group.create_task(Tunnel(client, upstream).run())
                sent = await _write_until_stuck(far_upstream[1])
                # What waits in between is bounded by buffers: the kernel's two, the transports' two.
                assert client.get_write_buffer_size() < 1024 * 1024
                far_upstream[1].write_eof()
                assert len(await _all(far_client[0])) == sent
                far_client[1].close()

    run(main())


async def _write_until_stuck(writer: asyncio.StreamWriter) -> int:
    sent = 0
    while True:
        writer.write(bytes(256 * 1024))
        sent += 256 * 1024
        try:
            async with asyncio.timeout(0.3):
                await writer.drain()
        except TimeoutError:
            return sent


async def _all(reader: asyncio.StreamReader) -> bytes:
    got = bytearray()
    while data := await reader.read(1024 * 1024):
        got += data
    return bytes(got)


@pytest.mark.parametrize("encrypted", ["client", "upstream"])
def test_one_side_may_be_encrypted(run: Run, encrypted: str) -> None:
    async def main() -> None:
        async with encrypted_pair() as (near, far), pair() as (plain, far_plain):
            if encrypted == "client":
                far_client, far_upstream, joined = far, far_plain, Tunnel(near, plain)
            else:
                far_client, far_upstream, joined = far_plain, far, Tunnel(plain, near)
            async with asyncio.TaskGroup() as group:
                group.create_task(joined.run())
                long = bytes(2_000_000)
                far_client[1].write(long)
                assert await far_upstream[0].readexactly(len(long)) == long
                far_upstream[1].write(b"pong")
                assert await far_client[0].readexactly(4) == b"pong"
                # TLS cannot be half-closed: the end of one direction is the end of both.
                far_client[1].close()
                assert await far_upstream[0].read() == b""
                far_upstream[1].close()

    run(main())


@asynccontextmanager
async def encrypted_pair() -> AsyncIterator[tuple[asyncio.Transport, Far]]:
    """Like `pair`, over TLS; the tunnel's end is the TLS server."""
    certificate = Path(__file__).parent / "tls" / "server.pem"
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(certificate, certificate.with_suffix(".key"))
    trusting = ssl.create_default_context(cafile=str(certificate))
    near_socket, far_socket = _tcp_pair()
    loop = asyncio.get_running_loop()
    (near, _), (reader, writer) = await asyncio.gather(
        loop.connect_accepted_socket(asyncio.Protocol, near_socket, ssl=serving),
        asyncio.open_connection(sock=far_socket, ssl=trusting, server_hostname="localhost"),
    )
    near.pause_reading()
    try:
        yield near, (reader, writer)
    finally:
        near.abort()
        writer.transport.abort()
        await asyncio.sleep(0)


def test_a_reset_of_one_side_closes_the_other_after_its_last_bytes(run: Run) -> None:
    async def main() -> None:
        async with pair() as (client, far_client), pair() as (upstream, far_upstream):
            async with asyncio.TaskGroup() as group:
                group.create_task(Tunnel(client, upstream).run())
                far_client[1].write(b"last")
                assert await far_upstream[0].readexactly(4) == b"last"
                linger = struct.pack("ii", 1, 0)
                far_client[1].get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                far_client[1].transport.abort()
                assert await far_upstream[0].read() == b""

    run(main())


def test_a_silent_rest_of_a_tunnel_is_cut_and_a_lively_one_is_not(run: Run) -> None:
    async def main() -> None:
        async with pair() as (client, far_client), pair() as (upstream, far_upstream):
            async with asyncio.TaskGroup() as group:
                running = group.create_task(Tunnel(client, upstream, linger=1).run())
                far_client[1].write_eof()
                for _ in range(12):
                    far_upstream[1].write(b"still here")
                    assert await far_client[0].readexactly(10) == b"still here"
                    await asyncio.sleep(0.1)
                assert not running.done()
                assert await far_client[0].read() == b""
            assert await far_upstream[0].read() == b""

    run(main())


@pytest.mark.parametrize("gone", ["client", "upstream"])
def test_a_side_that_is_gone_before_the_start_ends_the_tunnel(run: Run, gone: str) -> None:
    async def main() -> None:
        async with pair() as (client, far_client), pair() as (upstream, far_upstream):
            (client if gone == "client" else upstream).abort()
            await asyncio.sleep(0)
            await Tunnel(client, upstream, from_client=b"to upstream", from_upstream=b"to client").run()
            left = far_upstream if gone == "client" else far_client
            assert await left[0].read() == (b"to upstream" if gone == "client" else b"to client")

    run(main())


def test_a_cancelled_tunnel_closes_both_sides_at_once(run: Run) -> None:
    async def main() -> None:
        async with pair() as (client, far_client), pair() as (upstream, far_upstream):
            async with asyncio.TaskGroup() as group:
                running = group.create_task(Tunnel(client, upstream).run())
                far_client[1].write(b"x")
                assert await far_upstream[0].readexactly(1) == b"x"
                running.cancel()
            assert await far_client[0].read() == b""
            assert await far_upstream[0].read() == b""

    run(main())
