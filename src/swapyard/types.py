"""The words every room shares: identities and the states that are shown on the wire."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from enum import StrEnum
from typing import NewType

ModelId = NewType("ModelId", str)
"""The key of a local model in the configuration (never an alias)."""

Ticket = NewType("Ticket", int)
"""Identity of one request while it waits and while it holds a lease; never reused in one run."""


class State(StrEnum):
    """State of a supervised process, spelled as the API and the notices spell it."""

    STOPPED = "stopped"
    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"
    # Terminal: the process object will never start again.
    SHUTDOWN = "shutdown"


class StopCause(StrEnum):
    """Why we stop a process."""

    # Somebody asked for it.
    UNLOADED = "unloaded"
    # Another model needs its place.
    EVICTED = "evicted"
    # Nobody used it for its TTL.
    IDLE = "idle"
    # A new configuration has another version of it, or none.
    CHANGED = "changed"
    REMOVED = "removed"
    SHUTDOWN = "shutdown"


@dataclass(frozen=True, slots=True)
class Exit:
    """How a process ended: by itself with an exit status, or by a signal; one of the two is a number."""

    code: int | None = None
    signal: int | None = None

    def __str__(self) -> str:
        if self.signal is None:
            return f"exit status {self.code}"
        try:
            return f"killed by {signal.Signals(self.signal).name}"
        except ValueError:
            return f"killed by signal {self.signal}"
