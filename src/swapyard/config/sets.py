"""The language of matrix sets: text → a small shared expression tree, without recursion at any depth.

    expression = product { "|" product }      product = atom { "&" atom }
    atom       = name | "+" set-name | "(" expression ")"

A name stands for one model, `A | B` for one of both, `A & B` for both together, `+n` for whatever set n
allows, chosen anew at each place.  An expression allows every subset of what it combines.  Nothing here
multiplies an expression out: a reference is the referenced object itself, so what looks like a tree is an
acyclic graph with sharing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

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


class SetSyntaxError(ValueError):
    """An expression that is not in the language; the text says what and where (characters from 0)."""


@dataclass(frozen=True, slots=True)
class Operand:
    """A name or a reference, not yet looked up."""

    name: str
    is_reference: bool = False


@dataclass(frozen=True, slots=True)
class Operator:
    """Combine the last `count` values into one."""

    make: type[AnyOf] | type[AllOf]
    count: int


Step = Operand | Operator

# Any Unicode letter or decimal digit, and three signs: Python's \w without the other word characters.
_NAME = re.compile(r"[\w.-]+")
_SPACE = re.compile(r"\s+")


def parse(text: str) -> list[Step]:
    """Turn an expression into steps in postfix order, which need no recursion to be carried out.

    `&` binds tighter than `|`.  Raises SetSyntaxError.
    """
    trimmed = text.strip()
    if not trimmed:
        raise SetSyntaxError("empty DSL expression")
    reader = _Reader()
    for token, position in _tokens(trimmed):
        reader.take(token, position)
    return reader.finish()


def _tokens(text: str) -> Iterator[tuple[str, int]]:
    position = 0
    while position < len(text):
        if space := _SPACE.match(text, position):
            position = space.end()
            continue
        start = position
        plus = text[position] == "+"
        name = _name_at(text, position + plus)
        if plus and not name:
            raise SetSyntaxError(f"expected set name after '+' at position {position}")
        if not name and text[position] not in "()&|":
            raise SetSyntaxError(f"unexpected character {text[position]!r} at position {position}")
        position += plus + len(name) if name else 1
        yield text[start:position], start


def _name_at(text: str, position: int) -> str:
    match = _NAME.match(text, position)
    run = match.group() if match else ""
    # \w also takes letter-like numbers (², ½), which are no name characters.
    for index, char in enumerate(run):
        if not (char in "_-." or char.isalpha() or char.isdecimal()):
            return run[:index]
    return run


class _Reader:
    """Shift-reduce over the tokens; each open parenthesis has its own pair of counters."""

    def __init__(self) -> None:
        self._steps: list[Step] = []
        # Per open parenthesis: finished alternatives, factors of the present alternative.
        self._levels = [[0, 0]]
        self._wants_atom = True

    def take(self, token: str, position: int) -> None:
        starts_atom = token == "(" or token[0] not in "()&|"
        if starts_atom != self._wants_atom:
            self._refuse(token, position)
        match token:
            case "(":
                self._levels.append([0, 0])
            case "&":
                self._wants_atom = True
            case "|":
                self._close_product()
                self._wants_atom = True
            case ")":
                if len(self._levels) == 1:
                    self._refuse(token, position)
                self._close_level()
                self._levels[-1][1] += 1
            case _:
                self._steps.append(Operand(token.removeprefix("+"), is_reference=token[0] == "+"))
                self._levels[-1][1] += 1
                self._wants_atom = False

    def finish(self) -> list[Step]:
        if self._wants_atom:
            raise SetSyntaxError("unexpected token at the end of the expression")
        if len(self._levels) > 1:
            raise SetSyntaxError("missing closing parenthesis")
        self._close_level()
        return self._steps

    def _refuse(self, token: str, position: int) -> None:
        where = f'"{token}" at position {position}'
        if self._wants_atom:
            raise SetSyntaxError(f"unexpected token {where}")
        if len(self._levels) > 1:
            raise SetSyntaxError(f"missing closing parenthesis before {where}")
        raise SetSyntaxError(f'unexpected token "{token}" after expression, at position {position}')

    def _close_product(self) -> None:
        level = self._levels[-1]
        if level[1] > 1:
            self._steps.append(Operator(AllOf, level[1]))
        level[0] += 1
        level[1] = 0

    def _close_level(self) -> None:
        self._close_product()
        alternatives, _ = self._levels.pop()
        if alternatives > 1:
            self._steps.append(Operator(AnyOf, alternatives))


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
            case Operator(make, count):
                values[-count:] = [make(tuple(values[-count:]))]
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
