"""A client of /api/events that can do without some of the messages."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from swapyard.app.program import Program

Run = Callable[[Coroutine[Any, Any, None]], None]
Yard = Callable[[str], AbstractAsyncContextManager[tuple[int, Program]]]


@pytest.mark.parametrize(("query", "has_logs"), [("", True), ("?without=logData&without=activity", False)])
def test_logs_are_left_out_on_request(run: Run, yard: Yard, query: str, has_logs: bool) -> None:
    async def main() -> None:
        async with yard("models: {}") as (port, program):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(f"GET /api/events{query} HTTP/1.1\r\nhost: test\r\n\r\n".encode())
            got = await reader.readuntil(b'"type":"inflight"')
            program.logs.log(30, "something happens")
            program.activate_profile("any")
            got += await reader.readuntil(b'{\\"active\\":\\"any\\"}')
            assert (b"something happens" in got) is has_logs
            assert (b'"type":"logData"' in got) is has_logs
            assert b'"type":"modelStatus"' in got
            writer.close()

    run(main())
