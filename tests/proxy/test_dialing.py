"""Ways to an upstream, against real sockets: names, refusals, TLS, forward proxies."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from swapyard.config.schema import Timeouts
from swapyard.errors import Fault, UpstreamError
from swapyard.proxy.upstreams import Upstream, UpstreamRequest

Run = Callable[[Coroutine[Any, Any, None]], None]
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

# A self-signed certificate for localhost and far.example, valid for a hundred years.
CERTIFICATE = Path(__file__).parent / "tls" / "server.pem"
KEY = CERTIFICATE.with_suffix(".key")


@asynccontextmanager
async def server(
    handler: Handler, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    """Serve connections with `handler`; the port."""
    tasks: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await handler(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            return
        finally:
            tasks.discard(task)
            writer.transport.abort()

    listener = await asyncio.start_server(accept, host, 0, ssl=tls)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await listener.wait_closed()


async def answer_ok(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        await writer.drain()


async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.read(65536):
        pass


def server_tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE, KEY)
    return context


def trusting() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(CERTIFICATE))


async def get(upstream: Upstream, target: bytes = b"/x") -> bytes:
    async with upstream.exchange(UpstreamRequest(b"GET", target)) as answer:
        body = b""
        while data := await answer.read():
            body += data
        return body


async def refusal(upstream: Upstream) -> str:
    with pytest.raises(UpstreamError) as caught:
        await get(upstream)
    assert caught.value.fault is Fault.BAD_GATEWAY
    return caught.value.message


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


def test_a_closed_port_is_named_with_its_reason(run: Run, free_port: int) -> None:
    async def main() -> None:
        for host in ("127.0.0.1", "localhost"):
            message = await refusal(Upstream(f"http://{host}:{free_port}"))
            assert message == f"{host}:{free_port}: connection refused"

    run(main())


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", pytest.param("::1", marks=pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here"))],
)
def test_localhost_is_tried_on_both_families(run: Run, address: str) -> None:
    async def main() -> None:
        async with server(answer_ok, address) as port:
            upstream = Upstream(f"http://localhost:{port}")
            assert await get(upstream) == b"ok"
            upstream.close()

    run(main())


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")
def test_an_ipv6_address_in_a_url_is_understood(run: Run) -> None:
    async def main() -> None:
        async with server(answer_ok, "::1") as port:
            upstream = Upstream(f"http://[::1]:{port}")
            assert upstream.authority == f"[::1]:{port}".encode()
            assert await get(upstream) == b"ok"
            upstream.close()

    run(main())


def test_a_name_that_does_not_exist_is_said_to_be_that(run: Run) -> None:
    async def main() -> None:
        # ".invalid" never resolves (RFC 6761).
        message = await refusal(Upstream("http://model.invalid:8080"))
        assert message.startswith("model.invalid:8080: host name not found (")

    run(main())


def test_a_connection_that_is_not_accepted_in_time_is_given_up(run: Run) -> None:
    async def main() -> None:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(0)
            port = listener.getsockname()[1]
            fillers = [socket.socket() for _ in range(4)]
            for filler in fillers:  # nobody accepts: the queue is full, further attempts hang
                filler.setblocking(False)
                filler.connect_ex(("127.0.0.1", port))
            upstream = Upstream(f"http://127.0.0.1:{port}", Timeouts().model_copy(update={"connect": 0.1}))
            assert await refusal(upstream) == f"127.0.0.1:{port}: no connection within 0.1 s"
            for filler in fillers:
                filler.close()

    run(main())


@pytest.mark.parametrize("url", ["", "localhost:8080", "ftp://x", "http://", "http://x:port", "unix:/x"])
def test_what_is_not_an_http_url_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError):
        Upstream(url)


def test_https_is_verified_and_kept(run: Run) -> None:
    async def main() -> None:
        async with server(answer_ok, tls=server_tls()) as port:
            upstream = Upstream(f"https://localhost:{port}", ssl_context=trusting())
            assert await get(upstream) == b"ok"
            assert upstream.idle_connections == 1
            assert await get(upstream) == b"ok"
            upstream.close()

    run(main())


def test_a_certificate_that_nobody_vouches_for_is_not_accepted(run: Run) -> None:
    async def main() -> None:
        async with server(answer_ok, tls=server_tls()) as port:
            message = await refusal(Upstream(f"https://localhost:{port}"))
            assert message == f"localhost:{port}: TLS: certificate not accepted, self-signed certificate"

    run(main())


def test_a_certificate_for_another_host_is_not_accepted(run: Run) -> None:
    async def main() -> None:
        async with server(answer_ok, tls=server_tls()) as port:
            message = await refusal(Upstream(f"https://127.0.0.1:{port}", ssl_context=trusting()))
            assert message.startswith(f"127.0.0.1:{port}: TLS: certificate not accepted, ")
            assert "mismatch" in message

    run(main())


def test_a_server_without_tls_is_said_to_be_that(run: Run) -> None:
    async def speak_plainly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await say_nothing(reader, writer)

    async def main() -> None:
        async with server(speak_plainly) as port:
            message = await refusal(Upstream(f"https://localhost:{port}", ssl_context=trusting()))
            assert message.startswith(f"localhost:{port}: TLS: ")

    run(main())


def test_a_handshake_that_does_not_end_in_time_is_given_up(run: Run) -> None:
    async def main() -> None:
        async with server(say_nothing) as port:
            timeouts = Timeouts().model_copy(update={"tls_handshake": 0.1})
            upstream = Upstream(f"https://localhost:{port}", timeouts, ssl_context=trusting())
            assert (await refusal(upstream)).startswith(f"localhost:{port}: TLS: ")

    run(main())


def test_a_caller_that_leaves_during_the_handshake_leaves_no_connection(run: Run) -> None:
    asked, ended = asyncio.Event(), asyncio.Event()

    async def wait_for_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        asked.set()
        await say_nothing(reader, writer)
        ended.set()

    async def main() -> None:
        async with server(wait_for_the_end) as port:
            async with asyncio.TaskGroup() as group:
                upstream = Upstream(f"https://localhost:{port}", ssl_context=trusting())
                asking = group.create_task(get(upstream))
                await asked.wait()
                asking.cancel()
            await ended.wait()

    run(main())


def test_long_bodies_and_broken_answers_over_tls(run: Run) -> None:
    body = bytes(3_000_000)

    async def return_it_and_break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        got = await reader.readexactly(len(body))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (len(body) + 1))
        writer.write(got)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def main() -> None:
        async with server(return_it_and_break_off, tls=server_tls()) as port:
            upstream = Upstream(f"https://localhost:{port}", ssl_context=trusting())
            async with upstream.exchange(UpstreamRequest(b"POST", b"/", body=body)) as answer:
                got = bytearray()
                while len(got) < len(body):
                    got += await answer.read()
                assert got == body
                with pytest.raises(UpstreamError, match="broke off"):
                    await answer.read()

    run(main())


# Forward proxies


def test_plain_http_goes_to_the_proxy_in_absolute_form(run: Run) -> None:
    heads: list[bytes] = []

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        await reader.read()

    async def main() -> None:
        async with server(note) as port:
            environ = {"HTTP_PROXY": f"http://me:secret@127.0.0.1:{port}"}
            upstream = Upstream("http://far.example/api", environ_proxies=environ)
            assert await get(upstream, b"/x?y=1") == b"ok"
            line, host, authorization = heads[0].split(b"\r\n")[:3]
            assert line == b"GET http://far.example/api/x?y=1 HTTP/1.1"
            assert host == b"host: far.example"
            assert authorization == b"proxy-authorization: Basic bWU6c2VjcmV0"
            upstream.close()

    run(main())


def test_https_goes_through_the_proxys_tunnel_and_is_verified_for_the_far_host(run: Run) -> None:
    heads: list[bytes] = []

    async def main() -> None:
        async with server(answer_ok, tls=server_tls()) as far:

            async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                heads.append(await reader.readuntil(b"\r\n\r\n"))
                far_reader, far_writer = await asyncio.open_connection("127.0.0.1", far)
                writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
                try:
                    async with asyncio.TaskGroup() as group:
                        group.create_task(_copy(reader, far_writer))
                        group.create_task(_copy(far_reader, writer))
                finally:
                    far_writer.transport.abort()

            async with server(connect) as port:
                environ = {"HTTPS_PROXY": f"me:secret@127.0.0.1:{port}"}
                upstream = Upstream("https://far.example", environ_proxies=environ, ssl_context=trusting())
                assert await get(upstream) == b"ok"
                assert await get(upstream) == b"ok"
                assert heads == [
                    b"CONNECT far.example:443 HTTP/1.1\r\nHost: far.example:443\r\n"
                    b"Proxy-Authorization: Basic bWU6c2VjcmV0\r\n\r\n"
                ]
                upstream.close()

    run(main())


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)


@pytest.mark.parametrize(
    ("answer", "why"),
    [(b"HTTP/1.1 403 Forbidden\r\n\r\n", "it refused: HTTP/1.1 403 Forbidden"), (b"", "it broke off")],
)
def test_a_proxy_that_makes_no_tunnel_is_named(run: Run, answer: bytes, why: str) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def main() -> None:
        async with server(refuse) as port:
            environ = {"HTTPS_PROXY": f"http://127.0.0.1:{port}"}
            message = await refusal(Upstream("https://far.example", environ_proxies=environ))
            assert message == f"far.example:443: proxy 127.0.0.1:{port}: {why}"

    run(main())


def test_loopback_goes_directly_whatever_the_environment_says(run: Run, free_port: int) -> None:
    async def main() -> None:
        async with server(answer_ok) as port:
            environ = {"HTTP_PROXY": f"http://127.0.0.1:{free_port}"}
            upstream = Upstream(f"http://localhost:{port}", environ_proxies=environ)
            assert await get(upstream) == b"ok"
            upstream.close()

    run(main())
