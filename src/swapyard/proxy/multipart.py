"""The value fields of a multipart form, found without reading its files into memory, and their rewriting."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from functools import lru_cache

from swapyard.proxy.json_scan import WINDOW_BYTES, Source, let_go
from swapyard.proxy.splice import Edit

LONGEST_CONTENT_TYPE = 4096
"""Characters of a Content-Type in which a boundary is looked for; it has 70 at most (RFC 2046 5.1.1)."""

LONGEST_PART_HEADERS = 64 * 1024
"""Bytes; a part with a longer header block is not taken for a value."""

MOST_PARTS = 100_000
"""Parts of a form that are looked at, before whoever sent them is given up."""

LONGEST_BOUNDARY = 256
"""Characters; RFC 2046 §5.1.1 allows 70."""

LONGEST_PADDING = 256
"""Bytes of blanks behind a boundary on its line."""

SEARCH_STEP = 64 * 1024
"""Bytes that are searched for the boundary at once."""

_BOUNDARY = re.compile(r';\s*boundary\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]+))', re.IGNORECASE)
_PARAMETER = re.compile(rb';\s*+([^\s=;"]++)\s*+=\s*+(?:"((?:[^"\\]|\\.)*+)"|([^\s;]*+))')
_DISPOSITION = re.compile(rb"^content-disposition[ \t]*+:[ \t]*+form-data\b(.*(?:\n[ \t].*)*)", re.I | re.M)
_LENGTH = re.compile(rb"^content-length[ \t]*+:[ \t]*+(\d++)[ \t]*+\r?$", re.I | re.M)
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
_HEAD_END = re.compile(rb"(?:\A|\n)\r?\n")
_CARRIAGE_RETURN = 13


class FormError(ValueError):
    """A body that does not hold the form its Content-Type announces; the text says why."""


class TooManyPartsError(FormError):
    """The form has so many parts that its rest was not looked at."""


@dataclass(frozen=True, slots=True)
class Field:
    """A part that is a value, not a file.  Positions are in the body; `length_at` spans the digits of a
    Content-Length among the part's headers, None when it has none."""

    name: bytes
    start: int
    end: int
    length_at: tuple[int, int] | None


def boundary_of(content_type: str) -> bytes:
    """The boundary that a Content-Type names.  Raises FormError when there is none."""
    found = _BOUNDARY.search(content_type, 0, LONGEST_CONTENT_TYPE)
    if found is None:
        raise FormError("no multipart boundary param in Content-Type")
    quoted: str | None = found[1]
    text = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else str(found[2])
    if not text:
        raise FormError("no multipart boundary param in Content-Type")
    if len(text) > LONGEST_BOUNDARY:
        raise FormError("the multipart boundary is too long")
    return text.encode("latin-1", "replace")


def value_fields(
    body: Source, boundary: bytes, names: Iterable[bytes]
) -> Generator[Field | None, None, None]:
    """Every complete part that is a value of one of these names, in order, and None for every step.

    A form that breaks off yields what is complete before the damage, as everything is forwarded anyway.
    Raises FormError when the body does not even begin like a form of this boundary, TooManyPartsError behind
    MOST_PARTS parts.
    Source: RFC 2046 §5.1.1, RFC 7578 §4.2; bare line feeds are accepted as line ends.
    """
    wanted, parts = tuple(names), 0
    opening: _Delimiter | None = None
    for following in _delimiters(body, boundary):
        if following is not None:
            if opening is not None:
                parts += 1
                if parts > MOST_PARTS:
                    raise TooManyPartsError(f"the form has more than {MOST_PARTS} parts")
                yield _field(body, opening.end, following, wanted)
            opening = following
            if following.is_last:
                return
        yield None
    if opening is None:
        raise FormError("multipart boundary not found in the body")


def edits(field: Field, value: bytes) -> list[Edit]:
    """What gives the field this value; part headers, order and boundary stay."""
    changed = [Edit(field.start, field.end, value)]
    if field.length_at is not None:
        changed.insert(0, Edit(*field.length_at, str(len(value)).encode()))
    return changed


@dataclass(frozen=True, slots=True)
class _Delimiter:
    # Where the content before it ends, where its line starts, and where the part behind it begins.
    content_end: int
    start: int
    end: int
    is_last: bool


def _delimiters(body: Source, boundary: bytes) -> Generator[_Delimiter | None, None, None]:
    """The delimiters in order, those with nothing between them as one, and None for every step."""
    pattern, mark = _delimiter(boundary), b"--" + boundary
    size = len(body)
    # A delimiter with its padding may lie across the end of a step.
    overlap = len(mark) + LONGEST_PADDING
    position, window = 0, WINDOW_BYTES
    while position < size:
        # Before a delimiter is a line feed; the first one may stand at the start of the body.
        stop = min(position + SEARCH_STEP, size)
        before = b"\n" if position == 0 else bytes(body[position - 1 : position])
        piece = before + bytes(body[position : min(stop + overlap, size)])
        shift, position = position - 1, stop
        if mark in piece:
            for found in pattern.finditer(piece):
                at = found.start() + 1 + shift
                if at >= stop:
                    break
                end = found.end() + shift + (0 if found[1] else 1)
                has_return = at >= 2 and body[at - 2] == _CARRIAGE_RETURN
                yield _Delimiter(at - 2 if has_return else at - 1, at, end, bool(found[1]))
                position = max(stop, end)
        if position >= window:
            let_go(body)
            window = position + WINDOW_BYTES
        yield None


@lru_cache(maxsize=32)
def _delimiter(boundary: bytes) -> re.Pattern[bytes]:
    mark = b"--" + re.escape(boundary)
    line_end = rb"[ \t]{0,%d}+\r?\n" % LONGEST_PADDING
    following = line_end + mark + rb"(?=--|" + line_end + rb")"
    return re.compile(
        rb"\n" + mark + rb"(?:" + following + rb")*+(?:(--)|[ \t]{0,%d}+\r?(?=\n))" % LONGEST_PADDING
    )


def _field(body: Source, start: int, following: _Delimiter, wanted: tuple[bytes, ...]) -> Field | None:
    head = bytes(body[start : min(start + LONGEST_PART_HEADERS, following.start)])
    end_of_head = _HEAD_END.search(head)
    if end_of_head is None or start + end_of_head.end() > following.content_end:
        return None
    head = head[: end_of_head.end()]
    if b"\\" not in head and not any(name in head for name in wanted):
        # However a name is spelt, it would show.
        return None
    disposition = _DISPOSITION.search(head)
    if disposition is None:
        return None
    parameters = _parameters(disposition[1])
    name = parameters.get(b"name")
    if name not in wanted or parameters.get(b"filename") or parameters.get(b"filename*"):
        return None
    length = _LENGTH.search(head)
    length_at = (start + length.start(1), start + length.end(1)) if length else None
    return Field(name, start + end_of_head.end(), following.content_end, length_at)


def _parameters(text: bytes) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    for match in _PARAMETER.finditer(text):
        quoted: bytes | None = match[2]
        value = _ESCAPED.sub(rb"\1", quoted) if quoted is not None else match[3]
        found.setdefault(match[1].lower(), value)
    return found
