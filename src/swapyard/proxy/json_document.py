"""A JSON object whose members are stripped and set by path, taken apart only as far as the paths lead.

Whatever no path leads through stays a reference to the original bytes: number spellings, duplicate members,
blanks, a hundred megabytes of images (specification, §3.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from swapyard.config.parameters import ParameterError, Step
from swapyard.proxy.json_scan import Level, Slot, Source, scan
from swapyard.proxy.splice import Spliced


class BrokenOffError(ValueError):
    """Something has to be added to an object or array that has no closing bracket."""


class Document:
    """A JSON object being changed; `text` has to stay open as long as the result is used.

    Raises ValueError when the text holds no object.
    """

    def __init__(self, text: Source) -> None:
        level = scan(text)
        if level is None or not level.is_object:
            raise ValueError("the text holds no JSON object")
        self._root = _Container(text, 0, len(text), level)
        self._changed = False

    def strip(self, path: Sequence[Step]) -> None:
        """Remove what a path leads to, with one comma; nothing when it leads nowhere."""
        self._changed |= _strip(self._root, path)

    def set(self, path: Sequence[Step], value: bytes) -> None:
        """Put JSON text where a path leads to; what is missing on the way is created.

        Raises ParameterError for a name where an array needs an index, BrokenOffError for damaged text.
        """
        _set(self._root, path, value)
        self._changed = True

    def spliced(self) -> Spliced | None:
        """The new text; None when nothing changed."""
        if not self._changed:
            return None
        out = _Output()
        self._root.render(out)
        return out.spliced()


class _Output:
    """Collects the new text; stretches of one source that follow each other become one segment."""

    def __init__(self) -> None:
        self._segments: list[bytes | memoryview] = []
        self._source: Source = b""
        self._start = self._end = 0

    def keep(self, source: Source, start: int, end: int) -> None:
        if source is self._source and start == self._end:
            self._end = end
        elif start < end:
            self._flush()
            self._source, self._start, self._end = source, start, end

    def write(self, text: bytes) -> None:
        self._flush()
        self._segments.append(text)

    def spliced(self) -> Spliced:
        self._flush()
        return Spliced.of(self._segments)

    def _flush(self) -> None:
        if self._start < self._end:
            self._segments.append(memoryview(self._source)[self._start : self._end])
        self._start = self._end


@dataclass(slots=True)
class _Written:
    """An item whose value is new or taken apart; `slot` is its place in the original, None for a new one."""

    key: str | None
    slot: Slot | None
    value: bytes | _Container

    def render(self, out: _Output, source: Source) -> None:
        if self.slot is not None:
            out.keep(source, self.slot.start, self.slot.value)
        elif self.key is not None:
            out.write(msgspec.json.encode(self.key) + b":")
        if isinstance(self.value, bytes):
            out.write(self.value)
        else:
            self.value.render(out)
        if self.slot is not None:
            out.keep(source, self.slot.end, self.slot.stop)


class _Container:
    """An object or array taken apart by one level: the text of `source` between two positions."""

    def __init__(self, source: Source, start: int, end: int, level: Level) -> None:
        self._source, self._start, self._end = source, start, end
        self._level = level
        self._items: list[Slot | _Written] = list(level.slots)

    @property
    def is_object(self) -> bool:
        return self._level.is_object

    def position(self, step: Step) -> int | None:
        """Which item a step means; None when there is none."""
        if self.is_object:
            return next((number for number, item in enumerate(self._items) if item.key == step.name), None)
        if step.is_last:
            return len(self._items) - 1 if self._items else None
        return step.index if step.index is not None and step.index < len(self._items) else None

    def remove(self, position: int) -> None:
        del self._items[position]

    def replace(self, position: int, value: bytes) -> None:
        item = self._items[position]
        self._items[position] = _Written(item.key, item if isinstance(item, Slot) else item.slot, value)

    def add(self, step: Step, value: bytes) -> None:
        """Append an item; an array is padded with nulls up to the step's index."""
        if self._level.closing is None:
            raise BrokenOffError
        if self.is_object:
            self._items.append(_Written(step.name, None, value))
            return
        if not step.is_last:
            if step.index is None:
                raise ParameterError(f"an array has no member {step.name!r}")
            self._items += [_Written(None, None, b"null") for _ in range(step.index - len(self._items))]
        self._items.append(_Written(None, None, value))

    def child(self, position: int) -> _Container | None:
        """The value of an item, taken apart; None when it is a scalar."""
        item = self._items[position]
        if isinstance(item, Slot):
            child = _opened(self._source, item.value, item.end)
            written = _Written(item.key, item, child) if child else None
        elif isinstance(item.value, bytes):
            child = _opened(item.value, 0, len(item.value))
            written = _Written(item.key, item.slot, child) if child else None
        else:
            return item.value
        if written is not None:
            self._items[position] = written
        return child

    def render(self, out: _Output) -> None:
        level, source = self._level, self._source
        behind = level.closing if level.closing is not None else self._end
        if level.slots and level.closing is None:
            behind = level.slots[-1].stop
        out.keep(source, self._start, level.slots[0].start if level.slots else behind)
        before: Slot | None = None
        for number, item in enumerate(self._items):
            if before is not None and source[before.stop : before.stop + 1] == b",":
                out.keep(source, before.stop, before.stop + 1)
            elif number:
                out.write(b",")
            if isinstance(item, Slot):
                out.keep(source, item.start, item.stop)
                before = item
            else:
                item.render(out, source)
                before = item.slot
        out.keep(source, behind, self._end)


def _opened(source: Source, start: int, end: int) -> _Container | None:
    level = scan(source, start, end) if source[start] in b"{[" else None
    return None if level is None else _Container(source, start, end, level)


def _strip(container: _Container, path: Sequence[Step]) -> bool:
    position = container.position(path[0])
    if position is None:
        return False
    if len(path) == 1:
        container.remove(position)
        return True
    child = container.child(position)
    return child is not None and _strip(child, path[1:])


def _set(container: _Container, path: Sequence[Step], value: bytes) -> None:
    step, rest = path[0], path[1:]
    appends = step.is_last and not container.is_object
    position = None if appends else container.position(step)
    if position is None:
        container.add(step, _built(rest, value))
        return
    child = container.child(position) if rest else None
    if child is not None:
        _set(child, rest, value)
    else:
        # The value itself is meant, or a scalar stands where an object or array is needed.
        container.replace(position, _built(rest, value))


def _built(path: Sequence[Step], value: bytes) -> bytes:
    """The value inside the objects and arrays that the rest of a path asks for."""
    for step in reversed(path):
        if step.is_last or step.index is not None:
            value = b"[" + b"null," * (step.index or 0) + value + b"]"
        else:
            value = b"{" + msgspec.json.encode(step.name) + b":" + value + b"}"
    return value
