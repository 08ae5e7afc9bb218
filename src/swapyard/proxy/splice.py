"""A body of which some stretches are replaced: the untouched bytes are referred to, not copied."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from swapyard.proxy.json_scan import Source

SHORT_BYTES = 4096
"""Untouched bytes between two edits that are fewer than this are copied: a segment of its own costs more."""

JOINED_BYTES = 64 * 1024
"""How much of short pieces becomes one segment."""


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


class Splicer:
    """Carries out edits one by one, in the order of their places, and not overlapping.

    However many there are, the segments stay few.
    """

    def __init__(self, source: Source) -> None:
        self._view = memoryview(source)
        self._position = 0
        self._segments: list[bytes | memoryview] = []
        self._short: list[bytes | memoryview] = []
        self._short_bytes = 0

    @property
    def is_unused(self) -> bool:
        return not self._position and not self._segments and not self._short

    def edit(self, edit: Edit) -> None:
        self._keep(edit.start)
        self._join(edit.text)
        self._position = edit.end

    def spliced(self) -> Spliced:
        self._keep(len(self._view))
        self._flush()
        return Spliced.of(self._segments)

    def _keep(self, end: int) -> None:
        kept = self._view[self._position : end]
        if len(kept) < SHORT_BYTES:
            self._join(kept)
        else:
            self._flush()
            self._segments.append(kept)

    def _join(self, piece: bytes | memoryview) -> None:
        self._short.append(piece)
        self._short_bytes += len(piece)
        if self._short_bytes >= JOINED_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._short:
            self._segments.append(b"".join(self._short))
        self._short, self._short_bytes = [], 0


def splice(source: Source, edits: Iterable[Edit]) -> Spliced:
    """Carry out edits that come in order and do not overlap."""
    splicer = Splicer(source)
    for edit in edits:
        splicer.edit(edit)
    return splicer.spliced()
