"""Reads two members of a JSON object and skips the others; a module of its own: mypyc cannot compile it."""

from __future__ import annotations

from typing import Any

import msgspec


class _Value:
    """What a member holds; a type that the library does not know, so that it asks `_first_of` each time."""

    __slots__ = ("value",)

    def __init__(self, value: Any = None) -> None:
        self.value = value


class _Model(_Value):
    __slots__ = ()


class _Stream(_Value):
    __slots__ = ()


class _Members(msgspec.Struct):
    model: _Model = _Model()
    stream: _Stream = _Stream()


_seen: dict[type, Any] = {}


def _first_of(kind: type, value: Any) -> Any:
    """Among members of one name the first counts; the library by itself would keep the last."""
    return _seen.setdefault(kind, kind(value))


_DECODER = msgspec.json.Decoder(_Members, dec_hook=_first_of)


def first_values(text: bytes | memoryview) -> tuple[Any, Any]:
    """The values of the first `model` and the first `stream` member; None for null and for none.

    Raises msgspec.DecodeError, UnicodeDecodeError or RecursionError for what is not one JSON object.
    """
    try:
        members = _DECODER.decode(text)
    finally:
        _seen.clear()
    return members.model.value, members.stream.value
