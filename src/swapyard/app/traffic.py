"""Turns the scheduler's counters into what watchers see: at most a few times a second for each model."""

from __future__ import annotations

import asyncio
import time

from swapyard.bus import Bus
from swapyard.dispatcher import Dispatcher
from swapyard.notices import WaitingChanged
from swapyard.observe.yard import Yard
from swapyard.types import ModelId
from swapyard.upkeep import Upkeep

PERIOD = 0.1
"""Seconds between two looks at a model whose counters move."""


class Traffic:
    """`touched` costs the request path a set operation; the look comes later, for many at once."""

    def __init__(self, dispatcher: Dispatcher, yard: Yard, bus: Bus, upkeep: Upkeep) -> None:
        self._upkeep = upkeep
        self._dispatcher = dispatcher
        self._yard = yard
        self._bus = bus
        self._moved: set[ModelId] = set()
        self._waiting: dict[ModelId, int] = {}
        self._timer: asyncio.TimerHandle | None = None

    def touched(self, model: ModelId) -> None:
        self._moved.add(model)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(PERIOD, self._look)

    def _look(self) -> None:
        self._timer = None
        moved, self._moved = self._moved, set()
        now = time.time()
        for model in moved:
            with self._upkeep.guard("traffic"):
                self._look_at(model, now)

    def _look_at(self, model: ModelId, now: float) -> None:
        scheduler = self._dispatcher.scheduler
        waiting, in_flight = scheduler.waiting(model), scheduler.in_flight(model)
        reason = next(iter(self._dispatcher.waiting_reasons(model)), "") if waiting else ""
        self._yard.load(model, in_flight, waiting, reason, now)
        if self._waiting.get(model, 0) != waiting:
            if waiting:
                self._waiting[model] = waiting
            else:
                del self._waiting[model]
            self._bus.publish(WaitingChanged(model, waiting, reason))
