"""Where members of one JSON object or array lie in its text, without building what they contain.

The text may be damaged: cut off, rubbish behind the closing brace, a byte-order mark.  What stands before the
damage is found, because such bodies are forwarded all the same (specification, §2.1).

A text may be as long and as oddly made as a client likes.  So nothing here is a loop in Python over what
the text holds, as far as that can be avoided: the regular expressions and iterators of the standard library
take whole stretches at once, and no stretch is longer than a step.  Between two steps a walk yields, so that
whoever drives it can let others have their turn (`slices.py`), and a mapped file never comes into memory as a
whole.
"""

from __future__ import annotations

import json
import mmap
import re
from collections.abc import Generator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import accumulate, islice
from operator import indexOf
from typing import NamedTuple, TypeVar

import msgspec

Source = bytes | mmap.mmap | memoryview
"""A request body, or part of one, as it lies in memory or in a mapped file."""

T = TypeVar("T")

Walk = Generator[None, None, T]
"""Work that yields after every millisecond or less, and returns its result at the end."""

WINDOW_BYTES = 8 * 1024 * 1024
"""How much of a mapped file is in memory while it is walked."""

STEP_BYTES = 64 * 1024
"""How much of one string, number or blank is passed over at once."""

DENSE_STEP_BYTES = 16 * 1024
"""How much of everything else: every byte of it may be a bracket."""

FIRST_STEP_BYTES = 512
"""How far is looked at first; as long as that is not enough, twice as far."""

FINE_STEP_BYTES = 1024
"""The longest stretch in which brackets are gone through one by one."""

# Bytes that are not UTF-8 and nesting beyond the interpreter's stack have exceptions of their own.
REFUSALS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_STRING_VALUE = msgspec.json.Decoder(str)

_TEXT = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_OPENING = re.compile(rb"[{\[]")
_NAME_OR_CLOSING = re.compile(rb'["}]')
_BLANKS = re.compile(rb"[ \t\r\n]*+")
_NAME = re.compile(rb"[ \t\r\n]*+(%b)[ \t\r\n:]*+" % _TEXT, re.DOTALL)
_TO_VALUE = re.compile(rb"[ \t\r\n:]*+")
_SCALAR = re.compile(rb'[^ \t\r\n,\[\]{}":]*+')
_STRING = re.compile(_TEXT, re.DOTALL)
# Up to the first string that does not end within the stretch.
_WHOLE = re.compile(rb'(?:[^"]++|%b)*+' % _TEXT, re.DOTALL)
_TO_BRACKET = re.compile(rb'(?:[^"\[\]{}]++|%b)*+[\[\]{}]' % _TEXT, re.DOTALL)

_BRACKETS = b"[{]}"
_NO_BRACKETS = bytes(set(range(256)) - set(_BRACKETS))
# As signed numbers: what each bracket adds to the depth.
_SIGNS = bytes.maketrans(_BRACKETS, b"\x01\x01\xff\xff")

_OPEN_OBJECT, _CLOSE_OBJECT, _OPEN_ARRAY, _CLOSE_ARRAY, _COMMA, _QUOTE = b'{}[],"'

MOST_MEMBERS = 100_000
"""Members of an object that are looked at one by one, before whoever sent them is given up."""

DULL_DEPTH = 4
"""How deep a value may be nested to be passed over together with the members around it."""


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


class Run(NamedTuple):
    """Members or elements side by side that nobody asked for; `start` and `stop` as those of a slot."""

    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Level:
    """The items of one object or array.  `closing` is None when the text breaks off before its bracket."""

    is_object: bool
    opening: int
    items: list[Slot | Run]
    closing: int | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which members and elements are worth a slot.

    Of an object the first `most` members of each name, of an array the elements up to `index` and the last
    `most`.
    """

    names: frozenset[str]
    index: int = 0
    most: int = 1
    # A stretch of members whose names are none of these and need no decoding.
    dull: re.Pattern[bytes] = field(init=False, repr=False)
    # Bytes of the longest spelling of a wanted name, each character escaped.
    longest: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "dull", _dull(self.names))
        object.__setattr__(self, "longest", max((len(name) for name in self.names), default=0) * 12 + 2)


@lru_cache(maxsize=256)
def _dull(names: frozenset[str]) -> re.Pattern[bytes]:
    blanks = rb"[ \t\r\n]*+"
    spelt = b"|".join(re.escape(name.encode("utf-8", "replace")) for name in sorted(names))
    inside = rb'[^"\[\]{}]++|%b' % _TEXT
    container = rb"[\[{](?:%b)*+[\]}]" % inside
    for _ in range(1, DULL_DEPTH):
        container = rb"[\[{](?:%b|%b)*+[\]}]" % (inside, container)
    value = rb'[^ \t\r\n,\[\]{}":]++|%b|%b' % (_TEXT, container)
    name = rb'"(?!(?:%b)")[^"\\]*+"' % spelt
    # The comma may be missing where it is clear that the value has ended, and the value before a comma.
    ending = b"(?:(?:" + value + b")" + blanks + rb'(?:,|(?="))|,)'
    member = blanks + name + blanks + b":" + blanks + ending
    return re.compile(b"(?:" + member + b")*+", re.DOTALL)


class Found(NamedTuple):
    """The first member of each name, and whether the whole text was looked through for them."""

    slots: dict[str, Slot]
    is_complete: bool


def first_slots(text: Source, wanted: Wanted) -> Walk[Found]:
    """The first top-level member of each name that is wanted; absent and broken ones are left out.

    Looks no further than MOST_MEMBERS members that have to be taken one by one.
    """
    slots: dict[str, Slot] = {}
    opening = yield from _search(_OPENING, text, 0, len(text))
    if opening < 0 or text[opening] == _OPEN_ARRAY:
        return Found(slots, True)
    seen = 0
    for item in _members(text, opening, len(text), wanted):
        if item is not None:
            seen += 1
        if isinstance(item, Slot) and item.key is not None and item.key not in slots:
            slots[item.key] = item
            if len(slots) == len(wanted.names):
                break
        if seen > MOST_MEMBERS:
            return Found(slots, False)
        yield
    return Found(slots, True)


def scan(text: Source, start: int, end: int, wanted: Wanted) -> Walk[Level | None]:
    """The outermost object or array between two positions; None when there is neither."""
    opening = yield from _search(_OPENING, text, start, end)
    if opening < 0:
        return None
    is_object = text[opening] == _OPEN_OBJECT
    items = _Items(wanted)
    closing: int | None = None
    for found in _members(text, opening, end, wanted) if is_object else _elements(text, opening, end):
        if isinstance(found, int):
            closing = found
        elif found is not None:
            items.add(found)
        yield
    return Level(is_object, opening, items.all(), closing)


class _Items:
    """Collects what is wanted one by one, and everything between in runs."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._items: list[Slot | Run] = []
        self._counts: dict[str, int] = {}
        # The last elements of an array, oldest first.
        self._last: list[Slot] = []

    def add(self, found: Slot | Run) -> None:
        if isinstance(found, Run):
            self._pass(found)
        elif found.key is not None:
            count = self._counts[found.key] = self._counts.get(found.key, 0) + 1
            if count <= self._wanted.most:
                self._items.append(found)
            else:
                self._pass(Run(found.start, found.stop))
        elif len(self._items) <= self._wanted.index + self._wanted.most:
            self._items.append(found)
        else:
            self._last.append(found)
            if len(self._last) > self._wanted.most:
                oldest = self._last.pop(0)
                self._pass(Run(oldest.start, oldest.stop))

    def all(self) -> list[Slot | Run]:
        return [*self._items, *self._last]

    def _pass(self, run: Run) -> None:
        last = self._items[-1] if self._items else None
        if isinstance(last, Run):
            self._items[-1] = Run(last.start, run.stop)
        else:
            self._items.append(run)


def _members(
    text: Source, opening: int, end: int, wanted: Wanted
) -> Generator[Slot | Run | int | None, None, None]:
    """The members behind a brace as far as they can be told; last comes the closing brace, if any."""
    position, step = opening + 1, FIRST_STEP_BYTES
    while True:
        passed = _end_of(wanted.dull, text, position, min(position + step, end))
        if passed > position:
            yield Run(position, passed - 1 if text[passed - 1] == _COMMA else passed)
            step = min(2 * step, DENSE_STEP_BYTES) if 2 * (passed - position) > step else FIRST_STEP_BYTES
            position = passed
            continue
        # Most are written without surprises, and no longer than a step.
        near = min(position + FIRST_STEP_BYTES, end)
        plain = _NAME.match(text, position, near)
        if plain is not None and plain.end() < near:
            ahead, name_end, value = plain.start(1), plain.end(1), plain.end()
        else:
            ahead = yield from _search(_NAME_OR_CLOSING, text, position, end)
            if ahead < 0:
                return
            if text[ahead] == _CLOSE_OBJECT:
                yield ahead
                return
            behind = yield from _string_end(text, ahead, end)
            if behind is None:
                return
            name_end = behind
            value = yield from _past(_TO_VALUE, text, name_end, end)
        value_end = yield from _value_end(text, value, end)
        if value_end is None:
            return
        stop = yield from _past(_BLANKS, text, value_end, end)
        if value_end > value:
            key: str | None = None
            if name_end - ahead <= wanted.longest:
                key = string_value(bytes(text[ahead:name_end]))
            is_wanted = key is not None and key in wanted.names
            yield Slot(key, position, value, value_end, stop) if is_wanted else Run(position, stop)
        else:
            yield None
        position = stop + 1 if stop < end and text[stop] == _COMMA else stop


def _elements(text: Source, opening: int, end: int) -> Generator[Slot | int | None, None, None]:
    """The elements behind a bracket as far as they can be told; last comes the closing one, if any."""
    position = opening + 1
    while True:
        value = yield from _past(_BLANKS, text, position, end)
        if value < end and text[value] == _CLOSE_ARRAY:
            yield value
            return
        value_end = yield from _value_end(text, value, end)
        if value_end is None or value_end == value:
            return
        stop = yield from _past(_BLANKS, text, value_end, end)
        yield Slot(None, position, value, value_end, stop)
        position = stop + 1 if stop < end and text[stop] == _COMMA else stop


def _value_end(text: Source, start: int, end: int) -> Walk[int | None]:
    """Where a value ends; `start` itself when there is no value, None when the text breaks off within it."""
    if start >= end:
        return None
    first = text[start]
    if first == _QUOTE:
        return (yield from _string_end(text, start, end))
    if first not in (_OPEN_OBJECT, _OPEN_ARRAY):
        return (yield from _past(_SCALAR, text, start, end))
    depth, position, step, window = 1, start + 1, FIRST_STEP_BYTES, start + WINDOW_BYTES
    while position < end:
        piece = bytes(text[position : min(position + step, end)])
        whole, outside = _outside_strings(piece)
        if whole == 0:
            behind = yield from _string_end(text, position, end)
            if behind is None:
                return None
            position = behind
            continue
        signs = outside.translate(_SIGNS, _NO_BRACKETS)
        closing = signs.count(b"\xff")
        if closing >= depth:
            try:
                number = indexOf(accumulate(memoryview(signs).cast("b")), -depth)
            except ValueError:
                pass
            else:
                if whole > FINE_STEP_BYTES:
                    step = whole // 2
                    continue
                return position + next(islice(_TO_BRACKET.finditer(piece), number, None)).end()
        depth += len(signs) - 2 * closing
        position += whole
        step = min(2 * step, DENSE_STEP_BYTES)
        if position >= window:
            let_go(text)
            window = position + WINDOW_BYTES
        yield
    return None


def _outside_strings(piece: bytes) -> tuple[int, bytes]:
    """How much of a text that begins outside strings holds only whole ones, and that without its strings."""
    plain = _without_escapes(piece)
    whole = plain.rfind(b'"') if plain.count(b'"') % 2 else len(piece)
    outside = b"".join(plain[:whole].split(b'"')[::2])
    if b"\\" not in outside and b"\0" not in outside:
        return whole, outside
    # Damaged: backslashes outside strings, where they mean nothing.
    whole = _end_of(_WHOLE, piece, 0, len(piece))
    return whole, _STRING.sub(b"", piece[:whole])


def _without_escapes(piece: bytes) -> bytes:
    """The text with zeros for the escapes of quotes and backslashes; everything keeps its place."""
    return piece.replace(b"\\\\", b"\0\0").replace(b'\\"', b"\0\0") if b"\\" in piece else piece


def _string_end(text: Source, start: int, end: int) -> Walk[int | None]:
    """Behind the closing quote of the string whose opening one is at `start`; None when there is none."""
    position, window = start + 1, start + WINDOW_BYTES
    step = FIRST_STEP_BYTES
    while position < end:
        stop = min(position + step, end)
        piece = bytes(text[position:stop])
        plain = _without_escapes(piece)
        quote = plain.find(b'"')
        if quote >= 0:
            return position + quote + 1
        # What is left may be the first half of an escape.
        position = stop - 1 if plain[-1:] == b"\\" else stop
        if stop == end:
            return None
        if position >= window:
            let_go(text)
            window = position + WINDOW_BYTES
        step = min(4 * step, STEP_BYTES)
        yield
    return None


def _past(pattern: re.Pattern[bytes], text: Source, start: int, end: int) -> Walk[int]:
    """Behind everything that the pattern, a class of bytes repeated, takes from here on."""
    position = start
    while True:
        stop = min(position + STEP_BYTES, end)
        position = _end_of(pattern, text, position, stop)
        if position < stop or stop == end:
            return position
        yield


def _search(pattern: re.Pattern[bytes], text: Source, start: int, end: int) -> Walk[int]:
    """Where the pattern, a class of bytes, is found first; -1 when it is not."""
    position = start
    while position < end:
        stop = min(position + DENSE_STEP_BYTES, end)
        found = pattern.search(text, position, stop)
        if found is not None:
            return found.start()
        position = stop
        yield
    return -1


def let_go(text: Source) -> None:
    """Give back the memory that a mapped file has taken while it was read; it can be read again."""
    if isinstance(text, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        text.madvise(mmap.MADV_DONTNEED)


def string_value(text: bytes) -> str:
    """The text that a JSON string literal spells; what cannot be Unicode becomes U+FFFD."""
    try:
        return _STRING_VALUE.decode(text)
    except REFUSALS:
        pass
    loose = text.decode("utf-8", "replace")
    try:
        value = str(json.loads(loose, strict=False))
    except ValueError:
        value = loose[1:-1]
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _end_of(pattern: re.Pattern[bytes], text: Source, start: int, end: int) -> int:
    found = pattern.match(text, start, end)
    return found.end() if found else start
