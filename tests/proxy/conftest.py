"""What the tests of the data plane's sockets share."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Run a test's coroutine in ten seconds; it may leave neither tasks nor descriptors behind."""
    factory = asyncio.new_event_loop if request.param == "asyncio" else uvloop.new_event_loop

    async def limited(main: Coroutine[Any, Any, None]) -> None:
        async with asyncio.timeout(10):
            await main
        left = asyncio.all_tasks() - {asyncio.current_task()}
        if left:
            # A listener's own handshakes are about to end; a leaked task is not.
            _, left = await asyncio.wait(left, timeout=1)
        assert not left

    def run_it(main: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=factory) as runner:
            # A process's first uvloop keeps two descriptors for good.
            runner.run(asyncio.sleep(0))
        before = _descriptors()
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(limited(main))
        gc.collect()
        assert _descriptors() == before

    return run_it


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0
