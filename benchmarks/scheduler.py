"""How many decisions a second the scheduler makes, with how many waiting; and what a matrix decision costs.

Run it: python benchmarks/scheduler.py
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from time import perf_counter

from swapyard.config.sets import NamedSet, compile_sets
from swapyard.scheduling.effects import Check, Effect, Grant, Load, Stop
from swapyard.scheduling.events import (
    CheckFinished,
    Event,
    LeaseReleased,
    LoadFinished,
    RequestArrived,
    StopFinished,
)
from swapyard.scheduling.groups import Group, group_planner
from swapyard.scheduling.machine import Scheduler
from swapyard.scheduling.matrix import matrix_planner
from swapyard.scheduling.policy import ModelPolicy, OrderKind, Planner, Policy
from swapyard.types import ModelId, Ticket

EVENTS = 20_000


def names(count: int) -> list[ModelId]:
    return [ModelId(f"model-{number:03}") for number in range(count)]


@dataclass
class Yard:
    """An executor that answers every order at once, and ends every lease in the order of the grants."""

    scheduler: Scheduler
    now: float = 0.0
    tickets: int = 0
    granted: int = 0

    def __post_init__(self) -> None:
        self.events: deque[Event] = deque()

    def arrive(self, model: ModelId) -> None:
        self.tickets += 1
        self.events.append(RequestArrived(Ticket(self.tickets), model))

    def take(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            match effect:
                case Grant(ticket, _):
                    self.granted += 1
                    self.events.append(LeaseReleased(ticket))
                case Check(model):
                    self.events.append(CheckFinished(model, None))
                case Load(model):
                    self.events.append(LoadFinished(model, None))
                case Stop(model):
                    self.events.append(StopFinished(model))

    def step(self) -> bool:
        if not self.events:
            return False
        self.now += 0.001
        self.take(self.scheduler.handle(self.events.popleft(), self.now))
        return True


def policy(models: Sequence[ModelId], planner: Planner, order: OrderKind) -> Policy:
    policies = {name: ModelPolicy(ttl=600) for name in models}
    return Policy(policies, planner, order, waiting_limit=1_000_000)


def fill(yard: Yard, models: Sequence[ModelId], waiting: int) -> None:
    """Requests for all models in turn; the first one's model is busy, so that the others wait."""
    yard.scheduler.handle(RequestArrived(Ticket(0), models[0]), 0)
    yard.scheduler.handle(CheckFinished(models[0], None), 0)
    yard.scheduler.handle(LoadFinished(models[0], None), 0)
    for number in range(waiting):
        yard.tickets += 1
        model = models[1 + number % (len(models) - 1)]
        yard.take(yard.scheduler.handle(RequestArrived(Ticket(yard.tickets), model), 0))


def turnover(models: Sequence[ModelId], planner: Planner, order: OrderKind, waiting: int) -> float:
    """Events a second while the line keeps its length: swaps, grants, releases, and as many arrivals."""
    yard = Yard(Scheduler(policy(models, planner, order)))
    fill(yard, models, waiting)
    yard.events.append(LeaseReleased(Ticket(0)))
    started = perf_counter()
    handled = 0
    arrived = 0
    while handled < EVENTS and yard.step():
        handled += 1
        while arrived < yard.granted:
            yard.arrive(models[arrived * 7 % len(models)])
            arrived += 1
    return handled / (perf_counter() - started)


def warm(models: Sequence[ModelId], planner: Planner, order: OrderKind, waiting: int) -> float:
    """Events a second on a ready model whose traffic overtakes those who wait."""
    yard = Yard(Scheduler(policy(models, planner, order)))
    fill(yard, models, waiting)
    scheduler = yard.scheduler
    model = models[0]
    tickets = [Ticket(yard.tickets + 1 + number) for number in range(EVENTS // 2)]
    started = perf_counter()
    for ticket in tickets:
        scheduler.handle(RequestArrived(ticket, model), 0.001)
        scheduler.handle(LeaseReleased(ticket), 0.001)
    return 2 * len(tickets) / (perf_counter() - started)


def positions(models: Sequence[ModelId], planner: Planner, waiting: int) -> float:
    """Questions a second for a place in the line."""
    yard = Yard(Scheduler(policy(models, planner, OrderKind.FIFO)))
    fill(yard, models, waiting)
    started = perf_counter()
    for number in range(EVENTS):
        yard.scheduler.position(Ticket(1 + number % waiting))
    return EVENTS / (perf_counter() - started)


def show_decisions() -> None:
    print(f"\n{'scheduler':34}{'waiting':>9}{'models':>8}{'turnover/s':>12}{'warm/s':>12}{'positions/s':>13}")
    for count, waitings in ((10, (10, 1_000, 100_000)), (500, (1_000, 100_000))):
        models = names(count)
        kinds: list[tuple[str, Planner, OrderKind]] = [
            ("fifo, all exclusive", group_planner([]), OrderKind.FIFO),
            ("fifo, groups of five", group_planner(fives(models)), OrderKind.FIFO),
            ("fifo, matrix of pairs", matrix_planner(pairs(models)), OrderKind.FIFO),
            ("serial", group_planner([]), OrderKind.SERIAL),
        ]
        for waiting in waitings:
            for title, planner, order in kinds:
                swaps = turnover(models, planner, order, waiting)
                served = f"{warm(models, planner, order, waiting):,.0f}" if order is OrderKind.FIFO else "-"
                asked = positions(models, planner, waiting)
                print(f"{title:34}{waiting:9,}{count:8}{swaps:12,.0f}{served:>12}{asked:13,.0f}")


def fives(models: Sequence[ModelId]) -> list[Group]:
    chunks = [tuple(models[start : start + 5]) for start in range(0, len(models), 5)]
    return [Group(f"g{number}", members=chunk) for number, chunk in enumerate(chunks)]


def compiled(texts: dict[str, str]) -> tuple[NamedSet, ...]:
    sets, problems = compile_sets(texts, ModelId)
    assert not problems
    return sets


def pairs(models: Sequence[ModelId]) -> tuple[NamedSet, ...]:
    return compiled({f"s{n}": f"{models[n]} & {models[n + 1]}" for n in range(0, len(models) - 1, 2)})


def one_of(prefix: str, count: int) -> str:
    return "(" + " | ".join(f"{prefix}{number}" for number in range(count)) + ")"


def show_matrix() -> None:
    letters = "abcdefghijklm"
    everything = [f"{letter}{number}" for letter in letters[:6] for number in range(10)]
    both = [f"{letter}{number}" for letter in letters for number in range(2)]
    chain = [f"m{number:02}" for number in range(41)]
    cases: list[tuple[str, dict[str, str], list[str]]] = [
        ("two sets of three", {"s": "t & (a | b)", "u": "a & b & c"}, ["a", "c"]),
        ("10^6 combinations, 3 running", product(letters[:6], 10), ["a0", "b3", "f9"]),
        ("10^6 combinations, 60 running", product(letters[:6], 10), everything),
        ("10^13 combinations, 26 running", product(letters, 10), both),
        ("13 pairs, 26 running", product(letters, 2), both),
        ("ten times the same twenty", {"s": " & ".join(["t", *[one_of("m", 20)] * 10])}, names_of("m", 20)),
        ("chain of 40 overlapping pairs", {"s": overlapping(chain)}, chain),
        ("5,000 alternatives", {"s": "t & " + one_of("m", 5000)}, ["m7", "m4999"]),
    ]
    print(f"\n{'matrix decision, nothing remembered':40}{'milliseconds':>14}{'evicted':>9}")
    for title, texts, running in cases:
        sets = compiled(texts)
        planner = matrix_planner(sets)
        now = tuple(sorted(map(ModelId, running)))
        evicted = len(planner(ModelId("t"), now).evict)
        seconds = best_of(5, lambda: planner.solve(ModelId("t"), now))  # noqa: B023
        print(f"{title:40}{seconds * 1000:14.3f}{evicted:9}")


def names_of(prefix: str, count: int) -> list[str]:
    return [f"{prefix}{number}" for number in range(count)]


def product(letters: str, count: int) -> dict[str, str]:
    return {"s": " & ".join(["t", *(one_of(letter, count) for letter in letters)])}


def overlapping(chain: Sequence[str]) -> str:
    return " & ".join(["t", *(f"({left} | {right})" for left, right in pairwise(chain))])


def best_of(times: int, work: Callable[[], object]) -> float:
    """Seconds of the quickest run."""
    best = float("inf")
    for _ in range(times):
        started = perf_counter()
        work()
        best = min(best, perf_counter() - started)
    return best


def show() -> None:
    show_decisions()
    show_matrix()


if __name__ == "__main__":
    show()
