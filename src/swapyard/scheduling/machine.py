"""The one machine that decides who runs where and who is next: events in, effects out, no clock, no I/O."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import assert_never

import msgspec

from swapyard.errors import Fault
from swapyard.scheduling import backoff, explain
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
from swapyard.scheduling.line import first
from swapyard.scheduling.order import Move, make_order
from swapyard.scheduling.policy import Policy
from swapyard.scheduling.timers import Timer, Timers
from swapyard.scheduling.yard import CheckState, Model, Process, Request, Requests, Step, Swap, Yard
from swapyard.types import Exit, ModelId, StopCause, Ticket

RETRY_SOON = 1.0
"""Seconds after which trying again makes sense when the place may be free by then."""

RETRY_LATER = 5.0
"""Seconds after which trying again makes sense when something larger has to happen first."""


class Facts(msgspec.Struct, frozen=True):
    """What is true whatever a scheduler had in mind; nobody waits, and every other process is stopped.

    The load of those that are `loading` will be answered, and so will be the stop of those that are
    `stopping`.  `leases` are all that have not been released, with their model and whether they are on the
    process that is ready now.
    """

    ready: Collection[ModelId]
    loading: Collection[ModelId]
    stopping: Collection[ModelId]
    leases: Mapping[Ticket, tuple[ModelId, bool]]


class Scheduler:
    """The line, the leases, the swaps, and the decision what happens next.

    `handle` is the only method that changes state.  Feed it every event in the order things happened;
    carry out the returned effects in order.  Everything else only looks.

    A swap goes through Check (could the target start at all?), Stop (of each evictee) and Load.  It is
    committed as a whole with its Check: from then on its evictees get no new leases, and no other swap
    may touch the same models.  Results carry no identity because none is needed: each Check, Load and
    Stop is answered exactly once, and while one is open no second one is ordered for that model (only a
    Stop, which makes the answer to a Load meaningless).
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._yard = Yard(policy)
        self._order = make_order(policy.order, self._yard)
        self._timers = Timers()
        self._arrivals = 0
        self._closing = False
        # A request waits (here) or holds a lease (there: its model and the life of the process), never both.
        self._waiting: dict[Ticket, Request] = {}
        self._leases: dict[Ticket, tuple[Model, int]] = {}
        self._unloads: dict[UnloadId, int] = {}
        self._effects: list[Effect] = []
        self._now = 0.0
        # Whether this event may have unblocked somebody in the line.
        self._stirred = False

    @classmethod
    def resumed(cls, policy: Policy, facts: Facts, now: float) -> Scheduler:
        """A scheduler that begins with these facts instead of an empty yard."""
        scheduler = cls(policy)
        scheduler._now = now
        yard = scheduler._yard
        for name in facts.ready:
            model = yard.known(name)
            yard.set_process(model, Process.READY)
            model.ready_at = now
        for name in facts.loading:
            model = yard.known(name)
            yard.set_process(model, Process.LOADING)
            swap = Swap(0, "", Requests())
            swap.step = Step.LOADING
            yard.begin_swap(model, swap)
        for name in facts.stopping:
            model = yard.known(name)
            yard.set_process(model, Process.STOPPING)
            model.stop_deadline, model.stop_reason = now + model.policy.grace, "stopping"
        for ticket, (name, is_live) in facts.leases.items():
            model = yard.known(name)
            if is_live:
                scheduler._leases[ticket] = (model, model.life)
                model.leases += 1
                yard.busy |= model.bit
            else:
                scheduler._leases[ticket] = (model, model.life - 1)
                model.old_leases += 1
        for name in facts.ready:
            if not yard.models[name].leases:
                scheduler._rest(yard.models[name])
        return scheduler

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take in one event at `now` (monotonic seconds) and say what is to be done about it."""
        effects = self._effects = []
        self._now = now
        self._stirred = True
        match event:
            case RequestArrived():
                self._arrived(event)
            case LeaseReleased(ticket):
                self._released(ticket)
            case CallerLeft(ticket):
                self._left(ticket)
            case CheckFinished(name, error):
                self._checked(name, error)
            case LoadFinished(name, error):
                self._loaded(name, error)
            case StopFinished(name):
                self._stopped(name)
            case ProcessGone(name, how):
                self._gone(name, how)
            case UnloadAsked():
                self._unload(event)
            case PolicyChanged():
                self._change_policy(event)
            case TimePassed():
                self._stirred = False
            case ShutdownAsked():
                self._shut_down()
            case _:
                assert_never(event)
        self._settle()
        return effects

    # -- looking ----------------------------------------------------------------------------------

    def position(self, ticket: Ticket) -> int | None:
        """1-based place in the line; None when it is not in it: its swap is under way, or it is served."""
        request = self._waiting.get(ticket)
        if request is None or ticket not in request.model.queue:
            return None
        return self._order.line.position(request)

    def waiting_reason(self, ticket: Ticket) -> str:
        """Why the request waits, in words for people; "" when it does not wait."""
        request = self._waiting.get(ticket)
        return "" if request is None else explain.waiting_reason(self._yard, self._order, request)

    def is_loading(self, ticket: Ticket) -> bool:
        """Whether the request waits for nothing but its model's load."""
        request = self._waiting.get(ticket)
        swap = None if request is None else request.model.swap
        return swap is not None and ticket in swap.waiters and swap.step is Step.LOADING

    def in_flight(self, model: ModelId) -> int:
        """Leases on this model that are not released, those on a process that is gone included."""
        known = self._yard.models.get(model)
        return known.in_flight if known is not None else 0

    def waiting(self, model: ModelId) -> int:
        """Requests for this model that have no lease yet."""
        known = self._yard.models.get(model)
        return known.waiting if known is not None else 0

    def idle_deadline(self, model: ModelId) -> float | None:
        """When this model will be unloaded if nobody asks for it (monotonic); None when it is not idle."""
        known = self._yard.models.get(model)
        if known is None or known.policy.ttl <= 0 or not self._is_idle(known):
            return None
        return known.idle_since + known.policy.ttl

    @property
    def shutting_down(self) -> bool:
        return self._closing

    def snapshot(self, now: float) -> explain.Snapshot:
        """Every model with its phase, counters and reason, for display.

        Also shows models that the configuration has dropped, until nothing of them is left.
        """
        return explain.snapshot(self._yard, self._order, now)

    # -- requests ---------------------------------------------------------------------------------

    def _arrived(self, event: RequestArrived) -> None:
        self._stirred = False
        ticket = event.ticket
        model = self._yard.models.get(event.model)
        if self._closing:
            self._refuse(ticket, Fault.SHUTTING_DOWN, "shutting down", RETRY_LATER)
            return
        if model is None or not model.in_policy:
            self._refuse(ticket, Fault.UNKNOWN_MODEL, f"no model {event.model} in the configuration")
            return
        if event.explicit:
            model.backoff.reset()
        if self._over_limit(ticket, model) or self._backing_off(ticket, model):
            return
        order = self._order
        if model.swap is not None and order.joins:
            request = self._new_request(ticket, model)
            model.swap.waiters[ticket] = request
        elif order.admits(model):
            self._grant(ticket, model)
        else:
            # Behind others of its model nothing is to be decided: they are blocked, so it is too.
            first_of_model = not model.queue
            order.line.add(self._new_request(ticket, model))
            if first_of_model:
                self._drain()
                self._watch(model)

    def _over_limit(self, ticket: Ticket, model: Model) -> bool:
        limit = model.policy.limit
        if limit > 0:
            if model.waiting + model.in_flight >= limit:
                reason = f"{model.name} takes {limit} requests at a time, waiting ones included"
                self._refuse(ticket, Fault.CONCURRENCY_LIMIT, reason, RETRY_SOON)
                return True
        elif model.waiting >= self._policy.waiting_limit:
            reason = f"{model.waiting} requests already wait for {model.name}"
            self._refuse(ticket, Fault.QUEUE_FULL, reason, RETRY_LATER)
            return True
        return False

    def _backing_off(self, ticket: Ticket, model: Model) -> bool:
        left = model.backoff.left(self._now)
        if left <= 0 or model.process is Process.READY:
            return False
        self._refuse(ticket, Fault.BACKING_OFF, self._failures_of(model), left)
        return True

    @staticmethod
    def _failures_of(model: Model) -> str:
        return f"{model.name} failed {model.backoff.failures} times in a row: {model.backoff.reason}"

    def _new_request(self, ticket: Ticket, model: Model) -> Request:
        self._arrivals += 1
        request = self._waiting[ticket] = Request(ticket, model, self._arrivals, self._now)
        return request

    def _grant(self, ticket: Ticket, model: Model) -> None:
        self._leases[ticket] = (model, model.life)
        model.leases += 1
        self._yard.busy |= model.bit
        self._effects.append(Grant(ticket, model.name))

    def _grant_all(self, requests: Requests) -> None:
        for request in requests.values():
            del self._waiting[request.ticket]
            self._grant(request.ticket, request.model)

    def _refuse(self, ticket: Ticket, fault: Fault, reason: str, retry_after: float | None = None) -> None:
        self._effects.append(Refuse(ticket, fault, reason, retry_after))

    def _refuse_all(
        self, requests: Requests, fault: Fault, reason: str, retry_after: float | None = None
    ) -> None:
        for ticket in requests:
            del self._waiting[ticket]
            self._refuse(ticket, fault, reason, retry_after)

    def _released(self, ticket: Ticket) -> None:
        try:
            model, life = self._leases.pop(ticket)
        except KeyError:
            raise ValueError(f"lease released twice or never granted: {ticket}") from None
        self._stirred = False
        if life != model.life:
            model.old_leases -= 1
            self._yard.drop_if_gone(model)
            return
        model.leases -= 1
        if model.leases == 0:
            self._yard.busy &= ~model.bit
            self._stirred = True
            if model.retiring:
                self._stop(model, model.policy.grace, model.retiring)
            else:
                self._rest(model)

    def _left(self, ticket: Ticket) -> None:
        request = self._waiting.pop(ticket, None)
        if request is None:
            # Granted, and nobody was there to take it: that lease ends here.
            self._stirred = False
            if ticket in self._leases:
                self._released(ticket)
            return
        model = request.model
        if ticket in model.queue:
            self._order.line.remove(request)
            self._watch(model)
            return
        swap = model.swap
        assert swap is not None
        del swap.waiters[ticket]
        # Nobody wants it any more.  A load that has begun is finished all the same: its work is paid for.
        if not swap.waiters and swap.step is not Step.LOADING:
            self._cancel(model)
            self._watch(model)

    # -- a swap, step by step ---------------------------------------------------------------------

    def _commit(self, move: Move, waiters: Requests) -> None:
        model = move.model
        swap = Swap(move.evict or 0, self._order.reason(move), waiters)
        self._yard.begin_swap(model, swap)
        if model.process is Process.READY:
            self._evict(model, swap)
        else:
            self._check(model)

    def _check(self, model: Model) -> None:
        # An outdated check is still open: it is repeated when its answer has come.
        if model.check is CheckState.NONE:
            model.check = CheckState.RUNNING
            self._effects.append(Check(model.name))

    def _checked(self, name: ModelId, error: str | None) -> None:
        model = self._yard.models.get(name)
        if model is None or model.check is CheckState.NONE:
            return
        outdated = model.check is CheckState.OUTDATED
        model.check = CheckState.NONE
        swap = model.swap
        if swap is None:
            self._yard.drop_if_gone(model)
        elif outdated:
            self._check(model)
        elif error is not None:
            self._fail(model, error)
        else:
            self._evict(model, swap)

    def _evict(self, model: Model, swap: Swap) -> None:
        swap.step = Step.EVICTING
        for evictee in self._yard.members(swap.evict):
            reason = f"evicted for {model.name}: {swap.reason}"
            self._stop(evictee, evictee.policy.grace, StopCause.EVICTED, reason)
        self._advance(model)

    def _advance(self, model: Model) -> None:
        """Go on with a swap that waits for stops, once all of them are done."""
        swap = model.swap
        if swap is None or swap.step is not Step.EVICTING or swap.evict & self._yard.live:
            return
        match model.process:
            case Process.READY:
                self._succeed(model)
            case Process.STOPPED:
                swap.step = Step.LOADING
                self._yard.set_process(model, Process.LOADING)
                self._effects.append(Load(model.name, explain.load_reason(swap)))
            case Process.STOPPING:
                pass  # its own earlier process is on the way out
            case Process.LOADING:
                raise AssertionError(f"{model.name} loads while its swap still evicts")
            case _:
                assert_never(model.process)

    def _loaded(self, name: ModelId, error: str | None) -> None:
        model = self._yard.models.get(name)
        if model is None or model.process is not Process.LOADING:
            return  # it was stopped meanwhile: whatever came of that load belongs to nobody
        if error is not None:
            self._yard.set_process(model, Process.STOPPED)
            model.backoff.failed(self._now, error)
            self._fail(model, error)
            return
        self._yard.set_process(model, Process.READY)
        model.ready_at = self._now
        self._succeed(model)

    def _succeed(self, model: Model) -> None:
        self._grant_all(self._yard.end_swap(model))
        if not model.leases:
            self._rest(model)

    def _fail(self, model: Model, error: str) -> None:
        waiters = self._yard.end_swap(model)
        self._refuse_all(waiters, Fault.LOAD_FAILED, f"{model.name} failed to load: {error}")

    def _cancel(self, model: Model) -> Requests:
        """End a swap before its result; what it already stops goes on stopping, and stays visible."""
        if model.check is CheckState.RUNNING:
            model.check = CheckState.OUTDATED
        return self._yard.end_swap(model)

    def _withdraw(self, model: Model) -> Requests:
        """Take back every request that waits for this model, in order, and the swap that was for them."""
        requests = Requests()
        if model.swap is not None:
            requests.update(self._cancel(model))
        if model.queue:
            requests.update(self._take_line(model))
        return requests

    def _take_line(self, model: Model) -> Requests:
        self._order.overdue &= ~model.bit
        return self._order.line.take_all(model)

    # -- processes --------------------------------------------------------------------------------

    def _stop(self, model: Model, grace: float, cause: StopCause, reason: str = "") -> None:
        """Stop what runs of this model; on one that is already stopping, only an earlier deadline counts.

        `reason` replaces the usual words for `cause`.
        """
        deadline = self._now + grace
        if model.process is Process.STOPPED:
            return
        if model.process is Process.STOPPING:
            if deadline >= model.stop_deadline:
                return
        else:
            if model.process is Process.READY:
                model.backoff.reset()
            self._yard.abandon_leases(model)
            self._yard.set_process(model, Process.STOPPING)
            model.retiring = None
        model.stop_deadline = deadline
        model.stop_reason = reason or explain.STOP_WORDS[cause]
        self._effects.append(Stop(model.name, grace, cause, model.stop_reason))

    def _stopped(self, name: ModelId) -> None:
        model = self._yard.models.get(name)
        if model is None or model.process is not Process.STOPPING:
            return
        self._yard.set_process(model, Process.STOPPED)
        for unload in model.unloads:
            self._unloads[unload] -= 1
            if not self._unloads[unload]:
                del self._unloads[unload]
                self._effects.append(Unloaded(unload))
        model.unloads.clear()
        self._process_ended(model)

    def _gone(self, name: ModelId, how: Exit) -> None:
        model = self._yard.models.get(name)
        if model is None or model.process is not Process.READY:
            return  # the end of a load or a stop has its own event
        if self._now - model.ready_at < backoff.EARLY:
            model.backoff.failed(self._now, str(how))
        else:
            model.backoff.reset()
        self._yard.abandon_leases(model)
        self._yard.set_process(model, Process.STOPPED)
        model.retiring = None
        self._process_ended(model)

    def _process_ended(self, model: Model) -> None:
        if model.claimed_by is not None:
            self._advance(model.claimed_by)
        self._advance(model)
        self._yard.drop_if_gone(model)

    def _unload(self, event: UnloadAsked) -> None:
        models = [self._yard.models[name] for name in event.models if name in self._yard.models]
        graces = {m.name: m.policy.grace if event.grace is None else event.grace for m in models}
        open_stops = 0
        cause = StopCause.SHUTDOWN if self._closing else StopCause.UNLOADED
        for model in sorted(models, key=lambda m: (graces[m.name], m.name)):
            requests = self._withdraw(model)
            self._refuse_all(requests, Fault.MODEL_UNLOADED, f"{model.name} was unloaded", RETRY_SOON)
            self._stop(model, graces[model.name], cause)
            if model.process is Process.STOPPING:
                model.unloads.append(event.unload)
                open_stops += 1
        if open_stops:
            self._unloads[event.unload] = open_stops
        else:
            self._effects.append(Unloaded(event.unload))

    def _shut_down(self) -> None:
        self._closing = True
        self._timers.clear()
        for model in list(self._yard.models.values()):
            requests = self._withdraw(model)
            self._refuse_all(requests, Fault.SHUTTING_DOWN, "shutting down", RETRY_LATER)
            if model.process is Process.LOADING:
                self._stop(model, model.policy.grace, StopCause.SHUTDOWN)

    # -- configuration ----------------------------------------------------------------------------

    def _change_policy(self, event: PolicyChanged) -> None:
        """Put a new configuration in force; what did not change keeps its process, leases and place.

        Swaps that have not begun to load were decided under the old rules and are decided anew.
        """
        yard = self._yard
        held = {model: self._lift(model, event.changed) for model in yard.models.values()}
        policy = self._policy = event.policy
        dropped = [m for m in held if m.name in event.removed or m.name not in policy.models]
        yard.adopt(policy)
        self._order = make_order(policy.order, yard)
        for model in dropped:
            model.in_policy = False
            reason = f"{model.name} is no longer in the configuration"
            self._refuse_all(held.pop(model), Fault.UNKNOWN_MODEL, reason)
            if model.swap is not None:
                self._cancel(model)
            self._replace(model, StopCause.REMOVED)
            yard.drop_if_gone(model)
        for model in yard.models.values():
            model.backoff.reset()
            if model.name in event.changed:
                self._replace(model, StopCause.CHANGED)
        self._enter_line(held)
        self._timers.clear()
        for model in yard.models.values():
            self._watch(model)

    def _lift(self, model: Model, changed: frozenset[ModelId]) -> Requests:
        """Take everybody who waits for a model out of their places; a load that goes on keeps its swap."""
        requests = Requests()
        swap = model.swap
        if swap is not None:
            requests.update(swap.waiters)
            swap.waiters.clear()
            for request in requests.values():
                # So far it was not in the line: its time there begins now.
                request.since = self._now
            if swap.step is not Step.LOADING or model.name in changed:
                self._cancel(model)
        if model.queue:
            requests.update(self._take_line(model))
        return requests

    def _replace(self, model: Model, cause: StopCause) -> None:
        """The process belongs to an old configuration: a load ends at once, leases may end first."""
        if model.process is Process.LOADING:
            self._stop(model, model.policy.grace, cause)
        elif model.process is Process.READY:
            model.retiring = cause
            if not model.leases:
                self._stop(model, model.policy.grace, cause)

    def _enter_line(self, held: dict[Model, Requests]) -> None:
        """Give everybody their place under the new order; a load in progress is joined where that exists."""
        for model, requests in held.items():
            if model.swap is not None and self._order.joins:
                model.swap.waiters.update(requests)
            elif requests:
                self._order.line.enter(model, requests)

    # -- time, and what follows from it all -------------------------------------------------------

    def _rest(self, model: Model) -> None:
        """A ready model has nothing to do from now on."""
        model.idle_since = self._now
        self._watch(model)

    def _watch(self, model: Model) -> None:
        """Arm whatever will be due for this model by itself."""
        policy = self._policy
        order = self._order
        order.overdue &= ~model.bit
        if model.queue:
            since = first(model).since
            if order.joins and policy.max_wait > 0:
                if since + policy.max_wait <= self._now:
                    order.overdue |= model.bit
                else:
                    self._timers.arm(Timer.PATIENCE, model, since + policy.max_wait)
            if policy.queue_timeout > 0:
                self._timers.arm(Timer.QUEUE, model, since + policy.queue_timeout)
        elif model.policy.ttl > 0 and self._is_idle(model):
            self._timers.arm(Timer.TTL, model, model.idle_since + model.policy.ttl)

    def _is_idle(self, model: Model) -> bool:
        unwanted = not model.leases and not model.queue and model.swap is None
        return model.process is Process.READY and unwanted and not self._closing

    def _time_out(self, timer: Timer, model: Model) -> None:
        match timer:
            case Timer.TTL:
                ttl = model.policy.ttl
                if ttl > 0 and self._is_idle(model) and model.idle_since + ttl <= self._now:
                    self._stop(model, model.policy.grace, StopCause.IDLE, f"idle for {ttl:g} s")
            case Timer.PATIENCE:
                pass  # `_watch` sees that the bound has been reached
            case Timer.QUEUE:
                self._end_waiting(model)
            case _:
                assert_never(timer)
        self._watch(model)

    def _end_waiting(self, model: Model) -> None:
        bound = self._policy.queue_timeout
        while bound > 0 and model.queue:
            request = first(model)
            if request.since + bound > self._now:
                break
            self._order.line.remove(request)
            del self._waiting[request.ticket]
            reason = f"waited {bound:g} s for {model.name} without getting its turn"
            self._refuse(request.ticket, Fault.QUEUE_TIMEOUT, reason, RETRY_LATER)

    def _drain(self) -> None:
        """Let everybody in the line go on who can, until nobody can."""
        while (move := self._order.next_move()) is not None:
            model = move.model
            requests = self._order.take(model)
            left = model.backoff.left(self._now)
            if move.evict is None:
                self._grant_all(requests)
            elif left > 0 and model.process is not Process.READY:
                self._refuse_all(requests, Fault.BACKING_OFF, self._failures_of(model), left)
            else:
                self._commit(move, requests)
            self._watch(model)

    def _settle(self) -> None:
        if self._stirred:
            self._drain()
        while (due := self._timers.due(self._now)) is not None:
            self._time_out(*due)
            self._drain()
        at = self._timers.wake_at(self._now)
        if at is not None:
            self._effects.append(WakeAt(at))
