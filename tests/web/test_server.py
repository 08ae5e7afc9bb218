"""The listener: what goes over the wire, and what a request may do with its client's connection."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from swapyard.web import server
from swapyard.web.server import App, Receive, Scope, Send, bind

Run = Callable[[Coroutine[Any, Any, None]], None]
Serving = Callable[[App], AbstractAsyncContextManager[int]]
ReadAnswer = Callable[..., Coroutine[Any, Any, tuple[int, dict[str, str], bytes]]]

HELLO = b"GET /hello HTTP/1.1\r\nhost: test\r\n\r\n"


def answering(*chunks: bytes, status: int = 200, headers: list[tuple[bytes, bytes]] | None = None) -> App:
    async def app(_: Scope, __: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": status, "headers": headers or []})
        for chunk in chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

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

        async def slow(_: Scope, __: Receive, send: Send) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"first ", "more_body": True})
            await go_on.wait()
            await send({"type": "http.response.body", "body": b"second"})

        async with serving(slow) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(HELLO)
            await reader.readuntil(b"first \r\n")
            writer.write(b"{this is not http}\r\n\r\n")
            await writer.drain()
            asyncio.get_running_loop().call_later(0.05, go_on.set)
            assert await reader.read() == b"6\r\nsecond\r\n0\r\n\r\n"
            writer.close()
            await writer.wait_closed()

    run(main())


class Watched:
    """An application that never answers, and tells how it ended."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.left = asyncio.Event()

    async def __call__(self, scope: Scope, _: Receive, send: Send) -> None:
        if scope["path"] == "/second":
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
            async with asyncio.timeout(2):
                await app.left.wait()

    run(main())


def test_pipelined_requests_are_answered_in_order_one_at_a_time(run: Run, serving: Serving) -> None:
    async def main() -> None:
        running = most = 0

        async def app(scope: Scope, _: Receive, send: Send) -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.01)
            path = scope["path"].encode()
            head = [(b"content-length", b"%d" % len(path))]
            await send({"type": "http.response.start", "status": 200, "headers": head})
            running -= 1
            await send({"type": "http.response.body", "body": path})

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

        async def app(_: Scope, receive: Receive, send: Send) -> None:
            await read.wait()
            more = True
            while more:
                message = await receive()
                got.extend(message["body"])
                more = message["more_body"]
            await answering()(_, receive, send)

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

    async def reading(_: Scope, receive: Receive, send: Send) -> None:
        message = await receive()
        while message["more_body"]:
            message = await receive()
        await answering(b"thanks")(_, receive, send)

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
    async def broken(_: Scope, __: Receive, ___: Send) -> None:
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
    async def broken(_: Scope, __: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise LookupError

    async def main() -> None:
        async with serving(broken) as port:
            assert (await exchange(port, HELLO)).endswith(b"4\r\nhalf\r\n")

    run(main())


def cutting(*, headers: list[tuple[bytes, bytes]] | None = None) -> App:
    async def app(scope: Scope, _: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": headers or []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        # On loopback the bytes are with the client as soon as they are written.
        await asyncio.sleep(0.05)
        scope["link"].cut()

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
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["link"].informational(103, [(b"link", b"</style.css>")])
        await answering(headers=[(b"connection", b"close")])(scope, receive, send)

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

    async def app(scope: Scope, _: Receive, __: Send) -> None:
        transport, early = scope["link"].take_over(101, [(b"upgrade", b"websocket")])
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

        async def app(scope: Scope, _: Receive, send: Send) -> None:
            nonlocal sent_bytes, congested
            await send({"type": "http.response.start", "status": 200, "headers": []})
            while True:
                await send({"type": "http.response.body", "body": bytes(100_000), "more_body": True})
                sent_bytes += 100_000
                congested = scope["link"].congested

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

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            entered.set()
            await go_on.wait()
            await answering(b"done")(scope, receive, send)

        listener = server.Listener(app)
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
