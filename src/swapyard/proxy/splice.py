"""A body of which some stretches are replaced: the untouched bytes are referred to, never copied."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from swapyard.proxy.json_scan import Source


@dataclass(frozen=True, slots=True)
class Spliced:
    """Bytes to be sent one segment after the other; `length` is their sum, for Content-Length.

    Segments may be views of the body they were cut from, which has to stay open as long as they are used.
    """

    segments: tuple[bytes | memoryview, ...]
    length: int

    @classmethod
    def of(cls, segments: Iterable[bytes | memoryview]) -> Spliced:
        kept = tuple(segment for segment in segments if len(segment))
        return cls(kept, sum(len(segment) for segment in kept))

    def __bytes__(self) -> bytes:
        return b"".join(self.segments)


@dataclass(frozen=True, slots=True)
class Edit:
    """Replace the bytes from `start` to `end` with `text`."""

    start: int
    end: int
    text: bytes


def splice(source: Source, edits: Iterable[Edit]) -> Spliced:
    """Carry out edits that come in order and do not overlap."""
    view = memoryview(source)
    segments: list[bytes | memoryview] = []
    position = 0
    for edit in edits:
        segments += (view[position : edit.start], edit.text)
        position = edit.end
    segments.append(view[position:])
    return Spliced.of(segments)
