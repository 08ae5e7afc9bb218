"""A text of any length of which a bounded part is kept: all of it, or its two ends."""

from __future__ import annotations

import re

import msgspec
from msgspec import UNSET

from swapyard.observe.tokens import Report

WHOLE_LIMIT_BYTES = 256 * 1024
HEAD_LIMIT_BYTES = 32 * 1024
TAIL_LIMIT_BYTES = 128 * 1024

_CANDIDATES = 16
"""Places tried per end; reports stand at the very ends, so a text with more is not worth the search."""

_KEY = re.compile(rb'"(?:usage|timings|metrics)"\s*:')
# A string in which the text breaks off goes to its end: what stands in it are no tokens.
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)|[{}\[\]]', re.DOTALL)


class BoundedText:
    """Feed it pieces; at most WHOLE_LIMIT_BYTES and one piece are held at any time."""

    def __init__(self) -> None:
        self.size_bytes = 0
        self._parts: list[bytes] = []
        self._head = b""
        self._tail: bytearray | None = None

    def feed(self, piece: bytes) -> None:
        self.size_bytes += len(piece)
        if self._tail is None:
            self._parts.append(piece)
            if self.size_bytes > WHOLE_LIMIT_BYTES:
                self._cut()
            return
        self._tail += piece
        if len(self._tail) > WHOLE_LIMIT_BYTES:
            del self._tail[:-TAIL_LIMIT_BYTES]

    def gap(self) -> None:
        """Bytes were lost here: from now on only the two ends can be right."""
        if self._tail is None:
            self._cut()
        self._tail = bytearray()

    def whole(self) -> bytes | None:
        """The text, None if it was too long to keep."""
        return b"".join(self._parts) if self._tail is None else None

    def report(self, around: bytes = b"{") -> Report:
        """Find the report among the members of the object that spans a text too long to keep.

        In the tail this is exact: a key belongs to that object if and only if the text from
        the key to the end, put behind `around`, is a JSON document; a key of an inner object
        leaves brackets over.  What the tail lacks is looked for at the start of the head.
        """
        report = self._report_in_tail(around)
        if report.empty:
            report = _report_in_head(self._head)
        return report

    def _report_in_tail(self, around: bytes) -> Report:
        tail = bytes(self._tail or b"")
        places = [match.start() for match in _KEY.finditer(tail)][-_CANDIDATES:]
        for place in places:
            try:
                document = msgspec.json.decode(around + tail[place:], type=dict[str, msgspec.Raw])
                if around != b"{":
                    (inner,) = document.values()
                    return msgspec.json.decode(inner, type=Report)
                return msgspec.json.decode(around + tail[place:], type=Report)
            except (ValueError, RecursionError):
                continue
        return Report()

    def _cut(self) -> None:
        text = b"".join(self._parts)
        self._parts = []
        self._head = text[:HEAD_LIMIT_BYTES]
        self._tail = bytearray(text[-TAIL_LIMIT_BYTES:])


def _report_in_head(head: bytes) -> Report:
    """Members that stand, complete, on the top level of a JSON object of which this is the start."""
    report = Report()
    depth, value_from, key = 0, 0, b""
    for token in _TOKEN.finditer(head):
        mark = token.group()
        if mark in (b"{", b"["):
            depth += 1
            if depth == 2 and key:
                value_from = token.start()
        elif mark in (b"}", b"]"):
            depth -= 1
            if depth == 1 and key:
                _put(report, key.decode(), head[value_from : token.end()])
                key = b""
        elif depth == 1:
            key = mark[1:-1] if mark[1:-1] in (b"usage", b"timings", b"metrics") else b""
    return report


def _put(report: Report, name: str, value: bytes) -> None:
    if getattr(report, name) is UNSET:
        try:
            setattr(report, name, msgspec.json.decode(value))
        except (ValueError, RecursionError):
            return
