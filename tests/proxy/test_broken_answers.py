"""Answers that are none, and those without end: one outcome for whoever asked, and bounded memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import AbstractAsyncContextManager
from itertools import chain, repeat
from typing import Any

import pytest

from swapyard.app.program import Program

Run = Callable[[Coroutine[Any, Any, None]], None]
Yard = Callable[[str], AbstractAsyncContextManager[tuple[int, Program]]]
Upstream = Callable[[Callable[..., Any]], AbstractAsyncContextManager[int]]
Raw = Callable[[int, bytes], Coroutine[Any, Any, bytes]]
Ask = Callable[..., Coroutine[Any, Any, tuple[int, dict[str, str], bytes]]]

CHAT = b'{"model":"m"}'
REQUEST = (
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n"
    b"content-length: %d\r\nconnection: close\r\n\r\n%b" % (len(CHAT), CHAT)
)
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n"
EVENTS = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
EVENT = b"a\r\ndata: {}\n\n\r\n"

MIB = 1024 * 1024
ENDLESS_BYTES = 64 * MIB
"""What an upstream has to say that would never end; nobody reads that far."""


class Says:
    """Says the same to everybody and closes; `said` counts the bytes it got rid of, for each request."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = pieces
        self.said: list[int] = []

    async def __call__(self, _: Any, writer: asyncio.StreamWriter) -> None:
        self.said.append(0)
        for piece in self._pieces:
            writer.write(piece)
            await writer.drain()
            self.said[-1] += len(piece)
        writer.close()


class Endless:
    """`first`, and then `more` for as long as it matters."""

    def __init__(self, first: bytes, more: bytes) -> None:
        self._first, self._more = first, more

    def __iter__(self) -> Iterator[bytes]:
        return chain([self._first], repeat(self._more, ENDLESS_BYTES // len(self._more)))


def peer(port: int) -> str:
    return f"peers: {{p: {{proxy: 'http://127.0.0.1:{port}', models: [m]}}}}"


NO_ANSWERS = {
    "switches unasked": b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n" + OK,
    "switches to nothing": b"HTTP/1.1 101 Switching\r\n\r\n" + OK,
    "switches to h2c": b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n" + OK,
    "000": b"HTTP/1.1 000 Nothing\r\ncontent-length: 2\r\n\r\nok" + OK,
    "099": b"HTTP/1.1 099 Nothing\r\ncontent-length: 2\r\n\r\nok",
    "104": b"HTTP/1.1 104 Unknown\r\n\r\n" + OK,
    "199": b"HTTP/1.1 199 Warning\r\n\r\n" + OK,
    "two digits": b"HTTP/1.1 20 OK\r\ncontent-length: 2\r\n\r\nok",
    "four digits": b"HTTP/1.1 2000 OK\r\ncontent-length: 2\r\n\r\nok",
    "a sign": b"HTTP/1.1 +20 OK\r\ncontent-length: 2\r\n\r\nok",
    "letters": b"HTTP/1.1 2x0 OK\r\ncontent-length: 2\r\n\r\nok",
    "no status": b"HTTP/1.1\r\n\r\n",
    "a page": b"<html>hello</html>",
    "HTTP/0.9": b"ok",
    "two lengths": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok",
    "a length below zero": b"HTTP/1.1 200 OK\r\ncontent-length: -2\r\n\r\nok",
    "length and chunks": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\nok",
    "an unknown coding": b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n" + b"0\r\n\r\n",
    "nearly chunked": b"HTTP/1.1 200 OK\r\ntransfer-encoding: xchunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "a folded header": b"HTTP/1.1 200 OK\r\nx: a\r\n b\r\ncontent-length: 2\r\n\r\nok",
    "a zero byte in a header": b"HTTP/1.1 200 OK\r\nx: a\0b\r\ncontent-length: 2\r\n\r\nok",
    "a bare line feed": b"HTTP/1.1 200 OK\ncontent-length: 2\n\nok",
    "a blank before the colon": b"HTTP/1.1 200 OK\r\ncontent-length : 2\r\n\r\nok",
    "hints for ever": b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" * 33 + OK,
    "too many headers": b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 1001 + b"content-length: 2\r\n\r\nok",
    "a head of 1.1 MB": b"HTTP/1.1 200 OK\r\nx: " + b"x" * 1_100_000 + b"\r\ncontent-length: 2\r\n\r\nok",
    "a head that ends early": b"HTTP/1.1 200 OK\r\ncontent-len",
    "nothing": b"",
}


@pytest.mark.parametrize("answer", NO_ANSWERS.values(), ids=NO_ANSWERS)
def test_what_is_no_answer_gives_the_client_exactly_one_bad_gateway(
    run: Run, yard: Yard, upstream: Upstream, raw: Raw, answer: bytes
) -> None:
    async def main() -> None:
        says = Says([answer])
        async with upstream(says) as behind, yard(peer(behind)) as (port, _):
            got = await raw(port, REQUEST)
            informational, _, final = got.rpartition(b"HTTP/1.1 502 ")
            assert got.count(b"HTTP/1.1 502 ") == 1, got
            assert informational.count(b"HTTP/1.1 ") == informational.count(b"HTTP/1.1 103 ") <= 32
            assert json.loads(final.partition(b"\r\n\r\n")[2])["error"]["code"] == "bad_gateway"
            assert len(says.said) == 1

    run(main())


def test_a_hint_speaks_of_no_connection_but_its_own(
    run: Run, yard: Yard, upstream: Upstream, raw: Raw
) -> None:
    hint = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\nconnection: x-own\r\nx-own: 1\r\nkeep-alive: 5\r\n\r\n"

    async def main() -> None:
        says = Says([hint + OK])
        async with upstream(says) as behind, yard(peer(behind)) as (port, _):
            got = await raw(port, REQUEST)
            assert got.startswith(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n")

    run(main())


ENDLESS: dict[str, tuple[bytes, bytes]] = {
    "blank lines": (b"", b"\r\n" * 8192),
    "one header": (b"HTTP/1.1 200 OK\r\nx: ", b"x" * 16384),
    "headers": (b"HTTP/1.1 200 OK\r\n", b"x: y\r\n" * 2048),
    "a reason": (b"HTTP/1.1 200 ", b"x" * 16384),
    "100 Continue": (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1024),
    "102 Processing": (b"", b"HTTP/1.1 102 Processing\r\n\r\n" * 1024),
}


@pytest.mark.parametrize("case", ENDLESS.values(), ids=ENDLESS)
def test_a_head_without_end_is_a_bad_gateway_soon(
    run: Run, yard: Yard, upstream: Upstream, raw: Raw, case: tuple[bytes, bytes]
) -> None:
    first, more = case

    async def main() -> None:
        says = Says(Endless(first, more))
        async with upstream(says) as behind, yard(peer(behind)) as (port, _):
            got = await raw(port, REQUEST)
            assert got.count(b"HTTP/1.1 502 ") == 1 and b'"code":"bad_gateway"' in got
            # What the sockets held by then is counted as said.
            assert says.said[0] < 24 * MIB

    run(main())


ENDLESS_TRAILS = {
    "trailers": (b"0\r\n", b"x-more: and more\r\n" * 512),
    "one trailer": (b"0\r\nx: ", b"x" * 16384),
    "a chunk extension": (b"1;a=", b"x" * 16384),
    "zeros before a size": (b"0", b"0" * 16384),
}


@pytest.mark.parametrize("kind", [CHUNKED, EVENTS], ids=["plain", "events"])
@pytest.mark.parametrize("case", ENDLESS_TRAILS.values(), ids=ENDLESS_TRAILS)
def test_what_goes_on_without_end_within_a_body_is_cut(
    run: Run, yard: Yard, upstream: Upstream, raw: Raw, case: tuple[bytes, bytes], kind: bytes
) -> None:
    first, more = case
    head = kind + EVENT + first

    async def main() -> None:
        says = Says(Endless(head, more))
        async with upstream(says) as behind, yard(peer(behind)) as (port, _):
            got = await raw(port, REQUEST)
            assert got.startswith(b"HTTP/1.1 200 ") and not got.endswith(b"0\r\n\r\n")
            assert (b'"code":"bad_gateway"' in got) == (kind is EVENTS)
            assert b"x-more" not in got
            assert says.said[0] < 24 * MIB

    run(main())


def test_trailers_are_dropped_and_the_answer_is_whole(
    run: Run, yard: Yard, upstream: Upstream, raw: Raw
) -> None:
    answer = CHUNKED + b"2\r\nok\r\n0\r\nx-sum: 6\r\nset-cookie: a=b\r\n\r\n"

    async def main() -> None:
        says = Says([answer])
        async with upstream(says) as behind, yard(peer(behind)) as (port, _):
            got = await raw(port, REQUEST)
            assert got.startswith(b"HTTP/1.1 200 ") and got.endswith(b"\r\n\r\n2\r\nok\r\n0\r\n\r\n")
            assert b"x-sum" not in got and b"set-cookie" not in got

    run(main())


BROKEN_BODIES = {
    "a chunk size that is none": b"xyz\r\n",
    "a chunk size below zero": b"-2\r\nok\r\n",
    "a chunk size without end": b"fffffffffffffffff\r\nok",
    "data beyond its chunk": b"2\r\nokay\r\n",
    "a bare line feed": b"2\nok\n",
    "a trailer that is none": b"0\r\nno trailer\r\n\r\n",
    "no last chunk": b"",
}


@pytest.mark.parametrize("kind", [CHUNKED, EVENTS], ids=["plain", "events"])
@pytest.mark.parametrize("broken", BROKEN_BODIES.values(), ids=BROKEN_BODIES)
def test_a_body_that_breaks_its_framing_never_looks_complete(
    run: Run, yard: Yard, upstream: Upstream, raw: Raw, ask: Ask, broken: bytes, kind: bytes
) -> None:
    """Whether anything has gone out by then decides between a status and a cut; both are honest."""

    async def main() -> None:
        says = Says([kind + EVENT + broken])
        async with upstream(says) as behind, yard(peer(behind)) as (port, _):
            got = await raw(port, REQUEST)
            if got.startswith(b"HTTP/1.1 502 "):
                assert b'"code":"bad_gateway"' in got
            else:
                assert got.startswith(b"HTTP/1.1 200 ") and not got.endswith(b"0\r\n\r\n")
                assert (b'"code":"bad_gateway"' in got) == (kind is EVENTS)
            assert got.count(b"\r\ncontent-type: ") == 1
            assert (await ask(port, "GET /health"))[0] == 200

    run(main())


@pytest.mark.parametrize("more", [OK, b"garbage", b"x" * 1000], ids=["an answer", "garbage", "bytes"])
def test_what_comes_behind_an_answer_reaches_nobody(
    run: Run, yard: Yard, upstream: Upstream, raw: Raw, more: bytes
) -> None:
    async def main() -> None:
        says = Says([OK + more])
        async with upstream(says) as behind, yard(peer(behind)) as (port, _):
            for _ in range(2):
                got = await raw(port, REQUEST)
                assert got.startswith(b"HTTP/1.1 200 ") and got.endswith(b"\r\n\r\nok")
            assert len(says.said) == 2  # the connection was not used a second time

    run(main())
