"""Selectors: virtual model names that are resolved to a concrete target for each request."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from swapyard.errors import Fault, RequestError
from swapyard.types import State

StateOf = Callable[[str], State | None]
"""The state of the local model that a target names; None when the target is a peer's model."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A target that was chosen; `release` it exactly once when the request has ended, however it ended."""

    target: str
    release: Callable[[], None]


def _nothing_held() -> None:
    pass


class Selector:
    """One selector and what it handed out: requests per target that have not ended, and whose turn is next.

    Only requests that came in by the selector's own name count.  The choice is a snapshot: the scheduler may
    find the model in another state a moment later, which is harmless.
    """

    def __init__(self, name: str, strategy: str, targets: Sequence[str], spillover: int = 1) -> None:
        self.name = name
        self._strategy = strategy
        self._targets = tuple(targets)
        self._spillover = spillover
        self._held = dict.fromkeys(self._targets, 0)
        self._turn = 0

    def choose(self, state_of: StateOf, *, holds: Callable[[str], bool] = lambda _: True) -> Choice:
        """Pick a target by the selector's strategy; RequestError(NO_TARGET) when none is to be had.

        `holds` tells whether a request for that target occupies it (an ignored websocket does not).
        """
        match self._strategy:
            case "pin":
                return Choice(self._targets[0], _nothing_held)
            case "warm":
                return Choice(self._warmest(state_of), _nothing_held)
            case _:
                target = self._spill(state_of)
                return self._hold(target) if holds(target) else Choice(target, _nothing_held)

    def _warmest(self, state_of: StateOf) -> str:
        for wanted in (State.READY, State.STARTING):
            for target in self._targets:
                if state_of(target) is wanted:
                    return target
        return self._targets[0]

    def _spill(self, state_of: StateOf) -> str:
        """1. Nothing active: the first cold one.  2. One below the limit: the least loaded, in turn.
        3. Another cold one.  4. The least loaded active one, in turn."""
        active: list[str] = []
        cold: list[str] = []
        for target in self._targets:
            match state_of(target):
                case State.STOPPING | State.SHUTDOWN:
                    continue
                case State.READY | State.STARTING:
                    active.append(target)
                case _:
                    (active if self._held[target] else cold).append(target)
        if not active:
            if cold:
                return cold[0]
            raise RequestError(
                Fault.NO_TARGET, f'selector "{self.name}" has no available spillover targets', retry_after=1
            )
        least = min(self._held[target] for target in active)
        if least >= self._spillover and cold:
            return cold[0]
        candidates = [target for target in active if self._held[target] == least]
        chosen = candidates[self._turn % len(candidates)]
        self._turn += 1
        return chosen

    def _hold(self, target: str) -> Choice:
        self._held[target] += 1
        ended = False

        def release() -> None:
            nonlocal ended
            if not ended:
                ended = True
                self._held[target] -= 1

        return Choice(target, release)
