"""The meaning of matrix sets: text → a small shared expression tree, without recursion at any depth.

A name stands for one model, `A | B` for one of both, `A & B` for both together, `+n` for whatever set n
allows, chosen anew at each place.  An expression allows every subset of what it combines.  Nothing here
multiplies an expression out: a reference is the referenced object itself, so what looks like a tree is an
acyclic graph with sharing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from swapyard.config.set_syntax import Operand, Operator, SetSyntaxError, Step, parse
from swapyard.types import ModelId


@dataclass(frozen=True, slots=True)
class Leaf:
    """One model."""

    model: ModelId


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class AnyOf:
    """One of at least two alternatives, in written order; compared by identity, because it may be deep."""

    items: tuple[Expression, ...]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class AllOf:
    """At least two parts together, in written order; compared by identity, because it may be deep."""

    items: tuple[Expression, ...]


Expression = Leaf | AnyOf | AllOf


@dataclass(frozen=True, slots=True)
class NamedSet:
    """One compiled set.  Equal when name and text are: the expression follows from them and the file."""

    name: str
    text: str
    expression: Expression = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class SetProblem:
    """What is wrong with the set of this name; `rule` names the set itself."""

    name: str
    rule: str


def compile_sets(
    texts: Mapping[str, str], find_model: Callable[[str], ModelId | None]
) -> tuple[tuple[NamedSet, ...], list[SetProblem]]:
    """Compile all sets of a matrix; `texts` is in definition order, the result in ranking order.

    Ranking order: definition order, but a set that another one refers to stands before it.  When problems are
    returned the tuple holds only sets that are sound.
    """
    problems: list[SetProblem] = []
    steps: dict[str, list[Step]] = {}
    for name, text in texts.items():
        try:
            steps[name] = parse(text)
        except SetSyntaxError as error:
            problems.append(SetProblem(name, f'matrix: set "{name}": {error}'))
            continue
        problems += _unknown_names(name, steps[name], texts, find_model)
    order, cycles = rank({name: _references(found) for name, found in steps.items()})
    problems += [
        SetProblem(name, f'matrix: set "{name}": circular reference through set "{name}"') for name in cycles
    ]
    broken = {problem.name for problem in problems}
    expressions: dict[str, Expression] = {}
    for name in order:
        if name not in broken and all(reference in expressions for reference in _references(steps[name])):
            expressions[name] = _build(steps[name], expressions, find_model)
    compiled = (NamedSet(name, texts[name], expression) for name, expression in expressions.items())
    return tuple(compiled), problems


def _references(steps: Sequence[Step]) -> list[str]:
    found = (step.name for step in steps if isinstance(step, Operand) and step.is_reference)
    return list(dict.fromkeys(found))


def _unknown_names(
    name: str, steps: Sequence[Step], texts: Mapping[str, str], find_model: Callable[[str], ModelId | None]
) -> Iterator[SetProblem]:
    for operand in dict.fromkeys(step for step in steps if isinstance(step, Operand)):
        if operand.is_reference and operand.name not in texts:
            yield SetProblem(name, f'matrix: set "{name}": references undefined set "{operand.name}"')
        if not operand.is_reference and find_model(operand.name) is None:
            yield SetProblem(name, f'matrix: set "{name}": unknown var or model "{operand.name}"')


def rank(references: Mapping[str, Sequence[str]]) -> tuple[list[str], list[str]]:
    """Order sets so that what a set refers to comes first; also one set of every cycle that was met.

    Depth-first in definition order, referred sets in order of first appearance; names that are not defined
    are passed over.
    """
    placed: dict[str, None] = {}
    cycles: dict[str, None] = {}
    for root in references:
        trail = [(root, iter(references[root]))] if root not in placed else []
        open_names = {root}
        while trail:
            name, rest = trail[-1]
            following = next(rest, None)
            if following is None:
                trail.pop()
                open_names.discard(name)
                placed[name] = None
            elif following in open_names:
                cycles[following] = None
            elif following in references and following not in placed:
                open_names.add(following)
                trail.append((following, iter(references[following])))
    return list(placed), list(cycles)


def _build(
    steps: Sequence[Step], sets: Mapping[str, Expression], find_model: Callable[[str], ModelId | None]
) -> Expression:
    values: list[Expression] = []
    for step in steps:
        match step:
            case Operator(is_and, count):
                items = tuple(values[-count:])
                values[-count:] = [AllOf(items) if is_and else AnyOf(items)]
            case Operand(name, is_reference=True):
                values.append(sets[name])
            case Operand(name):
                model = find_model(name)
                assert model is not None
                values.append(Leaf(model))
    return values[0]


def children_first(root: Expression) -> Iterator[Expression]:
    """Every distinct object of the graph below `root` once, parts before the whole, `root` last."""
    seen: set[int] = set()
    trail: list[tuple[Expression, bool]] = [(root, False)]
    while trail:
        item, opened = trail.pop()
        if opened:
            yield item
            continue
        if id(item) in seen:
            continue
        seen.add(id(item))
        trail.append((item, True))
        if not isinstance(item, Leaf):
            trail.extend((part, False) for part in reversed(item.items))


def can_run_together(sets: Sequence[NamedSet], models: Collection[ModelId]) -> bool:
    """Whether some combination of one set contains all these models."""
    bits = {model: 1 << index for index, model in enumerate(dict.fromkeys(models))}
    wanted = (1 << len(bits)) - 1
    known: dict[int, tuple[int, ...]] = {}
    return any(wanted in _largest(named.expression, bits, known) for named in sets)


def _largest(
    root: Expression, bits: Mapping[ModelId, int], known: dict[int, tuple[int, ...]]
) -> tuple[int, ...]:
    """The combinations of `root` as masks of the models asked about; none lies within another."""
    for item in children_first(root):
        if id(item) in known:
            continue
        match item:
            case Leaf(model):
                found = {bits.get(model, 0)}
            case AnyOf(items):
                found = {mask for part in items for mask in known[id(part)]}
            case AllOf(items):
                found = {0}
                for part in items:
                    found = set(_maximal({one | other for one in found for other in known[id(part)]}))
        known[id(item)] = _maximal(found)
    return known[id(root)]


def _maximal(masks: set[int]) -> tuple[int, ...]:
    kept: list[int] = []
    for mask in sorted(masks, key=int.bit_count, reverse=True):
        if all(mask & ~other for other in kept):
            kept.append(mask)
    return tuple(kept)
