"""Owns one model's process: one task, one inbox, and the lifecycle that decides."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any, assert_never

from swapyard.processes import lifecycle as life
from swapyard.processes.child import Child
from swapyard.processes.health import NO_PROBE, endpoint, wait_until_ready
from swapyard.processes.launch import Launch, ProcessSpec, Split, UnusableTextError, prepare, prepare_stop
from swapyard.processes.ports import find_foreign_listener
from swapyard.types import Exit, ModelId, State


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """What can be said about a process at one moment; to be shown, never acted upon.

    `start` counts the starts, so two equal numbers mean the same child.  `since` is the monotonic time of the
    last change of state, `started_at` the wall-clock time of the spawn.  `load_seconds` is what the last
    successful load took.  `pid`, `started_at` and `command` are those of the child, gone with it.
    """

    model: ModelId
    state: State
    pid: int | None
    start: int
    base_url: str
    since: float
    started_at: float | None
    command: tuple[str, ...]
    load_seconds: float | None
    last_error: str | None


@dataclass(frozen=True, slots=True)
class Reports:
    """Whom a supervisor tells what; all are called on the event loop, from the supervisor's task."""

    load_finished: Callable[[ModelId, str | None], None]
    stop_finished: Callable[[ModelId], None]
    exited: Callable[[ModelId, int, Exit, str], None]
    gone: Callable[[ModelId, Exit], None]
    state: Callable[[ModelId, State, State, str], None]
    output: Callable[[ModelId, bytes], None]
    log: Callable[[int, str], None]
    child_spawned: Callable[[ModelId, int], None]
    child_gone: Callable[[int], None]


class Supervisor:
    """Carries out what the lifecycle of one model decides.

    `spec` may be replaced at any time; it counts from the next start.  An unforeseen exception in here, a
    bug, ends the child and answers every order that is open, so that nobody waits for ever; `run` raises it
    and may be called again.
    """

    def __init__(self, spec: ProcessSpec, reports: Reports, split: Split) -> None:
        self.spec = spec
        self._reports = reports
        self._split = split
        self._model = spec.model
        self._lifecycle = life.Lifecycle()
        # What has happened, bugs in the work beside this task among it.
        self._inbox: asyncio.Queue[life.Event | Exception] = asyncio.Queue()
        self._work: asyncio.TaskGroup
        self._running_spec = spec
        self._child: Child | None = None
        self._start_work: asyncio.Task[None] | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._stop_command: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._since = time.monotonic()
        self._asked_at = self._since
        self._load_seconds: float | None = None
        self._last_error: str | None = None
        # What the owner was promised and what it believes, for when everything else cannot be trusted.
        self._owes_load = False
        self._owes_stop = False
        self._told_ready = False
        self._retired = False

    def load(self, reason: str) -> None:
        self._owes_load = True
        self._inbox.put_nowait(life.LoadAsked(self.spec.health_check_timeout, reason))

    def stop(self, grace: float, reason: str) -> None:
        self._owes_stop = True
        self._inbox.put_nowait(life.StopAsked(grace, reason))

    def retire(self) -> None:
        """End the lifetime; `run` returns when nothing is left."""
        self._retired = True
        self._inbox.put_nowait(life.LifetimeEnded())

    def status(self) -> ProcessStatus:
        child = self._child if self._child and not self._child.closed else None
        return ProcessStatus(
            model=self._model,
            state=self._lifecycle.state,
            pid=child.pid if child else None,
            start=self._lifecycle.start,
            base_url=self._running_spec.proxy if child else self.spec.proxy,
            since=self._since,
            started_at=child.started_at if child else None,
            command=child.arguments if child else (),
            load_seconds=self._load_seconds,
            last_error=self._last_error,
        )

    async def run(self) -> None:
        """Serve the inbox until cancelled or retired; the child never outlives this."""
        try:
            await self._run()
        except Exception as bug:
            self._begin_afresh(_innermost(bug))
            raise

    async def _run(self) -> None:
        try:
            async with asyncio.TaskGroup() as self._work:
                try:
                    await self._serve()
                except asyncio.CancelledError:
                    self._take(life.LifetimeEnded())
                    await self._serve()
                    raise
                finally:
                    self._end_stop_command()
        finally:
            self._leave_nothing()

    async def _serve(self) -> None:
        while not self._lifecycle.over:
            event = await self._inbox.get()
            if isinstance(event, Exception):
                raise event
            self._take(event)

    def _begin(self, work: Callable[[], Coroutine[Any, Any, None]], name: str) -> asyncio.Task[None]:
        """Have this done beside the inbox.

        A bug in it is raised by whoever serves the inbox: a task group would cancel that one, as if the
        lifetime were over.
        """
        return self._work.create_task(self._told_of(work), name=f"{name} of {self._model}")

    async def _told_of(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            await work()
        except Exception as bug:
            self._inbox.put_nowait(bug)

    def _take(self, event: life.Event) -> None:
        """Let the lifecycle decide, and carry out what it orders, at once."""
        events = deque([event])
        while events:
            for effect in self._lifecycle.handle(events.popleft(), time.monotonic()):
                outcome = self._carry_out(effect)
                if outcome is not None:
                    events.append(outcome)

    def _carry_out(self, effect: life.Effect) -> life.Event | None:
        """Carry out one effect; the event that it ended in at once, None when that comes later or never."""
        match effect:
            case life.LookAtPort(start):
                self._begin_start()
                self._start_work = self._begin(partial(self._look_at_port, start), "port")
            case life.Spawn(start):
                return self._spawn(start)
            case life.Probe(start):
                return self._begin_probing(start)
            case life.GiveUpStart():
                self._give_up_start()
            case life.AskToStop(deadline):
                self._ask_to_stop(deadline)
            case life.AskRest():
                self._the_child().terminate()
            case life.Kill():
                self._kill()
            case life.Abandon():
                self._abandon()
            case life.Announce(old, new, reason):
                self._announce(old, new, reason)
            case life.LoadFinished():
                self._load_finished(effect)
            case life.StopFinished():
                self._owes_stop = self._told_ready = False
                self._reports.stop_finished(self._model)
            case life.Exited(how):
                self._last_error = f"exited by itself ({how})"
                self._reports.exited(self._model, self._lifecycle.start, how, self._the_child().tail())
            case life.Gone(how):
                self._told_ready = False
                self._reports.gone(self._model, how)
            case life.WakeAt(at):
                self._wake_at(at)
            case _:
                assert_never(effect)
        return None

    # Starting.

    def _begin_start(self) -> None:
        self._running_spec = self.spec
        self._child = None
        self._asked_at = time.monotonic()

    async def _look_at_port(self, start: int) -> None:
        try:
            prepare(self._running_spec, self._split)
            error = await find_foreign_listener(self._running_spec.proxy)
        except ValueError as refused:
            error = str(refused)
        self._inbox.put_nowait(life.PortLooked(start, error))

    def _spawn(self, start: int) -> life.Event:
        try:
            launch = prepare(self._running_spec, self._split)
            child = Child(launch, self._output)
        except ValueError as error:
            return life.SpawnFailed(str(error))
        except OSError as error:
            return life.SpawnFailed(f"cannot execute {launch.executable}: {error.strerror}")
        self._child = child
        self._keeper = self._begin(partial(self._keep, child, start), "child")
        self._reports.child_spawned(self._model, child.pid)
        self._reports.log(logging.DEBUG, f"<{self._model}> started pid {child.pid}")
        return life.Spawned()

    def _output(self, data: bytes) -> None:
        self._reports.output(self._model, data)

    async def _keep(self, child: Child, start: int) -> None:
        """Watch the child to its end, then its group; being cancelled kills both."""
        how = Exit(signal=signal.SIGKILL)
        try:
            how = await child.exit()
            if child.group_left():
                self._inbox.put_nowait(life.ChildExited(start, how))
                await child.group_end()
        except asyncio.CancelledError:
            child.kill()
            raise
        finally:
            child.close()
            self._reports.child_gone(child.pid)
            self._inbox.put_nowait(life.GroupGone(start, how))

    def _begin_probing(self, start: int) -> life.Event | None:
        if self._running_spec.check_endpoint.strip() == NO_PROBE:
            return life.ProbePassed(start)
        self._start_work = self._begin(partial(self._probe, self._the_child(), start), "probe")
        return None

    async def _probe(self, child: Child, start: int) -> None:
        spec = self._running_spec
        await wait_until_ready(endpoint(spec.proxy, spec.check_endpoint, spec.connect_timeout))
        if child.running():  # else somebody else answered, and the exit of the child is on its way
            self._inbox.put_nowait(life.ProbePassed(start))

    def _give_up_start(self) -> None:
        if self._start_work is not None:
            self._start_work.cancel()
            self._start_work = None

    # Ending.

    def _ask_to_stop(self, deadline: float) -> None:
        child = self._the_child()
        if not self._running_spec.stop_command:
            child.terminate()
            return
        try:
            launch = prepare_stop(self._running_spec, child.pid, self._split)
        except UnusableTextError as error:
            self._warn(f"cmdStop is unusable ({error}), sending SIGTERM")
            child.terminate()
        except ValueError as error:
            # As the reference: no SIGTERM instead, the grace runs out.
            self._warn(f"cmdStop cannot be run: {error}")
        else:
            self._stop_command = self._begin(partial(self._run_stop_command, launch, deadline), "cmdStop")

    async def _run_stop_command(self, launch: Launch, deadline: float) -> None:
        """Let cmdStop finish within the grace, also when the child is gone before."""
        try:
            command = Child(launch)
        except (ValueError, OSError) as error:
            self._warn(f"cmdStop cannot be run: {error}")
            return
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                how = await command.exit()
            if how.code != 0:
                self._warn(f"cmdStop failed: {how}")
        except TimeoutError:
            self._warn("cmdStop did not finish within the grace")
        finally:
            command.kill()
            command.close()

    def _kill(self) -> None:
        self._end_stop_command()
        child = self._the_child()
        self._warn(f"pid {child.pid} or what it started is still there, sending SIGKILL")
        child.kill()

    def _abandon(self) -> None:
        child = self._the_child()
        self._last_error = f"process {child.pid} survived SIGKILL"
        self._warn(f"{self._last_error}, it is no longer watched")
        if self._keeper is not None:
            self._keeper.cancel()

    def _end_stop_command(self) -> None:
        if self._stop_command is not None:
            self._stop_command.cancel()
            self._stop_command = None

    def _the_child(self) -> Child:
        assert self._child is not None
        return self._child

    def _begin_afresh(self, bug: BaseException) -> None:
        """Forget a state that cannot be trusted.  The child is gone; whoever waits for an answer gets it now.

        1. a load fails, 2. a stop is done, 3. without either a process that was ready has ended by itself.
        """
        reason = f"internal error in its supervision: {bug!r}"
        before, self._lifecycle = self._lifecycle, life.Lifecycle(self._lifecycle.start)
        self._inbox = asyncio.Queue()
        self._child = self._start_work = self._keeper = self._timer = None
        self._last_error = reason
        owes_load, owes_stop, told_ready = self._owes_load, self._owes_stop, self._told_ready
        self._owes_load = self._owes_stop = self._told_ready = False
        if self._retired:
            self._inbox.put_nowait(life.LifetimeEnded())
        if before.state is not State.STOPPED:
            self._since = time.monotonic()
            self._reports.state(self._model, before.state, State.STOPPED, reason)
        if owes_load:
            self._reports.load_finished(self._model, reason)
        if owes_stop:
            self._reports.stop_finished(self._model)
        elif told_ready and not owes_load:
            how = Exit(signal=signal.SIGKILL)
            self._reports.exited(self._model, before.start, how, reason)
            self._reports.gone(self._model, how)

    def _leave_nothing(self) -> None:
        """Whatever went wrong: no child is left behind."""
        if self._timer is not None:
            self._timer.cancel()
        if self._child is not None and not self._child.closed:
            self._child.kill()
            self._child.close()
            self._reports.child_gone(self._child.pid)

    # Telling.

    def _announce(self, old: State, new: State, reason: str) -> None:
        self._since = time.monotonic()
        if new is State.READY:
            self._load_seconds = self._since - self._asked_at
            reason = f"after {self._load_seconds:.2f}s"
        words = f" ({reason})" if reason else ""
        # Who ordered a load or a stop says how it ended; only readiness is news for everybody.
        level = logging.INFO if new is State.READY else logging.DEBUG
        self._reports.log(level, f"<{self._model}> {new}{words}")
        self._reports.state(self._model, old, new, reason)

    def _load_finished(self, effect: life.LoadFinished) -> None:
        error = effect.error
        self._owes_load = False
        self._told_ready = error is None
        if error is None:
            self._last_error = None
        elif not effect.aborted:
            self._last_error = error
            tail = self._child.tail() if self._child else ""
            error = f"{error}; last output:\n{tail}" if tail else error
        self._reports.load_finished(self._model, error)

    def _wake_at(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        delay = max(0.0, at - time.monotonic())
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(delay, self._inbox.put_nowait, life.TimePassed())

    def _warn(self, text: str) -> None:
        self._reports.log(logging.WARNING, f"<{self._model}> {text}")


def _innermost(error: BaseException) -> BaseException:
    """The first error inside groups of errors."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
