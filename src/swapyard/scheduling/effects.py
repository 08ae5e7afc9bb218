"""What the scheduler orders; each order that starts something ends in exactly one event.

Structs, for the reason that events are.
"""

from __future__ import annotations

import msgspec

from swapyard.errors import Fault
from swapyard.scheduling.events import UnloadId
from swapyard.types import ModelId, StopCause, Ticket


class Grant(msgspec.Struct, frozen=True):
    """The request holds a lease on its ready model from now on, until LeaseReleased."""

    ticket: Ticket
    model: ModelId


class Refuse(msgspec.Struct, frozen=True):
    """The request will not be served.  `retry_after` in seconds, None when that says nothing."""

    ticket: Ticket
    fault: Fault
    reason: str
    retry_after: float | None = None


class Check(msgspec.Struct, frozen=True):
    """Look whether this model could be started at all, before anything is evicted for it: CheckFinished."""

    model: ModelId


class Load(msgspec.Struct, frozen=True):
    """Start this model and wait until it is ready: LoadFinished."""

    model: ModelId
    reason: str


class Stop(msgspec.Struct, frozen=True):
    """Stop this model within `grace` seconds, then by force: StopFinished.

    Also aborts a Load in progress; then LoadFinished (with an error) comes first and StopFinished after it.
    A second Stop with an earlier deadline shortens the first; one StopFinished answers both.  `reason` is
    `cause` in words, and more; leases that the process still has end with it.
    """

    model: ModelId
    grace: float
    cause: StopCause
    reason: str


class Unloaded(msgspec.Struct, frozen=True):
    """Everything that this UnloadAsked named has stopped."""

    unload: UnloadId


class WakeAt(msgspec.Struct, frozen=True):
    """Send TimePassed at this moment of the monotonic clock; replaces the moment asked for before."""

    at: float


Effect = Grant | Refuse | Check | Load | Stop | Unloaded | WakeAt
