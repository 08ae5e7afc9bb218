"""The command line tools that one look at the hardware runs: none beyond its time, none left behind."""

from __future__ import annotations

import threading
import time

from swapyard.observe.gpu.readings import SourceFailedError
from swapyard.observe.gpu.tool import Tool

BUDGET = 10.0
"""Seconds that a look may take; what has been found by then counts."""

_TIMEOUT = 5.0
_END_TIMEOUT = 1.0


class Tools:
    """Run by one thread, stopped from any; the budget counts from construction."""

    def __init__(self, budget: float = BUDGET) -> None:
        self._deadline = time.monotonic() + budget
        self._changed = threading.Condition()
        self._running: Tool | None = None
        self._stopped = False

    def run(self, *command: str, timeout: float = _TIMEOUT) -> str:
        """What the command prints; raises SourceMissingError or SourceFailedError."""
        tool = Tool(*command)
        with self._changed:
            left = self._deadline - time.monotonic()
            if self._stopped or left <= 0:
                raise SourceFailedError(f"no time is left for {tool.name}")
            self._running = tool
        try:
            return tool.run(min(timeout, left))
        finally:
            with self._changed:
                self._running = None
                self._changed.notify_all()

    def stop(self) -> None:
        """Kill the tool that runs, and start no other; blocking until it is gone, for a second at most."""
        until = time.monotonic() + _END_TIMEOUT
        with self._changed:
            self._stopped = True
            while self._running is not None and time.monotonic() < until:
                # One that is just being started is not there to be killed yet.
                self._running.interrupt()
                self._changed.wait(0.01)
