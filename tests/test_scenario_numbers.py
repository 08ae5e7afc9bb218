"""Every scenario of the specification has a test that carries its number."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

LAST = {"S": 28, "R": 30, "P": 44, "E": 30}
"""Scheduling, races, processes, and planners with selectors and peers: each is counted from 1."""

IN_A_NAME = re.compile(r"(?<=_)([srpe]\d\d)(?=_)")
IN_A_DOCSTRING = re.compile(r"\b[SRPE]-\d\d\b")


def carried(test: ast.FunctionDef) -> set[str]:
    """The numbers in a test's name (`test_e01_e03_…`) and in its docstring (`E-01, E-03.`)."""
    named = {f"{number[0].upper()}-{number[1:]}" for number in IN_A_NAME.findall(test.name)}
    return named | set(IN_A_DOCSTRING.findall(ast.get_docstring(test) or ""))


def all_carried() -> set[str]:
    found: set[str] = set()
    for file in Path(__file__).parent.rglob("test_*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                found |= carried(node)
    return found


@pytest.mark.parametrize("kind", LAST)
def test_every_scenario_has_a_test_under_its_number(kind: str) -> None:
    numbers = {f"{kind}-{number:02}" for number in range(1, LAST[kind] + 1)}
    assert sorted(numbers - all_carried()) == []


def test_no_test_carries_a_number_that_no_scenario_has() -> None:
    assert sorted(number for number in all_carried() if not 1 <= int(number[2:]) <= LAST[number[0]]) == []
