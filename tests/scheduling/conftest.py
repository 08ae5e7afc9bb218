"""A scheduler in conversation: short words for events, and an executor that obeys."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

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
from swapyard.scheduling.machine import Scheduler
from swapyard.scheduling.policy import ModelPolicy, OrderKind, Planner, Policy
from swapyard.types import Exit, ModelId, Ticket


def spell(effect: Effect) -> str:
    """An effect in one short line, without its words for people."""
    match effect:
        case Grant(ticket, model):
            return f"grant {ticket} {model}"
        case Refuse(ticket, fault):
            return f"refuse {ticket} {fault}"
        case Check(model):
            return f"check {model}"
        case Load(model):
            return f"load {model}"
        case Stop(model, grace):
            return f"stop {model} {grace:g}"
        case Unloaded(unload):
            return f"unloaded {unload}"
        case WakeAt(at):
            return f"wake {at:g}"


@dataclass
class Talk:
    """Speaks to one scheduler.  Every method feeds one event and returns the effects in short lines.

    Effects that are not asked about in most dialogues (WakeAt) are kept apart in `wakes`.
    """

    scheduler: Scheduler
    policy: Policy
    now: float = 0.0
    wakes: list[float] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)
    _tickets: int = 0
    _unloads: int = 0

    def handle(self, event: Event) -> list[str]:
        effects = self.scheduler.handle(event, self.now)
        self.effects = effects
        self.wakes += [effect.at for effect in effects if isinstance(effect, WakeAt)]
        return [spell(effect) for effect in effects if not isinstance(effect, WakeAt)]

    def ask(self, model: str, *, explicit: bool = False) -> list[str]:
        """A request arrives; tickets count from 1."""
        self._tickets += 1
        return self.handle(RequestArrived(Ticket(self._tickets), ModelId(model), explicit))

    def leave(self, ticket: int) -> list[str]:
        return self.handle(CallerLeft(Ticket(ticket)))

    def release(self, ticket: int) -> list[str]:
        return self.handle(LeaseReleased(Ticket(ticket)))

    def checked(self, model: str, error: str | None = None) -> list[str]:
        return self.handle(CheckFinished(ModelId(model), error))

    def loaded(self, model: str, error: str | None = None) -> list[str]:
        return self.handle(LoadFinished(ModelId(model), error))

    def stopped(self, model: str) -> list[str]:
        return self.handle(StopFinished(ModelId(model)))

    def gone(self, model: str, how: Exit | None = None) -> list[str]:
        return self.handle(ProcessGone(ModelId(model), how or Exit(code=1)))

    def unload(self, *models: str, grace: float | None = None) -> list[str]:
        self._unloads += 1
        return self.handle(UnloadAsked(UnloadId(self._unloads), frozenset(map(ModelId, models)), grace))

    def change(self, policy: Policy, changed: Sequence[str] = (), removed: Sequence[str] = ()) -> list[str]:
        self.policy = policy
        event = PolicyChanged(policy, frozenset(map(ModelId, changed)), frozenset(map(ModelId, removed)))
        return self.handle(event)

    def shut_down(self) -> list[str]:
        return self.handle(ShutdownAsked())

    def wait(self, seconds: float) -> list[str]:
        """Time goes by, and the alarm rings if it was set for then."""
        self.now += seconds
        return self.handle(TimePassed())

    def start(self, model: str) -> None:
        """Bring a model up by one request that has already ended."""
        self.ask(model)
        ticket = self._tickets
        self.checked(model)
        assert f"grant {ticket} {model}" in self.loaded(model)
        self.release(ticket)

    def reason(self, ticket: int) -> str:
        return self.scheduler.waiting_reason(Ticket(ticket))

    def position(self, ticket: int) -> int | None:
        return self.scheduler.position(Ticket(ticket))

    def in_flight(self, model: str) -> int:
        return self.scheduler.in_flight(ModelId(model))

    def waiting(self, model: str) -> int:
        return self.scheduler.waiting(ModelId(model))

    def refusals(self) -> list[Refuse]:
        return [effect for effect in self.effects if isinstance(effect, Refuse)]

    def last_stop(self) -> Stop:
        return [effect for effect in self.effects if isinstance(effect, Stop)][-1]


MakePolicy = Callable[..., Policy]
MakeTalk = Callable[..., Talk]


def make_policy(
    models: str = "a b c d e x",
    *,
    groups: Sequence[Group] = (),
    planner: Planner | None = None,
    order: OrderKind = OrderKind.FIFO,
    max_wait: float = 60,
    queue_timeout: float = 0,
    waiting_limit: int = 512,
    **settings: ModelPolicy,
) -> Policy:
    """Models by name, all excluding one another unless groups or a planner say otherwise."""
    policies = {ModelId(name): settings.get(name, ModelPolicy()) for name in models.split()}
    chosen = planner or group_planner(groups)
    return Policy(policies, chosen, order, max_wait, queue_timeout, waiting_limit)


@pytest.fixture
def policy() -> MakePolicy:
    return make_policy


@pytest.fixture
def talk() -> MakeTalk:
    """Makes a conversation with a fresh scheduler; the arguments are those of `policy`."""

    def begin(*args: object, **kwargs: object) -> Talk:
        chosen = make_policy(*args, **kwargs)  # type: ignore[arg-type]
        return Talk(Scheduler(chosen), chosen)

    return begin
