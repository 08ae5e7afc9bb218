"""The moments at which something is due by itself, in one heap with one entry per model and kind."""

from __future__ import annotations

from enum import StrEnum
from heapq import heappop, heappush

from swapyard.scheduling.yard import Model


class Timer(StrEnum):
    """TTL: an idle model is unloaded.  PATIENCE: a request stops being overtaken.  QUEUE: it is refused."""

    TTL = "ttl"
    PATIENCE = "patience"
    QUEUE = "queue"


class Timers:
    """A deadline that moves later is not moved in the heap: it comes due early, and is armed again.

    So a busy model costs one entry, however often its deadline moves.
    """

    __slots__ = ("_armed", "_asked", "_heap", "_pushed")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timer, Model]] = []
        self._armed: set[tuple[Timer, int]] = set()
        self._pushed = 0
        # The moment last asked for with WakeAt, None when it has come.
        self._asked: float | None = None

    def arm(self, timer: Timer, model: Model, at: float) -> None:
        """Make `timer` due for this model at `at` or earlier."""
        if (timer, model.index) not in self._armed:
            self._armed.add((timer, model.index))
            self._pushed += 1
            heappush(self._heap, (at, self._pushed, timer, model))

    def due(self, now: float) -> tuple[Timer, Model] | None:
        """The next timer whose moment has come; it has to be armed again if it turns out to be early."""
        if not self._heap or self._heap[0][0] > now:
            return None
        _, _, timer, model = heappop(self._heap)
        self._armed.discard((timer, model.index))
        return timer, model

    def clear(self) -> None:
        self._heap.clear()
        self._armed.clear()

    def wake_at(self, now: float) -> float | None:
        """The moment to ask for now, None when the one asked for before will do."""
        if self._asked is not None and self._asked <= now:
            self._asked = None
        if not self._heap:
            return None
        at = self._heap[0][0]
        if self._asked is not None and self._asked <= at:
            return None
        self._asked = at
        return at
