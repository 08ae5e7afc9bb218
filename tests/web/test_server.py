"""The listener: what goes over the wire, and what a request may do with its client's connection."""

from __future__ import annotations

import asyncio
import logging
import re
import socket
import sys
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from itertools import pairwise
from typing import Any

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from swapyard.web import server
from swapyard.web.server import Handler, Reply, Request, bind

Run = Callable[[Coroutine[Any, Any, None]], None]
Serving = Callable[[Handler], AbstractAsyncContextManager[int]]
ReadAnswer = Callable[..., Coroutine[Any, Any, tuple[int, dict[str, str], bytes]]]

HELLO = b"GET /hello HTTP/1.1\r\nhost: test\r\n\r\n"


def answering(*chunks: bytes, status: int = 200, headers: list[tuple[bytes, bytes]] | None = None) -> Handler:
    async def app(_: Request, reply: Reply) -> None:
        reply.start(status, headers or [])
        for chunk in chunks:
            reply.write(chunk)
        reply.write(b"", last=True)

    return app


async def exchange(port: int, data: bytes) -> bytes:
    """Everything that comes back until the server closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    try:
        return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()


def test_a_body_of_unknown_length_is_sent_in_chunks_and_the_connection_is_kept(
    run: Run, serving: Serving
) -> None:
    async def main() -> None:
        async with serving(answering(b"one", b"", b"two")) as port:
            sent = await exchange(port, HELLO + HELLO.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"))
        head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
        body = b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"
        last = head.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
        assert sent == head + body + last + body

    run(main())


def test_a_client_of_http_1_0_gets_a_body_without_chunks_that_ends_with_the_connection(
    run: Run, serving: Serving
) -> None:
    async def main() -> None:
        async with serving(answering(b"one", b"two", headers=[(b"connection", b"keep-alive")])) as port:
            sent = await exchange(port, b"GET / HTTP/1.0\r\n\r\n")
        assert sent == b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nonetwo"

    run(main())


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_without_a_body_keeps_its_content_length_and_the_connection(
    run: Run, serving: Serving, read_answer: ReadAnswer, status: int
) -> None:
    async def main() -> None:
        async with serving(answering(status=status, headers=[(b"content-length", b"1234")])) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for _ in range(2):
                writer.write(HELLO)
                assert await read_answer(reader) == (status, {"content-length": "1234"}, b"")
            writer.close()
            await writer.wait_closed()

    run(main())


def test_the_answer_to_head_has_the_headers_of_get_and_no_body(
    run: Run, serving: Serving, read_answer: ReadAnswer
) -> None:
    async def main() -> None:
        async with serving(answering(b"four", headers=[(b"content-length", b"4")])) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for _ in range(2):
                writer.write(HELLO.replace(b"GET", b"HEAD"))
                answer = await read_answer(reader, bodiless=True)
                assert answer == (200, {"content-length": "4"}, b"")
            writer.close()
            await writer.wait_closed()

    run(main())


def test_a_status_outside_the_registered_classes_is_passed_on(run: Run, serving: Serving) -> None:
    async def main() -> None:
        async with serving(answering(status=999, headers=[(b"connection", b"close")])) as port:
            sent = await exchange(port, HELLO)
        assert sent.startswith(b"HTTP/1.1 999 \r\n") and sent.count(b"connection: close") == 1

    run(main())


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", b"400"),
    ],
    ids=["no host", "no http", "two lengths"],
)
def test_what_is_no_request_is_refused_in_plain_text_and_the_connection_closed(
    run: Run, serving: Serving, request_bytes: bytes, status: bytes
) -> None:
    async def main() -> None:
        async with serving(answering(b"never")) as port:
            sent = await exchange(port, request_bytes)
        assert sent.startswith(b"HTTP/1.1 " + status)
        assert b"content-type: text/plain" in sent and b"connection: close" in sent

    run(main())


@pytest.mark.parametrize(("size", "status"), [(700_000, b"200"), (1_040_000, b"200"), (1_400_000, b"431")])
def test_heads_are_accepted_up_to_one_mebibyte_in_however_many_pieces_they_come(
    run: Run, serving: Serving, size: int, status: bytes
) -> None:
    async def main() -> None:
        async with serving(answering(headers=[(b"connection", b"close")])) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            line = b"x-filler: " + b"y" * 990 + b"\r\n"
            head = b"GET / HTTP/1.1\r\nhost: a\r\n" + line * (size // len(line)) + b"\r\n"
            for start in range(0, len(head), 50_000):
                writer.write(head[start : start + 50_000])
                await writer.drain()
                await asyncio.sleep(0)
            assert (await reader.readline()).split(b" ")[1] == status
            writer.transport.abort()

    run(main())


def test_a_client_that_is_refused_while_it_sends_a_long_body_gets_the_answer(
    run: Run, serving: Serving
) -> None:
    async def main() -> None:
        async with serving(answering(b"no", status=401)) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            head = b"POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 3000000\r\n\r\n"
            writer.write(head + bytes(1_000_000))
            await writer.drain()
            writer.write(bytes(1_000_000))
            assert (await reader.read()).endswith(b"2\r\nno\r\n0\r\n\r\n")
            writer.transport.abort()

    run(main())


def test_a_request_line_without_end_is_cut_off_at_the_limit(run: Run, serving: Serving) -> None:
    async def main() -> None:
        async with serving(answering(b"never")) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /" + b"a" * (server.HEAD_LIMIT_BYTES + 300_000))
            assert (await reader.readline()).split(b" ")[1] == b"431"
            writer.transport.abort()

    run(main())


def test_bytes_that_are_no_request_do_not_break_into_the_answer_before_them(
    run: Run, serving: Serving
) -> None:
    async def main() -> None:
        go_on = asyncio.Event()

        async def slow(request: Request, reply: Reply) -> None:
            reply.start(200, [])
            reply.write(b"first ")
            await go_on.wait()
            reply.write(b"second", last=True)

        async with serving(slow) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(HELLO)
            await reader.readuntil(b"first \r\n")
            writer.write(b"{this is not http}\r\n\r\n")
            await writer.drain()
            asyncio.get_running_loop().call_later(0.05, go_on.set)
            end, refusal = (await reader.read()).split(b"0\r\n\r\n")
            assert end == b"6\r\nsecond\r\n" and refusal.startswith(b"HTTP/1.1 400 ")
            writer.close()
            await writer.wait_closed()

    run(main())


class Watched:
    """An application that never answers, and tells how it ended."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.left = asyncio.Event()

    async def __call__(self, request: Request, _: Reply) -> None:
        if request.path == "/second":
            raise AssertionError("its turn never comes")
        self.entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.left.set()


@pytest.mark.parametrize("more", [b"", HELLO.replace(b"/hello", b"/second")], ids=["alone", "pipelined"])
def test_a_client_that_leaves_ends_its_request_at_once(run: Run, serving: Serving, more: bytes) -> None:
    async def main() -> None:
        app = Watched()
        async with serving(app) as port:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(HELLO + more)
            await app.entered.wait()
            writer.transport.abort()
            async with asyncio.timeout(20):
                await app.left.wait()

    run(main())


def test_pipelined_requests_are_answered_in_order_one_at_a_time(run: Run, serving: Serving) -> None:
    async def main() -> None:
        running = most = 0

        async def app(request: Request, reply: Reply) -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.01)
            path = request.path.encode()
            head = [(b"content-length", b"%d" % len(path))]
            reply.start(200, head)
            running -= 1
            reply.write(path, last=True)

        async with serving(app) as port:
            request = b"GET /%d HTTP/1.1\r\nhost: a\r\n\r\n"
            last = b"GET /3 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
            sent = await exchange(port, request % 1 + request % 2 + last)
        assert sent.index(b"/1") < sent.index(b"/2") < sent.index(b"/3")
        assert most == 1

    run(main())


def test_the_body_of_a_request_waits_with_the_client_until_somebody_reads_it(
    run: Run, serving: Serving
) -> None:
    async def main() -> None:
        read = asyncio.Event()
        got = bytearray()

        async def app(request: Request, reply: Reply) -> None:
            await read.wait()
            while part := await request.read():
                got.extend(part)
            await answering()(request, reply)

        async with serving(app) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            size = 30_000_000
            writer.write(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % size)
            writer.write(b"z" * size)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(writer.drain(), 0.3)
            read.set()
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
            assert len(got) == size
            writer.transport.abort()

    run(main())


def test_100_continue_is_sent_when_the_body_is_asked_for_and_not_when_it_is_refused(
    run: Run, serving: Serving, read_answer: ReadAnswer
) -> None:
    head = b"POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n"

    async def reading(request: Request, reply: Reply) -> None:
        while await request.read():
            pass
        await answering(b"thanks")(request, reply)

    async def main() -> None:
        async with serving(reading) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(head)
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(b"ok")
            assert (await read_answer(reader))[2] == b"thanks"
            writer.transport.abort()
        async with serving(answering(status=401, headers=[(b"content-length", b"0")])) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(head)
            assert (await read_answer(reader))[0] == 401
            writer.transport.abort()

    run(main())


def test_a_bug_becomes_500_and_a_line_in_the_log(
    run: Run, serving: Serving, read_answer: ReadAnswer, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(request: Request, reply: Reply) -> None:
        raise LookupError("a bug of this test")

    async def main() -> None:
        async with serving(broken) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(HELLO.replace(b"/hello", b"/forged%0Aline"))
            status, _, body = await read_answer(reader)
            assert status == 500 and b"internal_error" in body
            writer.transport.abort()

    with caplog.at_level(logging.ERROR):
        run(main())
    assert "a bug of this test" in caplog.text
    assert "/forged%0Aline" in caplog.text


def test_a_bug_in_mid_answer_cuts_the_connection(run: Run, serving: Serving) -> None:
    async def broken(request: Request, reply: Reply) -> None:
        reply.start(200, [])
        reply.write(b"half")
        raise LookupError

    async def main() -> None:
        async with serving(broken) as port:
            assert (await exchange(port, HELLO)).endswith(b"4\r\nhalf\r\n")

    run(main())


def cutting(*, headers: list[tuple[bytes, bytes]] | None = None) -> Handler:
    async def app(request: Request, reply: Reply) -> None:
        reply.start(200, headers or [])
        reply.write(b"half")
        # On loopback the bytes are with the client as soon as they are written.
        await asyncio.sleep(0.05)
        reply.cut()

    return app


def test_a_cut_answer_in_chunks_lacks_the_last_chunk(run: Run, serving: Serving) -> None:
    async def main() -> None:
        async with serving(cutting()) as port:
            assert (await exchange(port, HELLO)).endswith(b"4\r\nhalf\r\n")

    run(main())


def test_a_cut_answer_that_only_the_connection_ends_is_reset(run: Run, serving: Serving) -> None:
    async def main() -> None:
        async with serving(cutting()) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.0\r\n\r\n")
            await reader.readuntil(b"half")
            with pytest.raises(ConnectionResetError):
                await reader.read()
            writer.transport.abort()

    run(main())


@pytest.mark.parametrize(("version", "told"), [(b"1.1", True), (b"1.0", False)])
def test_informational_answers_are_passed_to_clients_that_know_them(
    run: Run, serving: Serving, version: bytes, told: bool
) -> None:
    async def app(request: Request, reply: Reply) -> None:
        reply.informational(103, [(b"link", b"</style.css>")])
        await answering(headers=[(b"connection", b"close")])(request, reply)

    async def main() -> None:
        async with serving(app) as port:
            sent = await exchange(port, b"GET / HTTP/%b\r\nhost: a\r\n\r\n" % version)
        assert (b"HTTP/1.1 103 Early Hints\r\nlink: </style.css>\r\n\r\n" in sent) is told

    run(main())


def test_an_upgraded_connection_belongs_to_whoever_took_it_over(run: Run, serving: Serving) -> None:
    class Echo(asyncio.Protocol):
        def __init__(self, transport: asyncio.Transport) -> None:
            self.transport = transport
            self.lost = asyncio.Event()

        def data_received(self, data: bytes) -> None:
            self.transport.write(data.upper())

        def connection_lost(self, exc: Exception | None) -> None:
            self.lost.set()

    async def app(request: Request, reply: Reply) -> None:
        transport, early = reply.take_over(101, [(b"upgrade", b"websocket")])
        echo = Echo(transport)
        transport.set_protocol(echo)
        transport.write(early.upper())
        await echo.lost.wait()

    async def main() -> None:
        async with serving(app) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            upgrade = b"connection: upgrade\r\nupgrade: websocket\r\n\r\n"
            writer.write(b"GET /ws HTTP/1.1\r\nhost: a\r\n" + upgrade + b"early")
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
            assert await reader.readexactly(5) == b"EARLY"
            writer.write(b"late")
            assert await reader.readexactly(4) == b"LATE"
            writer.close()
            await writer.wait_closed()

    run(main())


def test_a_client_that_does_not_read_stops_the_application(run: Run, serving: Serving) -> None:
    async def main() -> None:
        sent_bytes = 0
        congested = False

        async def app(request: Request, reply: Reply) -> None:
            nonlocal sent_bytes, congested
            reply.start(200, [])
            while True:
                await reply.room()
                reply.write(bytes(100_000))
                sent_bytes += 100_000
                congested = reply.congested

        async with serving(app) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1000)
            writer.write(HELLO)
            await reader.readline()
            before = -1
            while before != sent_bytes:
                before = sent_bytes
                await asyncio.sleep(0.2)
            assert congested and sent_bytes < 50_000_000
            writer.transport.abort()

    run(main())


def test_closing_lets_a_running_request_end_and_its_connection_with_it(run: Run) -> None:
    async def main() -> None:
        entered, go_on = asyncio.Event(), asyncio.Event()

        async def app(request: Request, reply: Reply) -> None:
            entered.set()
            await go_on.wait()
            await answering(b"done")(request, reply)

        listener = server.Listener(app, lambda *_: None)
        sockets = bind("127.0.0.1", 0)
        port = sockets[0].getsockname()[1]
        await listener.listen(sockets)
        idle_reader, idle_writer = await asyncio.open_connection("127.0.0.1", port)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HELLO)
        await entered.wait()
        listener.close()
        assert await idle_reader.read() == b""
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", port)
        go_on.set()
        await listener.drained()
        assert b"connection: close" in (answer := await reader.read()) and b"done" in answer
        for one in (idle_writer, writer):
            one.close()
            await one.wait_closed()

    run(main())


def test_a_port_that_is_taken_is_noticed_when_binding() -> None:
    (taken,) = bind("127.0.0.1", 0)
    with taken, pytest.raises(OSError, match="in use"):
        bind("127.0.0.1", taken.getsockname()[1])


def test_an_empty_host_means_every_address_with_one_port() -> None:
    sockets = bind("", 0)
    try:
        assert {sock.family for sock in sockets} >= {socket.AF_INET}
        assert len({sock.getsockname()[1] for sock in sockets}) == 1
    finally:
        for sock in sockets:
            sock.close()


# What one client does must not hurt it, or others


class Application:
    """Reads each body to its end and answers with what it read; tells what reached it, in order."""

    def __init__(self) -> None:
        self.got: list[tuple[str, str, bytes]] = []
        self.headers: list[list[tuple[bytes, bytes]]] = []

    async def __call__(self, request: Request, reply: Reply) -> None:
        self.headers.append(request.headers)
        body = b""
        while part := await request.read():
            body += part
        self.got.append((request.method, request.path, body))
        reply.start(200, [(b"content-length", b"%d" % len(body))], body, last=True)


def statuses(sent: bytes) -> list[int]:
    """Of the answers in these bytes, whose bodies hold no status lines."""
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", sent)]


CHUNKED = b"POST /c HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "framing",
    [
        b"content-length: 3\r\n\r\nabc",
        b"transfer-encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
    ],
    ids=["length", "chunks"],
)
@pytest.mark.parametrize("protocol", [b"h2c", b"TLS/1.0", b"foo, bar"])
@pytest.mark.parametrize("cut", [None, 1])
def test_an_upgrade_that_is_not_taken_is_ignored_and_loses_nothing(
    run: Run, serving: Serving, framing: bytes, protocol: bytes, cut: int | None
) -> None:
    """`curl --http2 -d` and Java's client ask for one with every first request (issue 11, item 2)."""

    async def main() -> None:
        app = Application()
        upgrade = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: %b\r\nhttp2-settings: AAA\r\n" % protocol
        data = b"POST /a HTTP/1.1\r\nhost: a\r\n" + upgrade + framing
        data += b"GET /b HTTP/1.1\r\nhost: a\r\n" + upgrade + b"\r\n"
        data += b"POST /c HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\nconnection: close\r\n\r\nz"
        async with serving(app) as port:
            sent = await in_pieces(port, data, cut)
        assert statuses(sent) == [200, 200, 200]
        assert app.got == [("POST", "/a", b"abc"), ("GET", "/b", b""), ("POST", "/c", b"z")]

    run(main())


async def in_pieces(port: int, data: bytes, size: int | None) -> bytes:
    """Send these bytes, each `size` of them in a write of their own; what comes back until the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    answer = asyncio.ensure_future(reader.read())
    try:
        for start in range(0, len(data), size or len(data)):
            writer.write(data[start : start + (size or len(data))])
            await asyncio.sleep(0)
        return await answer
    except ConnectionError:
        return b""
    finally:
        writer.transport.abort()


BROKEN = {
    "chunk size": CHUNKED + b"xyz\r\nab\r\n0\r\n\r\n",
    "bare line feed": CHUNKED + b"2\nab\n0\n\n",
    "data beyond its chunk": CHUNKED + b"2\r\nabc\r\n0\r\n\r\n",
    "trailer": CHUNKED + b"2\r\nab\r\n0\r\nno colon\r\n\r\n",
    "coding": CHUNKED.replace(b"chunked", b"xchunked"),
    "coding behind": CHUNKED.replace(b"chunked", b"chunked, gzip"),
    "negative chunk": CHUNKED + b"-1\r\n",
    "huge chunk": CHUNKED + b"fffffffffffffffffff\r\n",
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("behind", [b"", b"GET /behind HTTP/1.1\r\nhost: a\r\n\r\n"], ids=["alone", "more"])
def test_a_malformed_body_is_answered_with_400_which_is_the_last_word(
    run: Run, serving: Serving, data: bytes, behind: bytes
) -> None:
    async def main() -> None:
        app = Application()
        async with serving(app) as port:
            sent = await exchange(port, data + behind)
        assert statuses(sent) == [400] and b"connection: close" in sent
        assert app.got == []

    run(main())


def test_a_malformed_body_ends_a_handler_that_does_not_read_it(run: Run, serving: Serving) -> None:
    """A request that waits for its model must not keep its place (issue 11, item 3)."""

    async def main() -> None:
        waits = asyncio.Event()

        async def app(request: Request, reply: Reply) -> None:
            waits.set()
            await asyncio.Event().wait()

        async with serving(app) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(CHUNKED + b"2\r\nab\r\n")
            await waits.wait()
            writer.write(b"nonsense\r\n")
            assert statuses(await reader.read()) == [400]
            writer.transport.abort()

    run(main())


def test_a_body_that_stalls_while_it_is_read_is_refused_with_408(run: Run, serving: Serving) -> None:
    async def main() -> None:
        async def app(request: Request, reply: Reply) -> None:
            await request.read(0.05)
            await request.read(0.05)

        async with serving(app) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nabc")
            sent = await reader.read()
            assert statuses(sent) == [408] and b"0.05 s" in sent
            writer.transport.abort()

    run(main())


def test_trailers_are_dropped(run: Run, serving: Serving) -> None:
    async def main() -> None:
        app = Application()
        trailers = b"X-Api-Key: k\r\nHost: other\r\nConnection: close\r\nX-Forwarded-For: 1.1.1.1\r\n"
        async with serving(app) as port:
            sent = await exchange(
                port,
                CHUNKED + b"2\r\nab\r\n0\r\n" + trailers + b"\r\n"
                b"GET /b HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
            )
        assert statuses(sent) == [200, 200]
        assert app.headers[0] == [(b"host", b"a"), (b"transfer-encoding", b"chunked")]
        assert app.headers[1] == [(b"host", b"a"), (b"connection", b"close")]

    run(main())


@pytest.mark.parametrize(
    "endless", [b"x: " + b"y" * 997 + b"\r\n", b"z" * 1000], ids=["many trailers", "one trailer"]
)
def test_endless_trailers_are_cut_off_at_the_limit_of_a_head(
    run: Run, serving: Serving, endless: bytes
) -> None:
    async def main() -> None:
        async with serving(Application()) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(CHUNKED + b"2\r\nab\r\n0\r\n")
            sent = 0
            answer = asyncio.ensure_future(reader.readline())
            while not answer.done() and sent < 4 * server.HEAD_LIMIT_BYTES:
                writer.write(endless * 100)
                sent += len(endless) * 100
                await asyncio.sleep(0)
            assert statuses(await answer) == [431]
            writer.transport.abort()

    run(main())


@pytest.mark.parametrize("size", [b"", b"content-length: 5\r\n"], ids=["no body", "a body each"])
def test_pipelined_requests_wait_as_bytes_and_no_more_than_the_limit_of_them(
    run: Run, serving: Serving, size: bytes
) -> None:
    async def main() -> None:
        go_on = asyncio.Event()
        running = 0

        async def app(request: Request, reply: Reply) -> None:
            nonlocal running
            running += 1
            while await request.read():
                pass
            await go_on.wait()
            reply.start(200, [(b"content-length", b"0")], last=True)

        one = b"POST / HTTP/1.1\r\nhost: a\r\n" + size + b"\r\n" + (b"12345" if size else b"")
        async with serving(app) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(one * 200_000)
            # The server stops to read: what is not taken stays with the client.
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(writer.drain(), 0.3)
            assert running == 1
            go_on.set()
            assert [(await reader.readline())[:12] for _ in range(1)] == [b"HTTP/1.1 200"]
            writer.transport.abort()

    run(main())


@pytest.mark.parametrize(
    "refused",
    [
        b"GET /health HTTP/1.1\r\n\r\n",
        b"GET /health HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
        b"GET /health HTTP/1.1\r\nhost: a\r\nbad header\r\n\r\n",
        b"CONNECT a:1 HTTP/1.1\r\nhost: a\r\n\r\n",
        b"GET / HTTP/2.0\r\nhost: a\r\n\r\n",
        b"POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n",
    ],
)
def test_nothing_behind_a_refusal_is_executed(run: Run, serving: Serving, refused: bytes) -> None:
    async def main() -> None:
        app = Application()
        async with serving(app) as port:
            sent = await exchange(port, refused + b"GET /unload HTTP/1.1\r\nhost: a\r\n\r\n")
        assert len(statuses(sent)) == 1 and statuses(sent)[0] >= 400
        assert app.got == []

    run(main())


def test_a_head_that_is_not_completed_is_refused_and_a_silent_connection_closed(run: Run) -> None:
    async def main() -> None:
        listener = server.Listener(Application(), lambda *_: None, limits=server.Limits(head=0.1, idle=0.5))
        sockets = bind("127.0.0.1", 0)
        port = sockets[0].getsockname()[1]
        await listener.listen(sockets)
        partial, half = await asyncio.open_connection("127.0.0.1", port)
        half.write(b"GET / HTTP/1.1\r\nhost: a\r\n")
        silent, nothing = await asyncio.open_connection("127.0.0.1", port)
        kept, used = await asyncio.open_connection("127.0.0.1", port)
        used.write(HELLO)
        assert statuses(await partial.read()) == [408]
        assert await silent.read() == b""
        assert statuses(await kept.read()) == [200]
        listener.close()
        listener.abort()
        for one in (half, nothing, used):
            one.transport.abort()

    run(main())


def test_accepted_connections_are_asked_whether_they_are_alive(run: Run, serving: Serving) -> None:
    if sys.platform != "linux":
        pytest.skip("reads the options of the accepted socket")

    async def main() -> None:
        options: list[int] = []

        async def app(request: Request, reply: Reply) -> None:
            sock = request._wire.transport.get_extra_info("socket")
            options.append(sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))
            options.append(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE))
            reply.start(200, [(b"content-length", b"0")], last=True)

        async with serving(app) as port:
            await exchange(port, HELLO.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"))
        assert options == [1, server.KEEP_ALIVE]

    run(main())


def test_a_rest_of_a_body_after_its_answer_is_dropped_up_to_a_limit(run: Run, serving: Serving) -> None:
    async def main() -> None:
        async with serving(answering(b"no", status=401)) as port:
            head = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\n"
            last = HELLO.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
            assert statuses(await exchange(port, head + bytes(100_000) + last)) == [401, 401]
            longer = head.replace(b"100000", b"10000000")
            sent = await exchange(port, longer + bytes(100))
            assert statuses(sent) == [401] and b"connection: close" in sent
            endless = CHUNKED + (b"%x\r\n" % 60_000 + bytes(60_000) + b"\r\n") * 20
            assert statuses(await exchange(port, endless)) == [401]

    run(main())


# Any requests, cut anywhere

TOKEN = st.sampled_from(["/a", "/b/c", "/d?e=f"])
BODIES = st.binary(max_size=40) | st.sampled_from([b"\r\n\r\n", b"0\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"])


@st.composite
def valid_requests(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """(bytes, body) of a request that must be answered with its body."""
    path, body = draw(TOKEN), draw(BODIES)
    extra = draw(st.sampled_from([b"", b"upgrade: h2c\r\nconnection: upgrade\r\n", b"x-y: z\r\n"]))
    head = b"POST %b HTTP/1.1\r\nhost: a\r\n%b" % (path.encode(), extra)
    if draw(st.booleans()):
        return head + b"content-length: %d\r\n\r\n" % len(body) + body, body
    at = draw(st.integers(0, len(body)))
    chunks = [chunk for chunk in (body[:at], body[at:]) if chunk]
    framed = b"".join(b"%x;a=b\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    trailer = draw(st.sampled_from([b"", b"t: u\r\n"]))
    return head + b"transfer-encoding: chunked\r\n\r\n" + framed + b"0\r\n" + trailer + b"\r\n", body


@given(
    requests=st.lists(valid_requests(), max_size=5),
    refused=st.sampled_from([b"", *BROKEN.values(), b"GET / HTTP/1.1\r\n\r\n", b"{}\r\n\r\n"]),
    cuts=st.lists(st.integers(0, 2000), max_size=12),
)
@settings(max_examples=60, deadline=None)
def test_whatever_is_sent_however_it_is_cut_bodies_arrive_whole_and_refusals_are_last(
    requests: list[tuple[bytes, bytes]], refused: bytes, cuts: list[int]
) -> None:
    behind = b"POST /never HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nnever"
    last = b"POST /last HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
    data = b"".join(request for request, _ in requests) + (refused + behind if refused else last)
    app = Application()

    async def main() -> None:
        listener = server.Listener(app, lambda *_: None)
        sockets = bind("127.0.0.1", 0)
        await listener.listen(sockets)
        port = sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
        for start, end in pairwise(edges):
            writer.write(data[start:end])
            await asyncio.sleep(0)
        sent = await reader.read()
        writer.transport.abort()
        listener.close()
        await listener.drained()
        listener.abort()
        expected = [body for _, body in requests] + ([] if refused else [b""])
        assert [body for _, _, body in app.got] == expected
        found = re.findall(rb"HTTP/1\.1 (\d{3}) [^\r]*\r\n", sent)
        assert found[: len(expected)] == [b"200"] * len(expected)
        assert len(found) == len(expected) + bool(refused) and sent.count(b"connection: close") == 1

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
