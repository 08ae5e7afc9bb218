"""The matrix planner: golden vectors, an oracle that multiplies everything out, and sizes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from time import thread_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swapyard.config.sets import AllOf, AnyOf, Expression, Leaf, NamedSet, compile_sets
from swapyard.scheduling.matrix import Solution, matrix_planner, solve
from swapyard.types import ModelId


def sets(text: str) -> tuple[NamedSet, ...]:
    """`name = expression; name = expression`, every name a model."""
    pairs = (part.split("=") for part in text.split(";"))
    compiled, problems = compile_sets({name.strip(): body.strip() for name, body in pairs}, ModelId)
    assert not problems
    return compiled


def models(text: str) -> tuple[ModelId, ...]:
    return tuple(map(ModelId, text.split()))


def decide(matrix: str, target: str, running: str, costs: str = "") -> Solution:
    prices = {ModelId(name): int(cost) for name, cost in (item.split("=") for item in costs.split())}
    return solve(ModelId(target), models(running), sets(matrix), prices)


SINGLES = "sa = a; sb = b"
PRODUCT = "std = (g | q | m) & v; rerank = (g | q) & v & e; creative = (g | q) & sd; full = L"
TOPOLOGICAL = "mega = +llms & t; other = a & t; llms = a | b"
DEFINITION = "first = a & b; second = a & c"
ALTERNATIVES = "s = t & (a | b | c)"
DOMINATION = "s = t & (a | (a & b))"
PAIR = "s = a & b"
ACROSS = "x = t & a & b; y = t & c"

# matrix, number, target, running, costs, evict, set, cost, combination.  Source: routing.md §7.3.
GOLDEN = [
    (SINGLES, "M01", "a", "", "", "", "sa", 0, "a"),
    (SINGLES, "M02", "b", "a", "", "a", "sb", 1, "b"),
    (SINGLES, "M03", "a", "a", "", "", "sa", 0, "a"),
    (SINGLES, "M04", "a", "a b", "", "", "", 0, "a b"),
    (SINGLES, "M05", "x", "a", "", "a", "", 0, "x"),
    (SINGLES, "M06", "a", "x", "", "x", "sa", 1, "a"),
    (PRODUCT, "M07", "g", "", "", "", "std", 0, "g v"),
    (PRODUCT, "M08", "g", "v", "", "", "std", 0, "g v"),
    (PRODUCT, "M09", "q", "g v", "", "g", "std", 1, "q v"),
    (PRODUCT, "M10", "e", "g v", "", "", "rerank", 0, "e g v"),
    (PRODUCT, "M11", "e", "m v", "", "m", "rerank", 1, "e g v"),
    (PRODUCT, "M12", "sd", "g v", "v=50", "v", "creative", 50, "g sd"),
    (PRODUCT, "M13", "sd", "e g v", "", "e v", "creative", 2, "g sd"),
    (PRODUCT, "M14", "L", "g v", "L=30 v=50", "g v", "full", 51, "L"),
    (PRODUCT, "M15", "g", "L", "L=30", "L", "std", 30, "g v"),
    (PRODUCT, "M16", "m", "e g v", "", "e g", "std", 2, "m v"),
    (PRODUCT, "M17", "v", "g q", "", "q", "std", 1, "g v"),
    (PRODUCT, "M18", "v", "g q", "q=2", "g", "std", 1, "q v"),
    (PRODUCT, "M19", "v", "g sd", "", "sd", "std", 1, "g v"),
    (PRODUCT, "M20", "v", "g sd", "g=1 sd=9", "sd", "std", 9, "g v"),
    (PRODUCT, "M21", "zz", "g v", "", "g v", "", 0, "zz"),
    (TOPOLOGICAL, "M22", "a", "", "", "", "llms", 0, "a"),
    (TOPOLOGICAL, "M23", "t", "", "", "", "mega", 0, "a t"),
    (TOPOLOGICAL, "M24", "t", "a", "", "", "mega", 0, "a t"),
    (DEFINITION, "M25", "a", "", "", "", "first", 0, "a b"),
    (DEFINITION, "M26", "a", "b c", "", "c", "first", 1, "a b"),
    (DEFINITION, "M27", "a", "b c", "b=1 c=10", "b", "second", 1, "a c"),
    (ALTERNATIVES, "M28", "t", "", "", "", "s", 0, "a t"),
    (ALTERNATIVES, "M29", "t", "c", "", "", "s", 0, "c t"),
    (ALTERNATIVES, "M30", "t", "b c", "", "c", "s", 1, "b t"),
    (ALTERNATIVES, "M31", "t", "b c", "c=3", "b", "s", 1, "c t"),
    (DOMINATION, "M32", "t", "a b", "", "", "s", 0, "a b t"),
    (DOMINATION, "M33", "t", "b", "", "", "s", 0, "a b t"),
    (DOMINATION, "M34", "t", "", "", "", "s", 0, "a t"),
    (PAIR, "M35", "a", "b u", "", "u", "s", 1, "a b"),
    (PAIR, "M36", "u", "a b", "", "a b", "", 0, "u"),
    (PAIR, "M37", "u", "", "", "", "", 0, "u"),
    (PAIR, "M38", "u", "u", "", "", "", 0, "u"),
    (ACROSS, "M39", "t", "a b c", "", "c", "x", 1, "a b t"),
    (ACROSS, "M40", "t", "a b c", "c=2", "c", "x", 2, "a b t"),
    (ACROSS, "M41", "t", "a b c", "c=3", "a b", "y", 2, "c t"),
    # Source: configuration.md §27.2.
    ("s = a|b&c", "dsl-09", "b", "a", "", "a", "s", 1, "b c"),
    ("s = a & a & a", "dsl-10", "a", "", "", "", "s", 0, "a"),
    ("s = \n  a\n  &\tb ", "dsl-11", "a", "b", "", "", "s", 0, "a b"),
    ("s = (a | b) & c", "sol-01", "a", "c", "", "", "s", 0, "a c"),
    ("s = (a | b) & c", "sol-02", "b", "a c", "", "a", "s", 1, "b c"),
    ("s = (a | b) & c; f = big", "sol-03", "big", "a c", "c=50", "a c", "f", 51, "big"),
    ("x = a & b; y = a & c", "sol-04", "a", "b c", "", "c", "x", 1, "a b"),
    ("x = a & b; y = a & c", "sol-05", "a", "b c", "c=5", "b", "y", 1, "a c"),
    ("x = a & b", "sol-06", "z", "a b", "", "a b", "", 0, "z"),
    ("x = a & b", "sol-07", "a", "a q", "", "", "", 0, "a q"),
    ("x = a & b & c", "sol-08", "a", "", "", "", "x", 0, "a b c"),
    ("big = +small & z; small = a | b", "sol-09", "a", "b", "", "b", "small", 1, "a"),
    ("big = +small & z; small = a | b", "sol-10", "a", "z", "", "", "big", 0, "a z"),
    ("s = t & (a | (a & b))", "sol-11", "t", "a b", "", "", "s", 0, "a b t"),
    ("y = b | c; z = +y & +y", "sol-12", "b", "c", "", "", "z", 0, "b c"),
]


@pytest.mark.parametrize("row", GOLDEN, ids=lambda row: row[1])
def test_e10_golden_vectors(row: tuple[str, str, str, str, str, str, str, int, str]) -> None:
    matrix, _, target, running, costs, evict, name, cost, combination = row
    found = decide(matrix, target, running, costs)
    assert found.evict == models(evict)
    assert (found.set_name, found.cost) == (name, cost)
    assert found.combination == models(combination)


def test_the_planner_gives_the_same_answer_as_the_solver_with_words() -> None:
    planner = matrix_planner(sets(PRODUCT))
    eviction = planner(ModelId("m"), models("e g v"))
    assert eviction.evict == models("e g")
    assert eviction.reason == 'not in set "std" ((g | q | m) & v), cost 2'
    assert planner(ModelId("zz"), models("g v")).reason == "zz is in no set and runs alone"


def test_a_decision_names_what_it_won_against_cheapest_first() -> None:
    found = decide("x = t & a; y = t & b & c; z = t", "t", "a b c")
    assert found.set_name == "y"
    assert [(price.set_name, price.cost) for price in found.lost] == [("x", 2), ("z", 3)]


def test_an_alternative_that_promised_more_than_it_holds_does_not_beat_an_earlier_equal() -> None:
    late = "(((p & q) | r) & ((p & q) | s))"
    found = decide(f"m = t & ((u & v & w) | {late})", "t", "p q r s u v w")
    assert found.evict == models("p q r s")


@pytest.mark.parametrize(
    ("names", "together"), [("a c", True), ("a b", False), ("a", True), ("a z", False)], ids=str
)
def test_models_coexist_when_one_combination_holds_them_all(names: str, together: bool) -> None:
    assert matrix_planner(sets("s = (a | b) & c")).can_coexist(models(names)) is together


# -- against an oracle that multiplies everything out ----------------------------------------------

NAMES = "abcdefgh"


def combinations(expression: Expression) -> Iterator[frozenset[ModelId]]:
    """All of them in written order, the leftmost choice varying slowest."""
    match expression:
        case Leaf(model):
            yield frozenset([model])
        case AnyOf(items):
            for item in items:
                yield from combinations(item)
        case AllOf(items):
            for parts in itertools.product(*(tuple(combinations(item)) for item in items)):
                yield frozenset().union(*parts)


def cheapest(
    target: ModelId, running: Sequence[ModelId], all_sets: Sequence[NamedSet], costs: dict[ModelId, int]
) -> tuple[str, int, tuple[ModelId, ...]] | None:
    best: tuple[str, int, tuple[ModelId, ...]] | None = None
    for named in all_sets:
        for combination in combinations(named.expression):
            cost = sum(costs.get(model, 1) for model in running if model not in combination)
            if target in combination and (best is None or cost < best[1]):
                best = (named.name, cost, tuple(sorted(combination)))
    return best


leaves = st.sampled_from(NAMES).map(lambda name: Leaf(ModelId(name)))


def joined(inner: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    kinds: st.SearchStrategy[type[AnyOf] | type[AllOf]] = st.sampled_from([AnyOf, AllOf])
    parts = st.lists(inner, min_size=2, max_size=3)
    # The same object twice is what a set that is referred to twice looks like.
    twice = st.builds(lambda kind, part: kind((part, part)), kinds, inner)
    return st.builds(lambda kind, items: kind(tuple(items)), kinds, parts) | twice


expressions = st.recursive(leaves, joined, max_leaves=8)


@given(
    st.lists(expressions, min_size=1, max_size=3),
    st.sampled_from(NAMES),
    st.sets(st.sampled_from(NAMES + "z")),
    st.dictionaries(st.sampled_from(NAMES), st.integers(1, 4)),
)
def test_every_decision_is_the_earliest_cheapest_of_all_combinations(
    written: list[Expression], target: str, running: set[str], prices: dict[str, int]
) -> None:
    named = [NamedSet(f"s{index}", "", expression) for index, expression in enumerate(written)]
    now = tuple(map(ModelId, sorted(running - {target})))
    costs = {ModelId(name): cost for name, cost in prices.items()}
    wanted = cheapest(ModelId(target), now, named, costs)
    found = solve(ModelId(target), now, named, costs)
    planned = matrix_planner(named, costs)(ModelId(target), now)
    assert planned.evict == found.evict
    if wanted is None:
        assert (found.set_name, found.evict) == ("", now)
        return
    assert (found.set_name, found.cost, found.combination) == wanted
    assert found.evict == tuple(model for model in now if model not in wanted[2])


@given(st.lists(expressions, min_size=1, max_size=3), st.sets(st.sampled_from(NAMES + "z"), min_size=1))
def test_coexistence_is_membership_in_one_combination(written: list[Expression], asked: set[str]) -> None:
    named = [NamedSet(f"s{index}", "", expression) for index, expression in enumerate(written)]
    wanted = any(asked <= combination for item in written for combination in combinations(item))
    assert matrix_planner(named).can_coexist([ModelId(name) for name in asked]) is wanted


@given(st.lists(expressions, min_size=1, max_size=3))
def test_two_models_exclude_each_other_when_no_combination_has_both(written: list[Expression]) -> None:
    planner = matrix_planner([NamedSet(f"s{index}", "", item) for index, item in enumerate(written)])
    allowed = [combination for item in written for combination in combinations(item)]
    for target, other in itertools.permutations(map(ModelId, NAMES + "z"), 2):
        together = any({target, other} <= combination for combination in allowed)
        assert planner.excludes(target, other) is not together
        assert together or planner(target, [other]).evict == (other,)


# -- sizes -----------------------------------------------------------------------------------------


def seconds_for(planned: object, target: str, running: Sequence[str]) -> tuple[tuple[str, ...], float]:
    """Computing time of the best of a few fresh decisions."""
    best = float("inf")
    evict: tuple[str, ...] = ()
    for _ in range(5):
        planner = matrix_planner(planned)  # type: ignore[arg-type]
        started = thread_time()
        evict = planner(ModelId(target), tuple(map(ModelId, sorted(running)))).evict
        best = min(best, thread_time() - started)
    return evict, best


def test_e11_a_million_combinations_with_seventy_relevant_models_are_decided_at_once() -> None:
    groups = [[f"m{group}x{item}" for item in range(10)] for group in range(6)]
    text = "s = t & " + " & ".join(f"({' | '.join(group)})" for group in groups)
    running = [name for group in groups for name in group] + [f"u{n}" for n in range(9)]
    evict, seconds = seconds_for(sets(text), "t", running)
    kept = [group[0] for group in groups]
    assert set(evict) == set(running) - set(kept)
    assert seconds < 0.02


def test_thirteen_pairs_with_all_twenty_six_models_running() -> None:
    pairs = [(f"p{n}", f"q{n}") for n in range(13)]
    text = "s = t & " + " & ".join(f"({first} | {second})" for first, second in pairs)
    evict, seconds = seconds_for(sets(text), "t", [name for pair in pairs for name in pair])
    assert evict == tuple(sorted(second for _, second in pairs))
    assert seconds < 0.02


def test_the_same_twenty_models_in_ten_factors_do_not_explode() -> None:
    names = [f"m{n:02}" for n in range(20)]
    text = "s = t & " + " & ".join([f"({' | '.join(names)})"] * 10)
    evict, seconds = seconds_for(sets(text), "t", names)
    assert evict == tuple(names[10:])
    assert seconds < 0.1


def test_a_chain_of_overlapping_choices_is_solved_in_steps() -> None:
    names = [f"m{n:02}" for n in range(41)]
    text = "s = t & " + " & ".join(f"({left} | {right})" for left, right in itertools.pairwise(names))
    evict, seconds = seconds_for(sets(text), "t", names)
    assert len(evict) == 1
    assert seconds < 0.1


def test_references_that_double_at_every_step_are_not_unfolded() -> None:
    steps = ["s0 = a | b"] + [f"s{n} = +s{n - 1} & +s{n - 1}" for n in range(1, 31)]
    evict, seconds = seconds_for(sets("; ".join([*steps, "goal = t & +s30"])), "t", ["a", "b"])
    assert evict == ()
    assert seconds < 0.1


@pytest.mark.parametrize("sign", ["|", "&"])
def test_five_thousand_operands_and_two_thousand_nested_parentheses_need_no_recursion(sign: str) -> None:
    wide = f" {sign} ".join(f"m{n}" for n in range(5000))
    deep = "".join(f"(d{n} {'&|'[n % 2]} " for n in range(2000)) + "a" + ")" * 2000
    found = decide(f"w = {wide}; d = {deep}", "a", "d0 d1 d2 m7")
    assert found.set_name == "d"
    assert "m7" in found.evict
    assert decide(f"w = {wide}", "m4999", "m7").evict == (() if sign == "&" else models("m7"))
