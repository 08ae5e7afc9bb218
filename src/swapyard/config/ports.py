"""Which number each model's `${PORT}` is, also across reloads."""

from __future__ import annotations

from collections.abc import Mapping

from swapyard.types import ModelId

LAST_PORT = 65535


class Ports:
    """Gives out numbers from `start` upwards.

    A model that had a number keeps it; a number that any model of the generation before had goes to nobody
    else, because its process may still be listening there.
    """

    def __init__(self, start: int, kept: Mapping[ModelId, int]) -> None:
        self._next = start
        self._kept = kept
        self._taken = frozenset(kept.values())
        self.given: dict[ModelId, int] = {}

    def give(self, model: ModelId) -> int | None:
        """The number for this model; None when there is none left."""
        port = self._kept.get(model)
        if port is None:
            while self._next in self._taken:
                self._next += 1
            port = self._next
            self._next += 1
        if port > LAST_PORT:
            return None
        self.given[model] = port
        return port
