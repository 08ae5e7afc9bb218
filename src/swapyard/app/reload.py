"""A reload that respects work in progress: load and check everything first, then apply the difference."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from swapyard.api.services import Reloaded
from swapyard.app import observing
from swapyard.app.observing import Observers
from swapyard.app.preload import preload
from swapyard.app.translate import needs_no_eviction, policy_of, specs_of
from swapyard.bus import Bus
from swapyard.config.changes import Changes, compare
from swapyard.config.load import Loaded, load
from swapyard.config.schema import Config
from swapyard.dispatcher import Dispatcher
from swapyard.errors import ConfigError
from swapyard.notices import ConfigReloaded
from swapyard.observe.logs import Logs
from swapyard.observe.schema import StoreError
from swapyard.observe.store import ActivityStore
from swapyard.processes.fleet import Fleet, ProcessSpec
from swapyard.proxy import generation
from swapyard.proxy.generation import Generation
from swapyard.proxy.serve import DataPlane
from swapyard.scheduling.policy import Policy
from swapyard.types import ModelId, State
from swapyard.upkeep import Upkeep

PART = "reload"


@dataclass(frozen=True, slots=True)
class Parts:
    """What a configuration shapes, and a new one reshapes."""

    fleet: Fleet
    dispatcher: Dispatcher
    data: DataPlane
    observers: Observers
    logs: Logs
    bus: Bus
    activate_profile: Callable[[str | None], None]
    upkeep: Upkeep


@dataclass(frozen=True, slots=True)
class Prepared:
    """A new configuration with everything that could have failed behind it."""

    loaded: Loaded
    changes: Changes
    policy: Policy
    specs: dict[ModelId, ProcessSpec]
    generation: Generation
    # Opened, when it is another than the one in use.
    store: ActivityStore | None


class Reloader:
    """One reload at a time; wishes that come meanwhile are carried out afterwards, by one more."""

    def __init__(self, main: Path | None, directory: Path | None, loaded: Loaded, parts: Parts) -> None:
        self._main = main
        self._directory = directory
        self._loaded = loaded
        self._parts = parts
        self._why = ""
        self._wished = asyncio.Event()
        # Who asked for the next reload learns of its outcome here.
        self._asked: list[asyncio.Future[Reloaded]] = []

    def request(self, why: str) -> None:
        """Ask for a reload without waiting for it."""
        self._why = why
        self._wished.set()

    async def reload(self) -> Reloaded:
        """Load the files again and go on with what they say; nothing changes when they cannot be used.

        The reload goes on when whoever waits here is gone.
        """
        outcome: asyncio.Future[Reloaded] = asyncio.get_running_loop().create_future()
        self._asked.append(outcome)
        self.request("asked for")
        return await outcome

    async def run(self) -> None:
        """Carry out what is wished for until cancelled."""
        answered: list[asyncio.Future[Reloaded]] = []
        try:
            async with asyncio.TaskGroup() as beside:
                while True:
                    await self._wished.wait()
                    self._wished.clear()
                    answered, self._asked = self._asked, []
                    self._parts.logs.log(logging.INFO, f"reloading the configuration: {self._why}")
                    with self._parts.upkeep.guard(PART) as guarded:
                        _tell(answered, await self._reload(beside))
                    if guarded.failed:
                        _tell(answered, Reloaded(problems=("internal error; the log has the details",)))
        finally:
            _tell([*answered, *self._asked], Reloaded(problems=("the program is shutting down",)))

    async def _reload(self, beside: asyncio.TaskGroup) -> Reloaded:
        prepared = await self._prepare()
        if isinstance(prepared, Prepared):
            await self._apply(prepared)
            beside.create_task(self._preload(prepared.changes), name="preload")
            warnings = tuple(str(warning) for warning in prepared.loaded.warnings)
            outcome = Reloaded((), warnings, tuple(sorted(prepared.changes.changed)))
        else:
            outcome = Reloaded(problems=prepared)
        for problem in outcome.problems:
            self._parts.logs.log(logging.WARNING, f"failed to reload config: {problem}")
        for warning in outcome.warnings:
            self._parts.logs.log(logging.WARNING, warning)
        self._parts.bus.publish(ConfigReloaded("\n".join(outcome.problems) or None))
        return outcome

    async def _prepare(self) -> Prepared | tuple[str, ...]:
        """All that can fail; the problems when something does, and nothing has changed."""
        ports = self._loaded.ports
        try:
            loaded = await asyncio.to_thread(load, self._main, self._directory, os.environ, ports)
            config = loaded.config
            before = self._parts.data.generation
            changes = compare(before.config, config)
            policy, specs = policy_of(config), dict(specs_of(config))
            now = generation.build(config, os.environ, before)
            moved = observing.store_path(config) != observing.store_path(before.config)
            store = await asyncio.to_thread(observing.open_store, config) if moved else None
        except ConfigError as error:
            return tuple(str(problem) for problem in error.problems)
        except (OSError, StoreError) as error:
            return (str(error),)
        except Exception as error:
            # A bug that a configuration brings to light must not end a program that runs well without it.
            self._parts.upkeep.failed(PART, error)
            return (f"internal error: {error!r}",)
        return Prepared(loaded, changes, policy, specs, now, store)

    async def _apply(self, prepared: Prepared) -> None:
        parts, config, changes = self._parts, prepared.loaded.config, prepared.changes
        before = parts.data.generation
        parts.fleet.apply(prepared.specs)
        parts.data.generation = prepared.generation
        parts.dispatcher.change_policy(prepared.policy, changes.changed, changes.removed)
        generation.close_unused(before, prepared.generation)
        if parts.data.profile not in config.profiles:
            parts.activate_profile(None)
        parts.logs.configure(config.log_level, config.log_time_format)
        parts.logs.keep_models(config.models)
        self._loaded = prepared.loaded
        await parts.observers.take_over(config, prepared.store)
        parts.logs.log(logging.INFO, f"configuration reloaded: {_in_words(changes)}")

    async def _preload(self, changes: Changes) -> None:
        """Only what the change added, and only beside what runs by then."""
        parts, config = self._parts, self._loaded.config
        with parts.upkeep.guard("preload"):
            for model in config.hooks.on_startup.preload:
                if model in changes.added and self._fits(config, ModelId(model)):
                    await preload([ModelId(model)], parts.dispatcher, parts.bus, parts.logs.log)

    def _fits(self, config: Config, model: ModelId) -> bool:
        statuses = self._parts.fleet.statuses()
        running = [status.model for status in statuses if status.state is not State.STOPPED]
        return needs_no_eviction(config, model, running)


def _tell(asked: list[asyncio.Future[Reloaded]], outcome: Reloaded) -> None:
    for waiting in asked:
        if not waiting.done():
            waiting.set_result(outcome)
    asked.clear()


def _in_words(changes: Changes) -> str:
    parts = (("added", changes.added), ("changed", changes.changed), ("removed", changes.removed))
    told = [f"{word} {', '.join(sorted(models))}" for word, models in parts if models]
    return "; ".join(told) or "no model changed"
