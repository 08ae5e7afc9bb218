"""Token counts out of an event stream, line by line as it passes; nothing but the line in hand is kept."""

from __future__ import annotations

import re
from typing import Any

import msgspec
from msgspec import UNSET

from swapyard.observe.bounded import BoundedText
from swapyard.observe.tokens import NOTHING, Tokens
from swapyard.observe.usage import Counts, counts_of, tokens_of

LINE_LIMIT_BYTES = 256 * 1024
"""A longer line (pictures in base64) is read from its two ends only."""

_INTERESTING = re.compile(rb'"(?:usage|timings|metrics)"\s*:\s*[^n\s]')
"""A report that is not null.  A null one in each of a thousand chunks is common and says nothing."""


class StreamEvent(msgspec.Struct):
    """One event, as far as it is about cost.  `response` and `message` may be anything, so they stay raw."""

    usage: Any = UNSET
    timings: Any = UNSET
    metrics: Any = UNSET
    response: msgspec.Raw = msgspec.Raw()
    message: msgspec.Raw = msgspec.Raw()


class StreamUsage:
    """Feed it the decoded bytes of a stream in any cut; at the end ask for `tokens`.

    Usage adds up over events: Anthropic tells the input in its first event and the output
    in a later one, and some engines end with a usage of zeros that must not erase the real one.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._long: BoundedText | None = None
        self._skipping = False
        self._counts = Counts()
        self._timings: Any = None
        self._metrics: Any = None

    def feed(self, piece: bytes) -> None:
        end = piece.rfind(b"\n")
        if end < 0:
            self._keep(piece)
            return
        first, lines = piece[: end + 1].split(b"\n", 1)
        self._finish_line(first)
        if _INTERESTING.search(lines):
            for line in lines.split(b"\n"):
                self._read(line)
        self._keep(piece[end + 1 :])

    def gap(self) -> None:
        """Bytes were lost here: what is left of the line in hand is skipped."""
        self._rest, self._long, self._skipping = b"", None, True

    def tokens(self) -> Tokens:
        """What the events add up to, a last line without its line feed included."""
        self._finish_line(b"")
        if self._counts.empty and self._timings is None and self._metrics is None:
            return NOTHING
        return tokens_of(self._counts, self._timings, self._metrics)

    def _keep(self, piece: bytes) -> None:
        if self._skipping:
            return
        if self._long is not None:
            self._long.feed(piece)
        elif len(self._rest) + len(piece) > LINE_LIMIT_BYTES:
            self._long = BoundedText()
            self._long.feed(self._rest + piece)
            self._rest = b""
        else:
            self._rest += piece

    def _finish_line(self, end: bytes) -> None:
        if self._skipping:
            self._skipping = False
        elif self._long is not None:
            self._long.feed(end)
            self._read_long(self._long)
        else:
            self._read(self._rest + end)
        self._rest, self._long = b"", None

    def _read(self, line: bytes) -> None:
        line = line.strip()
        if not line.startswith(b"data:") or not _INTERESTING.search(line):
            return
        try:
            event = msgspec.json.decode(line[5:].strip(), type=StreamEvent)
        except (ValueError, RecursionError):
            return
        self._count(event.usage)
        self._count(_usage_inside(event.response))
        self._count(_usage_inside(event.message))
        self._remember(event.timings, event.metrics)

    def _read_long(self, line: BoundedText) -> None:
        """Long lines end in their report, on the top level or one below (`response.completed`)."""
        for around in (b"{", b'{"response":{'):
            report = line.report(around)
            self._count(report.usage)
            self._remember(report.timings, report.metrics)

    def _count(self, usage: object) -> None:
        """Overwrite only with values that say something: counts above 0, a cached count from 0."""
        new = counts_of(usage)
        old = self._counts
        if new.empty:
            return
        self._counts = Counts(
            input=new.input if new.input is not None and new.input > 0 else old.input or 0,
            output=new.output if new.output is not None and new.output > 0 else old.output or 0,
            cached=new.cached if new.cached is not None and new.cached >= 0 else old.cached,
        )

    def _remember(self, timings: object, metrics: object) -> None:
        if isinstance(timings, dict):
            self._timings = timings
        if isinstance(metrics, dict):
            self._metrics = metrics


def _usage_inside(member: msgspec.Raw) -> object:
    if bytes(member)[:1] != b"{":
        return None
    try:
        return msgspec.json.decode(member, type=StreamEvent).usage
    except (ValueError, RecursionError):
        return None
