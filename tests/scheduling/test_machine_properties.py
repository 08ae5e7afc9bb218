"""The machine under random interleavings, with an executor that obeys: the invariants of routing.md §6.2.

The yard here is a second, much simpler account of what is true, kept only from effects and answers.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from swapyard.config.sets import NamedSet, compile_sets
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
from swapyard.scheduling.groups import Group, group_planner
from swapyard.scheduling.machine import Facts, Scheduler
from swapyard.scheduling.matrix import matrix_planner
from swapyard.scheduling.policy import Eviction, ModelPolicy, OrderKind, Planner, Policy
from swapyard.types import Exit, ModelId, Ticket

NAMES = [ModelId(name) for name in "abcde"]


def compiled(**texts: str) -> tuple[NamedSet, ...]:
    found, problems = compile_sets(texts, ModelId)
    assert not problems
    return found


def members(text: str) -> tuple[ModelId, ...]:
    return tuple(map(ModelId, text))


def nobody_goes(target: ModelId, running: object) -> Eviction:
    return Eviction(())


PLANNERS: dict[str, Planner] = {
    "exclusive": group_planner([]),
    "pairs": group_planner([Group("g", members=members("ab")), Group("h", members=members("cd"))]),
    "open": group_planner([Group("g", swap=False, exclusive=False, members=members("abcde"))]),
    "one-way": group_planner(
        [Group("g", members=members("ab")), Group("h", exclusive=False, members=members("cd"))]
    ),
    "persistent": group_planner([Group("g", persistent=True, members=members("a"))]),
    "matrix": matrix_planner(compiled(one="(a | b) & c", two="(a | d) & e"), {ModelId("c"): 3}),
    "all": nobody_goes,
}

# Planners under which two ready models were always allowed together by each other's rules (I14).
SYMMETRIC = {"exclusive", "pairs", "open"}


@dataclass
class Yard:
    """What an obedient executor knows."""

    checking: set[ModelId] = field(default_factory=set)
    loading: set[ModelId] = field(default_factory=set)
    ready: set[ModelId] = field(default_factory=set)
    stopping: set[ModelId] = field(default_factory=set)
    # Loads that a Stop has ended: their LoadFinished is due before the StopFinished.
    aborted: set[ModelId] = field(default_factory=set)
    waiting: dict[Ticket, ModelId] = field(default_factory=dict)
    # Leases by the life of the process they are on.
    leases: dict[Ticket, tuple[ModelId, int]] = field(default_factory=dict)
    lives: Counter[ModelId] = field(default_factory=Counter)
    unloads: dict[UnloadId, frozenset[ModelId]] = field(default_factory=dict)

    def on_process(self, model: ModelId) -> int:
        return sum(1 for lease in self.leases.values() if lease == (model, self.lives[model]))


class Interleavings(RuleBasedStateMachine):
    """Random events; after each, everything that must always hold."""

    kinds = tuple(PLANNERS)
    orders = tuple(OrderKind)

    @initialize(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        self.now = 0.0
        self.yard = Yard()
        self.tickets = 0
        self.unload_ids = 0
        self.answered: set[Ticket] = set()
        self.alarm: float | None = None
        self.closing = False
        self.swept = False
        self.names = list(NAMES)
        self.policy = self.draw_policy(data)
        self.scheduler = Scheduler(self.policy)
        # Models that a new configuration has told to leave: their process may be stopped when idle.
        self.leaving: set[ModelId] = set()

    def draw_policy(self, data: st.DataObject) -> Policy:
        self.kind = data.draw(st.sampled_from(self.kinds))
        limits = data.draw(st.sampled_from([0, 0, 2]))
        ttl = data.draw(st.sampled_from([0.0, 5.0]))
        priorities = {name: data.draw(st.sampled_from([0, 0, 0, 3])) for name in self.names}
        return Policy(
            {name: ModelPolicy(limits, priorities[name], ttl, 2.0) for name in self.names},
            PLANNERS[self.kind],
            data.draw(st.sampled_from(self.orders)),
            max_wait=data.draw(st.sampled_from([0.0, 4.0])),
            queue_timeout=data.draw(st.sampled_from([0.0, 0.0, 9.0])),
            waiting_limit=6,
        )

    # -- the executor -------------------------------------------------------------------------------

    def feed(self, event: Event) -> list[Effect]:
        effects = self.scheduler.handle(event, self.now)
        for effect in effects:
            self.carry_out(effect, event)
        return effects

    def carry_out(self, effect: Effect, event: Event) -> None:
        yard = self.yard
        match effect:
            case Grant(ticket, model):
                assert yard.waiting.pop(ticket) == model, "I1: granted what does not wait"
                assert model in yard.ready, "a lease on a model that is not ready"
                assert model not in self.leaving, "a lease on a process of an old configuration"
                assert not self.closing
                yard.leases[ticket] = (model, yard.lives[model])
                self.answered.add(ticket)
            case Refuse(ticket, _, reason):
                assert ticket in yard.waiting, "I1: refused what does not wait"
                assert reason
                del yard.waiting[ticket]
                self.answered.add(ticket)
            case Check(model):
                assert model not in yard.checking, "a second check before the first is answered"
                assert not self.closing
                assert self.wanted(model), "I11: a check on behalf of nobody"
                yard.checking.add(model)
            case Load(model):
                others = yard.loading | yard.ready | yard.stopping
                assert model not in others, "I6: loaded what still runs"
                assert not self.closing
                assert self.wanted(model), "I11: a load on behalf of nobody"
                yard.loading.add(model)
                self.leaving.discard(model)
            case Stop(model):
                self.order_stop(model, event)
            case Unloaded(unload):
                assert not yard.unloads.pop(unload), "unloaded too early"
            case WakeAt(at):
                assert at > self.now, "asked to wake up in the past"
                self.alarm = at

    def wanted(self, model: ModelId) -> bool:
        return model in self.yard.waiting.values()

    def order_stop(self, model: ModelId, event: Event) -> None:
        yard = self.yard
        if model in yard.stopping:
            return  # an earlier deadline for a stop under way
        assert model in yard.loading | yard.ready, "stopped what does not run"
        forced = isinstance(event, UnloadAsked) and model in event.models
        if model in yard.ready and not forced:
            assert not yard.on_process(model), "I5: stopped under a lease"
        if model in yard.loading:
            yard.aborted.add(model)
        yard.loading.discard(model)
        yard.ready.discard(model)
        yard.stopping.add(model)
        yard.lives[model] += 1

    # -- what happens -------------------------------------------------------------------------------

    @rule(data=st.data())
    def request_arrives(self, data: st.DataObject) -> None:
        model = data.draw(st.sampled_from(self.names))
        self.tickets += 1
        ticket = Ticket(self.tickets)
        self.yard.waiting[ticket] = model
        effects = self.feed(RequestArrived(ticket, model, data.draw(st.booleans())))
        if model in self.yard.checking and model in self.yard.ready:
            raise AssertionError(f"checked although ready: {effects}")

    @rule(name=st.sampled_from(["nobody", "zz"]))
    def request_for_an_unknown_model(self, name: str) -> None:
        self.tickets += 1
        self.yard.waiting[Ticket(self.tickets)] = ModelId(name)
        self.feed(RequestArrived(Ticket(self.tickets), ModelId(name)))
        assert Ticket(self.tickets) in self.answered

    @precondition(lambda self: self.yard.waiting)
    @rule(data=st.data())
    def caller_leaves(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from(sorted(self.yard.waiting)))
        del self.yard.waiting[ticket]
        self.feed(CallerLeft(ticket))

    @precondition(lambda self: self.yard.leases)
    @rule(data=st.data())
    def grant_was_not_taken(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from(sorted(self.yard.leases)))
        del self.yard.leases[ticket]
        self.feed(CallerLeft(ticket))

    @rule(ticket=st.integers(1000, 1010))
    def somebody_unknown_leaves(self, ticket: int) -> None:
        assert not [e for e in self.feed(CallerLeft(Ticket(ticket))) if not isinstance(e, WakeAt)]

    @precondition(lambda self: self.yard.leases)
    @rule(data=st.data())
    def lease_ends(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from(sorted(self.yard.leases)))
        del self.yard.leases[ticket]
        self.feed(LeaseReleased(ticket))

    @precondition(lambda self: self.yard.checking)
    @rule(data=st.data(), error=st.sampled_from([None, None, None, "no such file"]))
    def check_ends(self, data: st.DataObject, error: str | None) -> None:
        model = data.draw(st.sampled_from(sorted(self.yard.checking)))
        self.yard.checking.discard(model)
        self.feed(CheckFinished(model, error))

    @precondition(lambda self: self.yard.loading)
    @rule(data=st.data(), error=st.sampled_from([None, None, None, "exited prematurely"]))
    def load_ends(self, data: st.DataObject, error: str | None) -> None:
        model = data.draw(st.sampled_from(sorted(self.yard.loading)))
        self.yard.loading.discard(model)
        if error is None:
            self.yard.ready.add(model)
        else:
            self.yard.lives[model] += 1
        self.feed(LoadFinished(model, error))

    @precondition(lambda self: self.yard.stopping)
    @rule(data=st.data(), error=st.sampled_from([None, "aborted"]))
    def stop_goes_on(self, data: st.DataObject, error: str | None) -> None:
        model = data.draw(st.sampled_from(sorted(self.yard.stopping)))
        if model in self.yard.aborted:
            self.yard.aborted.discard(model)
            assert not [e for e in self.feed(LoadFinished(model, error)) if isinstance(e, Grant | Refuse)]
            return
        self.stop_ends(model)

    def stop_ends(self, model: ModelId) -> None:
        self.yard.stopping.discard(model)
        self.leaving.discard(model)
        for unload, left in self.yard.unloads.items():
            self.yard.unloads[unload] = left - {model}
        self.feed(StopFinished(model))

    @precondition(lambda self: self.yard.ready)
    @rule(data=st.data())
    def process_dies(self, data: st.DataObject) -> None:
        model = data.draw(st.sampled_from(sorted(self.yard.ready)))
        self.yard.ready.discard(model)
        self.yard.lives[model] += 1
        self.leaving.discard(model)
        self.feed(ProcessGone(model, Exit(code=1)))

    @rule(data=st.data(), grace=st.sampled_from([None, 1.0, 30.0]))
    def unload_is_asked(self, data: st.DataObject, grace: float | None) -> None:
        self.unload(frozenset(data.draw(st.sets(st.sampled_from(self.names)))), grace)

    def unload(self, models: frozenset[ModelId], grace: float | None) -> None:
        self.unload_ids += 1
        unload = UnloadId(self.unload_ids)
        self.yard.unloads[unload] = models & (self.yard.loading | self.yard.ready | self.yard.stopping)
        waiting = [t for t, m in self.yard.waiting.items() if m in models]
        self.feed(UnloadAsked(unload, models, grace))
        assert not set(waiting) & set(self.yard.waiting), "waits on for what was unloaded"
        assert not models & (self.yard.ready | self.yard.loading), "still up after an unload"

    @rule(seconds=st.sampled_from([0.0, 0.5, 3.0, 20.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        if self.alarm is not None and self.alarm <= self.now:
            self.alarm = None
        self.feed(TimePassed())

    @precondition(lambda self: self.alarm is not None)
    @rule()
    def alarm_rings(self) -> None:
        assert self.alarm is not None
        self.now = max(self.now, self.alarm)
        self.alarm = None
        self.feed(TimePassed())

    @rule(data=st.data())
    def configuration_changes(self, data: st.DataObject) -> None:
        dropped = data.draw(st.sets(st.sampled_from(NAMES), max_size=1))
        before = set(self.names)
        self.names = [name for name in NAMES if name not in dropped]
        policy = self.policy = self.draw_policy(data)
        changed = frozenset(data.draw(st.sets(st.sampled_from(self.names), max_size=2)) & before)
        removed = frozenset(before - set(self.names))
        waiting = dict(self.yard.waiting)
        # Known before the effects come, so that a lease on an old process is noticed.
        self.leaving |= (changed | removed) & (self.yard.ready | self.yard.loading)
        self.feed(PolicyChanged(policy, changed, removed))
        for ticket, model in waiting.items():
            if model in removed:
                assert ticket in self.answered, "waits on for a removed model"
        assert not (changed | removed) & self.yard.loading, "an old version goes on loading"

    @rule()
    def another_scheduler_takes_over(self) -> None:
        """As after a bug: everybody is where the facts put them, and all that is open is asked again."""
        yard = self.yard
        leases = {
            ticket: (model, model in yard.ready and life == yard.lives[model])
            for ticket, (model, life) in yard.leases.items()
        }
        facts = Facts(sorted(yard.ready), sorted(yard.loading), sorted(yard.stopping), leases)
        self.scheduler = Scheduler.resumed(self.policy, facts, self.now)
        self.alarm = None
        yard.checking.clear()
        if leaving := self.leaving & (yard.ready | yard.loading):
            self.feed(PolicyChanged(self.policy, frozenset(leaving), frozenset()))
        if self.closing:
            self.feed(ShutdownAsked())
        for unload, models in list(yard.unloads.items()):
            self.feed(UnloadAsked(unload, models))
        for ticket, model in list(yard.waiting.items()):
            self.feed(RequestArrived(ticket, model))
        self.feed(TimePassed())

    @precondition(lambda self: not self.closing)
    @rule(dice=st.integers(0, 12))
    def shutdown_is_asked(self, dice: int) -> None:
        if dice:
            return  # rare, or nothing else would be seen
        self.closing = True
        self.feed(ShutdownAsked())
        assert not self.yard.waiting
        assert not self.yard.loading

    # -- what always holds --------------------------------------------------------------------------

    @invariant()
    def counters_are_the_truth(self) -> None:
        held = Counter(model for model, _ in self.yard.leases.values())
        waiting = Counter(self.yard.waiting.values())
        for model in self.names:
            assert self.scheduler.in_flight(model) == held[model]  # I3
            assert self.scheduler.waiting(model) == waiting[model]  # I2, I4

    @invariant()
    def whoever_waits_is_told_why(self) -> None:
        places = [self.scheduler.position(ticket) for ticket in self.yard.waiting]
        in_line = sorted(place for place in places if place is not None)
        assert in_line == list(range(1, len(in_line) + 1))
        assert self.scheduler.snapshot(self.now).line == len(in_line)
        for ticket in self.yard.waiting:
            assert self.scheduler.waiting_reason(ticket)

    @invariant()
    def nobody_waits_for_nothing(self) -> None:
        """I15: if requests wait, something under way will bring the next decision."""
        yard = self.yard
        live_leases = [1 for model, life in yard.leases.values() if life == yard.lives[model]]
        if yard.waiting:
            assert yard.checking or yard.loading or yard.stopping or live_leases, "stranded"

    @invariant()
    def unloads_are_answered_when_everything_is_gone(self) -> None:
        for models in self.yard.unloads.values():
            assert models & self.yard.stopping

    def steps_on(self) -> None:
        """One step of everything that is under way, without errors."""
        yard = self.yard
        for model in sorted(yard.checking):
            yard.checking.discard(model)
            self.feed(CheckFinished(model, None))
        for model in sorted(yard.loading):
            yard.loading.discard(model)
            yard.ready.add(model)
            self.feed(LoadFinished(model, None))
        for model in sorted(yard.stopping):
            if model in yard.aborted:
                yard.aborted.discard(model)
                self.feed(LoadFinished(model, "aborted"))
            self.stop_ends(model)
        for ticket in sorted(yard.leases):
            del yard.leases[ticket]
            self.feed(LeaseReleased(ticket))

    def teardown(self) -> None:
        """S-25: when everything under way has ended, nobody waits and all counters are zero."""
        if not hasattr(self, "yard"):
            return
        yard = self.yard
        for _ in range(400):
            if not (yard.checking or yard.loading or yard.stopping or yard.leases or yard.waiting):
                break
            self.steps_on()
        assert not yard.waiting, "stranded at the end"
        assert not yard.unloads
        snapshot = self.scheduler.snapshot(self.now)
        assert snapshot.line == 0
        assert all(view.in_flight == view.waiting == 0 for view in snapshot.models)
        self.unload(frozenset(NAMES), None)
        while yard.stopping:
            self.steps_on()
        assert not yard.unloads
        assert {view.phase.value for view in self.scheduler.snapshot(self.now).models} <= {"stopped"}


class Exclusive(Interleavings):
    """Planners whose rules work both ways: I14, never two together that exclude one another."""

    kinds = tuple(sorted(SYMMETRIC))
    orders = (OrderKind.FIFO,)

    def draw_policy(self, data: st.DataObject) -> Policy:
        # One planner for the whole run: what an older one allowed may go on until an eviction needs it.
        self.kinds = (self.kind,) if hasattr(self, "kind") else type(self).kinds
        return super().draw_policy(data)

    @invariant()
    def no_two_run_that_exclude_one_another(self) -> None:
        up = sorted(self.yard.loading | self.yard.ready)
        planner = PLANNERS[self.kind]
        # Only loads are looked at: a model that is going, or already draining, is on its way out.
        for model in sorted(self.yard.loading):
            assert not planner(model, up).evict, f"{model} loads beside {up}"


class OneAtATime(Interleavings):
    """Serial: one process at a time, one request at a time, whatever groups and matrix say."""

    orders = (OrderKind.SERIAL,)

    @invariant()
    def one_process_and_one_request_at_a_time(self) -> None:
        yard = self.yard
        assert len(yard.loading | yard.ready) <= 1
        assert not (yard.loading and yard.stopping)
        assert sum(1 for model, life in yard.leases.values() if life == yard.lives[model]) <= 1


class InOrder(OneAtATime):
    """Serial without unloads and configurations: leases come exactly in order of arrival."""

    def carry_out(self, effect: Effect, event: Event) -> None:
        if isinstance(effect, Grant):
            assert effect.ticket == min(self.yard.waiting), "overtaken"
        super().carry_out(effect, event)


# Without shrinking: a walk of sixty steps shrinks for minutes, and the failing step says enough.
WALK = settings(stateful_step_count=60, phases=[Phase.explicit, Phase.generate])


def test_s25_any_interleaving_under_any_planner_and_order() -> None:
    run_state_machine_as_test(Interleavings, settings=WALK)


def test_i14_models_that_exclude_one_another_never_run_together() -> None:
    """R-03."""
    run_state_machine_as_test(Exclusive, settings=WALK)


def test_serial_runs_one_model_and_one_request_at_a_time() -> None:
    run_state_machine_as_test(OneAtATime, settings=WALK)


def test_serial_leases_come_in_order_of_arrival() -> None:
    run_state_machine_as_test(InOrder, settings=WALK)
