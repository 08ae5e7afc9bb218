"""What can happen to the scheduler; past tense, frozen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NewType

from swapyard.scheduling.policy import Policy
from swapyard.types import ModelId, Ticket

UnloadId = NewType("UnloadId", int)
"""Identity of one unload that somebody asked for, so that its completion finds the asker."""


@dataclass(frozen=True, slots=True)
class RequestArrived:
    """A request wants a lease on `model`.  Ends in exactly one Grant or Refuse, or in CallerLeft."""

    ticket: Ticket
    model: ModelId
    # An operator's explicit load: resets the crash back-off.
    explicit: bool = False


@dataclass(frozen=True, slots=True)
class CallerLeft:
    """The caller is gone before its Grant was taken.  Unknown tickets are ignored.

    Where the Grant is already given, this ends the lease: no LeaseReleased may follow.
    """

    ticket: Ticket


@dataclass(frozen=True, slots=True)
class LeaseReleased:
    """A granted lease has ended, however it ended."""

    ticket: Ticket


@dataclass(frozen=True, slots=True)
class CheckFinished:
    """The cheap check that a Check ordered is done; `error` is None when the model may be loaded."""

    model: ModelId
    error: str | None


@dataclass(frozen=True, slots=True)
class LoadFinished:
    """A Load has ended; `error` is None when the model is ready, else the reason in words."""

    model: ModelId
    error: str | None


@dataclass(frozen=True, slots=True)
class StopFinished:
    """A Stop has ended: the process and all that it started are gone."""

    model: ModelId


@dataclass(frozen=True, slots=True)
class ProcessGone:
    """A ready process ended without being asked to; nothing of it is left."""

    model: ModelId
    reason: str


@dataclass(frozen=True, slots=True)
class UnloadAsked:
    """Somebody wants these models stopped, in-flight requests or not.

    `grace` in seconds overrides each model's own; None leaves it.  Answered by Unloaded.
    """

    unload: UnloadId
    models: frozenset[ModelId]
    grace: float | None = None


@dataclass(frozen=True, slots=True)
class PolicyChanged:
    """A new configuration is in force.

    `changed` models drain and stop, and their waiting requests wait for the new version; `removed` ones
    drain and stop, and their waiting requests are refused.  All others keep everything.
    """

    policy: Policy
    changed: frozenset[ModelId]
    removed: frozenset[ModelId]


@dataclass(frozen=True, slots=True)
class TimePassed:
    """A moment that WakeAt asked for has come (or any other moment: harmless)."""


@dataclass(frozen=True, slots=True)
class ShutdownAsked:
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
