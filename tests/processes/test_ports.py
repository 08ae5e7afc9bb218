"""Whether somebody already listens where a model is going to listen."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from swapyard.processes.ports import RELEASE_PATIENCE, find_foreign_listener, loopback_addresses

Run = Callable[[Callable[[], Coroutine[Any, Any, None]]], None]


def test_a_free_port_is_found_free_at_once(run: Run, free_port: int) -> None:
    async def main() -> None:
        begun = time.monotonic()
        assert await find_foreign_listener(f"http://localhost:{free_port}/v1") is None
        assert time.monotonic() - begun < RELEASE_PATIENCE

    run(main)


def test_an_event_loop_that_comes_late_does_not_take_a_free_port_for_a_taken_one(
    run: Run, free_port: int
) -> None:
    async def main() -> None:
        looking = asyncio.create_task(find_foreign_listener(f"http://localhost:{free_port}"))
        await asyncio.sleep(0)
        time.sleep(RELEASE_PATIENCE * 1.1)  # noqa: ASYNC251 - as fifty models do that start at once
        assert await looking is None

    run(main)


def test_a_taken_port_is_named_with_its_owner(run: Run, free_port: int) -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", free_port)):
            words = await find_foreign_listener(f"http://127.0.0.1:{free_port}")
            assert words is not None
            assert words.startswith(
                f"port {free_port} is already in use by another process (pid {os.getpid()}, "
            )

    run(main)


def test_a_port_that_is_let_go_in_a_moment_is_free(run: Run, free_port: int) -> None:
    async def main() -> None:
        listener = socket.create_server(("127.0.0.1", free_port))
        asyncio.get_running_loop().call_later(RELEASE_PATIENCE / 4, listener.close)
        assert await find_foreign_listener(f"http://127.0.0.1:{free_port}") is None

    run(main)


def test_a_listener_too_busy_to_accept_is_a_listener(run_once: Run, free_port: int) -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", free_port), backlog=0):
            waiting = [socket.socket() for _ in range(4)]
            for client in waiting:
                client.setblocking(False)
                client.connect_ex(("127.0.0.1", free_port))
            assert await find_foreign_listener(f"http://127.0.0.1:{free_port}") is not None
            for client in waiting:
                client.close()

    run_once(main)


@pytest.mark.parametrize(
    ("host", "addresses"),
    [
        ("localhost", ("127.0.0.1", "::1")),
        ("model.localhost", ("127.0.0.1", "::1")),
        ("127.0.0.7", ("127.0.0.7",)),
        ("::1", ("::1",)),
        ("0.0.0.0", ("127.0.0.1",)),
        ("::", ("::1",)),
        ("192.0.2.1", ()),
        ("gpu.lan", ()),
    ],
)
def test_which_hosts_are_this_machine(host: str, addresses: tuple[str, ...]) -> None:
    assert loopback_addresses(host) == addresses


def test_another_machine_is_not_looked_at(run: Run) -> None:
    async def main() -> None:
        assert await find_foreign_listener("http://192.0.2.1:80") is None

    run(main)
