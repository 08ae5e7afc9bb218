"""Heads of a mebibyte, in shapes that are dear to read: none may hold up the clients beside it.

Measured is the processor time of the thread that serves everybody, so that a busy machine changes nothing.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from typing import TYPE_CHECKING

import pytest
import uvloop

if TYPE_CHECKING:
    from swapyard.app.program import Program

Yard = Callable[..., AbstractAsyncContextManager[tuple[int, "Program"]]]

SIZE = 1_000_000

MOST = 30
"""Times the cost of a plain head of the same size; what this found cost from 40 times to minutes."""

ATTEMPTS = 5
"""The best one counts: caches are shared with whatever else runs."""

CONFIGURATION = """
peers: {p: {proxy: "http://127.0.0.1:@PORT@", models: [a]}}
profiles: {f: {pins: {x: a}}}
apiKeys: [secret]
"""

KEY = b"X-Api-Key: secret\r\n"
CHAT = b"POST /v1/chat/completions"
CHAT_BODY = b'{"model":"a"}'


def full(unit: str | bytes, size: int = SIZE) -> bytes:
    data = unit.encode() if isinstance(unit, str) else unit
    return data * (size // len(data))


def header(name: str, unit: str | bytes, begin: str = "", end: str = "x") -> bytes:
    return f"{name}: {begin}".encode() + full(unit) + f"{end}\r\n".encode()


TARGETS = {
    "slashes behind a model": b"GET /upstream/a/" + full("a/"),
    "slashes behind no model": b"GET /upstream/" + full("b/"),
    "escaped slashes": b"GET /upstream/a/" + full("%2f"),
    "escaped slashes, no model": b"GET /upstream/" + full("%2F"),
    "behind a profile": b"GET /upstream/f:x/" + full("a/"),
    "colons": b"GET /upstream/f:" + full(":"),
    "endings of ignored files": b"GET /upstream/a/" + full(".js"),
    "escapes that are no UTF-8": b"GET /upstream/a/" + full("%ff"),
    "escapes and letters in turn": b"GET /upstream/a/" + full("\u00e9%41"),
    "broken escapes": b"GET /upstream/a/" + full("%"),
    "double slashes": b"GET /upstream/a" + full("//"),
    "only slashes": b"GET " + full("/"),
    "up and up": b"GET /a" + full("/.."),
    "down and up": b"GET /" + full("a/../"),
    "dots": b"GET /" + full("./"),
    "escaped controls": b"GET /" + full("%01"),
    "escaped direction marks": b"GET /" + full("%e2%80%8e"),
    "quotes": b"GET /" + full('"'),
    "comfyui": b"GET /comfyui/" + full("a/"),
    "a log": b"GET /logs/stream/" + full("a/"),
    "a record": b"GET /v1/models/" + full("a/"),
    "a file": b"GET /ui/" + full("a/"),
    "a file above": b"GET /ui/" + full("x/../"),
    "a model to unload": b"POST /api/models/unload/" + full("a/"),
    "a capture": b"GET /api/captures/" + full("9"),
    "a request to cancel": b"POST /api/inflight/" + full("9") + b"/cancel",
}

QUERIES = {
    f"{target}?{unit}": f"{method} {target}?".encode() + full(unit) + b"&model=a"
    for method, target in (
        ("GET", "/props"),
        ("POST", "/v1/completions"),
        ("GET", "/upstream/a/x"),
        ("GET", "/health"),
        ("GET", "/v1/models"),
        ("GET", "/api/events"),
        ("GET", "/api/metrics/activity"),
    )
    for unit in ("a&", "&", "a=b&", "a=%41&", "%41", "%", ";", "model=a&")
}

HEADERS = {
    "Accept": header("Accept", "a/b;q=0.1,"),
    "Accept-Encoding": header("Accept-Encoding", "gzip;q=0.1,"),
    "Accept-Encoding, short": header("Accept-Encoding", "a,"),
    "Accept-Language": header("Accept-Language", "de,"),
    "Authorization, basic": header("Authorization", "QUJD", "Basic ", ""),
    "Authorization, no base64": header("Authorization", "!:=", "Basic "),
    "Authorization, bearer": header("Authorization", "QUJD", "Bearer "),
    "Connection": header("Connection", "a,"),
    "Connection, many names": b"Connection: " + b",".join(b"h%d" % n for n in range(SIZE // 8)) + b"\r\n",
    "Content-Type": header("Content-Type", "; boundary ", "multipart/form-data"),
    "Content-Type, quotes": header("Content-Type", '\\"', 'multipart/form-data; boundary="'),
    "Content-Type, blanks": header("Content-Type", " ", "multipart/form-data;"),
    "Cookie": header("Cookie", "a=b;"),
    "Cookie, escapes": header("Cookie", "\\1", 'a="', '"'),
    "Cookie, octal": header("Cookie", "\\101", 'a="', '"'),
    "Forwarded": header("Forwarded", "for=a;by=b,"),
    "If-None-Match": header("If-None-Match", '"a",'),
    "Origin": header("Origin", "a.", "http://"),
    "Origin, IPv6": header("Origin", ":1", "http://[", "]"),
    "Range": header("Range", "0-0,", "bytes=", "1-1"),
    "Range, increasing": b"Range: bytes="
    + b",".join(b"%d-%d" % (n, n) for n in range(1, SIZE // 14))
    + b"\r\n",
    "TE": header("TE", "a,"),
    "TE, blanks": header("TE", ",\t\t", end="trailersx"),
    "Upgrade": b"Connection: upgrade\r\n" + header("Upgrade", "a,", end="websocket"),
    "Upgrade, blanks": b"Connection: upgrade\r\n" + header("Upgrade", ", ", end="websocketx"),
    "User-Agent": header("User-Agent", '"'),
    "User-Agent, controls": header("User-Agent", b"\x80"),
    "Via": header("Via", "1.1 a,"),
    "X-Forwarded-For": header("X-Forwarded-For", "a,"),
    "X-Forwarded-For, blanks": header("X-Forwarded-For", ", "),
    "X-Session-ID": header("X-Session-ID", "a "),
    "a long name": full("a-") + b"x: y\r\n",
    "many, all alike": full("a:b\r\n"),
    "many, all empty": full("a:\r\n"),
    "many, all different": b"".join(b"h%d:b\r\n" % n for n in range(SIZE // 10)),
    "many of Connection": full("Connection:a\r\n"),
    "many of X-Forwarded-For": full("X-Forwarded-For:a\r\n"),
    "many of TE": full("TE:a\r\n"),
}

Head = tuple[bytes, bytes, bytes]
"""Method and target, headers, body."""

TABLES: dict[str, dict[str, Head]] = {
    "targets": {name: (line, b"", b"") for name, line in TARGETS.items()},
    "queries": {name: (line, b"", b"") for name, line in QUERIES.items()},
    "headers of a control route": {name: (b"GET /v1/models", lines, b"") for name, lines in HEADERS.items()},
    "headers of a page": {name: (b"GET /ui/", lines, b"") for name, lines in HEADERS.items()},
    "headers of a model's own path": {
        name: (b"GET /upstream/a/x", lines, b"") for name, lines in HEADERS.items()
    },
    "headers of an inference": {name: (CHAT, lines, CHAT_BODY) for name, lines in HEADERS.items()},
    "headers of a preflight": {
        "Access-Control-Request-Headers": (
            b"OPTIONS /v1/models",
            header("Access-Control-Request-Headers", "a,"),
            b"",
        )
    },
}

PLAIN: tuple[Head, ...] = (
    (b"GET /health?" + full("x"), b"", b""),
    (b"GET /health", header("X-Plain", "x"), b""),
)


def ask(port: int, head: Head) -> bytes:
    """Send a request, return the first line of its answer."""
    line, headers, body = head
    own = b"" if b"uthorization" in headers[:20] else KEY
    data = line + b" HTTP/1.1\r\nHost: test\r\n" + own + headers
    if body:
        data += b"Content-Type: application/json\r\n" if b"Content-Type" not in headers[:20] else b""
    data += b"Content-Length: %d\r\n\r\n" % len(body) + body
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        # It may be refused, and the connection closed, before all of it is sent.
        with suppress(ConnectionError):
            client.sendall(data)
        with suppress(ConnectionError):
            return client.makefile("rb").readline()
    return b""


@contextmanager
def patient_upstream() -> Iterator[int]:
    """A server that takes heads of any length and answers each with 200, in threads of its own."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def converse(client: socket.socket) -> None:
            with client, client.makefile("rb") as lines:
                while line := lines.readline():
                    if line == b"\r\n":
                        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
                        return

        def accept() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=converse, args=(client,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]
        # On Linux a socket that is closed does not wake who waits for it; elsewhere this may be an error.
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("table", TABLES)
def test_no_long_head_costs_much_more_than_a_plain_one(table: str, yard: Yard) -> None:
    async def cost(port: int, head: Head) -> tuple[float, bytes]:
        begun = time.thread_time()
        answer = await asyncio.to_thread(ask, port, head)
        # What the request left to be done a moment later belongs to it: lines of the log, rows.
        assert (await asyncio.to_thread(ask, port, (b"GET /health", b"", b""))).split()[1] == b"200"
        return time.thread_time() - begun, answer

    async def best_cost(port: int, head: Head) -> float:
        return min([(await cost(port, head))[0] for _ in range(ATTEMPTS)])

    async def main() -> None:
        dear: dict[str, float] = {}
        answers: dict[str, bytes] = {}
        with patient_upstream() as upstream:
            async with yard(CONFIGURATION.replace("@PORT@", str(upstream))) as (port, _):
                plain = max([await best_cost(port, head) for head in PLAIN])
                for name, head in TABLES[table].items():
                    for _ in range(ATTEMPTS):
                        took, answer = await cost(port, head)
                        is_answered = b"200" <= answer.removeprefix(b"HTTP/1.1 ")[:3] < b"500"
                        if took <= MOST * plain and is_answered:
                            break
                    else:
                        dear[name] = round(took / plain, 1)
                        answers[name] = answer
        assert (dear, answers) == ({}, {})

    uvloop.run(main())
