"""Clients of endless streams that have stopped reading, at the end of the program."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager, closing
from typing import Any

import pytest

from swapyard.app.program import Program
from swapyard.types import ModelId

Run = Callable[[Coroutine[Any, Any, None]], None]
Yard = Callable[[str], AbstractAsyncContextManager[tuple[int, Program]]]


@pytest.mark.parametrize("path", ["/api/events", "/logs/stream/m", "/logs/stream/upstream"])
def test_a_client_that_does_not_read_does_not_hold_up_a_shutdown(run: Run, yard: Yard, path: str) -> None:
    """Its grace is that of `run` and of a shutdown: half a minute."""

    async def main() -> None:
        with closing(socket.socket()) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.setblocking(False)
            async with yard("models: {m: {cmd: '@MODEL@'}}") as (port, program):
                await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", port))
                client.send(f"GET {path} HTTP/1.1\r\nhost: a\r\n\r\n".encode())
                while not any(connection.wire.is_congested for connection in program._listener.connections):
                    program.logs.output(ModelId("m"), b"x" * 65536)
                    await asyncio.sleep(0.001)

    run(main())
