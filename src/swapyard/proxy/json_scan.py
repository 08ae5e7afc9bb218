"""Where the members of one JSON object or array lie in its text, without building what they contain.

Valid JSON is walked by msgspec, which skips nested values at memory speed.  Anything it refuses (text cut
off, rubbish behind the closing brace, a byte-order mark) is walked once more by a tolerant scanner that finds
what stands before the damage, because such bodies are forwarded all the same (specification, §2.1).
"""

from __future__ import annotations

import json
import mmap
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

Source = bytes | mmap.mmap | memoryview
"""A request body, or part of one, as it lies in memory or in a mapped file."""


class _Key(str):
    """A member's name that equals only itself, so that a dict keeps duplicate names, in order."""

    __slots__ = ()
    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other


def _own_key(_type: type, name: str) -> _Key:
    return _Key(name)


_MEMBERS = msgspec.json.Decoder(dict[_Key, msgspec.Raw], dec_hook=_own_key)
_ELEMENTS = msgspec.json.Decoder(list[msgspec.Raw])
_STRING_VALUE = msgspec.json.Decoder(str)

# Bytes that are not UTF-8 and nesting beyond the interpreter's stack have exceptions of their own.
_REFUSALS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_BLANKS = re.compile(rb"[ \t\r\n]*+")
_NAME = re.compile(rb'[ \t\r\n]*+"[^"\\]*+(?:\\.[^"\\]*+)*+"[ \t\r\n]*+:[ \t\r\n]*+', re.DOTALL)
_OPENING = re.compile(rb"[{\[]")
_NAME_OR_CLOSING = re.compile(rb'["}]')
_TO_VALUE = re.compile(rb"[ \t\r\n:]*+")
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_SCALAR = re.compile(rb'[^ \t\r\n,\[\]{}":]*+')
_BRACKET = re.compile(rb'[^\[\]{}"]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"[^\[\]{}"]*+)*+([\[\]{}])', re.DOTALL)

_OPEN_OBJECT, _CLOSE_OBJECT, _OPEN_ARRAY, _CLOSE_ARRAY, _COMMA = b"{}[],"


class Slot(NamedTuple):
    """One member of an object or element of an array; all positions count from the start of the source.

    `start` lies behind the bracket or comma before it, `stop` on the bracket or comma after it; the value's
    text is `value` to `end`.  `key` is None in an array.
    """

    key: str | None
    start: int
    value: int
    end: int
    stop: int


@dataclass(frozen=True, slots=True)
class Level:
    """The slots of one object or array.  `closing` is None when the text breaks off before its bracket."""

    is_object: bool
    opening: int
    slots: list[Slot]
    closing: int | None


def first_members(text: Source, *names: str) -> dict[str, bytes]:
    """The JSON text of the first top-level member of each name; absent and broken ones are left out."""
    try:
        found: dict[str, bytes] = {}
        for key, raw in _MEMBERS.decode(text).items():
            name = str(key)
            if name in names and name not in found:
                found[name] = bytes(raw)
        return found
    except _REFUSALS:
        return _first_members_of_damaged(text, names)


def _first_members_of_damaged(text: Source, names: tuple[str, ...]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    opening = _OPENING.search(text)
    if opening is None or opening[0] == b"[":
        return found
    for slot in _tolerant_slots(text, opening.start(), len(text)):
        if isinstance(slot, Slot) and slot.key in names and slot.key not in found:
            found[slot.key] = bytes(text[slot.value : slot.end])
            if len(found) == len(names):
                break
    return found


def scan(text: Source, start: int = 0, end: int | None = None) -> Level | None:
    """The outermost object or array between two positions; None when there is neither."""
    stop = len(text) if end is None else end
    return _scan_valid(text, start, stop) or _scan_damaged(text, start, stop)


def _scan_valid(text: Source, start: int, end: int) -> Level | None:
    opening = _end_of(_BLANKS, text, start, end)
    if opening >= end or text[opening] not in (_OPEN_OBJECT, _OPEN_ARRAY):
        return None
    is_object = text[opening] == _OPEN_OBJECT
    keys: list[str | None]
    try:
        part = memoryview(text)[opening:end]
        if is_object:
            members = _MEMBERS.decode(part)
            keys, sizes = [str(key) for key in members], [_size(raw) for raw in members.values()]
        else:
            sizes = [_size(raw) for raw in _ELEMENTS.decode(part)]
            keys = [None] * len(sizes)
    except _REFUSALS:
        return None
    slots: list[Slot] = []
    position = opening + 1
    before_value = _NAME if is_object else _BLANKS
    for key, size in zip(keys, sizes, strict=True):
        value = _end_of(before_value, text, position, end)
        stop = _end_of(_BLANKS, text, value + size, end)
        slots.append(Slot(key, position, value, value + size, stop))
        position = stop + 1
    closing = slots[-1].stop if slots else _end_of(_BLANKS, text, position, end)
    return Level(is_object, opening, slots, closing)


def _scan_damaged(text: Source, start: int, end: int) -> Level | None:
    opening = _OPENING.search(text, start, end)
    if opening is None:
        return None
    slots: list[Slot] = []
    closing: int | None = None
    for found in _tolerant_slots(text, opening.start(), end):
        if isinstance(found, Slot):
            slots.append(found)
        else:
            closing = found
    return Level(opening[0] == b"{", opening.start(), slots, closing)


def _tolerant_slots(text: Source, opening: int, end: int) -> Iterator[Slot | int]:
    """The slots behind a bracket as far as they can be told; last comes the closing bracket, if any."""
    is_object = text[opening] == _OPEN_OBJECT
    position = opening + 1
    while True:
        key: str | None = None
        if is_object:
            ahead = _NAME_OR_CLOSING.search(text, position, end)
            if ahead is None:
                return
            if ahead[0] == b"}":
                yield ahead.start()
                return
            name = _STRING.match(text, ahead.start(), end)
            if name is None:
                return
            key = string_value(name[0])
            value = _end_of(_TO_VALUE, text, name.end(), end)
        else:
            value = _end_of(_BLANKS, text, position, end)
            if value < end and text[value] == _CLOSE_ARRAY:
                yield value
                return
        value_end = _value_end(text, value, end)
        if value_end is None:
            return
        stop = _end_of(_BLANKS, text, value_end, end)
        if value_end > value:
            yield Slot(key, position, value, value_end, stop)
        elif not is_object:
            return
        position = stop + 1 if stop < end and text[stop] == _COMMA else stop


def _value_end(text: Source, start: int, end: int) -> int | None:
    """Where a value ends; `start` itself when there is no value, None when the text breaks off within it."""
    if start >= end:
        return None
    first = text[start]
    if first == ord('"'):
        string = _STRING.match(text, start, end)
        return string.end() if string else None
    if first not in (_OPEN_OBJECT, _OPEN_ARRAY):
        return _end_of(_SCALAR, text, start, end)
    depth, position = 0, start
    while bracket := _BRACKET.match(text, position, end):
        depth += 1 if bracket[1] in (b"{", b"[") else -1
        position = bracket.end()
        if depth == 0:
            return position
    return None


def string_value(text: bytes) -> str:
    """The text that a JSON string literal spells; what cannot be Unicode becomes U+FFFD."""
    try:
        return _STRING_VALUE.decode(text)
    except _REFUSALS:
        pass
    loose = text.decode("utf-8", "replace")
    try:
        value = str(json.loads(loose, strict=False))
    except ValueError:
        value = loose[1:-1]
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _size(raw: msgspec.Raw) -> int:
    return memoryview(raw).nbytes


def _end_of(pattern: re.Pattern[bytes], text: Source, start: int, end: int) -> int:
    found = pattern.match(text, start, end)
    return found.end() if found else start
