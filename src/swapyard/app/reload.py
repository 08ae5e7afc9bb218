"""A reload that respects work in progress: load and check everything first, then apply the difference."""

from __future__ import annotations

import asyncio
import logging
import os
from typing import TYPE_CHECKING

from swapyard.api.services import Reloaded
from swapyard.app import observing
from swapyard.app.preload import preload
from swapyard.app.translate import needs_no_eviction, policy_of, specs_of
from swapyard.config.changes import Changes, compare
from swapyard.config.load import Loaded, load
from swapyard.errors import ConfigError
from swapyard.notices import ConfigReloaded
from swapyard.observe.schema import StoreError
from swapyard.proxy import generation
from swapyard.types import ModelId, State

if TYPE_CHECKING:
    from swapyard.app.program import Program


class Reloader:
    """One reload at a time; a wish that comes meanwhile is carried out afterwards, once."""

    def __init__(self, program: Program, loaded: Loaded) -> None:
        self._program = program
        self._loaded = loaded
        self._wish = asyncio.Event()
        self._why = ""
        self._one_at_a_time = asyncio.Lock()

    def request(self, why: str) -> None:
        """Ask for a reload without waiting for it."""
        self._why = why
        self._wish.set()

    async def run(self) -> None:
        while True:
            await self._wish.wait()
            self._wish.clear()
            self._program.logs.log(logging.INFO, f"reloading the configuration: {self._why}")
            await self.reload()

    async def reload(self) -> Reloaded:
        """Load the files again and go on with what they say; nothing changes when they cannot be used."""
        async with self._one_at_a_time:
            outcome = await self._reload()
        log = self._program.logs.log
        for problem in outcome.problems:
            log(logging.WARNING, f"failed to reload config: {problem}")
        for warning in outcome.warnings:
            log(logging.WARNING, warning)
        error = "\n".join(outcome.problems) or None
        self._program.bus.publish(ConfigReloaded(error))
        return outcome

    async def _reload(self) -> Reloaded:
        options = self._program.options
        ports = self._loaded.ports
        try:
            loaded = await asyncio.to_thread(load, options.config, options.config_dir, os.environ, ports)
            return await self._apply(loaded)
        except ConfigError as error:
            return Reloaded(problems=tuple(str(problem) for problem in error.problems))
        except (OSError, ValueError, StoreError) as error:
            return Reloaded(problems=(str(error),))

    async def _apply(self, loaded: Loaded) -> Reloaded:
        program, config = self._program, loaded.config
        before = program.data.generation
        changes = compare(before.config, config)
        policy = policy_of(config)
        now = generation.build(config, os.environ, before)
        moved = observing.store_path(config) != observing.store_path(before.config)
        store = await asyncio.to_thread(observing.open_store, config) if moved else None
        # From here on nothing can fail.
        program.fleet.apply(specs_of(config))
        program.data.generation = now
        program.dispatcher.change_policy(policy, changes.changed, changes.removed)
        generation.close_unused(before, now)
        if program.data.profile not in config.profiles:
            program.activate_profile(None)
        program.logs.configure(config.log_level, config.log_time_format)
        program.logs.keep_models(config.models)
        await program.observers.take_over(config, store)
        self._loaded = loaded
        program.logs.log(logging.INFO, f"configuration reloaded: {_in_words(changes)}")
        await self._preload(changes)
        return Reloaded((), tuple(str(warning) for warning in loaded.warnings), tuple(changes.changed))

    async def _preload(self, changes: Changes) -> None:
        """Only what the change added, and only beside what already runs."""
        program, config = self._program, self._loaded.config
        wanted = [ModelId(model) for model in config.hooks.on_startup.preload if model in changes.added]
        running = [s.model for s in program.fleet.statuses() if s.state is not State.STOPPED]
        possible = [model for model in wanted if needs_no_eviction(config, model, running)]
        await preload(possible, program.dispatcher, program.bus, program.logs.log)


def _in_words(changes: Changes) -> str:
    parts = (("added", changes.added), ("changed", changes.changed), ("removed", changes.removed))
    told = [f"{word} {', '.join(sorted(models))}" for word, models in parts if models]
    return "; ".join(told) or "no model changed"
