"""Where the members of one JSON object or array lie in its text, without building what they contain.

Valid JSON is walked by msgspec, which skips nested values at memory speed.  Anything it refuses (text cut
off, rubbish behind the closing brace, a byte-order mark) is walked once more by a tolerant scanner that finds
what stands before the damage, because such bodies are forwarded all the same (specification, §2.1).

A longer text in a mapped file is walked by the tolerant scanner from the start, window by window, so that it
never comes into memory as a whole.
"""

from __future__ import annotations

import json
import mmap
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from swapyard.proxy.json_members import MEMBERS

Source = bytes | mmap.mmap | memoryview
"""A request body, or part of one, as it lies in memory or in a mapped file."""


_ELEMENTS = msgspec.json.Decoder(list[msgspec.Raw])
_STRING_VALUE = msgspec.json.Decoder(str)

AT_ONCE_BYTES = 32 * 1024 * 1024
"""The longest mapped file that comes into memory as a whole, because that is faster by far."""

WINDOW_BYTES = 8 * 1024 * 1024
"""How much of a mapped file is in memory while it is walked."""

STEP_BYTES = 64 * 1024
"""How far is looked for a bracket before the string in the way is stepped over."""

# Bytes that are not UTF-8 and nesting beyond the interpreter's stack have exceptions of their own.
_REFUSALS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_BLANKS = re.compile(rb"[ \t\r\n]*+")
_NAME = re.compile(rb'[ \t\r\n]*+"[^"\\]*+(?:\\.[^"\\]*+)*+"[ \t\r\n]*+:[ \t\r\n]*+', re.DOTALL)
_OPENING = re.compile(rb"[{\[]")
_NAME_OR_CLOSING = re.compile(rb'["}]')
_TO_VALUE = re.compile(rb"[ \t\r\n:]*+")
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_IN_STRING = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
_SCALAR = re.compile(rb'[^ \t\r\n,\[\]{}":]*+')
_TEXT = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_BETWEEN = rb'[^\[\]{}"]'
# What holds no object or array that holds another: passed over at one go.
_RUN = b"(?:%b++|%b|[\\[{]%b*+(?:%b%b*+)*+[\\]}])*+" % (_BETWEEN, _TEXT, _BETWEEN, _TEXT, _BETWEEN)
_TO_BRACKET = re.compile(_RUN, re.DOTALL)
_BRACKET = re.compile(_RUN + rb"([\[\]{}])", re.DOTALL)

_OPEN_OBJECT, _CLOSE_OBJECT, _OPEN_ARRAY, _CLOSE_ARRAY, _COMMA, _QUOTE = b'{}[],"'


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
    if _is_walked(text):
        return _first_members_of_damaged(text, names)
    try:
        found: dict[str, bytes] = {}
        for key, raw in MEMBERS.decode(text).items():
            name = str(key)
            if name in names and name not in found:
                found[name] = bytes(raw)
        return found
    except _REFUSALS:
        return _first_members_of_damaged(text, names)


def _is_walked(text: Source) -> bool:
    return isinstance(text, mmap.mmap) and len(text) > AT_ONCE_BYTES


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
    if _is_walked(text):
        return _scan_damaged(text, start, stop)
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
            members = MEMBERS.decode(part)
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
    if first == _QUOTE:
        return _string_end(text, start, end)
    if first not in (_OPEN_OBJECT, _OPEN_ARRAY):
        return _end_of(_SCALAR, text, start, end)
    depth, position, window = 1, start + 1, start
    while position < end:
        if position >= window:
            let_go(text)
            window = position + WINDOW_BYTES
        stop = min(position + STEP_BYTES, end)
        bracket = _BRACKET.match(text, position, stop)
        if bracket is not None:
            depth += 1 if bracket[1] in (b"{", b"[") else -1
            position = bracket.end()
            if depth == 0:
                return position
            continue
        # None so near: on to the end of this step, or behind the string that reaches beyond it.
        position = _end_of(_TO_BRACKET, text, position, stop)
        if position < stop:
            behind = _string_end(text, position, end)
            if behind is None:
                return None
            position = behind
    return None


def _string_end(text: Source, start: int, end: int) -> int | None:
    """Behind the closing quote of the string whose opening one is at `start`; None when there is none."""
    position, window = start + 1, start + WINDOW_BYTES
    while position < end:
        stop = min(position + STEP_BYTES, end)
        step = bytes(text[position:stop])
        # Nearly all that is long is base64, and searching for one byte is the fastest there is.
        inside = (
            len(step) if b'"' not in step and b"\\" not in step else _end_of(_IN_STRING, step, 0, len(step))
        )
        position += inside
        if inside < len(step):
            if step[inside] == _QUOTE:
                return position + 1
            if stop == end:
                return None
            # What is left is the first half of an escape.
        if position >= window:
            let_go(text)
            window = position + WINDOW_BYTES
    return None


def let_go(text: Source) -> None:
    """Give back the memory that a mapped file has taken while it was read; it can be read again."""
    if isinstance(text, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        text.madvise(mmap.MADV_DONTNEED)


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
