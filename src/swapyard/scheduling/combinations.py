"""The best combination that a set expression allows: the most weight covered, the earliest among equals.

An expression is walked as a list of goals, left to right; only an `A | B` branches.  What the goals ahead
can still gain depends on nothing but the models among them that are already covered, so every such
situation is solved once and remembered.  Parts of an expression that share no relevant model therefore
never multiply.  An upper bound for each alternative (what it could cover if nothing overlapped) tries the
promising ones first and skips those that can no longer win.  What is referred to in several places and has
few outcomes is replaced by the list of them, so that references to references do not multiply either.  No
recursion: expressions may be any depth.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from typing import NamedTuple

from swapyard.config.sets import AllOf, AnyOf, Expression, Leaf, children_first
from swapyard.types import ModelId

FEW = 64
"""Outcomes up to which a part of an expression is listed instead of searched."""


class Node:
    """A compiled expression; masks have one bit per model of the graph.

    `support`: every model that occurs in it.  `first`: its first combination in written order.
    `sure`: models that every combination of an AllOf contains because they are its direct parts.
    `items`: alternatives of an AnyOf, the other parts of an AllOf.  `uses`: places where it occurs.
    """

    __slots__ = ("first", "is_choice", "items", "support", "sure", "uses")

    def __init__(self, is_choice: bool, items: tuple[Node, ...], sure: int, support: int, first: int) -> None:
        self.is_choice = is_choice
        self.items = items
        self.sure = sure
        self.support = support
        self.first = first
        self.uses = 0


def _listed(masks: Iterable[int]) -> Node:
    """A choice between finished combinations, given as masks in written order."""
    items = tuple(Node(False, (), mask, mask, mask) for mask in masks)
    return Node(True, items, 0, _union(item.support for item in items), items[0].first)


class Graph:
    """All expressions of one matrix over one numbering of models; what they share is compiled once."""

    def __init__(self, roots: Iterable[Expression]) -> None:
        self.bits: dict[ModelId, int] = {}
        self.models: list[ModelId] = []
        self.roots: list[Node] = []
        # Parts before the whole, over all roots.
        self._order: list[Node] = []
        known: dict[int, Node] = {}
        kept = list(roots)  # ids are only good as long as the objects live
        for root in kept:
            for item in children_first(root):
                if id(item) not in known:
                    known[id(item)] = self._compile(item, known)
            self.roots.append(known[id(root)])

    def mask(self, models: Iterable[ModelId]) -> int:
        """The bits of those models that occur in the graph."""
        mask = 0
        for model in models:
            mask |= self.bits.get(model, 0)
        return mask

    def names(self, mask: int) -> tuple[ModelId, ...]:
        return tuple(sorted(model for model, bit in self.bits.items() if bit & mask))

    def partners(self, bit: int) -> int:
        """All models that some combination of some root has together with this one."""
        partners: dict[Node, int] = {}
        for node in self._order:
            if not node.support & bit:
                continue
            found = 0
            if node.is_choice:
                found = _union(partners.get(item, 0) for item in node.items)
            elif node.sure & bit:
                found = node.support
            else:
                for item in node.items:
                    if item.support & bit:
                        others = (other.support for other in node.items if other is not item)
                        twice = item.support if node.items.count(item) > 1 else 0
                        found |= partners[item] | node.sure | twice | _union(others)
            partners[node] = found
        return _union(partners.get(root, 0) for root in self.roots)

    def bounds(self, relevant: int, weigh: Weights) -> dict[Node, int]:
        """For every relevant node, the most it could cover if nothing overlapped."""
        bounds: dict[Node, int] = {}
        for node in self._order:
            if not node.support & relevant:
                continue
            inner = [bounds.get(item, 0) for item in node.items]
            if node.is_choice:
                bounds[node] = max(inner)
            else:
                bound = weigh(node.sure & relevant) + sum(inner)
                bounds[node] = min(bound, weigh(node.support & relevant)) if len(inner) > 1 else bound
        return bounds

    def outcomes(self, relevant: int) -> dict[Node, dict[int, int]]:
        """Nodes with few outcomes: relevant models of each → the first combination with it, in written order.

        Only asked for, and only of use, where something is referred to from several places.
        """
        known: dict[Node, dict[int, int]] = {}
        if not any(node.uses > 1 and node.items for node in self._order):
            return known
        for node in self._order:
            found = self._outcomes_of(node, relevant, known)
            if found is not None:
                known[node] = found
        return known

    @staticmethod
    def _outcomes_of(
        node: Node, relevant: int, known: Mapping[Node, dict[int, int]]
    ) -> dict[int, int] | None:
        if not node.support & relevant:
            return {0: node.first}
        if any(item not in known for item in node.items):
            return None
        found: dict[int, int] = {} if node.is_choice else {node.sure & relevant: node.sure}
        for item in node.items:
            if node.is_choice:
                for subset, mask in known[item].items():
                    found.setdefault(subset, mask)
            else:
                found = _joined(found, known[item])
            if len(found) > FEW:
                return None
        return found

    def _compile(self, item: Expression, known: Mapping[int, Node]) -> Node:
        match item:
            case Leaf(model):
                bit = self._bit(model)
                node = Node(False, (), bit, bit, bit)
            case AnyOf(items):
                nodes = [known[id(part)] for part in items]
                support = _union(node.support for node in nodes)
                node = Node(True, tuple(nodes), 0, support, nodes[0].first)
            case AllOf(items):
                nodes = [known[id(part)] for part in items]
                sure = _union(node.sure for node in nodes if not node.items)
                parts = tuple(node for node in nodes if node.items)
                support = _union(node.support for node in nodes)
                node = Node(False, parts, sure, support, _union(node.first for node in nodes))
        for part in node.items:
            part.uses += 1
        self._order.append(node)
        return node

    def _bit(self, model: ModelId) -> int:
        bit = self.bits.get(model)
        if bit is None:
            bit = self.bits[model] = 1 << len(self.models)
            self.models.append(model)
        return bit


def _union(masks: Iterable[int]) -> int:
    union = 0
    for mask in masks:
        union |= mask
    return union


def _joined(left: Mapping[int, int], right: Mapping[int, int]) -> dict[int, int]:
    found: dict[int, int] = {}
    for subset, mask in left.items():
        for other_subset, other_mask in right.items():
            found.setdefault(subset | other_subset, mask | other_mask)
    return found


class Weights:
    """What covering the models of a mask is worth: 1 each, but for the exceptions."""

    __slots__ = ("_exceptions",)

    def __init__(self, weights: Mapping[int, int]) -> None:
        self._exceptions = [(bit, weight - 1) for bit, weight in weights.items() if weight != 1]

    def __call__(self, mask: int) -> int:
        total = mask.bit_count()
        for bit, extra in self._exceptions:
            if mask & bit:
                total += extra
        return total


class Goals:
    """Expressions that still have to be satisfied, as a linked list that is shared between searches."""

    __slots__ = ("bound", "firsts", "node", "rest", "support")

    def __init__(self, node: Node, rest: Goals | None, support: int, bound: int) -> None:
        self.node = node
        self.rest = rest
        # Relevant models that occur in these goals, what they could gain, and the first choice everywhere.
        self.support: int = support | (rest.support if rest is not None else 0)
        self.bound: int = bound + (rest.bound if rest is not None else 0)
        self.firsts: int = node.first | (rest.firsts if rest is not None else 0)


class Best(NamedTuple):
    """The weight gained and the models of the combination, irrelevant ones included."""

    gain: int
    mask: int


Situation = tuple[Goals, int]
"""Goals whose first is a choice, and which of their models are covered already."""


class Search:
    """One question over a graph: which models matter, and what covering each of them is worth."""

    def __init__(self, graph: Graph, relevant: int, weigh: Weights) -> None:
        self._relevant = relevant
        self._weigh = weigh
        self._bounds = graph.bounds(relevant, weigh)
        self._listed: dict[Node, Node] = {}
        for node, outcomes in graph.outcomes(relevant).items():
            if node.uses > 1 and node.items:
                self._list(node, outcomes)
        self._cells: dict[tuple[Node, Goals | None], Goals] = {}
        self._solved: dict[Situation, Best] = {}

    def _list(self, node: Node, outcomes: Mapping[int, int]) -> None:
        """Replace a node by the choice between its outcomes."""
        listed = self._listed[node] = _listed(outcomes.values())
        gains = [self._weigh(subset) for subset in outcomes]
        self._bounds.update(zip(listed.items, gains, strict=True))
        self._bounds[listed] = max(gains)

    def bound(self, root: Node) -> int:
        """No combination of `root` gains more than this."""
        return self._bounds.get(root, 0)

    def best(self, root: Node) -> Best:
        """The combination of `root` that gains most; the earliest in written order among equals."""
        gain, mask, situation = self._walk(self._cell(root, None), 0)
        if situation is None:
            return Best(gain, mask)
        rest = self._solve(situation)
        return Best(gain + rest.gain, mask | rest.mask)

    def _solve(self, situation: Situation) -> Best:
        """Run branches that wait for one another on a list instead of the interpreter's stack."""
        open_branches = [(situation, self._branch(*situation))]
        answer: Best | None = None
        while open_branches:
            current, branch = open_branches[-1]
            try:
                wanted = branch.send(answer)
            except StopIteration as finished:
                open_branches.pop()
                answer = self._solved[current] = finished.value
            else:
                open_branches.append((wanted, self._branch(*wanted)))
                answer = None
        return self._solved[situation]

    def _branch(self, goals: Goals, covered: int) -> Generator[Situation, Best | None, Best]:
        best_gain, best_place, best_mask = -1, 0, 0
        for potential, place, item in self._alternatives(goals, covered):
            if potential < best_gain or (potential == best_gain and place > best_place):
                break
            gain, mask, situation = self._walk(self._cell(item, goals.rest), covered)
            if situation is not None:
                rest = self._solved.get(situation) or (yield situation)
                assert rest is not None
                gain += rest.gain
                mask |= rest.mask
            if gain > best_gain or (gain == best_gain and place < best_place):
                best_gain, best_place, best_mask = gain, place, mask
        return Best(best_gain, best_mask)

    def _alternatives(self, goals: Goals, covered: int) -> list[tuple[int, int, Node]]:
        """(upper bound, place, alternative), the most promising first and among equals in written order.

        Of the alternatives that gain nothing only the first can matter.
        """
        weigh, still_open = self._weigh, self._relevant & ~covered
        rest = goals.rest
        rest_support = rest.support & still_open if rest is not None else 0
        rest_bound = min(rest.bound, weigh(rest_support)) if rest is not None else 0
        found: list[tuple[int, int, Node]] = []
        fruitless = False
        for place, item in enumerate(goals.node.items):
            support = item.support & still_open
            if support:
                own = min(self._bounds[item], weigh(support))
                potential = own + rest_bound
                if support & rest_support:
                    potential = min(potential, weigh(support | rest_support))
                found.append((potential, place, item))
            elif not fruitless:
                fruitless = True
                found.append((rest_bound, place, item))
        found.sort(key=_promise)
        return found

    def _walk(self, goals: Goals | None, covered: int) -> tuple[int, int, Situation | None]:
        """Satisfy goals up to the next choice that matters: gain so far, models so far, and that choice."""
        gain = mask = 0
        relevant = self._relevant
        while goals is not None:
            if not goals.support & ~covered:
                return gain, mask | goals.firsts, None
            node = goals.node
            if not node.support & relevant & ~covered:
                mask |= node.first
                goals = goals.rest
            elif node.is_choice:
                return gain, mask, (goals, covered & goals.support)
            else:
                gain += self._weigh(node.sure & relevant & ~covered)
                covered |= node.sure
                mask |= node.sure
                goals = self._cells_of(node.items, goals.rest)
        return gain, mask, None

    def _cells_of(self, items: tuple[Node, ...], rest: Goals | None) -> Goals | None:
        for item in reversed(items):
            rest = self._cell(item, rest)
        return rest

    def _cell(self, node: Node, rest: Goals | None) -> Goals:
        node = self._listed.get(node, node)
        key = (node, rest)
        cell = self._cells.get(key)
        if cell is None:
            cell = Goals(node, rest, node.support & self._relevant, self._bounds.get(node, 0))
            self._cells[key] = cell
        return cell


def _promise(alternative: tuple[int, int, Node]) -> tuple[int, int]:
    return -alternative[0], alternative[1]
