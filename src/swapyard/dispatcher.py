"""Drives the scheduler over the fleet: events in, effects carried out, leases handed to requests.

`handle` of the scheduler runs to completion on the event loop at once.  Events that arise while its effects
are carried out wait in `_events` behind it.  A request for a ready model is granted within the same turn.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import count
from types import TracebackType
from typing import Any, assert_never

from swapyard.errors import Fault, RequestError, UpstreamError, UpstreamGoneError
from swapyard.processes.fleet import Fleet, ProcessStatus
from swapyard.scheduling.effects import Check, Effect, Grant, Load, Refuse, Stop, Unloaded, WakeAt
from swapyard.scheduling.events import (
    CallerLeft,
    CheckFinished,
    Event,
    LeaseReleased,
    LoadFinished,
    PolicyChanged,
    ProcessGone,
    RequestArrived,
    ShutdownAsked,
    StopFinished,
    TimePassed,
    UnloadAsked,
    UnloadId,
)
from swapyard.scheduling.machine import RETRY_LATER, RETRY_SOON, Facts, Scheduler
from swapyard.scheduling.policy import Policy
from swapyard.types import Exit, ModelId, StopCause, Ticket
from swapyard.upkeep import Upkeep

EXIT_PATIENCE = 0.5
"""Seconds that a broken connection waits for the news that its process has ended: a process that is killed
loses its connections before it is gone."""

Log = Callable[[int, str], None]


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a lease gives access to: one start of one model's server.

    `start` counts spawns, so that connections of an earlier life are never used for a later one.
    """

    model: ModelId
    base_url: str
    start: int


@dataclass(frozen=True, slots=True)
class Crash:
    """One start of a model's process that ended unasked: how, and the last lines that it said."""

    start: int
    how: Exit
    output: str


class Use:
    """A block in which one task uses one start of a model's process, and learns of that process's end.

    When we stop the process, the task is cancelled and the block raises RequestError with the cause instead,
    as asyncio.timeout does.  When the process ended by itself, an UpstreamGoneError out of the block becomes
    an UpstreamError that says how.
    """

    __slots__ = ("_cancelling", "_dispatcher", "_is_cancelled", "_start", "_task", "ended_by", "model")

    def __init__(self, dispatcher: Dispatcher, model: ModelId) -> None:
        self._dispatcher = dispatcher
        self.model = model
        # Why we ended it; None as long as we have not.
        self.ended_by: RequestError | None = None
        self._start = 0
        # Uses the process now; None before and after.
        self._task: asyncio.Task[Any] | None = None
        self._cancelling = 0
        self._is_cancelled = False

    def end(self, error: RequestError) -> None:
        """The process is being stopped: the block ends now, with this error."""
        if self.ended_by is not None:
            return
        self.ended_by = error
        if self._task is not None:
            self._is_cancelled = True
            self._task.cancel(error.message)

    def _begin(self, loaded: Loaded) -> Loaded:
        self._start = loaded.start
        # Asking for the running loop costs a system call in Python 3.11.
        task = self._task = asyncio.current_task(self._dispatcher.loop)
        assert task is not None
        self._cancelling = task.cancelling()
        return loaded

    async def _explain(self, error: BaseException | None) -> None:
        """Raise what the block raises instead of `error`, if it is to raise anything else."""
        task, self._task = self._task, None
        ours = False
        if self._is_cancelled and task is not None:
            # Somebody else may have cancelled the task as well, and then it is cancelled.
            ours = task.uncancel() <= self._cancelling and isinstance(error, asyncio.CancelledError)
        if isinstance(error, UpstreamGoneError):
            if self.ended_by is None:
                crash = await self._dispatcher.crash(self.model, self._start)
                if self.ended_by is None and crash is not None:
                    raise crashed(self.model, crash) from error
            ours = self.ended_by is not None
        if ours and self.ended_by is not None:
            raise self.ended_by from None


class Guest(Use):
    """A use of a ready model that no scheduler counts: it keeps nobody waiting, and does not keep the model.

    Entering raises RequestError (CONFLICT) when the model is not ready.
    """

    __slots__ = ()

    async def __aenter__(self) -> Loaded:
        return self._begin(self._dispatcher.welcome(self))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._explain(error)
        finally:
            self._dispatcher.see_off(self)


class Lease(Use):
    """The right to use a loaded model for the length of an `async with` block.

    Entering waits until the model is ready and may be used; it raises RequestError when that will not
    happen.  However the block ends, exactly one event goes to the scheduler.
    """

    __slots__ = ("_explicit", "granted", "load_begun", "process", "refusal", "ticket", "waiting")

    def __init__(self, dispatcher: Dispatcher, model: ModelId, explicit: bool) -> None:
        super().__init__(dispatcher, model)
        self._explicit = explicit
        self.ticket = dispatcher.next_ticket()
        self.granted = False
        # What it was granted on.
        self.process: Loaded | None = None
        self.refusal: RequestError | None = None
        # When the load began that this request waits for, waited for in vain, or that ended with its grant,
        # on the monotonic clock; None if there was none.
        self.load_begun: float | None = None
        # Done when the outcome is known; None as long as nobody has to wait for it.
        self.waiting: asyncio.Future[None] | None = None

    def ask(self) -> None:
        """Tell the scheduler; RequestError when it refuses at once.  Then `granted` says whether to wait.

        Called by `async with` unless the caller did so before, to learn of a refusal before it waits.
        """
        self._dispatcher.admit(self, self._explicit)

    async def __aenter__(self) -> Loaded:
        if self.waiting is None and not self.granted:
            self.ask()
        if self.waiting is not None:
            try:
                await self.waiting
            except BaseException:
                self._dispatcher.leave(self)
                raise
        if self.refusal is not None:
            raise self.refusal
        if self.ended_by is not None:  # between the grant and this task's turn
            self._dispatcher.leave(self)
            raise self.ended_by
        return self._begin(self._dispatcher.loaded(self.model))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None and not self._is_cancelled:
                self._task = None
            else:
                await self._explain(error)
        finally:
            self._dispatcher.leave(self)

    def arrival(self) -> RequestArrived:
        return RequestArrived(self.ticket, self.model, self._explicit)

    def abandon(self) -> None:
        """Give up a lease that was asked for but whose block was never entered; harmless otherwise."""
        self._dispatcher.leave(self)

    @property
    def position(self) -> int | None:
        """Place in line, from 1; None when it is not queued."""
        return self._dispatcher.scheduler.position(self.ticket)

    @property
    def is_loading(self) -> bool:
        """Whether the model is being loaded for this request, nothing else standing in the way."""
        return self._dispatcher.scheduler.is_loading(self.ticket)

    @property
    def reason(self) -> str:
        """Why this request waits, in words; "" when it does not."""
        return self._dispatcher.scheduler.waiting_reason(self.ticket)


class Dispatcher:
    """Construct it in the event loop.  `scheduler` is another one after a failure: look at it through this
    object only."""

    def __init__(
        self,
        policy: Policy,
        fleet: Fleet,
        *,
        clock: Callable[[], float],
        log: Log,
        upkeep: Upkeep | None = None,
    ) -> None:
        self._upkeep = upkeep or Upkeep()
        self._policy = policy
        self.scheduler = Scheduler(policy)
        self.fleet = fleet
        self.loop = asyncio.get_running_loop()
        self._clock = clock
        self._log = log
        self._tickets = count(1)
        self._unload_ids = count(1)
        self._callers: dict[Ticket, Lease] = {}
        self._guests: set[Guest] = set()
        self._unloads: dict[UnloadId, tuple[UnloadAsked, asyncio.Future[None]]] = {}
        self._events: deque[Event] = deque()
        self._busy = False
        self._alarm: asyncio.TimerHandle | None = None
        # When the latest load of each model began, on the monotonic clock.
        self._loads_begun: dict[ModelId, float] = {}
        # Of models whose load has finished and whose stop has not been ordered.
        self._loaded: dict[ModelId, Loaded] = {}
        # The latest of each model, and what is done and replaced when another comes.
        self._crashes: dict[ModelId, Crash] = {}
        self._another_crash: asyncio.Future[None] = self.loop.create_future()
        # Of models whose load or stop was ordered and is not answered yet.
        self._loading: set[ModelId] = set()
        self._stopping: set[ModelId] = set()
        # Of models whose process belongs to an older configuration and ends with its leases.
        self._outdated: set[ModelId] = set()
        self._closing = False
        self._on_traffic: Callable[[ModelId], None] = _nobody_cares
        self._on_stop: Callable[[ModelId, StopCause], None] = _nobody_cares
        self._on_bug: Callable[[Exception], None] = _nobody_cares

    def watch(
        self,
        on_traffic: Callable[[ModelId], None],
        on_stop: Callable[[ModelId, StopCause], None],
        on_bug: Callable[[Exception], None],
    ) -> None:
        """Have these called: a model's requests move; a model is about to be stopped; the scheduler failed
        and could not begin afresh either, so that the program has to end.
        """
        self._on_traffic = on_traffic
        self._on_stop = on_stop
        self._on_bug = on_bug

    # Requests

    def lease(self, model: ModelId, *, explicit: bool = False) -> Lease:
        """The right to use `model`, waiting as long as needed; `explicit` is an operator's order to load."""
        return Lease(self, model, explicit)

    def guest(self, model: ModelId) -> Guest:
        """A use of `model` as long as it is ready, which nobody counts."""
        return Guest(self, model)

    def next_ticket(self) -> Ticket:
        return Ticket(next(self._tickets))

    def admit(self, lease: Lease, explicit: bool) -> None:
        self._callers[lease.ticket] = lease
        self._on_traffic(lease.model)
        self.post(RequestArrived(lease.ticket, lease.model, explicit))
        if lease.refusal is not None:
            raise lease.refusal
        if not lease.granted:
            lease.waiting = asyncio.get_running_loop().create_future()
            if lease.is_loading:
                lease.load_begun = self._loads_begun.get(lease.model)

    def leave(self, lease: Lease) -> None:
        if self._callers.pop(lease.ticket, None) is None:
            return
        self._on_traffic(lease.model)
        if lease.granted:
            self.post(LeaseReleased(lease.ticket))
        else:
            self.post(CallerLeft(lease.ticket))

    def welcome(self, guest: Guest) -> Loaded:
        loaded = self._loaded.get(guest.model)
        if loaded is None:
            raise RequestError(Fault.CONFLICT, f"model {guest.model} is not loaded")
        self._guests.add(guest)
        return loaded

    def see_off(self, guest: Guest) -> None:
        self._guests.discard(guest)

    async def crash(self, model: ModelId, start: int) -> Crash | None:
        """How this start of the model's process ended by itself; None when no such news comes in time."""
        # Not asyncio.timeout: this is awaited while an exception is handled, and what mypyc makes of an
        # `async with` there passes that exception to its end instead of its own.
        deadline = self.loop.time() + EXIT_PATIENCE
        while (known := self._crashes.get(model)) is None or known.start != start:
            left = deadline - self.loop.time()
            if left <= 0:
                return None
            await asyncio.wait((self._another_crash,), timeout=left)
        return known

    def loaded(self, model: ModelId) -> Loaded:
        return self._loaded.get(model) or self._look(model)

    def _look(self, model: ModelId) -> Loaded:
        status = self.fleet.status(model)
        return Loaded(model, status.base_url, status.start)

    def waiting_reasons(self, model: ModelId) -> list[str]:
        """Why requests wait for this model, each reason once, at most ten."""
        waiting = (lease for lease in self._callers.values() if lease.model == model and not lease.granted)
        reasons = dict.fromkeys(reason for lease in waiting if (reason := lease.reason))
        return list(reasons)[:10]

    def load_begun(self, model: ModelId) -> float | None:
        """When the latest load of this model began, on the monotonic clock; None when there was none."""
        return self._loads_begun.get(model)

    # Operators

    def touch(self, model: ModelId) -> None:
        """Use a ready model for no time at all: its idle time begins anew.  Nothing waits, nothing loads."""
        lease = self.lease(model)
        try:
            lease.ask()
        except RequestError as refusal:
            # As busy as it may be, it is not idle.
            if refusal.fault is not Fault.CONCURRENCY_LIMIT:
                raise
        finally:
            self.leave(lease)

    async def unload(self, models: Iterable[ModelId], grace: float | None = None) -> None:
        """Stop these models, in-flight requests or not; returns when they are gone."""
        unload = UnloadId(next(self._unload_ids))
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        asked = UnloadAsked(unload, frozenset(models), grace)
        self._unloads[unload] = (asked, done)
        self.post(asked)
        await done

    def change_policy(
        self, policy: Policy, changed: Iterable[ModelId] = (), removed: Iterable[ModelId] = ()
    ) -> None:
        event = PolicyChanged(policy, frozenset(changed), frozenset(removed))
        for model in event.removed:
            self._crashes.pop(model, None)
        self._policy = policy
        self._outdated |= (event.changed | event.removed) & self._alive()
        self.post(event)

    def refuse_everybody(self) -> None:
        """The first step of a shutdown: whoever waits is refused, and whoever comes."""
        self._closing = True
        self.post(ShutdownAsked())

    def statuses(self) -> Mapping[ModelId, ProcessStatus]:
        return {status.model: status for status in self.fleet.statuses()}

    # Reports of the fleet

    def load_finished(self, model: ModelId, error: str | None) -> None:
        self._loading.discard(model)
        if error is not None:
            self._log(logging.ERROR, f"<{model}> failed to load: {error}")
        else:
            self._loaded[model] = self._look(model)
        self.post(LoadFinished(model, error))

    def stop_finished(self, model: ModelId) -> None:
        self._stopping.discard(model)
        self.post(StopFinished(model))

    def exited(self, model: ModelId, start: int, how: Exit, output: str) -> None:
        """A ready process answers nobody any more; `gone` follows when nothing of it is left."""
        self._log(logging.WARNING, f"<{model}> ended by itself: {how}")
        self._crashes[model] = Crash(start, how, output)
        self._another_crash.set_result(None)
        self._another_crash = self.loop.create_future()

    def gone(self, model: ModelId, how: Exit) -> None:
        self._loaded.pop(model, None)
        self._outdated.discard(model)
        self.post(ProcessGone(model, how))

    # The loop

    def post(self, event: Event) -> None:
        self._events.append(event)
        if self._busy:
            return
        self._busy = True
        try:
            while self._events:
                event = self._events.popleft()
                try:
                    now = self._clock()
                    for effect in self.scheduler.handle(event, now):
                        self._carry_out(effect, event, now)
                except Exception as bug:
                    self._begin_afresh(event, bug)
        except Exception as bug:
            self._on_bug(bug)
            raise
        finally:
            self._busy = False

    def _begin_afresh(self, event: Event, bug: Exception) -> None:
        """Go on with a new scheduler, made from what is known without the one that failed at this event.

        What it had in mind cannot be trusted, the facts can: which processes are ready, which orders to the
        fleet are unanswered, who holds a lease, who waits.  1. Whoever asked for what failed is told so.
        2. Processes of an old configuration go on ending.  3. Everybody else asks again, in the order of
        arrival, and notices nothing.  An exception in here ends the program.
        """
        self._upkeep.failed("scheduler", bug)
        now = self._clock()
        self._events.clear()
        if isinstance(event, PolicyChanged):
            # It cannot be asked for again, so nobody will wait for the end of leases.
            for model in sorted(self._outdated & self._alive()):
                self._carry_out(
                    Stop(model, 0.0, StopCause.CHANGED, "the scheduler begins afresh"), event, now
                )
        leases = {
            lease.ticket: (lease.model, lease.process is self._loaded.get(lease.model, False))
            for lease in self._callers.values()
            if lease.granted
        }
        loading = sorted(self._loading - self._stopping)
        facts = Facts(sorted(self._loaded), loading, sorted(self._stopping), leases)
        self.scheduler = Scheduler.resumed(self._policy, facts, now)
        self._answer_failed(event)
        if outdated := self._outdated & self._alive():
            self._events.append(PolicyChanged(self._policy, frozenset(outdated), frozenset()))
        if self._closing:
            if isinstance(event, ShutdownAsked):
                raise bug
            self._events.append(ShutdownAsked())
        self._events.extend(asked for asked, _ in self._unloads.values())
        waiting = [lease for lease in self._callers.values() if not lease.granted]
        self._events.extend(lease.arrival() for lease in waiting)
        if not isinstance(event, TimePassed):
            self._events.append(TimePassed())

    def _alive(self) -> set[ModelId]:
        return self._loading.union(self._loaded) - self._stopping

    def _answer_failed(self, event: Event) -> None:
        failure = RequestError(Fault.INTERNAL, "internal error in the scheduler; the log has the details")
        match event:
            case RequestArrived(ticket):
                lease = self._callers.pop(ticket, None)
                if lease is not None:
                    lease.refusal = failure
                    _wake(lease.waiting)
            case UnloadAsked(unload):
                _, done = self._unloads.pop(unload)
                if not done.done():
                    done.set_exception(failure)
            case _:
                return

    def _carry_out(self, effect: Effect, event: Event, now: float) -> None:
        match effect:
            case Grant(ticket, model):
                after_load = isinstance(event, LoadFinished) and event.model == model
                self._grant(ticket, self._loads_begun.get(model) if after_load else None)
            case Refuse():
                self._refuse(effect)
            case Check(model):
                self._events.append(CheckFinished(model, self.fleet.check(model)))
            case Load(model, reason):
                self._log(logging.INFO, f"<{model}> loading: {reason}" if reason else f"<{model}> loading")
                self._loads_begun[model] = now
                self._loading.add(model)
                self._outdated.discard(model)
                for lease in self._callers.values():
                    if lease.model == model and lease.is_loading:
                        lease.load_begun = now
                self.fleet.load(model, reason or "load asked")
            case Stop(model, grace, cause, reason):
                self._log(logging.INFO, f"<{model}> stopping: {reason}")
                self._end_uses(effect)
                self._on_stop(model, cause)
                self._loaded.pop(model, None)
                self._outdated.discard(model)
                self._stopping.add(model)
                self.fleet.stop(model, grace, reason)
            case Unloaded(unload):
                _, done = self._unloads.pop(unload)
                if not done.done():
                    done.set_result(None)
            case WakeAt(at):
                self._wake_at(at, now)
            case _:
                assert_never(effect)

    def _end_uses(self, stop: Stop) -> None:
        """Whoever still uses the process that is being stopped learns why."""
        leases = [one for one in self._callers.values() if one.granted and one.model == stop.model]
        guests = [guest for guest in self._guests if guest.model == stop.model]
        for use in (*leases, *guests):
            use.end(stopped(stop))

    def _wake_at(self, at: float, now: float) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        loop = asyncio.get_running_loop()
        self._alarm = loop.call_later(max(0.0, at - now), self._wake, at)

    def _wake(self, at: float) -> None:
        # A loop's timers are coarser than the clock and may ring a moment early: nothing would be due yet.
        now = self._clock()
        if now < at:
            self._wake_at(at, now)
        else:
            self.post(TimePassed())

    def _grant(self, ticket: Ticket, load_begun: float | None) -> None:
        lease = self._callers.get(ticket)
        if lease is None:
            return  # the caller's CallerLeft is on its way behind this effect, and ends the lease
        lease.granted = True
        lease.process = self._loaded.get(lease.model)
        lease.load_begun = load_begun
        self._on_traffic(lease.model)
        _wake(lease.waiting)

    def _refuse(self, refusal: Refuse) -> None:
        lease = self._callers.pop(refusal.ticket, None)
        if lease is None:
            return
        self._log(logging.WARNING, f"<{lease.model}> request refused: {refusal.reason}")
        self._on_traffic(lease.model)
        lease.refusal = RequestError(refusal.fault, message_of(refusal), retry_after=refusal.retry_after)
        _wake(lease.waiting)


def _wake(waiting: asyncio.Future[None] | None) -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(None)


def _nobody_cares(*_: object) -> None:
    pass


def stopped(stop: Stop) -> RequestError:
    """What a client reads whose answer ends because we stop the process behind it."""
    match stop.cause:
        case StopCause.SHUTDOWN:
            return RequestError(Fault.SHUTTING_DOWN, "shutting down", retry_after=RETRY_LATER)
        case StopCause.UNLOADED:
            words = f"{stop.model} was unloaded"
        case StopCause.EVICTED | StopCause.IDLE | StopCause.CHANGED | StopCause.REMOVED:
            words = f"{stop.model} was unloaded: {stop.reason}"
        case _:
            assert_never(stop.cause)
    return RequestError(Fault.MODEL_UNLOADED, words, retry_after=RETRY_SOON)


def crashed(model: ModelId, crash: Crash) -> UpstreamError:
    """What a client reads whose answer ended with the process behind it."""
    last = f"; last output:\n{crash.output}" if crash.output else ""
    return UpstreamError(Fault.BAD_GATEWAY, f"{model} ended by itself: {crash.how}{last}")


def message_of(refusal: Refuse) -> str:
    """What the client reads; the two that clients of the original match on keep its words."""
    match refusal.fault:
        case Fault.CONCURRENCY_LIMIT:
            return "Too many requests"
        case Fault.UNKNOWN_MODEL:
            return "no local server found for requested model"
        case _:
            return refusal.reason
