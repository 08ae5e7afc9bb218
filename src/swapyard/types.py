"""The words every room shares: identities and the states that are shown on the wire."""

from __future__ import annotations

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
