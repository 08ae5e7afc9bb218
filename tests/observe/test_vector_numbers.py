"""Every published vector of monitor, hardware, buffers and activity has a test that carries its number."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

LAST = {"N": 14, "R": 12, "L": 14, "M": 4, "I": 5, "H": 11, "B": 9, "A": 9}
"""nvidia-smi, rocm-smi, LACT, mactop, ioreg, hardware, buffers, activity: each is counted from 1."""


def carried(node: ast.AST) -> Iterator[str]:
    """The numbers in the id of a parameter set (`id="N1"`) and in a docstring (`Vectors L9, L12.`)."""
    if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
        for sentence in re.findall(r"^Vectors? ([^.:]+)", ast.get_docstring(node) or ""):
            yield from re.findall(r"\b[A-Z]\d+\b", sentence)
    if isinstance(node, ast.keyword) and node.arg == "id" and isinstance(node.value, ast.Constant):
        yield from re.findall(r"^[A-Z]\d+\b", str(node.value.value))


def all_carried() -> set[str]:
    return {
        number
        for file in Path(__file__).parent.glob("test_*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        for number in carried(node)
    }


@pytest.mark.parametrize("kind", LAST)
def test_every_vector_has_a_test_under_its_number(kind: str) -> None:
    numbers = {f"{kind}{number}" for number in range(1, LAST[kind] + 1)}
    assert sorted(numbers - all_carried()) == []


def test_no_test_carries_a_number_that_no_vector_has() -> None:
    numbers = {f"{kind}{number}" for kind, last in LAST.items() for number in range(1, last + 1)}
    assert len(numbers) == 78
    assert sorted(all_carried() - numbers) == []
