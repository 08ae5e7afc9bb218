"""The last hour of the yard: what each model was doing, how much it served, who waited and why.

Fed with facts as they happen; read by the page that shows it.  Bounded by age and by number of entries.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from swapyard.observe.timestamps import rfc3339
from swapyard.types import ModelId, State

KEPT_SECONDS = 3600.0
ENTRIES_PER_LANE = 4096


@dataclass(slots=True)
class _Span:
    state: State
    begun_at: float
    reason: str
    ended_at: float | None = None


@dataclass(slots=True)
class _Lane:
    spans: deque[_Span] = field(default_factory=lambda: deque(maxlen=ENTRIES_PER_LANE))
    serving: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=ENTRIES_PER_LANE))
    waiting: deque[tuple[float, int, str]] = field(default_factory=lambda: deque(maxlen=ENTRIES_PER_LANE))


class Yard:
    """One lane per model; all times are wall-clock seconds (UTC)."""

    def __init__(self) -> None:
        self._lanes: dict[ModelId, _Lane] = {}

    def state(self, model: ModelId, new: State, reason: str, at: float) -> None:
        spans = self._lane(model).spans
        if spans:
            spans[-1].ended_at = at
        spans.append(_Span(new, at, reason))
        while spans and (ended := spans[0].ended_at) is not None and ended < at - KEPT_SECONDS:
            spans.popleft()

    def load(self, model: ModelId, in_flight: int, waiting: int, reason: str, at: float) -> None:
        """How many requests a model serves and keeps waiting now; repeats are not noted."""
        lane = self._lane(model)
        _note(lane.serving, (at, in_flight), (at, 0))
        _note(lane.waiting, (at, waiting, reason if waiting else ""), (at, 0, ""))

    def keep_models(self, models: Iterable[ModelId]) -> None:
        kept = set(models)
        for model in [model for model in self._lanes if model not in kept]:
            del self._lanes[model]

    def picture(self, models: Iterable[ModelId], now: float) -> dict[str, Any]:
        """The JSON object of `GET /api/yard`: a lane for each of these models, oldest entries first."""
        since = now - KEPT_SECONDS
        return {
            "now": rfc3339(now),
            "since": rfc3339(since),
            "lanes": [_lane_json(model, self._lanes.get(model, _Lane()), since) for model in models],
        }

    def _lane(self, model: ModelId) -> _Lane:
        return self._lanes.setdefault(model, _Lane())


def _note(entries: deque[Any], entry: tuple[Any, ...], nothing: tuple[Any, ...]) -> None:
    before = entries[-1] if entries else nothing
    if before[1:] == entry[1:]:
        return
    entries.append(entry)
    # What was true when the hour began is known from the last entry before it.
    while len(entries) > 1 and entries[1][0] <= entry[0] - KEPT_SECONDS:
        entries.popleft()


def _lane_json(model: ModelId, lane: _Lane, since: float) -> dict[str, Any]:
    return {
        "model": model,
        "spans": [
            {
                "state": span.state.value,
                "from": rfc3339(span.begun_at),
                "to": None if span.ended_at is None else rfc3339(span.ended_at),
                "reason": span.reason,
            }
            for span in lane.spans
            if span.ended_at is None or span.ended_at >= since
        ],
        "serving": [{"at": rfc3339(at), "count": count} for at, count in _within(lane.serving, since)],
        "waiting": [
            {"at": rfc3339(at), "count": count, "reason": reason}
            for at, count, reason in _within(lane.waiting, since)
        ],
    }


def _within(entries: Iterable[tuple[Any, ...]], since: float) -> list[tuple[Any, ...]]:
    """The entries from `since` on, the one that was in force then put at its beginning."""
    recent: list[tuple[Any, ...]] = []
    for entry in entries:
        if entry[0] <= since:
            recent = [(since, *entry[1:])]
        else:
            recent.append(entry)
    return recent
