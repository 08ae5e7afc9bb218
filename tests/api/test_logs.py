"""The logs over HTTP: what was written, and what is being written."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from swapyard.app.program import Program
from swapyard.types import ModelId

Run = Callable[[Coroutine[Any, Any, None]], None]
Yard = Callable[..., AbstractAsyncContextManager[tuple[int, Program]]]
Ask = Callable[..., Coroutine[Any, Any, tuple[int, dict[str, str], bytes]]]

MODELS = "models: {org/m: {cmd: '@MODEL@', aliases: [mine]}, org: {cmd: '@MODEL@'}}"
COMBINED = f"logToStdout: both\n{MODELS}"


async def follow(port: int, path: str) -> tuple[bytes, asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nhost: a\r\n\r\n".encode())
    return await reader.readuntil(b"\r\n\r\n"), reader, writer


async def chunk(reader: asyncio.StreamReader) -> bytes:
    size = int(await reader.readline(), 16)
    return (await reader.readexactly(size + 2))[:-2]


def test_the_combined_history_is_plain_text_and_browsers_are_sent_to_the_page(
    run: Run, yard: Yard, ask: Ask
) -> None:
    async def main() -> None:
        async with yard(MODELS) as (port, _):
            status, headers, _ = await ask(port, "GET /logs")
            assert (status, headers["content-type"]) == (200, "text/plain")
            status, headers, _ = await ask(port, "GET /logs", {"Accept": "text/html,*/*"})
            assert (status, headers["location"]) == (302, "/ui/")

    run(main())


def test_a_followed_log_sends_its_headers_at_once_then_history_then_what_comes(run: Run, yard: Yard) -> None:
    async def main() -> None:
        async with yard(MODELS) as (port, program):
            head, reader, writer = await follow(port, "/logs/stream/org/m")
            assert b"content-type: text/plain\r\n" in head and b"x-accel-buffering: no" in head
            assert b"x-content-type-options: nosniff" in head
            program.logs.output(ModelId("org/m"), b"first\n")
            assert await chunk(reader) == b"first\n"
            _, again, other = await follow(port, "/logs/stream/mine")
            assert await chunk(again) == b"first\n"
            program.logs.output(ModelId("org/m"), b"second\n")
            assert await chunk(reader) == await chunk(again) == b"second\n"
            for one in (writer, other):
                one.transport.abort()

    run(main())


@pytest.mark.parametrize(
    ("path", "model"),
    [
        ("org%2Fm", "org/m"),
        ("org/m/more/of/it", "org/m"),
        ("org/other", "org"),
        ("mine?no-history", "org/m"),
    ],
)
def test_the_longest_leading_name_tells_which_log(run: Run, yard: Yard, path: str, model: str) -> None:
    async def main() -> None:
        async with yard(MODELS) as (port, program):
            _, reader, writer = await follow(port, f"/logs/stream/{path}")
            program.logs.output(ModelId(model), b"its own\n")
            assert await chunk(reader) == b"its own\n"
            writer.transport.abort()

    run(main())


@pytest.mark.parametrize("query", ["no-history", "no-history=0", "x=1&no-history="])
def test_history_can_be_left_out(run: Run, yard: Yard, query: str) -> None:
    async def main() -> None:
        async with yard(MODELS) as (port, program):
            program.logs.output(ModelId("org"), b"before\n")
            for path in ("/logs/stream/upstream", "/logs/stream/org"):
                _, reader, writer = await follow(port, f"{path}?{query}")
                program.logs.output(ModelId("org"), b"after\n")
                assert await chunk(reader) == b"after\n"
                writer.transport.abort()

    run(main())


def test_the_programs_own_log_has_a_line_for_each_request(run: Run, yard: Yard, ask: Ask) -> None:
    async def main() -> None:
        async with yard(MODELS) as (port, _):
            _, reader, writer = await follow(port, "/logs/stream/proxy?no-history")
            headers = {"User-Agent": "test/1", "X-Forwarded-For": "10.0.0.7, 1.1.1.1"}
            await ask(port, "GET /running", headers)
            line = await chunk(reader)
            assert b'Request 10.0.0.7 "GET /running HTTP/1.1" 200 14 "test/1" ' in line
            writer.transport.abort()

    run(main())


@pytest.mark.parametrize("name", ["nobody", "Proxy", "x/org/m"])
def test_a_log_that_does_not_exist_is_refused(run: Run, yard: Yard, ask: Ask, name: str) -> None:
    async def main() -> None:
        async with yard(MODELS) as (port, _):
            status, _, body = await ask(port, f"GET /logs/stream/{name}")
            assert status == 400
            message = "invalid logger. Use 'proxy', 'upstream' or a model's ID"
            assert json.loads(body)["error"]["message"] == message

    run(main())


def test_a_shutdown_ends_the_streams_properly(run: Run, yard: Yard) -> None:
    async def main() -> None:
        async with yard(MODELS) as (port, program):
            _, reader, writer = await follow(port, "/logs/stream/org?no-history")
            program.stop()
            assert await chunk(reader) == b""
            writer.transport.abort()

    run(main())
