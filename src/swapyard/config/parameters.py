"""Filter parameters as the configuration writes them: paths into a JSON body, values as JSON text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any

import msgspec

LARGEST_INDEX = 9999
"""The highest array index a path may name: setting one pads the array with nulls up to it."""

_UNSUPPORTED = frozenset("*?#")


class ParameterError(ValueError):
    """A parameter whose path or value cannot be used; the text says why."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a path.  `name` is a member's name; in an array, `index` or `is_last` count."""

    name: str
    index: int | None
    # `-1`: behind the last element when setting, the last element when stripping.
    is_last: bool


@lru_cache(maxsize=4096)
def parse_path(path: str) -> tuple[Step, ...]:
    r"""Split `a.b`, `a.0`, `a.-1`, `a\.b` and `:5` into steps (§3.3).  Raises ParameterError."""
    if not path:
        raise ParameterError("a parameter's name must not be empty")
    steps: list[Step] = []
    characters = iter(path)
    text, plain = "", True
    for character in characters:
        if character in _UNSUPPORTED:
            raise ParameterError(f"{character!r} is not supported in a parameter's name")
        if character == ".":
            steps.append(_step(text, plain))
            text, plain = "", True
        elif character == ":" and plain and not text:
            plain = False
        elif character == "\\":
            text += next(characters, "")
        else:
            text += character
    steps.append(_step(text, plain))
    return tuple(steps)


def _step(text: str, plain: bool) -> Step:
    index = int(text) if plain and text.isascii() and text.isdigit() else None
    if index is not None and index > LARGEST_INDEX:
        raise ParameterError(f"the array index {text} is larger than {LARGEST_INDEX}")
    return Step(text, index, plain and text == "-1")


def validate_param_path(path: str) -> str | None:
    """What is wrong with a name in stripParams, setParams or setParamsByID; None when it is fine."""
    try:
        parse_path(path)
    except ParameterError as error:
        return str(error)
    return None


def validate_param_value(value: Any) -> str | None:
    """What is wrong with a value in setParams or setParamsByID; None when JSON can say it."""
    try:
        json_text(value)
    except ParameterError as error:
        return str(error)
    return None


def json_text(value: Any) -> bytes:
    """A YAML value as compact JSON: floats in plain decimals, map keys sorted (specification, §3.2).

    Raises ParameterError for what JSON cannot say: infinities, dates, bytes.
    """
    match value:
        case None:
            return b"null"
        case bool():
            return b"true" if value else b"false"
        case int():
            return int.__repr__(value).encode()
        case float():
            return _plain_decimal(value)
        case str():
            return _quoted(value)
        case Mapping():
            members = sorted((_map_key(key), json_text(item)) for key, item in value.items())
            return b"{" + b",".join(_quoted(key) + b":" + text for key, text in members) + b"}"
        case Sequence() if not isinstance(value, (bytes, bytearray, memoryview)):
            return b"[" + b",".join(json_text(item) for item in value) + b"]"
        case _:
            raise ParameterError(f"a value of type {type(value).__name__} cannot be written as JSON")


def _plain_decimal(value: float) -> bytes:
    if not math.isfinite(value):
        raise ParameterError(f"JSON has no number {value}")
    text = format(Decimal(float.__repr__(value)), "f")
    return (text.rstrip("0").rstrip(".") if "." in text else text).encode()


def _quoted(value: str) -> bytes:
    try:
        return msgspec.json.encode(str(value))
    except UnicodeEncodeError as error:
        raise ParameterError("a text holds a lone surrogate, which JSON cannot carry as UTF-8") from error


def _map_key(key: Any) -> str:
    if isinstance(key, str):
        return str(key)
    if key is None or isinstance(key, (bool, int, float)):
        return json_text(key).decode()
    raise ParameterError(f"a map key of type {type(key).__name__} cannot be written as JSON")
