"""The syntax of matrix sets: text → steps in postfix order, without recursion at any depth.

expression = product { "|" product }      product = atom { "&" atom }
atom       = name | "+" set-name | "(" expression ")"
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass


class SetSyntaxError(ValueError):
    """An expression that is not in the language; the text says what and where (characters from 0)."""


@dataclass(frozen=True, slots=True)
class Operand:
    """A name or a reference, not yet looked up."""

    name: str
    is_reference: bool = False


@dataclass(frozen=True, slots=True)
class Operator:
    """Combine the last `count` values into one: all of them together, or one of them."""

    is_and: bool
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
            self._steps.append(Operator(is_and=True, count=level[1]))
        level[0] += 1
        level[1] = 0

    def _close_level(self) -> None:
        self._close_product()
        alternatives, _ = self._levels.pop()
        if alternatives > 1:
            self._steps.append(Operator(is_and=False, count=alternatives))
