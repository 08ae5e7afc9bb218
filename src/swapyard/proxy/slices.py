"""Lets long work of one request run in slices, between which all others have their turn."""

from __future__ import annotations

import asyncio
import time
from typing import TypeVar

from swapyard.proxy.json_scan import Walk

T = TypeVar("T")

SLICE = 0.001
"""Seconds, about: the work itself says where it can be interrupted."""


def finished(work: Walk[T]) -> T:
    """The result of the work, at once: for whoever keeps nobody waiting."""
    try:
        while True:
            next(work)
    except StopIteration as end:
        result: T = end.value
        return result


class Slices:
    """Runs the long work of many requests, one slice of one of them in a turn of the event loop."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()

    async def run(self, work: Walk[T]) -> T:
        """The result of the work.  What ends before it yields for the first time is not interrupted."""
        try:
            next(work)
        except StopIteration as finished:
            at_once: T = finished.value
            return at_once
        return await self._go_on(work)

    async def _go_on(self, work: Walk[T]) -> T:
        try:
            while True:
                async with self._turn:
                    end = time.perf_counter() + SLICE
                    while time.perf_counter() < end:
                        next(work)
                    # Within the turn, or the next in line would begin in the same turn of the loop.
                    await asyncio.sleep(0)
        except StopIteration as finished:
            result: T = finished.value
            return result
        finally:
            work.close()
