"""What can happen to the scheduler; past tense, frozen.

Some are made for every request, and a frozen dataclass takes seven times as long to make as a Struct.
"""

from __future__ import annotations

from typing import NewType

import msgspec

from swapyard.scheduling.policy import Policy
from swapyard.types import Exit, ModelId, Ticket

UnloadId = NewType("UnloadId", int)
"""Identity of one unload that somebody asked for, so that its completion finds the asker."""


class RequestArrived(msgspec.Struct, frozen=True):
    """A request wants a lease on `model`.  Ends in exactly one Grant or Refuse, or in CallerLeft."""

    ticket: Ticket
    model: ModelId
    # An operator's explicit load: resets the crash back-off.
    explicit: bool = False


class CallerLeft(msgspec.Struct, frozen=True):
    """The caller is gone before its Grant was taken.  Unknown tickets are ignored.

    Where the Grant is already given, this ends the lease: no LeaseReleased may follow.
    """

    ticket: Ticket


class LeaseReleased(msgspec.Struct, frozen=True):
    """A granted lease has ended, however it ended."""

    ticket: Ticket


class CheckFinished(msgspec.Struct, frozen=True):
    """The cheap check that a Check ordered is done; `error` is None when the model may be loaded."""

    model: ModelId
    error: str | None


class LoadFinished(msgspec.Struct, frozen=True):
    """A Load has ended; `error` is None when the model is ready, else the reason in words."""

    model: ModelId
    error: str | None


class StopFinished(msgspec.Struct, frozen=True):
    """A Stop has ended: the process and all that it started are gone."""

    model: ModelId


class ProcessGone(msgspec.Struct, frozen=True):
    """A ready process ended without being asked to; nothing of it is left."""

    model: ModelId
    exit: Exit


class UnloadAsked(msgspec.Struct, frozen=True):
    """Somebody wants these models stopped, in-flight requests or not.

    `grace` in seconds overrides each model's own; None leaves it.  Answered by Unloaded.
    """

    unload: UnloadId
    models: frozenset[ModelId]
    grace: float | None = None


class PolicyChanged(msgspec.Struct, frozen=True):
    """A new configuration is in force.

    `changed` models drain and stop, and their waiting requests wait for the new version; `removed` ones
    drain and stop, and their waiting requests are refused.  All others keep everything.
    """

    policy: Policy
    changed: frozenset[ModelId]
    removed: frozenset[ModelId]


class TimePassed(msgspec.Struct, frozen=True):
    """A moment that WakeAt asked for has come (or any other moment: harmless)."""


class ShutdownAsked(msgspec.Struct, frozen=True):
    """No more grants; everybody who waits is refused.  Leases may still end."""


Event = (
    RequestArrived
    | CallerLeft
    | LeaseReleased
    | CheckFinished
    | LoadFinished
    | StopFinished
    | ProcessGone
    | UnloadAsked
    | PolicyChanged
    | TimePassed
    | ShutdownAsked
)
