"""The upstream client against real sockets: servers that behave, and servers named for how they do not."""

from __future__ import annotations

import asyncio
import contextlib
import mmap
import os
import socket
import struct
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import IO, Any, Self

import pytest

from swapyard.config.schema import Timeouts
from swapyard.errors import Fault, RequestError, UpstreamError
from swapyard.proxy.body import Body
from swapyard.proxy.sending import PIECE_BYTES, Payload, Sender
from swapyard.proxy.upstreams import Answer, StreamedBody, Upstream, UpstreamRequest

Run = Callable[[Coroutine[Any, Any, None]], None]

GET = UpstreamRequest(b"GET", b"/", [(b"host", b"front.example")])
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Server:
    """Answers every request of a connection with 200 `ok`; what it read is kept in `requests`."""

    answer = OK

    def __init__(self) -> None:
        self.connections = 0
        self.requests: list[bytes] = []
        # Set when a client's end of a connection was seen.
        self.saw_end = asyncio.Event()
        self.asked = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.peer = f"127.0.0.1:{port}"
        self.url = f"http://{self.peer}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            await self.serve(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.saw_end.set()
        except asyncio.CancelledError:
            return
        finally:
            self._tasks.discard(task)
            writer.close()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await self.read_request(reader)
            writer.write(self.answer)

    async def read_request(self, reader: asyncio.StreamReader) -> bytes:
        head = await reader.readuntil(b"\r\n\r\n")
        fields = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(b":") for line in head.split(b"\r\n")[1:])
        }
        self.requests.append(head)
        self.asked.set()
        if b"content-length" in fields:
            self.requests[-1] += await self.read_body(reader, int(fields[b"content-length"]))
        elif b"transfer-encoding" in fields:
            self.requests[-1] += await self.read_chunks(reader)
        return self.requests[-1]

    async def read_body(self, reader: asyncio.StreamReader, length: int) -> bytes:
        return await reader.readexactly(length)

    async def read_chunks(self, reader: asyncio.StreamReader) -> bytes:
        body = b""
        while size := int(await reader.readuntil(b"\n"), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readexactly(2)
        return body


async def body_of(answer: Answer) -> bytes:
    whole = bytearray()
    while data := await answer.read():
        whole += data
    return bytes(whole)


async def ask(upstream: Upstream, request: UpstreamRequest = GET) -> tuple[int, bytes]:
    async with upstream.exchange(request) as answer:
        return answer.status, await body_of(answer)


def timeouts(**seconds: float) -> Timeouts:
    """Timeouts that need not be whole seconds, as those of the file are."""
    return Timeouts().model_copy(update=seconds)


def test_an_answer_is_read_whole_and_its_connection_is_used_again(run: Run) -> None:
    async def main() -> None:
        async with Server() as server:
            upstream = Upstream(server.url)
            for _ in range(3):
                assert await ask(upstream) == (200, b"ok")
            assert server.connections == 1
            assert upstream.idle_connections == 1
            upstream.close()

    run(main())


class Says(Server):
    """Answers the requests of each connection with these bytes, one after the other, and then closes it."""

    def __init__(self, *answers: bytes) -> None:
        super().__init__()
        self._answers = answers

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in self._answers:
            await self.read_request(reader)
            writer.write(answer)
            await writer.drain()


class ServerThatClosesAfterKeepAlive(Server):
    """Answers one request, promises to keep the connection, and closes it at the next one's first byte."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self.read_request(reader)
        writer.write(OK)
        await reader.read(1)


class ServerThatClosesUnasked(Server):
    """Answers one request and closes the connection, which it had promised to keep."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self.read_request(reader)
        writer.write(OK)


class ServerThatNeverAnswers(Server):
    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self.read_request(reader)
        await reader.readexactly(1)


class ServerThatHangsUp(Server):
    """Reads each request and closes without a word."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self.read_request(reader)


class ServerThatStreamsForEver(Server):
    """Sends one chunk after the other, as fast as it is allowed to, and counts them."""

    chunk = bytes(64 * 1024)

    def __init__(self) -> None:
        super().__init__()
        self.written_bytes = 0
        self.stuck = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self.read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"%x\r\n%b\r\n" % (len(self.chunk), self.chunk))
            self.written_bytes += len(self.chunk)
            try:
                async with asyncio.timeout(0.3):
                    await writer.drain()
            except TimeoutError:
                self.stuck.set()
                await writer.drain()


class SlowReader(Server):
    """Reads a request body in pieces only after it was told to go on."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = asyncio.Event()
        self.read_bytes = 0

    async def read_body(self, reader: asyncio.StreamReader, length: int) -> bytes:
        await self.go_on.wait()
        while self.read_bytes < length:
            self.read_bytes += len(await reader.read(1024 * 1024))
        return b""


class ServerThatAnswersEarly(Server):
    """Answers 413 when it has seen the head, and reads none of the body."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.requests.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\n\r\nbig")
        await writer.drain()
        # Neither read nor closed: a reset would race with the answer.
        await self.saw_end.wait()


class ServerThatWantsToBeAsked(Server):
    """Asks for the body of a request (`Expect: 100-continue`) before it reads it; `late` never asks."""

    def __init__(self, *, late: bool = False) -> None:
        super().__init__()
        self._late = late
        self.body_before_asked = b""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"expect: 100-continue" in head
        if not self._late:
            try:
                async with asyncio.timeout(0.1):
                    self.body_before_asked = await reader.read(1)
            except TimeoutError:
                pass
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.requests.append(await reader.readexactly(5))
        writer.write(OK)


# Answers


def test_chunks_come_out_trailers_do_not_and_header_names_are_lower_case(run: Run) -> None:
    async def main() -> None:
        async with Says(
            b"HTTP/1.1 207 Fine So Far\r\nSet-Cookie: a\r\nX-Empty:\r\nSet-Cookie: b\r\n"
            b"Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
            b"3\r\none\r\n3\r\ntwo\r\n0\r\nX-Sum: 6\r\n\r\n"
        ) as server:
            upstream = Upstream(server.url)
            async with upstream.exchange(GET) as answer:
                assert (answer.status, answer.reason) == (207, b"Fine So Far")
                assert answer.headers[:3] == [(b"set-cookie", b"a"), (b"x-empty", b""), (b"set-cookie", b"b")]
                # One write of the upstream, one read of ours: nothing more to wait for.
                assert answer.ended
                assert await answer.read() == b"onetwo"
                assert await answer.read() == b""
            upstream.close()

    run(main())


@pytest.mark.parametrize(
    ("method", "head"),
    [
        (b"HEAD", b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n"),
        (b"HEAD", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"),
        (b"HEAD", b"HTTP/1.1 200 OK\r\n\r\n"),
        (b"GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
        (b"GET", b"HTTP/1.1 304 Not Modified\r\ncontent-length: 500\r\n\r\n"),
    ],
)
def test_answers_without_a_body_end_at_their_head_and_keep_the_connection(
    run: Run, method: bytes, head: bytes
) -> None:
    async def main() -> None:
        async with Says(head, OK) as server:
            upstream = Upstream(server.url)
            async with upstream.exchange(UpstreamRequest(method, b"/", list(GET.headers))) as answer:
                assert answer.ended
                assert await answer.read() == b""
            assert await ask(upstream) == (200, b"ok")
            assert server.connections == 1
            upstream.close()

    run(main())


def test_a_body_without_length_ends_with_the_connection(run: Run) -> None:
    async def main() -> None:
        async with Says(b"HTTP/1.1 200 OK\r\n\r\nall of it") as server:
            upstream = Upstream(server.url)
            assert await ask(upstream) == (200, b"all of it")
            assert upstream.idle_connections == 0

    run(main())


@pytest.mark.parametrize(
    "broken",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\nnonsense\r\n",
    ],
)
def test_a_body_that_breaks_off_is_read_as_far_as_it_came_and_then_raises(run: Run, broken: bytes) -> None:
    async def main() -> None:
        async with Says(broken) as server:
            upstream = Upstream(server.url)
            async with upstream.exchange(GET) as answer:
                assert await answer.read() == b"half"
                for _ in range(2):
                    with pytest.raises(
                        UpstreamError, match=f"^{server.peer}: the answer broke off"
                    ) as caught:
                        await answer.read()
                    assert caught.value.fault is Fault.BAD_GATEWAY
            assert upstream.idle_connections == 0

    run(main())


@pytest.mark.parametrize(
    "head", [b"HTTP/1.1 200 OK\r\n\r\nhalf", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf"]
)
def test_a_reset_never_counts_as_the_end_of_a_body(run: Run, head: bytes) -> None:
    class ServerThatResets(Server):
        async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self.read_request(reader)
            writer.write(head)
            await self.saw_end.wait()
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()

    async def main() -> None:
        async with ServerThatResets() as server:
            async with Upstream(server.url).exchange(GET) as answer:
                assert await answer.read() == b"half"
                server.saw_end.set()
                with pytest.raises(UpstreamError, match="connection reset"):
                    await answer.read()

    run(main())


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"SSH-2.0-OpenSSH\r\n", "not a valid HTTP/1.1 response"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1_200_000, "headers are too long"),
        (b"HTTP/1.1 200 OK\r\nX: y", "it closed the connection"),
        (b"", "no answer, it closed the connection"),
        (b"HTTP/1.1 101 Sure\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n", "not asked for"),
    ],
)
def test_what_is_not_an_answer_is_a_bad_gateway_with_its_reason(
    run: Run, answer: bytes, message: str
) -> None:
    async def main() -> None:
        async with Says(answer) as server:
            with pytest.raises(UpstreamError, match=message) as caught:
                await ask(Upstream(server.url))
            assert caught.value.fault is Fault.BAD_GATEWAY
            assert str(caught.value).startswith(server.peer)
            assert server.connections == 1

    run(main())


def test_informational_answers_are_handed_out_before_the_final_one(run: Run) -> None:
    async def main() -> None:
        async with Says(
            b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n" + OK
        ) as server:
            seen: list[tuple[int, list[tuple[bytes, bytes]]]] = []
            upstream = Upstream(server.url)
            request = UpstreamRequest(b"GET", b"/", on_informational=lambda *hint: seen.append(hint))
            assert await ask(upstream, request) == (200, b"ok")
            assert seen == [(103, [(b"link", b"</x>")]), (102, [])]
            upstream.close()

    run(main())


def test_an_unread_answer_stops_the_upstream_and_a_read_one_lets_it_go_on(run: Run) -> None:
    async def main() -> None:
        async with ServerThatStreamsForEver() as server:
            async with Upstream(server.url).exchange(GET) as answer:
                await server.stuck.wait()
                stuck_at = server.written_bytes
                assert len(answer.take()) < 1024 * 1024
                total = 0
                while total <= 2 * stuck_at:
                    total += len(await answer.read())
            await server.saw_end.wait()

    run(main())


# Leaving


def test_leaving_in_the_middle_of_an_answer_closes_the_connection_at_once(run: Run) -> None:
    async def main() -> None:
        async with ServerThatStreamsForEver() as server:
            upstream = Upstream(server.url)
            async with upstream.exchange(GET) as answer:
                await answer.read()
            await server.saw_end.wait()
            assert upstream.idle_connections == 0

    run(main())


def test_cancelling_before_the_answer_closes_the_connection_at_once(run: Run) -> None:
    async def main() -> None:
        async with ServerThatNeverAnswers() as server:
            upstream = Upstream(server.url)
            async with asyncio.TaskGroup() as group:
                asking = group.create_task(ask(upstream))
                await server.asked.wait()
                asking.cancel()
            await server.saw_end.wait()
            assert upstream.idle_connections == 0

    run(main())


def test_leaving_unread_what_has_arrived_whole_keeps_the_connection(run: Run) -> None:
    async def main() -> None:
        async with Server() as server:
            upstream = Upstream(server.url)
            for _ in range(2):
                async with upstream.exchange(GET) as answer:
                    assert answer.ended
            assert server.connections == 1
            upstream.close()

    run(main())


# Kept connections


def test_a_kept_connection_that_died_is_replaced_once_and_silently(run: Run) -> None:
    async def main() -> None:
        async with ServerThatClosesAfterKeepAlive() as server:
            upstream = Upstream(server.url)
            post = UpstreamRequest(b"POST", b"/", body=b"body")
            for _ in range(3):
                assert await ask(upstream, post) == (200, b"ok")
            assert server.connections == 3
            upstream.close()

    run(main())


def test_a_connection_that_the_upstream_closed_while_idle_is_not_used(run: Run) -> None:
    async def main() -> None:
        async with ServerThatClosesUnasked() as server:
            upstream = Upstream(server.url)
            for _ in range(2):
                # A body that cannot be sent again: a second connection can only be a new exchange's.
                request = UpstreamRequest(b"POST", b"/", body=StreamedBody(chunks(b"once")))
                assert await ask(upstream, request) == (200, b"ok")
                while upstream.idle_connections:  # noqa: ASYNC110 - what a transport notices has no event
                    await asyncio.sleep(0)
            assert server.connections == 2

    run(main())


def test_a_new_connection_that_dies_is_not_replaced(run: Run) -> None:
    async def main() -> None:
        async with ServerThatHangsUp() as server:
            with pytest.raises(UpstreamError, match="no answer"):
                await ask(Upstream(server.url))
            assert server.connections == 1

    run(main())


def test_a_second_connection_that_dies_is_an_error(run: Run) -> None:
    class ServerThatAnswersOnce(Server):
        async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self.read_request(reader)
            if self.connections == 1:
                writer.write(OK)
                await self.read_request(reader)

    async def main() -> None:
        async with ServerThatAnswersOnce() as server:
            upstream = Upstream(server.url)
            await ask(upstream)
            with pytest.raises(UpstreamError, match="no answer"):
                await ask(upstream)
            assert server.connections == 2

    run(main())


def test_a_kept_connection_that_dies_within_an_answer_is_an_error(run: Run) -> None:
    async def main() -> None:
        async with Says(OK, b"HTTP/1.1 2") as server:
            upstream = Upstream(server.url)
            await ask(upstream)
            with pytest.raises(UpstreamError, match="broke off"):
                await ask(upstream)
            assert server.connections == 1

    run(main())


def test_a_body_that_is_gone_is_not_sent_a_second_time(run: Run) -> None:
    async def main() -> None:
        async with ServerThatClosesAfterKeepAlive() as server:
            upstream = Upstream(server.url)
            await ask(upstream)
            with pytest.raises(UpstreamError, match="no answer"):
                await ask(upstream, UpstreamRequest(b"POST", b"/", body=StreamedBody(chunks(b"once"))))
            assert server.connections == 1

    run(main())


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
        OK + b"and more",
        OK + OK,
        OK + b"HTTP/1.1 204 No Content\r\n\r\n",
    ],
)
def test_a_connection_that_cannot_be_trusted_is_not_kept(run: Run, answer: bytes) -> None:
    async def main() -> None:
        async with Says(answer, OK) as server:
            upstream = Upstream(server.url)
            for _ in range(2):
                assert await ask(upstream) == (200, b"ok")
            assert server.connections == 2

    run(main())


def test_a_connection_that_sends_a_body_after_head_is_not_kept(run: Run) -> None:
    async def main() -> None:
        async with Says(OK) as server:
            upstream = Upstream(server.url)
            async with upstream.exchange(UpstreamRequest(b"HEAD", b"/")) as answer:
                assert await answer.read() == b""
            assert upstream.idle_connections == 0

    run(main())


def test_idle_connections_are_closed_after_their_time(run: Run) -> None:
    async def main() -> None:
        async with Server() as server:
            upstream = Upstream(server.url, timeouts(idle_conn=0.05))
            async with upstream.exchange(GET), upstream.exchange(GET):
                pass
            assert upstream.idle_connections == 2
            await server.saw_end.wait()
            assert upstream.idle_connections == 0

    run(main())


def test_no_more_than_a_hundred_connections_are_kept(run: Run) -> None:
    async def main() -> None:
        async with Server() as server:
            upstream = Upstream(server.url)
            async with contextlib.AsyncExitStack() as stack:
                for _ in range(102):
                    await stack.enter_async_context(upstream.exchange(GET))
            assert upstream.idle_connections == 100
            upstream.close()

    run(main())


def test_close_ends_idle_connections_now_and_busy_ones_with_their_exchange(run: Run) -> None:
    async def main() -> None:
        async with Server() as server:
            upstream = Upstream(server.url)
            async with upstream.exchange(GET) as busy:
                await ask(upstream)
                upstream.close()
                assert upstream.idle_connections == 0
                await server.saw_end.wait()
                server.saw_end.clear()
                assert await busy.read() == b"ok"
            await server.saw_end.wait()
            assert upstream.idle_connections == 0

    run(main())


# Requests


async def sent(server: Server, upstream: Upstream, request: UpstreamRequest) -> bytes:
    await ask(upstream, request)
    return server.requests[-1]


@pytest.mark.parametrize(
    ("base", "target", "line"),
    [
        ("", b"/v1/models?x=%2F", b"GET /v1/models?x=%2F HTTP/1.1"),
        ("/", b"/a%2Fb", b"GET /a%2Fb HTTP/1.1"),
        ("/api/", b"/v1", b"GET /api/v1 HTTP/1.1"),
        ("/api", b"v1", b"GET /api/v1 HTTP/1.1"),
        ("/api?k=1", b"/v1?x=2", b"GET /api/v1?k=1&x=2 HTTP/1.1"),
        ("?k=1", b"/", b"GET /?k=1 HTTP/1.1"),
    ],
)
def test_the_base_url_is_joined_to_the_target(run: Run, base: str, target: bytes, line: bytes) -> None:
    async def main() -> None:
        async with Server() as server:
            upstream = Upstream(server.url + base)
            assert (await sent(server, upstream, UpstreamRequest(b"GET", target))).startswith(line + b"\r\n")
            upstream.close()

    run(main())


def test_the_framing_headers_are_those_of_the_body_that_is_sent(run: Run) -> None:
    async def main() -> None:
        async with Server() as server:
            upstream = Upstream(server.url)
            headers = [
                (b"host", b"h"),
                (b"content-length", b"7"),
                (b"x", b"1"),
                (b"transfer-encoding", b"chunked"),
            ]
            got = await sent(server, upstream, UpstreamRequest(b"POST", b"/", headers, b"four"))
            assert got == b"POST / HTTP/1.1\r\nhost: h\r\nx: 1\r\ncontent-length: 4\r\n\r\nfour"
            got = await sent(server, upstream, UpstreamRequest(b"POST", b"/", headers))
            assert got == b"POST / HTTP/1.1\r\nhost: h\r\nx: 1\r\ncontent-length: 0\r\n\r\n"
            got = await sent(server, upstream, UpstreamRequest(b"GET", b"/", headers))
            assert got == b"GET / HTTP/1.1\r\nhost: h\r\nx: 1\r\n\r\n"
            upstream.close()

    run(main())


def test_a_host_header_is_added_when_the_client_sent_none(run: Run) -> None:
    async def main() -> None:
        async with Server() as server:
            upstream = Upstream(server.url)
            got = await sent(server, upstream, UpstreamRequest(b"GET", b"/"))
            assert f"host: {server.peer}\r\n".encode() in got
            upstream.close()

    run(main())


@pytest.mark.parametrize(
    "request_",
    [
        UpstreamRequest(b"GET", b"/ HTTP/1.1\r\nx: y\r\n\r\nGET /"),
        UpstreamRequest(b"GET", b"/a b"),
        UpstreamRequest(b"GET", b"/", [(b"x", b"1\r\ny: 2")]),
        UpstreamRequest(b"GET", b"/", [(b"x", b"1\ny: 2")]),
        UpstreamRequest(b"GET", b"/", [(b"x\r", b"1")]),
    ],
)
def test_nothing_can_break_out_of_its_line_in_the_head(run: Run, request_: UpstreamRequest) -> None:
    async def main() -> None:
        async with Server() as server:
            with pytest.raises(RequestError, match="line break"):
                await ask(Upstream(server.url), request_)
            assert server.connections == 0

    run(main())


async def chunks(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


LONG = os.urandom(1024) * 3000


@pytest.mark.parametrize("kind", ["bytes", "mapped", "streamed", "counted"])
def test_long_bodies_arrive_as_they_are(run: Run, kind: str) -> None:
    async def main() -> None:
        with tempfile.TemporaryFile() as file, contextlib.closing(_mapped(file, LONG)) as mapped:
            pieces = [LONG[start : start + 100_000] for start in range(0, len(LONG), 100_000)]
            bodies: dict[str, Payload] = {
                "bytes": LONG,
                "mapped": mapped,
                "streamed": StreamedBody(chunks(*pieces, b"")),
                "counted": StreamedBody(chunks(*pieces), len(LONG)),
            }
            async with Server() as server:
                upstream = Upstream(server.url)
                assert await ask(upstream, UpstreamRequest(b"POST", b"/", body=bodies[kind])) == (200, b"ok")
                assert server.requests[0].partition(b"\r\n\r\n")[2] == LONG
                assert upstream.idle_connections == 1
                upstream.close()

    run(main())


def _mapped(file: IO[bytes], content: bytes) -> Body:
    file.write(content)
    file.flush()
    return Body(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def test_a_mapped_body_is_sent_again_from_its_beginning(run: Run) -> None:
    async def main() -> None:
        async with ServerThatClosesAfterKeepAlive() as server:
            upstream = Upstream(server.url)
            await ask(upstream)
            with tempfile.TemporaryFile() as file, contextlib.closing(_mapped(file, LONG)) as mapped:
                assert await ask(upstream, UpstreamRequest(b"POST", b"/", body=mapped)) == (200, b"ok")
            assert server.requests[-1].endswith(b"\r\n\r\n" + LONG)
            upstream.close()

    run(main())


def test_a_streamed_body_is_asked_for_no_faster_than_the_upstream_reads(run: Run) -> None:
    piece, count = bytes(1024 * 1024), 100
    given = 0

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal given
        for _ in range(count):
            given += 1
            yield piece

    async def main() -> None:
        body = StreamedBody(pieces(), len(piece) * count)
        async with SlowReader() as server:
            upstream = Upstream(server.url)
            async with asyncio.TaskGroup() as group:
                asking = group.create_task(ask(upstream, UpstreamRequest(b"POST", b"/", body=body)))
                await server.asked.wait()
                before = -1
                while given != before:  # until it stands still
                    before = given
                    await asyncio.sleep(0.05)
                assert 0 < given < 20
                server.go_on.set()
            assert asking.result() == (200, b"ok")
            assert server.read_bytes == body.length
            upstream.close()

    run(main())


class TransportThatFillsUp(asyncio.Transport):
    """Takes `room` writes and then asks for a pause, as a socket does whose other end does not read."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room
        self.written = 0
        self.on_full: Callable[[], None] = lambda: None

    def is_closing(self) -> bool:
        return False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += len(data)
        self.room -= 1
        if self.room == 0:
            self.on_full()


def test_a_long_body_at_hand_goes_out_no_faster_than_the_upstream_reads(run: Run) -> None:
    async def main() -> None:
        transport, sent, full, turn = (
            TransportThatFillsUp(5),
            asyncio.Event(),
            asyncio.Event(),
            asyncio.Event(),
        )
        body, failures = Body(bytes(100 * PIECE_BYTES)), list[Exception]()
        sender = Sender(transport, body, on_sent=sent.set, on_failure=failures.append)

        def fill() -> None:
            sender.pause()
            full.set()

        transport.on_full = fill
        sender.start()
        await full.wait()
        # Behind everything that the sender may have asked the loop for.
        asyncio.get_running_loop().call_soon(turn.set)
        await turn.wait()
        assert transport.written == 5 * PIECE_BYTES
        transport.room = 1000
        sender.resume()
        await sent.wait()
        assert transport.written == body.length
        assert failures == []

    run(main())


def test_an_early_refusal_is_read_and_the_rest_of_the_body_is_not_sent(run: Run) -> None:
    async def main() -> None:
        async with ServerThatAnswersEarly() as server:
            upstream = Upstream(server.url)
            answer = await ask(upstream, UpstreamRequest(b"POST", b"/", body=bytes(100_000_000)))
            assert answer == (413, b"big")
            assert upstream.idle_connections == 0
            server.saw_end.set()

    run(main())


def test_a_refusal_that_is_still_coming_stops_the_body(run: Run) -> None:
    whole = 100_000_000

    class ServerThatRefusesAndReads(Server):
        """Answers 413, reads what still comes until nothing does, and only then ends its answer."""

        read_bytes = 0

        async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\n\r\n")
            with contextlib.suppress(TimeoutError):
                while self.read_bytes < whole:
                    async with asyncio.timeout(0.3):
                        self.read_bytes += len(await reader.read(1024 * 1024))
            writer.write(b"big")

    async def main() -> None:
        async with ServerThatRefusesAndReads() as server:
            request = UpstreamRequest(b"POST", b"/", body=bytes(whole))
            assert await ask(Upstream(server.url), request) == (413, b"big")
            assert server.read_bytes < whole / 2

    run(main())


def test_a_failing_source_of_the_body_breaks_an_answer_that_only_the_connection_could_end(run: Run) -> None:
    class ServerThatAnswersMeanwhile(Server):
        async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\n\r\npart")
            while await reader.read(1000):
                pass
            self.saw_end.set()

    async def main() -> None:
        go_on = asyncio.Event()

        async def pieces() -> AsyncIterator[bytes]:
            yield b"first"
            await go_on.wait()
            raise ValueError("the source broke")

        async with ServerThatAnswersMeanwhile() as server:
            request = UpstreamRequest(b"POST", b"/", body=StreamedBody(pieces()))
            async with Upstream(server.url).exchange(request) as answer:
                assert await answer.read() == b"part"
                go_on.set()
                await server.saw_end.wait()
                with pytest.raises(ValueError, match="the source broke"):
                    await answer.read()

    run(main())


def test_a_failing_source_of_the_body_ends_the_exchange_with_its_own_exception(run: Run) -> None:
    class ClientLeftError(Exception):
        pass

    async def pieces() -> AsyncIterator[bytes]:
        yield b"first"
        raise ClientLeftError

    async def main() -> None:
        async with ServerThatNeverAnswers() as server:
            with pytest.raises(ClientLeftError):
                await ask(Upstream(server.url), UpstreamRequest(b"POST", b"/", body=StreamedBody(pieces())))
            await server.saw_end.wait()

    run(main())


@pytest.mark.parametrize(("length", "message"), [(3, "longer than announced"), (9, "ended early")])
def test_a_streamed_body_of_another_length_than_announced_is_refused(
    run: Run, length: int, message: str
) -> None:
    async def main() -> None:
        async with ServerThatNeverAnswers() as server:
            body = StreamedBody(chunks(b"four"), length)
            with pytest.raises(RequestError, match=message):
                await ask(Upstream(server.url), UpstreamRequest(b"POST", b"/", body=body))

    run(main())


def test_a_stuck_source_of_the_body_does_not_outlive_the_exchange(run: Run) -> None:
    closed = asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        try:
            yield b"first"
            await asyncio.Event().wait()
        finally:
            closed.set()

    async def main() -> None:
        async with Says(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok") as server:
            server.read_chunks = lambda reader: reader.readexactly(1)  # type: ignore[method-assign]
            upstream = Upstream(server.url)
            assert await ask(upstream, UpstreamRequest(b"POST", b"/", body=StreamedBody(pieces()))) == (
                200,
                b"ok",
            )
            assert closed.is_set()
            assert upstream.idle_connections == 0

    run(main())


def test_a_body_waits_until_the_upstream_asks_for_it(run: Run) -> None:
    async def main() -> None:
        async with ServerThatWantsToBeAsked() as server:
            upstream = Upstream(server.url, timeouts(expect_continue=5))
            request = UpstreamRequest(b"POST", b"/", [(b"expect", b"100-continue")], b"12345")
            assert await ask(upstream, request) == (200, b"ok")
            assert server.body_before_asked == b""
            assert server.requests == [b"12345"]
            upstream.close()

    run(main())


@pytest.mark.parametrize("seconds", [0.05, 0])
def test_a_body_that_nobody_asks_for_is_sent_after_a_while(run: Run, seconds: float) -> None:
    async def main() -> None:
        async with ServerThatWantsToBeAsked(late=True) as server:
            upstream = Upstream(server.url, timeouts(expect_continue=seconds))
            request = UpstreamRequest(b"POST", b"/", [(b"expect", b"100-continue")], b"12345")
            assert await ask(upstream, request) == (200, b"ok")
            upstream.close()

    run(main())


# Time


def test_headers_that_do_not_come_in_time_are_a_gateway_timeout(run: Run) -> None:
    async def main() -> None:
        async with ServerThatNeverAnswers() as server:
            with pytest.raises(
                UpstreamError, match=f"^{server.peer}: no response headers within 0.05 s$"
            ) as caught:
                await ask(Upstream(server.url, timeouts(response_header=0.05)))
            assert caught.value.fault is Fault.GATEWAY_TIMEOUT
            await server.saw_end.wait()

    run(main())


def test_the_header_timeout_does_not_count_the_time_of_the_request_body(run: Run) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(4):
            await asyncio.sleep(0.3)
            yield b"x"

    async def main() -> None:
        async with Server() as server:
            upstream = Upstream(server.url, timeouts(response_header=1))
            request = UpstreamRequest(b"POST", b"/", body=StreamedBody(pieces()))
            assert await ask(upstream, request) == (200, b"ok")
            upstream.close()

    run(main())


def test_the_header_timeout_does_not_count_the_time_of_the_answers_body(run: Run) -> None:
    class ServerThatPauses(Server):
        async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self.read_request(reader)
            writer.write(OK[:-1])
            await asyncio.sleep(1.1)
            writer.write(OK[-1:])

    async def main() -> None:
        async with ServerThatPauses() as server:
            upstream = Upstream(server.url, timeouts(response_header=1))
            assert await ask(upstream) == (200, b"ok")
            upstream.close()

    run(main())


# Upgrades


def test_an_upgraded_connection_is_handed_over_with_the_bytes_behind_the_head(run: Run) -> None:
    class Echo(asyncio.Protocol):
        def __init__(self) -> None:
            self.got: asyncio.Queue[bytes] = asyncio.Queue()

        def data_received(self, data: bytes) -> None:
            self.got.put_nowait(data)

    class ServerThatUpgrades(Server):
        async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self.read_request(reader)
            writer.write(b"HTTP/1.1 101 Sure\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\nhello")
            writer.write(await reader.readexactly(4))
            await reader.readexactly(1)

    async def main() -> None:
        async with ServerThatUpgrades() as server:
            upstream = Upstream(server.url)
            headers = [(b"connection", b"Upgrade"), (b"upgrade", b"websocket")]
            async with upstream.exchange(UpstreamRequest(b"GET", b"/ws", headers, upgrade=True)) as answer:
                assert answer.status == 101
                transport, early = answer.tunnel()
                assert early == b"hello"
                protocol = Echo()
                transport.set_protocol(protocol)
                transport.resume_reading()
                transport.write(b"ping")
                assert await protocol.got.get() == b"ping"
            await server.saw_end.wait()
            assert upstream.idle_connections == 0

    run(main())


def test_a_refused_upgrade_is_an_ordinary_answer(run: Run) -> None:
    async def main() -> None:
        async with Server() as server:
            upstream = Upstream(server.url)
            headers = [(b"connection", b"Upgrade"), (b"upgrade", b"websocket")]
            assert await ask(upstream, UpstreamRequest(b"GET", b"/ws", headers, upgrade=True)) == (200, b"ok")
            upstream.close()

    run(main())
