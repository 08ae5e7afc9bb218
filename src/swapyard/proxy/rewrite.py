"""The JSON filters of a model or peer, spliced into a request body without decoding what they do not touch.

Only the levels that a parameter's path walks through are taken apart.  Everything else stays a reference to
the bytes the client sent: number spellings, duplicate members, blanks, a hundred megabytes of images
(specification, §3.1 to §3.3).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from swapyard.errors import Fault, RequestError
from swapyard.proxy.json_scan import Level, Slot, Source, scan
from swapyard.proxy.parameters import ParameterError, Step, json_text, parse_path
from swapyard.proxy.splice import Edit, Spliced, splice

_MODEL = parse_path("model")


def apply_filters(
    body: Source,
    *,
    use_model_name: str | None = None,
    strip: Sequence[str] = (),
    set_params: Mapping[str, Any] | None = None,
    by_id: Mapping[str, Any] | None = None,
) -> Spliced | None:
    """The body after model name, strip, set and set by ID, in this order; None when nothing changes.

    `by_id` is the mapping chosen for the requested name, not the whole setParamsByID.  The model is protected
    from the last three.  The result refers to `body`, which has to stay open as long as it is used.
    Raises RequestError: INTERNAL for a parameter that cannot be applied, BAD_REQUEST when the body is no JSON
    object or breaks off where something has to be added.
    """
    if not (use_model_name or strip or set_params or by_id):
        return None
    if use_model_name and not (strip or set_params or by_id):
        renamed = replace_model(body, use_model_name)
        if renamed is not None:
            return renamed
    document = _Document(body)
    if use_model_name:
        document.rename(use_model_name)
    for name in sorted(set(strip)):
        document.strip(name)
    for params in (set_params, by_id):
        for name in sorted(params or ()):
            document.set(name, (params or {})[name])
    return document.spliced()


def replace_model(body: Source, model: str) -> Spliced | None:
    """The body with its first top-level model member set, every other byte kept; None when it has none."""
    level = scan(body)
    for slot in level.slots if level is not None and level.is_object else ():
        if slot.key == "model":
            return splice(body, [Edit(slot.value, slot.end, msgspec.json.encode(model))])
    return None


class _Document:
    """A request body being filtered; remembers whether anything changed."""

    def __init__(self, body: Source) -> None:
        level = scan(body)
        if level is None or not level.is_object:
            raise RequestError(Fault.BAD_REQUEST, "the request body is not a JSON object")
        self._root = _Container(body, 0, len(body), level)
        self._changed = False

    def rename(self, model: str) -> None:
        with_model = msgspec.json.encode(model)
        self._carry_out(lambda: _set(self._root, _MODEL, with_model), "error rewriting model name in JSON")

    def strip(self, name: str) -> None:
        def stripped() -> bool:
            path = parse_path(name)
            return path != _MODEL and _strip(self._root, path)

        self._carry_out(stripped, f"error stripping parameter {name} from request")

    def set(self, name: str, value: Any) -> None:
        def was_set() -> bool:
            path = parse_path(name)
            return path != _MODEL and _set(self._root, path, json_text(value))

        self._carry_out(was_set, f"error setting parameter {name} in request")

    def _carry_out(self, step: Callable[[], bool], failure: str) -> None:
        try:
            self._changed |= step()
        except ParameterError as error:
            raise RequestError(Fault.INTERNAL, f"{failure}: {error}") from error
        except _BrokenOff as error:
            raise RequestError(Fault.BAD_REQUEST, f"{failure}: the JSON text breaks off") from error

    def spliced(self) -> Spliced | None:
        if not self._changed:
            return None
        out = _Output()
        self._root.render(out)
        return out.spliced()


class _BrokenOff(Exception):  # noqa: N818 - never leaves this module
    """Something has to be added to an object or array that has no closing bracket."""


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
            raise _BrokenOff
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


def _set(container: _Container, path: Sequence[Step], value: bytes) -> bool:
    step, rest = path[0], path[1:]
    appends = step.is_last and not container.is_object
    position = None if appends else container.position(step)
    if position is None:
        container.add(step, _built(rest, value))
        return True
    child = container.child(position) if rest else None
    if child is not None:
        return _set(child, rest, value)
    # The value itself is meant, or a scalar stands where an object or array is needed.
    container.replace(position, _built(rest, value))
    return True


def _built(path: Sequence[Step], value: bytes) -> bytes:
    """The value inside the objects and arrays that the rest of a path asks for."""
    for step in reversed(path):
        if step.is_last or step.index is not None:
            value = b"[" + b"null," * (step.index or 0) + value + b"]"
        else:
            value = b"{" + msgspec.json.encode(step.name) + b":" + value + b"}"
    return value
