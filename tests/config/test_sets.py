"""The set language: syntax, references, ranking, and what may run together."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swapyard.config.set_syntax import SetSyntaxError, parse
from swapyard.config.sets import (
    AllOf,
    AnyOf,
    Expression,
    Leaf,
    NamedSet,
    can_run_together,
    compile_sets,
)
from swapyard.types import ModelId

A, B, C = (Leaf(ModelId(name)) for name in "abc")


def compiled(**texts: str) -> dict[str, Expression]:
    sets, problems = compile_sets(texts, ModelId)
    assert problems == []
    return {named.name: named.expression for named in sets}


def shape(expression: Expression) -> object:
    """A form that can be compared (expressions themselves are compared by identity)."""
    match expression:
        case Leaf(model):
            return str(model)
        case AnyOf(items):
            return ("any", *map(shape, items))
        case AllOf(items):
            return ("all", *map(shape, items))


def combinations(expression: Expression) -> set[frozenset[str]]:
    """Everything an expression denotes, multiplied out: only for small ones."""
    match expression:
        case Leaf(model):
            return {frozenset({str(model)})}
        case AnyOf(items):
            return set().union(*map(combinations, items))
        case AllOf(items):
            parts = itertools.product(*map(combinations, items))
            return {frozenset().union(*part) for part in parts}


def test_and_binds_tighter_than_or() -> None:
    assert shape(compiled(s="a | b & c")["s"]) == ("any", "a", ("all", "b", "c"))


def test_parentheses_group_and_leave_no_trace() -> None:
    assert shape(compiled(s="((a) | (b)) & c")["s"]) == ("all", ("any", "a", "b"), "c")


def test_names_take_unicode_letters_but_no_other_numerals() -> None:
    assert shape(compiled(s="größe_1.x-y")["s"]) == "größe_1.x-y"
    with pytest.raises(SetSyntaxError, match="unexpected character '²' at position 1"):
        parse("a² & b")


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("  ", "empty DSL expression"),
        ("a &", "unexpected token"),
        ("| a", 'unexpected token "|" at position 0'),
        ("a b", 'unexpected token "b" after expression'),
        ("(a", "missing closing parenthesis"),
        ("(a b)", "missing closing parenthesis"),
        ("a)", 'unexpected token ")" after expression'),
        ("a & + t", "expected set name after '\\+' at position 4"),
        ("  a @", "unexpected character '@' at position 2"),
    ],
)
def test_a_syntax_error_says_what_and_where(text: str, rule: str) -> None:
    with pytest.raises(SetSyntaxError, match=rule.replace("|", "\\|").replace(")", "\\)")):
        parse(text)


def test_a_reference_is_the_referenced_object_itself() -> None:
    sets = compiled(y="a | b", z="+y & +y & c")
    z = sets["z"]
    assert isinstance(z, AllOf)
    assert z.items[0] is sets["y"]
    assert z.items[1] is sets["y"]


def test_a_set_stands_after_the_sets_it_refers_to() -> None:
    assert list(compiled(z="+m & +k", k="a", m="b | +n", n="c", a="a")) == ["n", "m", "k", "z", "a"]


def test_every_cycle_is_reported_and_sound_sets_are_kept() -> None:
    sets, problems = compile_sets({"s": "+t", "t": "+s", "self": "a & +self", "ok": "a"}, ModelId)
    assert [named.name for named in sets] == ["ok"]
    assert len([problem for problem in problems if "circular reference" in problem.rule]) == 2


def test_every_unknown_name_is_reported() -> None:
    _, problems = compile_sets({"s": "a & b & +nope", "t": "b"}, {"a": ModelId("a")}.get)
    assert [problem.rule for problem in problems] == [
        'matrix: set "s": unknown var or model "b"',
        'matrix: set "s": references undefined set "nope"',
        'matrix: set "t": unknown var or model "b"',
    ]


def test_depth_and_length_have_no_limit() -> None:
    parentheses = "(" * 2000 + "a" + ")" * 2000
    nested = "(a | (b & " * 2000 + "c" + "))" * 2000
    operands = " & ".join(["(a | b | c)"] * 5000)
    chain = {f"s{i}": f"+s{i + 1} | a" for i in range(2000)} | {"s2000": "a"}
    sets = compiled(p=parentheses, n=nested, o=operands, **chain)
    assert shape(sets["p"]) == "a"
    assert can_run_together([NamedSet("o", operands, sets["o"])], [ModelId(name) for name in "abc"])
    assert can_run_together([NamedSet("n", nested, sets["n"])], [ModelId(name) for name in "bc"])


def test_a_product_of_millions_is_compiled_and_asked_at_once() -> None:
    text = " & ".join("(" + " | ".join(f"m{i}-{j}" for j in range(12)) + ")" for i in range(40))
    sets, _ = compile_sets({"s": text}, ModelId)
    assert can_run_together(sets, [ModelId(f"m{i}-0") for i in range(40)])
    assert not can_run_together(sets, [ModelId("m0-0"), ModelId("m0-1")])


_expressions = st.recursive(
    st.sampled_from("abcd"),
    lambda inner: st.lists(inner, min_size=2, max_size=3).flatmap(
        lambda items: st.sampled_from(["(" + " | ".join(items) + ")", "(" + " & ".join(items) + ")"])
    ),
    max_leaves=8,
)


@given(_expressions, st.sets(st.sampled_from("abcde"), min_size=1))
def test_models_run_together_when_one_combination_holds_them_all(text: str, names: set[str]) -> None:
    sets, _ = compile_sets({"s": text}, ModelId)
    expected = any(names <= combination for combination in combinations(sets[0].expression))
    assert can_run_together(sets, [ModelId(name) for name in sorted(names)]) == expected
