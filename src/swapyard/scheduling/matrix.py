"""The matrix planner: the cheapest combination that contains the target decides what has to stop."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from swapyard.config.sets import NamedSet
from swapyard.scheduling.combinations import Best, Graph, Search, Weights
from swapyard.scheduling.policy import Eviction
from swapyard.types import ModelId

REMEMBERED = 4096
"""Decisions kept; far more than one yard sees between two changes of its configuration."""


@dataclass(frozen=True, slots=True)
class Price:
    """What the best combination of a set would have cost."""

    set_name: str
    cost: int


@dataclass(frozen=True, slots=True)
class Solution:
    """A decision with everything that explains it.

    `set_name` and `text` are "" when no set covers it.  `combination` is the chosen one in full, sorted;
    only the target is ever started because of it.  `lost` are the other sets that contain the target,
    cheapest first, in ranking order among equals.
    """

    evict: tuple[ModelId, ...]
    set_name: str
    text: str
    combination: tuple[ModelId, ...]
    cost: int
    lost: tuple[Price, ...] = ()


class MatrixPlanner:
    """Decides over compiled sets in ranking order.  Source of the rules: routing.md §7.3.

    1. Target already running: evict nothing.
    2. Otherwise every combination of every set that contains the target costs what the running models
       outside it cost; running models in no set always cost.
    3. The lowest cost wins; among equals the earlier set, then the earlier combination in written order.
    4. No set contains the target: everything running goes.
    """

    def __init__(self, sets: Sequence[NamedSet], costs: Mapping[ModelId, int] | None = None) -> None:
        self._sets = tuple(sets)
        self._costs = dict(costs or {})
        self._graph = Graph(named.expression for named in sets)
        self._partners: dict[ModelId, int] = {}
        self._known: dict[tuple[ModelId, tuple[ModelId, ...]], Eviction] = {}

    def __call__(self, target: ModelId, running: Collection[ModelId]) -> Eviction:
        key = (target, tuple(running))
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            known = self._known[key] = self._decide(target, key[1])
        return known

    def excludes(self, target: ModelId, other: ModelId) -> bool:
        """Whether no combination has both: `target` evicts `other` then, unless it runs already itself."""
        bits = self._graph.bits
        if target == other:
            return False
        if target not in bits or other not in bits:
            return True
        partners = self._partners.get(other)
        if partners is None:
            partners = self._partners[other] = self._graph.partners(bits[other])
        return not partners & bits[target]

    def solve(self, target: ModelId, running: Sequence[ModelId]) -> Solution:
        """The decision with its price and what it won against; `running` in sorted order."""
        if target in running:  # 1
            return self._leave_alone(running)
        priced = self._priced(target, running, all_sets=True)
        if not priced:  # 4
            return Solution(tuple(running), "", "", (target,), 0)
        (cost, place, best), *others = sorted(priced, key=lambda found: found[:2])  # 3
        named = self._sets[place]
        lost = tuple(Price(self._sets[other].name, price) for price, other, _ in others)
        evict = self._outside(best.mask, running)
        return Solution(evict, named.name, named.text, self._graph.names(best.mask), cost, lost)

    def can_coexist(self, models: Collection[ModelId]) -> bool:
        """Whether some combination of one set contains all of these models."""
        return self._covering(frozenset(models)) is not None

    def _decide(self, target: ModelId, running: tuple[ModelId, ...]) -> Eviction:
        if target in running:
            return Eviction(())
        priced = self._priced(target, running, all_sets=False)
        if not priced:
            return Eviction(running, f"{target} is in no set and runs alone" if running else "")
        cost, place, best = priced[-1]
        evict = self._outside(best.mask, running)
        named = self._sets[place]
        return Eviction(evict, f'not in set "{named.name}" ({named.text}), cost {cost}' if evict else "")

    def _priced(
        self, target: ModelId, running: Sequence[ModelId], *, all_sets: bool
    ) -> list[tuple[int, int, Best]]:
        """(cost, rank, combination) of each set that contains the target.

        Without `all_sets` only of those that are cheaper than every set before them, so the last one wins.
        """
        graph = self._graph
        target_bit = graph.mask([target])
        if not target_bit:
            return []
        total = sum(self._costs.get(model, 1) for model in running)
        weights = {graph.bits[m]: self._costs.get(m, 1) for m in running if m in graph.bits}
        # Worth more than all others together, so that a combination with the target beats any without.
        prize = total + 1
        search = Search(graph, target_bit | graph.mask(running), Weights({**weights, target_bit: prize}))
        found: list[tuple[int, int, Best]] = []
        for place, root in enumerate(graph.roots):
            if not root.support & target_bit:
                continue
            if found and not all_sets and total + prize - search.bound(root) >= found[-1][0]:
                continue
            best = search.best(root)
            cost = total + prize - best.gain
            if all_sets or not found or cost < found[-1][0]:
                found.append((cost, place, best))
        return found

    def _leave_alone(self, running: Sequence[ModelId]) -> Solution:
        covering = self._covering(frozenset(running))
        if covering is None:
            return Solution((), "", "", tuple(sorted(running)), 0)
        named, best = covering
        return Solution((), named.name, named.text, self._graph.names(best.mask), 0)

    def _covering(self, models: frozenset[ModelId]) -> tuple[NamedSet, Best] | None:
        """The first set with a combination of all these models, and that combination."""
        graph = self._graph
        if any(model not in graph.bits for model in models):
            return None
        wanted = graph.mask(models)
        search = Search(graph, wanted, Weights({}))
        for named, root in zip(self._sets, graph.roots, strict=True):
            if search.bound(root) >= len(models) and (best := search.best(root)).gain == len(models):
                return named, best
        return None

    def _outside(self, mask: int, running: Sequence[ModelId]) -> tuple[ModelId, ...]:
        bits = self._graph.bits
        return tuple(model for model in running if not bits.get(model, 0) & mask)


def matrix_planner(sets: Sequence[NamedSet], costs: Mapping[ModelId, int] | None = None) -> MatrixPlanner:
    """The planner for these sets in ranking order; `costs` are positive integers, 1 where none is given."""
    return MatrixPlanner(sets, costs)


def solve(
    target: ModelId,
    running: Sequence[ModelId],
    sets: Sequence[NamedSet],
    costs: Mapping[ModelId, int] | None = None,
) -> Solution:
    """One decision over sets that nobody keeps a planner for."""
    return MatrixPlanner(sets, costs).solve(target, running)
