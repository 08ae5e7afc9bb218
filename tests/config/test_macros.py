"""Macros: what the vectors do not cover."""

from __future__ import annotations

from collections.abc import Callable

from swapyard.config.load import load_text
from swapyard.types import ModelId

Problems = Callable[[str], list[str]]


def test_every_bad_declaration_is_reported_with_its_line(problems: Problems) -> None:
    found = problems(
        "macros:\n  PORT: 1\n  bad.name: 1\n  list: [1]\n  loop: a ${loop}\n  none: ~\n  day: 2024-01-02\n"
    )
    assert [problem.split(" ")[:4] for problem in found] == [
        ["config.yaml:2:", "macros.PORT:", "macro", "'PORT'"],
        ["config.yaml:3:", "macros.bad.name:", "macro", "'bad.name'"],
        ["config.yaml:4:", "macros.list:", "macro", "'list'"],
        ["config.yaml:5:", "macros.loop:", "macro", "'loop'"],
        ["config.yaml:6:", "macros.none:", "macro", "'none'"],
        ["config.yaml:7:", "macros.day:", "macro", "'day'"],
    ]


def test_a_use_of_a_bad_macro_is_not_reported_again(problems: Problems) -> None:
    text = "macros: {L: [1]}\nmodels: {m: {cmd: 's ${L}', proxy: 'http://h', ttl: '${L}'}}\n"
    assert len(problems(text)) == 1


def test_every_unresolved_reference_is_reported(problems: Problems) -> None:
    found = problems("models: {m: {cmd: '${a} ${b} ${a}', proxy: 'http://${c}'}}\nlogLevel: ${d}\n")
    assert [problem.split("'")[1] for problem in found] == ["${a}", "${b}", "${c}", "${d}"]


def test_macros_that_grow_without_bound_are_refused(problems: Problems) -> None:
    macros = ["  m0: " + "x" * 50] + [f"  m{i}: '{f'${{m{i - 1}}}' * 10}'" for i in range(1, 12)]
    found = problems("macros:\n" + "\n".join(macros) + "\nlogLevel: ${m11}\n")
    assert len(found) == 1
    assert "logLevel: macros make this longer than" in found[0]


def test_the_value_of_a_variable_may_use_macros() -> None:
    text = "models: {m: {cmd: 's ${env.ARGS}'}}\n"
    config = load_text(text, {"ARGS": "--port ${PORT} --name ${MODEL_ID}"}).config
    assert config.models[ModelId("m")].cmd == "s --port 5800 --name m"


def test_a_whole_value_macro_keeps_the_spelling_for_text() -> None:
    text = "macros: {V: 1.10}\nmodels: {m: {cmd: s, proxy: 'http://h', name: '${V}', description: 'v${V}'}}\n"
    model = load_text(text, {}).config.models[ModelId("m")]
    assert (model.name, model.description) == ("1.10", "v1.1")


def test_an_id_that_looks_like_a_reference_is_not_expanded(problems: Problems) -> None:
    [problem] = problems("macros: {X: 1}\nmodels: {'a${X}': {cmd: 's ${MODEL_ID}', proxy: 'http://h'}}\n")
    assert "unknown macro '${X}'" in problem
