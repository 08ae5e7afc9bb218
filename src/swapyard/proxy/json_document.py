"""A JSON object whose members are stripped and set by path, taken apart only as far as the paths lead.

Whatever no path leads through stays a reference to the original bytes: number spellings, duplicate members,
blanks, a hundred megabytes of images (specification, §3.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import msgspec

from swapyard.config.parameters import ParameterError, Step
from swapyard.proxy.json_scan import Level, Run, Slot, Source, Walk, Wanted, scan
from swapyard.proxy.splice import Spliced


class BrokenOffError(ValueError):
    """Something has to be added to an object or array that has no closing bracket."""


class Document:
    """A JSON object being changed; `text` has to stay open as long as the result is used."""

    def __init__(self, root: _Container) -> None:
        self._root = root
        self._changed = False

    @classmethod
    def read(cls, text: Source, paths: Sequence[Sequence[Step]]) -> Walk[Self]:
        """The object in the text, of which no other paths than these will be changed, each of them once.

        Raises ValueError when the text holds no object.
        """
        steps = [step for path in paths for step in path]
        wanted = Wanted(
            frozenset(step.name for step in steps),
            index=max((step.index or 0 for step in steps), default=0),
            # So many of one name may be removed one after the other.
            most=len(paths) + 1,
        )
        level = yield from scan(text, 0, len(text), wanted)
        if level is None or not level.is_object:
            raise ValueError("the text holds no JSON object")
        return cls(_Container(text, 0, len(text), level, wanted))

    def strip(self, path: Sequence[Step]) -> Walk[None]:
        """Remove what a path leads to, with one comma; nothing when it leads nowhere."""
        self._changed |= yield from _strip(self._root, path)

    def set(self, path: Sequence[Step], value: bytes) -> Walk[None]:
        """Put JSON text where a path leads to; what is missing on the way is created.

        Raises ParameterError for a name where an array needs an index, BrokenOffError for damaged text.
        """
        yield from _set(self._root, path, value)
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

    def __init__(self, source: Source, start: int, end: int, level: Level, wanted: Wanted) -> None:
        self._source, self._start, self._end = source, start, end
        self._level, self._wanted = level, wanted
        self._items: list[Slot | Run | _Written] = list(level.items)

    @property
    def is_object(self) -> bool:
        return self._level.is_object

    def position(self, step: Step) -> int | None:
        """Which item a step means; None when there is none."""
        if self.is_object:
            for number, item in enumerate(self._items):
                if not isinstance(item, Run) and item.key == step.name:
                    return number
            return None
        if step.is_last:
            return len(self._items) - 1 if self._items else None
        return step.index if step.index is not None and step.index < len(self._items) else None

    def remove(self, position: int) -> None:
        del self._items[position]

    def replace(self, position: int, value: bytes) -> None:
        item = self._items[position]
        assert not isinstance(item, Run)
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

    def child(self, position: int) -> Walk[_Container | None]:
        """The value of an item, taken apart; None when it is a scalar."""
        item = self._items[position]
        assert not isinstance(item, Run)
        slot = item if isinstance(item, Slot) else item.slot
        source: Source
        if isinstance(item, Slot):
            source, start, end = self._source, item.value, item.end
        elif isinstance(item.value, bytes):
            source, start, end = item.value, 0, len(item.value)
        else:
            return item.value
        level = None
        if source[start] in b"{[":
            level = yield from scan(source, start, end, self._wanted)
        if level is None:
            return None
        child = _Container(source, start, end, level, self._wanted)
        self._items[position] = _Written(item.key, slot, child)
        return child

    def render(self, out: _Output) -> None:
        level, source = self._level, self._source
        behind = level.closing if level.closing is not None else self._end
        if level.items and level.closing is None:
            behind = level.items[-1].stop
        out.keep(source, self._start, level.items[0].start if level.items else behind)
        before: Slot | Run | None = None
        for number, item in enumerate(self._items):
            if before is not None and source[before.stop : before.stop + 1] == b",":
                out.keep(source, before.stop, before.stop + 1)
            elif number:
                out.write(b",")
            if isinstance(item, _Written):
                item.render(out, source)
                before = item.slot
            else:
                out.keep(source, item.start, item.stop)
                before = item
        out.keep(source, behind, self._end)


def _strip(container: _Container, path: Sequence[Step]) -> Walk[bool]:
    position = container.position(path[0])
    if position is None:
        return False
    if len(path) == 1:
        container.remove(position)
        return True
    child = yield from container.child(position)
    return child is not None and (yield from _strip(child, path[1:]))


def _set(container: _Container, path: Sequence[Step], value: bytes) -> Walk[None]:
    step, rest = path[0], path[1:]
    appends = step.is_last and not container.is_object
    position = None if appends else container.position(step)
    if position is None:
        container.add(step, _built(rest, value))
        return
    child = (yield from container.child(position)) if rest else None
    if child is not None:
        yield from _set(child, rest, value)
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
