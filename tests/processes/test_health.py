"""One probe, and the pace of many."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swapyard.processes.health import (
    ANSWER_TIMEOUT,
    CONNECT_TIMEOUT,
    WIDEST_PAUSE,
    Endpoint,
    endpoint,
    pause,
    probe,
)

Run = Callable[[Callable[[], Coroutine[Any, Any, None]]], None]


async def answer_with(port: int, reply: bytes) -> asyncio.Server:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(reply)
        writer.close()

    return await asyncio.start_server(serve, "127.0.0.1", port)


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200),
        (b"HTTP/1.0 200\r\n\r\n", 200),
        (b"HTTP/1.1 100 Continue\r\nA: b\r\n\r\nHTTP/1.1 503 Loading\r\n\r\n", 503),
        (b"HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n", 302),
        (b"SSH-2.0-OpenSSH\r\n", None),
        (b"HTTP/1.1 ok\r\n\r\n", None),
        (b"HTTP/1.1 +200 OK\r\n\r\n", None),
        (b"HTTP/1.1 2_00 OK\r\n\r\n", None),
        (b"HTTP/1.1 2000 OK\r\n\r\n", None),
        (b"HTTP/1.1 000 Nothing\r\n\r\n", None),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000 + b"HTTP/1.1 200 OK\r\n\r\n", None),
        (b"HTTP/1.1 100 Continue\r\n" + b"a: b\r\n" * 20_000 + b"\r\nHTTP/1.1 200 OK\r\n\r\n", None),
        (b"x" * 200_000, None),
        (b"\r\n", None),
        (b"", None),
    ],
)
def test_a_probe_reads_the_status_of_the_final_answer(
    run: Run, free_port: int, reply: bytes, status: int | None
) -> None:
    async def main() -> None:
        async with await answer_with(free_port, reply):
            assert await probe(endpoint(f"http://localhost:{free_port}", "/health", 30)) == status

    run(main)


def test_a_refused_connection_is_no_answer(run: Run, free_port: int) -> None:
    async def main() -> None:
        async with asyncio.timeout(20):
            assert await probe(endpoint(f"http://127.0.0.1:{free_port}", "/health", 300)) is None

    run(main)


def test_a_server_that_speaks_no_tls_is_no_answer_to_a_tls_probe(run: Run, free_port: int) -> None:
    async def main() -> None:
        async with await answer_with(free_port, b"HTTP/1.1 200 OK\r\n\r\n"):
            assert await probe(endpoint(f"https://127.0.0.1:{free_port}", "/health", 30)) is None

    run(main)


@pytest.mark.parametrize(
    ("proxy", "check", "expected"),
    [
        ("http://localhost:5800", "/health", ("localhost", 5800, False, "/health", CONNECT_TIMEOUT)),
        ("http://127.0.0.1", "health", ("127.0.0.1", 80, False, "/health", CONNECT_TIMEOUT)),
        ("https://[::1]:1/v1/?key=a", "/up", ("::1", 1, True, "/v1/up?key=a", CONNECT_TIMEOUT)),
        ("http://localhost:1", "/a b?c=é", ("localhost", 1, False, "/a%20b?c=%C3%A9", CONNECT_TIMEOUT)),
        ("http://gpu.lan:1/?key=a", "/up?b=c", ("gpu.lan", 1, False, "/up?b=c", 2.0)),
    ],
)
def test_where_a_model_is_probed(proxy: str, check: str, expected: tuple[Any, ...]) -> None:
    assert endpoint(proxy, check, 2) == Endpoint(*expected)


def test_another_machine_has_its_connect_timeout_within_bounds() -> None:
    assert endpoint("http://gpu.lan", "/", 0).connect_timeout == ANSWER_TIMEOUT
    assert endpoint("http://gpu.lan", "/", 30).connect_timeout == ANSWER_TIMEOUT


@given(st.floats(0, 10_000), st.booleans())
def test_no_pause_makes_readiness_late(elapsed: float, answered: bool) -> None:
    seconds = pause(elapsed, answered=answered)
    assert 0.005 <= seconds <= WIDEST_PAUSE
    if elapsed <= 3 or not answered:
        assert seconds <= 0.015
    assert seconds <= max(0.015, elapsed / 200)
