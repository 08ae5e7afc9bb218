"""Requests that are answered until the program ends: the event stream and the followed logs."""

from __future__ import annotations

import asyncio


class Watchers:
    """Belongs to the event loop."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[object]] = set()

    def admit(self) -> None:
        """The request that the current task answers is such a one."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def cut(self) -> None:
        """End those that are left: their clients have stopped reading, and would wait out every grace."""
        for task in self._tasks:
            task.cancel("the program ends")
