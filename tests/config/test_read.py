"""YAML text → tree: anchors, merge keys, environment, duplicates, limits."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from swapyard.config.read import DEPTH_LIMIT, read
from swapyard.config.tree import Node, Scalar, Section, find, locate, section


def tree(text: str, environ: Mapping[str, str] | None = None) -> Node:
    parsed = read(text, "f.yaml", environ or {})
    assert parsed.problems == []
    assert parsed.root is not None
    return parsed.root


def rules(text: str, environ: Mapping[str, str] | None = None) -> list[str]:
    return [str(problem) for problem in read(text, "f.yaml", environ or {}).problems]


def value(root: Node, *path: str | int) -> object:
    node = find(root, path)
    assert isinstance(node, Scalar)
    return node.value


def test_a_duplicate_key_is_reported_with_both_lines_and_its_path() -> None:
    assert rules("models:\n  m: {a: 1}\n  n: 1\n  m: {a: 2}\n") == [
        'f.yaml:4: models.m: mapping key "m" already defined at line 2'
    ]


def test_every_duplicate_key_is_reported() -> None:
    assert len(rules("a: 1\na: 2\nb: {c: 1, c: 2, c: 3}\n")) == 3


def test_keys_that_differ_only_in_their_type_are_the_same_key() -> None:
    assert rules('a: {5: x, "5": y}\n') == ['f.yaml:1: a.5: mapping key "5" already defined at line 1']


def test_a_merged_key_keeps_the_line_where_it_was_written() -> None:
    root = tree("d: &d\n  ttl: 5\nm:\n  <<: *d\n  cmd: x\n")
    assert list(section(find(root, ("m",)))) == ["ttl", "cmd"]
    assert locate(root, ("m", "ttl")).line == 2


def test_an_own_key_beats_a_merged_one_wherever_it_stands() -> None:
    root = tree("d: &d {a: 1, b: 1}\nm: {b: 2, <<: *d}\n")
    assert (value(root, "m", "a"), value(root, "m", "b")) == (1, 2)


def test_a_quoted_merge_sign_is_an_ordinary_key() -> None:
    assert list(section(tree('"<<": {a: 1}\n'))) == ["<<"]


def test_merging_something_else_than_a_mapping_is_refused() -> None:
    assert "map merge requires a mapping" in rules("m: {<<: 5}\n")[0]


def test_a_self_containing_anchor_is_refused() -> None:
    assert "contains itself" in rules("a: &x [*x]\n")[0]


def test_an_alias_without_anchor_is_refused_with_its_line() -> None:
    assert rules("a: 1\nb: *nope\n")[0].startswith("f.yaml:2: ")


def test_an_alias_bomb_is_refused() -> None:
    lines = ["a0: &a0 [1, 2, 3, 4, 5, 6, 7, 8, 9]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10)]
    assert "excessive aliasing" in rules("\n".join(lines))[0]


def test_many_models_may_share_one_anchored_block() -> None:
    base = "base: &base {" + ", ".join(f"k{i}: {i}" for i in range(50)) + "}\n"
    root = tree(base + "".join(f"m{i}: *base\n" for i in range(1500)))
    assert value(root, "m1499", "k49") == 49


def test_deep_nesting_is_refused_instead_of_exhausting_the_stack() -> None:
    deep = DEPTH_LIMIT + 1
    assert "levels deep" in rules("[" * deep + "]" * deep)[0]
    assert rules("[" * DEPTH_LIMIT + "]" * DEPTH_LIMIT) == []


def test_depth_that_aliases_add_up_counts() -> None:
    lines = ["a0: &a0 []"] + [f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, 400)]
    assert "levels deep" in rules("\n".join(lines))[0]


def test_a_tab_separates_like_a_blank_outside_of_indentation() -> None:
    root = tree("a:\t1\nb:\t[2,\t3]\t# note\n")
    assert (value(root, "a"), value(root, "b", 1)) == (1, 3)


@pytest.mark.parametrize("text", ["a: [\n", "a: b: c\n", "\ta: 1\n", "a: 'x\n", "a: \x01\n", "? [a]\n: 1\n"])
def test_broken_yaml_is_one_problem_with_a_line(text: str) -> None:
    found = read(text, "f.yaml", {}).problems
    assert len(found) == 1
    assert found[0].rule.startswith("failed to parse config: ")
    assert found[0].line >= 1


def test_byte_order_mark_and_windows_line_ends_are_accepted() -> None:
    root = tree("\ufeffa: 1\r\nb: |\r\n  x\r\n")
    assert (value(root, "a"), value(root, "b")) == (1, "x\n")


def test_a_variable_cannot_change_the_structure() -> None:
    root = tree("a: ${env.V}\nb: [${env.V}]\n", {"V": "x: {y} # z"})
    assert value(root, "a") == "x: {y} # z"
    assert value(root, "b", 0) == "x: {y} # z"


def test_a_variable_is_typed_when_unquoted_and_text_when_quoted() -> None:
    root = tree('a: ${env.V}\nb: "${env.V}"\nc: 1${env.V}\n', {"V": "45"})
    assert (value(root, "a"), value(root, "b"), value(root, "c")) == (45, "45", 145)


def test_a_block_scalar_takes_values_with_quotes_and_backslashes_as_they_are() -> None:
    assert value(tree("a: |\n  x ${env.V}\n", {"V": 'c:\\d "e"'}), "a") == 'x c:\\d "e"\n'


def test_each_missing_variable_is_reported_once_per_place() -> None:
    assert rules("a: ${env.NOPE}\nb: [1, '${env.NOPE} ${env.NOPE}']\n# ${env.NOPE}\n") == [
        "f.yaml:1: a: environment variable 'NOPE' is not set",
        "f.yaml:2: b[1]: environment variable 'NOPE' is not set",
    ]


def test_text_that_uses_private_characters_itself_is_left_alone() -> None:
    root = tree("a: '\ue000A\ue001 ${env.A}'\n", {"A": "v"})
    assert value(root, "a") == "\ue000A\ue001 v"


def test_top_level_keys_that_hold_anchors_are_known() -> None:
    parsed = read("defs: {a: &a {x: 1}}\nother: {b: *a}\n", "f.yaml", {})
    assert parsed.anchored == {"defs"}
    assert isinstance(parsed.root, Section)
