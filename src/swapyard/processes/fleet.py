"""All supervised processes of one program: hands every order to the supervisor of its model."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from swapyard.config.commands import split_posix
from swapyard.processes.adopted import collect_adopted, end_adopted, subreaper
from swapyard.processes.guard import Guard
from swapyard.processes.launch import ProcessSpec, Split, prepare
from swapyard.processes.ledger import Ledger
from swapyard.processes.supervisor import ProcessStatus, Reports, Supervisor
from swapyard.types import Exit, ModelId, State
from swapyard.upkeep import Upkeep

LEDGER = "ledger of processes"
GUARD = "guard process"

__all__ = ["Fleet", "Ledger", "ProcessSpec", "ProcessStatus"]


class Fleet:
    """Starts and stops the processes of models, and tells the given callables what became of it.

    All callables are called on the event loop's thread and never from within a method of this class.  Every
    `load` ends in exactly one `on_load_finished` (None: ready), every `stop` in one `on_stop_finished`;
    orders for a process that is already being loaded or stopped share the answer.  `on_exited` tells at once
    of a ready process that ended unasked (model, which start, how, its last lines of output), `on_gone` when
    nothing of it is left.  Use it from one event loop only.
    """

    def __init__(
        self,
        *,
        on_load_finished: Callable[[ModelId, str | None], None],
        on_stop_finished: Callable[[ModelId], None],
        on_exited: Callable[[ModelId, int, Exit, str], None],
        on_gone: Callable[[ModelId, Exit], None],
        on_state: Callable[[ModelId, State, State, str], None],
        output: Callable[[ModelId, bytes], None],
        log: Callable[[int, str], None],
        ledger: Ledger | None,
        split: Split = split_posix,
        upkeep: Upkeep | None = None,
    ) -> None:
        self._upkeep = upkeep or Upkeep()
        self._on_load_finished = on_load_finished
        self._on_stop_finished = on_stop_finished
        self._on_state = on_state
        self._log = log
        self._ledger = ledger
        self._split = split
        self._guard = Guard(lambda text: log(logging.WARNING, text))
        self._reports = Reports(
            load_finished=on_load_finished,
            stop_finished=on_stop_finished,
            exited=on_exited,
            gone=on_gone,
            state=self._state_changed,
            output=output,
            log=log,
            child_spawned=self._child_spawned,
            child_gone=self._child_gone,
        )
        self._supervisors: dict[ModelId, Supervisor] = {}
        # No longer in the configuration, but not stopped yet.
        self._removed: set[ModelId] = set()
        self._tasks: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Supervise until cancelled; when this ends, no child is left."""
        with subreaper():
            try:
                async with asyncio.TaskGroup() as tasks:
                    self._tasks = tasks
                    adopted = self._upkeep.keep("adopted processes", collect_adopted)
                    tasks.create_task(adopted, name="adopted processes")
                    for supervisor in self._supervisors.values():
                        self._begin(supervisor)
            finally:
                self._tasks = None
                self._guard.close()
                for pid in end_adopted():
                    self._log(logging.WARNING, f"process {pid} had left its group and was ended")

    def apply(self, specs: Mapping[ModelId, ProcessSpec]) -> None:
        """Take over a new generation.  A running process keeps what it was started with until its next load.

        Models that are not in `specs` any more are not stopped by this: whoever holds leases on them does it.
        """
        for model, spec in specs.items():
            supervisor = self._supervisors.get(model)
            if supervisor is None:
                self._supervisors[model] = supervisor = Supervisor(spec, self._reports, self._split)
                self._begin(supervisor)
            supervisor.spec = spec
        self._removed = self._supervisors.keys() - specs.keys()
        for model in list(self._removed):
            if self._supervisors[model].status().state is State.STOPPED:
                self._retire(model)

    def check(self, model: ModelId) -> str | None:
        """Why this model cannot be started at all, in words; None when it is worth a try.  A few stats."""
        supervisor = self._supervisors.get(model)
        if supervisor is None:
            return f"unknown model: {model}"
        try:
            prepare(supervisor.spec, self._split)
        except ValueError as error:
            return str(error)
        return None

    def load(self, model: ModelId, reason: str = "load asked") -> None:
        """Start this model and wait until it is ready: `on_load_finished`."""
        supervisor = self._supervisors.get(model)
        if supervisor is None:
            loop = asyncio.get_running_loop()
            loop.call_soon(self._on_load_finished, model, f"unknown model: {model}")
        else:
            supervisor.load(reason)

    def stop(self, model: ModelId, grace: float, reason: str) -> None:
        """Stop this model within `grace` seconds, then by force: `on_stop_finished`.

        A load in progress is aborted, which is reported first.  A stop of a stopping process shortens its
        grace, never prolongs it.
        """
        supervisor = self._supervisors.get(model)
        if supervisor is None:
            asyncio.get_running_loop().call_soon(self._on_stop_finished, model)
        else:
            supervisor.stop(grace, reason)

    def status(self, model: ModelId) -> ProcessStatus:
        """The state of this moment; a model that is not known counts as stopped."""
        supervisor = self._supervisors.get(model)
        if supervisor is None:
            return ProcessStatus(model, State.STOPPED, None, 0, "", time.monotonic(), None, (), None, None)
        return supervisor.status()

    def statuses(self) -> list[ProcessStatus]:
        """All models of the configuration, and removed ones for as long as they run."""
        return [supervisor.status() for supervisor in self._supervisors.values()]

    def _begin(self, supervisor: Supervisor) -> None:
        if self._tasks is not None:
            name = f"supervisor of {supervisor.spec.model}"
            self._tasks.create_task(self._upkeep.keep(name, supervisor.run), name=name)

    def _retire(self, model: ModelId) -> None:
        self._removed.discard(model)
        self._supervisors.pop(model).retire()

    def _state_changed(self, model: ModelId, old: State, new: State, reason: str) -> None:
        self._on_state(model, old, new, reason)
        if new is State.STOPPED and model in self._removed:
            self._retire(model)

    def _child_spawned(self, model: ModelId, pid: int) -> None:
        with self._upkeep.guard(GUARD):
            self._guard.add(pid)
        with self._writing_the_ledger():
            if self._ledger is not None:
                self._ledger.spawned(model, pid)

    def _child_gone(self, pid: int) -> None:
        with self._upkeep.guard(GUARD):
            self._guard.remove(pid)
        with self._writing_the_ledger():
            if self._ledger is not None:
                self._ledger.gone(pid)

    @contextmanager
    def _writing_the_ledger(self) -> Iterator[None]:
        """Children run and end without it; what it could not write it writes with the next change."""
        with self._upkeep.guard(LEDGER):
            try:
                yield
            except OSError as error:
                self._upkeep.mark_down(LEDGER, str(error), "leftovers of a crash will not be found")
            else:
                self._upkeep.mark_up(LEDGER)
