"""One running swapyard: its parts, their lifetimes, signals, and the order in which it ends."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import ssl
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, cast

from swapyard import notices
from swapyard.api.app import build as build_control_plane
from swapyard.api.services import Build, Services
from swapyard.api.watchers import Watchers
from swapyard.app import observing
from swapyard.app.options import Options, state_directory
from swapyard.app.preload import preload
from swapyard.app.reload import Parts, Reloader
from swapyard.app.traffic import Traffic
from swapyard.app.translate import policy_of, specs_of
from swapyard.bus import Bus
from swapyard.config.load import Loaded
from swapyard.config.schema import Config
from swapyard.dispatcher import Dispatcher
from swapyard.errors import Fault, RequestError
from swapyard.observe.hardware import Tools, detect
from swapyard.observe.log_lines import is_access_logged
from swapyard.observe.logging_handler import LoggingHandler
from swapyard.observe.logs import Logs
from swapyard.processes.fleet import Fleet
from swapyard.processes.ledger import Ledger
from swapyard.proxy.generation import build as build_generation
from swapyard.proxy.serve import DataPlane
from swapyard.scheduling.machine import RETRY_LATER
from swapyard.types import Exit, ModelId, State, StopCause
from swapyard.upkeep import Upkeep
from swapyard.web import asgi
from swapyard.web.front import Front
from swapyard.web.server import Listener, Reply, Request

SHUTDOWN_GRACE = 30.0
"""Seconds that leases may take to end, and processes to stop, all together."""

STOP_GRACE = 2.0
"""Seconds of it that leases leave to the processes."""

LAST_WORDS = 1.0
"""Seconds in which clients may read what was said last."""

GARBAGE_PERIOD = 50_000
"""Containers that come and stay before the collector looks for cycles.  A request leaves none behind, but
is thirty of these while it waits to be observed."""

THREAD_TURN = 0.001
"""Seconds for which one thread may keep the interpreter from another.  With Python's own 5 ms the observing
thread falls behind a busy loop, and the loop waits 5 ms for its turn when it does not."""

clock = time.monotonic


class Program:
    """Construct it in the event loop; `run` returns the exit status.

    Each turn of `changes` is a change of the configuration's files since before they were loaded.
    """

    def __init__(
        self,
        options: Options,
        loaded: Loaded,
        build: Build,
        *,
        tls: ssl.SSLContext | None = None,
        changes: AsyncIterator[None] | None = None,
    ) -> None:
        config = loaded.config
        self._options = options
        self._loaded = loaded
        self._changes = changes
        self.upkeep = Upkeep()
        self.bus = Bus(self.upkeep)
        self.logs = Logs(
            config.log_level,
            config.log_time_format,
            config.log_to_stdout,
            sys.stdout.buffer,
            self.bus.publish,
            upkeep=self.upkeep,
        )
        self.fleet = Fleet(
            on_load_finished=self._load_finished,
            on_stop_finished=lambda model: self.dispatcher.stop_finished(model),
            on_exited=lambda *exit: self.dispatcher.exited(*exit),
            on_gone=self._gone,
            on_state=self._state_changed,
            output=self.logs.output,
            log=self.logs.log,
            ledger=self._ledger(),
            upkeep=self.upkeep,
        )
        self.fleet.apply(specs_of(config))
        self.dispatcher = Dispatcher(
            policy_of(config), self.fleet, clock=clock, log=self.logs.log, upkeep=self.upkeep
        )
        self.observers = observing.Observers(
            config, self.bus, self.logs, self.dispatcher, lambda: self.data.generation.names, self.upkeep
        )
        self.data = DataPlane(
            build_generation(config, os.environ), self.dispatcher, self.observers.recorder, clock
        )
        traffic = Traffic(self.dispatcher, self.observers.yard, self.bus, self.upkeep)
        self.dispatcher.watch(traffic.touched, self._stopping, self._found_a_bug)
        parts = Parts(
            self.fleet,
            self.dispatcher,
            self.data,
            self.observers,
            self.logs,
            self.bus,
            self.activate_profile,
            self.upkeep,
        )
        self.reloader = Reloader(options.config, options.config_dir, loaded, parts)
        self._hardware: Mapping[str, Any] | None = None
        self._tools = Tools()
        self._build = build
        self._watchers = Watchers()
        self._listener = Listener(
            Front(self.data.find, asgi.handler(cast(asgi.App, build_control_plane(self._services(build))))),
            self._log_access,
            tls,
        )
        self._stop = asyncio.Event()
        self._bug: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
        self._hurrying = False
        self._patience: asyncio.Timeout | None = None
        self._restarting: set[ModelId] = set()

    @property
    def _config(self) -> Config:
        return self.data.generation.config

    # The life of the program

    async def run(self, sockets: Sequence[socket.socket], ready: Callable[[], None] | None = None) -> int:
        """Serve on these sockets until a signal comes; `ready` is called when connections are taken."""
        loop = asyncio.get_running_loop()
        self.logs.attach(loop)
        loop.set_exception_handler(self.upkeep.loop_failed)
        logging.getLogger().addHandler(handler := LoggingHandler(self.logs))
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._asked_to_stop)
        if hasattr(signal, "SIGHUP"):
            loop.add_signal_handler(signal.SIGHUP, self.reloader.request, "SIGHUP")
        self.observers.recorder.start()
        self._detect_hardware()
        try:
            async with asyncio.TaskGroup() as tasks:
                fleet = tasks.create_task(self.fleet.run(), name="fleet")
                bugs = tasks.create_task(self._end_on_a_bug(), name="bugs")
                others = [
                    self._keep(tasks, "performance", self.observers.monitor.run),
                    self._keep(tasks, "reload", self.reloader.run),
                ]
                if self._changes is not None:
                    others.append(self._keep(tasks, "watch", partial(self._watch, self._changes)))
                await self._listener.listen(list(sockets))
                self._greet()
                _settle()
                others.append(tasks.create_task(self._preload(), name="preload"))
                if ready is not None:
                    ready()
                await self._stop.wait()
                for task in others:
                    task.cancel()
                await self._shut_down()
                fleet.cancel()
                bugs.cancel()
        finally:
            self._listener.close()
            self._listener.abort()
            await asyncio.to_thread(self._tools.stop)
            await self.observers.close()
            self.logs.log(logging.INFO, "shutdown complete")
            logging.getLogger().removeHandler(handler)
            self.logs.close()
        return 0

    def _keep(
        self, tasks: asyncio.TaskGroup, part: str, run: Callable[[], Coroutine[Any, Any, None]]
    ) -> asyncio.Task[None]:
        return tasks.create_task(self.upkeep.keep(part, run), name=part)

    def stop(self) -> None:
        """Begin the shutdown, as SIGTERM does."""
        self._stop.set()

    async def _shut_down(self) -> None:
        """Stop accepting, refuse who waits, end the streams that never end, let leases end, stop processes.

        Leases and processes share one grace; a second signal ends it at once.  Stopping the processes ends
        the leases that are left, and their clients are told why; what is still there after that is cut.
        """
        self.logs.log(logging.INFO, "shutting down")
        deadline = clock() + SHUTDOWN_GRACE
        self._listener.close()
        self.dispatcher.refuse_everybody()
        self.bus.close()
        self.logs.close_followers()
        asyncio.get_running_loop().call_later(LAST_WORDS, self._watchers.cut)
        await self._done_in_time(self._listener.drained(), deadline - STOP_GRACE)
        # Each model has its own grace, but no longer than the program's.
        if not await self._done_in_time(self.dispatcher.unload(self._all_models()), deadline):
            await self.dispatcher.unload(self._all_models(), 0)
        await self._cut_off()

    async def _cut_off(self) -> None:
        """End the requests that are left; who reads is told why."""
        refusal = RequestError(Fault.SHUTTING_DOWN, "shutting down", retry_after=RETRY_LATER)
        self._listener.end_requests(refusal)
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS):
                await self._listener.drained()
        self._listener.abort()
        await self._listener.drained()

    async def _done_in_time(self, work: Coroutine[Any, Any, None], deadline: float | None) -> bool:
        """Whether the work was done before the deadline and before a second signal; else it is cancelled."""
        left = None if deadline is None else deadline - clock()
        try:
            async with asyncio.timeout(0 if self._hurrying else left) as self._patience:
                await work
        except TimeoutError:
            return False
        finally:
            self._patience = None
        return True

    def _all_models(self) -> list[ModelId]:
        return [status.model for status in self.fleet.statuses()]

    def _asked_to_stop(self) -> None:
        if self._stop.is_set():
            self.logs.log(logging.WARNING, "second signal: ending everything at once")
            self._hurrying = True
            if self._patience is not None:
                self._patience.reschedule(asyncio.get_running_loop().time())
        self._stop.set()

    def _found_a_bug(self, bug: Exception) -> None:
        if not self._bug.done():
            self._bug.set_result(bug)

    async def _end_on_a_bug(self) -> None:
        """Of the scheduler, when it could not begin afresh.

        Children first: the task group ends the fleet, and nobody goes on with a state that is wrong.
        """
        bug = await self._bug
        self.logs.log(logging.ERROR, f"the scheduler cannot begin afresh, everything ends: {bug!r}")
        raise bug

    # Beside it

    async def _watch(self, changes: AsyncIterator[None]) -> None:
        async for _ in changes:
            self.reloader.request("the file changed")

    async def _preload(self) -> None:
        models = [ModelId(name) for name in self._config.hooks.on_startup.preload]
        with self.upkeep.guard("preload"):
            await preload(models, self.dispatcher, self.bus, self.logs.log)

    def _detect_hardware(self) -> None:
        """In a thread that nobody waits for: a driver that hangs must hold up neither start nor end."""
        loop = asyncio.get_running_loop()

        def look() -> None:
            with self.upkeep.guard("hardware"):
                found = detect(self._build.version, tools=self._tools)
                with suppress(RuntimeError):  # the loop is gone, and with it everybody who might ask
                    loop.call_soon_threadsafe(setattr, self, "_hardware", found)

        threading.Thread(target=look, name="hardware", daemon=True).start()

    def _ledger(self) -> Ledger:
        """The processes that a killed predecessor left are ended before any new one starts."""
        ledger = Ledger(state_directory())
        try:
            for line in ledger.sweep():
                self.logs.log(logging.WARNING, line)
        except OSError as error:
            message = f"leftovers of a crash cannot be looked for: {error}"
            self.logs.log(logging.WARNING, message)
        return ledger

    def _greet(self) -> None:
        options, log = self._options, self.logs.log
        for warning in self._loaded.warnings:
            log(logging.WARNING, str(warning))
        scheduler = self._config.routing.scheduler
        log(logging.INFO, f"scheduler: {scheduler.use}, {scheduler.reason}")
        secure = "with TLS " if options.certificate else ""
        log(logging.DEBUG, f"the data path is {'compiled' if _is_compiled() else 'pure Python'}")
        log(logging.INFO, f"swapyard listening {secure}on {options.scheme}://{options.listen}")
        if not options.listen.is_loopback:
            hint = f"-listen localhost:{options.listen.port} keeps other machines out"
            log(logging.INFO, f"reachable from other machines; {hint}")

    # What the fleet reports

    def _load_finished(self, model: ModelId, error: str | None) -> None:
        begun = self.dispatcher.load_begun(model)
        seconds = 0.0 if begun is None else clock() - begun
        self.observers.metrics.load_finished(model, seconds, ready=error is None)
        if model in self._restarting:
            self._restarting.discard(model)
            self.observers.metrics.restarted(model)
        self.dispatcher.load_finished(model, error)

    def _gone(self, model: ModelId, how: Exit) -> None:
        self._restarting.add(model)
        self.dispatcher.gone(model, how)

    def _stopping(self, model: ModelId, cause: StopCause) -> None:
        # Before SIGTERM: with a request's connection open, llama-server does not end on it for 10 s and more.
        self.data.local.abort(model)
        if cause is StopCause.EVICTED:
            self.observers.metrics.evicted(model)

    def _state_changed(self, model: ModelId, old: State, new: State, reason: str) -> None:
        now = time.time()
        if new in (State.STOPPED, State.SHUTDOWN):
            self.data.local.forget(model)
        self.observers.yard.state(model, new, reason, now)
        self.bus.publish(notices.StateChanged(model, old, new, reason, now))

    # What the control plane is handed

    def _services(self, build: Build) -> Services:
        observers = self.observers
        return Services(
            config=lambda: self.data.generation.config,
            names=lambda: self.data.generation.names,
            keys=lambda: self.data.generation.keys,
            dispatcher=self.dispatcher,
            bus=self.bus,
            logs=self.logs,
            recorder=observers.recorder,
            captures=observers.captures,
            monitor=observers.monitor,
            metrics=observers.metrics,
            yard=observers.yard,
            watchers=self._watchers,
            hardware=lambda: self._hardware,
            load=self._load,
            keep=self.dispatcher.touch,
            active_profile=lambda: self.data.profile,
            activate_profile=self.activate_profile,
            reload=self.reloader.reload,
            build=build,
            clock=clock,
            upkeep=self.upkeep,
        )

    async def _load(self, model: ModelId) -> None:
        async with self.dispatcher.lease(model, explicit=True):
            return

    def activate_profile(self, profile: str | None) -> None:
        if profile != self.data.profile:
            self.data.profile = profile
            self.bus.publish(notices.ProfileChanged(profile))

    def _log_access(self, request: Request, reply: Reply, seconds: float) -> None:
        if is_access_logged(request.path):
            self.logs.log_soon(logging.INFO, observing.access_line(request, reply, seconds))


def _is_compiled() -> bool:
    """Whether the modules that every request runs through are machine code (see docs/architecture.md)."""
    return not (sys.modules[DataPlane.__module__].__file__ or "").endswith(".py")


def _settle() -> None:
    """Have the interpreter serve the event loop first."""
    # What exists now stays for good: the collector need not look at it again, in pauses of 70 ms.
    gc.freeze()
    gc.set_threshold(GARBAGE_PERIOD)
    gc.enable()
    sys.setswitchinterval(THREAD_TURN)
