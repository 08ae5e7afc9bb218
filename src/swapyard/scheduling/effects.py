"""What the scheduler orders; each order that starts something ends in exactly one event."""

from __future__ import annotations

from dataclasses import dataclass

from swapyard.errors import Fault
from swapyard.scheduling.events import UnloadId
from swapyard.types import ModelId, Ticket


@dataclass(frozen=True, slots=True)
class Grant:
    """The request holds a lease on its ready model from now on, until LeaseReleased."""

    ticket: Ticket
    model: ModelId


@dataclass(frozen=True, slots=True)
class Refuse:
    """The request will not be served.  `retry_after` in seconds, None when that says nothing."""

    ticket: Ticket
    fault: Fault
    reason: str
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """Look whether this model could be started at all, before anything is evicted for it: CheckFinished."""

    model: ModelId


@dataclass(frozen=True, slots=True)
class Load:
    """Start this model and wait until it is ready: LoadFinished."""

    model: ModelId
    reason: str


@dataclass(frozen=True, slots=True)
class Stop:
    """Stop this model within `grace` seconds, then by force: StopFinished.

    Also aborts a Load in progress; then LoadFinished (with an error) comes first and StopFinished after it.
    A second Stop with an earlier deadline shortens the first; one StopFinished answers both.
    """

    model: ModelId
    grace: float
    reason: str


@dataclass(frozen=True, slots=True)
class Unloaded:
    """Everything that this UnloadAsked named has stopped."""

    unload: UnloadId


@dataclass(frozen=True, slots=True)
class WakeAt:
    """Send TimePassed at this moment of the monotonic clock; replaces the moment asked for before."""

    at: float


Effect = Grant | Refuse | Check | Load | Stop | Unloaded | WakeAt
