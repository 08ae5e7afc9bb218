"""Facts published on the bus for observers: past tense, frozen, never acted upon."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from swapyard.types import ModelId, State


@dataclass(frozen=True, slots=True)
class StateChanged:
    """A process went from one state to another; `old` never equals `new`.

    `at` is wall-clock time in seconds (UTC); `reason` says why in words, "" when there is nothing to add.
    """

    model: ModelId
    old: State
    new: State
    reason: str
    at: float


@dataclass(frozen=True, slots=True)
class WaitingChanged:
    """So many requests wait for a model now; `reason` says what the first of them waits for."""

    model: ModelId
    count: int
    reason: str


@dataclass(frozen=True, slots=True)
class ModelPreloaded:
    model: ModelId
    success: bool


@dataclass(frozen=True, slots=True)
class ProfileChanged:
    """The active profile is now this one; None means none."""

    active: str | None


@dataclass(frozen=True, slots=True)
class ConfigReloaded:
    """A reload was tried.  `error` is None when it took effect, else what was wrong."""

    error: str | None


@dataclass(frozen=True, slots=True)
class ActivityRecorded:
    """A row of the activity log is committed and can be read."""

    id: int


@dataclass(frozen=True, slots=True)
class InflightChanged:
    """`operation` is snapshot, upsert or remove; `payload` is the JSON object of the events stream.

    `size_bytes` is about what the headers in it hold, which come from outside.
    """

    payload: dict[str, Any]
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class LogWritten:
    """Text appended to a log; `source` is "proxy" or "upstream"."""

    source: str
    data: bytes


Notice = (
    StateChanged
    | WaitingChanged
    | ModelPreloaded
    | ProfileChanged
    | ConfigReloaded
    | ActivityRecorded
    | InflightChanged
    | LogWritten
)
