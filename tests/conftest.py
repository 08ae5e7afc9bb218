"""What tests of listening sockets share: both event loops, a listener on loopback, HTTP by hand."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
import uvloop

from swapyard.web.server import App, Listener, bind

Run = Callable[[Coroutine[Any, Any, None]], None]
Serving = Callable[[App], AbstractAsyncContextManager[int]]
Answer = tuple[int, dict[str, str], bytes]
ReadAnswer = Callable[..., Coroutine[Any, Any, Answer]]
Ask = Callable[..., Coroutine[Any, Any, Answer]]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Run a test's coroutine in half a minute; it may leave neither tasks nor descriptors behind."""
    factory = asyncio.new_event_loop if request.param == "asyncio" else uvloop.new_event_loop

    async def limited(main: Coroutine[Any, Any, None]) -> None:
        async with asyncio.timeout(30):
            await main
        left = asyncio.all_tasks() - {asyncio.current_task()}
        if left:
            _, left = await asyncio.wait(left, timeout=1)
        assert not left

    def run_it(main: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=factory) as runner:
            # A process's first loop of a kind keeps descriptors for good.
            runner.run(asyncio.sleep(0))
        before = _descriptors()
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(limited(main))
        gc.collect()
        assert _descriptors() == before

    return run_it


def _descriptors() -> list[str]:
    """What the open descriptors lead to; which of them have which number does not matter."""
    if sys.platform != "linux":
        return []
    found = []
    for number in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{number}").partition(":")[0])
        except FileNotFoundError:  # the listing's own
            continue
    return sorted(found)


@pytest.fixture
def serving() -> Serving:
    """`async with serving(app) as port`: the real listener with this ASGI application behind it."""

    @asynccontextmanager
    async def serve(app: App) -> AsyncIterator[int]:
        listener = Listener(app)
        sockets = bind("127.0.0.1", 0)
        port: int = sockets[0].getsockname()[1]
        await listener.listen(sockets)
        try:
            yield port
        finally:
            listener.close()
            listener.abort()
            await listener.drained()

    return serve


async def _read_answer(reader: asyncio.StreamReader, *, bodiless: bool = False) -> Answer:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    status = int(head[0].split(" ")[1])
    headers: dict[str, str] = {}
    for line in head[1:-2]:
        name, _, value = line.partition(": ")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    if bodiless or status in (204, 304) or status < 200:
        return status, headers, b""
    if "content-length" in headers:
        return status, headers, await reader.readexactly(int(headers["content-length"]))
    if headers.get("transfer-encoding") != "chunked":
        return status, headers, await reader.read()
    body = b""
    while size := int(await reader.readline(), 16):
        body += await reader.readexactly(size)
        assert await reader.readexactly(2) == b"\r\n"
    assert await reader.readexactly(2) == b"\r\n"
    return status, headers, body


@pytest.fixture
def read_answer() -> ReadAnswer:
    """(status, headers by lower-case name, body) of a stream's next answer; raises when it breaks off."""
    return _read_answer


@pytest.fixture
def ask(read_answer: ReadAnswer) -> Ask:
    """One request over a connection of its own: `ask(port, "GET /health")`, headers and body if wanted."""

    async def once(
        port: int, line: str, headers: dict[str, str] | None = None, body: bytes | str = b""
    ) -> Answer:
        data = body.encode() if isinstance(body, str) else body
        fields = {"Host": "test", **(headers or {})}
        if data:
            fields["Content-Length"] = str(len(data))
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(f"{line} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + data)
            return await read_answer(reader, bodiless=line.startswith("HEAD "))
        finally:
            writer.close()
            await writer.wait_closed()

    return once
