"""What the control plane is handed: the parts it shows and the orders it may give."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from swapyard.api.watchers import Watchers
from swapyard.bus import Bus
from swapyard.config.names import Names
from swapyard.config.schema import Config
from swapyard.dispatcher import Dispatcher
from swapyard.observe.captures import Captures
from swapyard.observe.logs import Logs
from swapyard.observe.performance import Monitor
from swapyard.observe.prometheus import Metrics
from swapyard.observe.recorder import Recorder
from swapyard.observe.yard import Yard
from swapyard.types import ModelId
from swapyard.upkeep import Upkeep
from swapyard.web.auth import Keys


@dataclass(frozen=True, slots=True)
class Build:
    """What this program is; `commit` and `date` are "unknown" for a build that was not stamped."""

    version: str
    commit: str = "unknown"
    date: str = "unknown"


@dataclass(frozen=True, slots=True)
class Reloaded:
    """Outcome of a reload: the problems that kept it from taking effect, none if it did."""

    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    changed: tuple[ModelId, ...] = ()


@dataclass(frozen=True, slots=True)
class Services:
    """Callables read what a reload replaces; plain members live as long as the program."""

    config: Callable[[], Config]
    names: Callable[[], Names]
    keys: Callable[[], Keys]
    dispatcher: Dispatcher
    bus: Bus
    logs: Logs
    recorder: Recorder
    captures: Captures
    monitor: Monitor
    metrics: Metrics
    yard: Yard
    watchers: Watchers
    hardware: Callable[[], Mapping[str, Any] | None]
    load: Callable[[ModelId], Awaitable[None]]
    keep: Callable[[ModelId], None]
    active_profile: Callable[[], str | None]
    activate_profile: Callable[[str | None], None]
    reload: Callable[[], Awaitable[Reloaded]]
    build: Build
    clock: Callable[[], float]
    upkeep: Upkeep
