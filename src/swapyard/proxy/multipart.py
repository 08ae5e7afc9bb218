"""The value fields of a multipart form, found without reading its files into memory, and their rewriting."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from swapyard.proxy.json_scan import WINDOW_BYTES, Source, let_go
from swapyard.proxy.splice import Edit

LONGEST_CONTENT_TYPE = 4096
"""Characters of a Content-Type in which a boundary is looked for; it has 70 at most (RFC 2046 5.1.1)."""

LONGEST_PART_HEADERS = 64 * 1024
"""Bytes; a part with a longer header block is not taken for a value."""

_SEARCH_STEP = 256 * 1024

_BOUNDARY = re.compile(r';\s*boundary\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]+))', re.IGNORECASE)
_PARAMETER = re.compile(rb';\s*([^\s=;"]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;]*))')
_DISPOSITION = re.compile(rb"^content-disposition[ \t]*:[ \t]*form-data\b(.*(?:\n[ \t].*)*)", re.I | re.M)
_LENGTH = re.compile(rb"^content-length[ \t]*:[ \t]*(\d+)[ \t]*\r?$", re.I | re.M)
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
_DELIMITER_END = re.compile(rb"--|[ \t]*\r?\n")
_HEAD_END = re.compile(rb"(?:\A|\n)\r?\n")
_LINE_FEED, _CARRIAGE_RETURN = b"\n\r"


class FormError(ValueError):
    """A body that does not hold the form its Content-Type announces; the text says why."""


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
    return text.encode("latin-1", "replace")


def value_fields(body: Source, boundary: bytes) -> Iterator[Field]:
    """Every complete part that is a value, in order.

    A form that breaks off yields what is complete before the damage, as everything is forwarded anyway.
    Raises FormError when the body does not even begin like a form of this boundary.
    Source: RFC 2046 §5.1.1, RFC 7578 §4.2; bare line feeds are accepted as line ends.
    """
    size = len(body)
    delimiter = b"--" + boundary
    opening = _next_delimiter(body, delimiter, 0, size)
    if opening is None:
        raise FormError("multipart boundary not found in the body")
    while opening is not None and not opening.is_last:
        following = _next_delimiter(body, delimiter, opening.end, size)
        if following is None:
            return
        field = _field(body, opening.end, following)
        if field is not None:
            yield field
        opening = following


def replace_fields(fields: list[Field], value: bytes) -> list[Edit]:
    """The edits that give every listed field this value; part headers, order and boundary stay."""
    edits: list[Edit] = []
    for field in fields:
        if field.length_at is not None:
            edits.append(Edit(*field.length_at, str(len(value)).encode()))
        edits.append(Edit(field.start, field.end, value))
    return edits


@dataclass(frozen=True, slots=True)
class _Delimiter:
    # Where the content before it ends, where its line starts, and where the part behind it begins.
    content_end: int
    start: int
    end: int
    is_last: bool


def _next_delimiter(body: Source, delimiter: bytes, start: int, size: int) -> _Delimiter | None:
    at = _find(body, delimiter, start, size)
    while at >= 0:
        starts_line = at == 0 or body[at - 1] == _LINE_FEED
        line_end = _DELIMITER_END.match(body, at + len(delimiter)) if starts_line else None
        if line_end is not None:
            content_end = at - 2 if at >= 2 and body[at - 2] == _CARRIAGE_RETURN else at - 1
            return _Delimiter(content_end, at, line_end.end(), line_end[0] == b"--")
        at = _find(body, delimiter, at + 1, size)
    return None


def _field(body: Source, start: int, following: _Delimiter) -> Field | None:
    head = bytes(body[start : min(start + LONGEST_PART_HEADERS, following.start)])
    end_of_head = _HEAD_END.search(head)
    if end_of_head is None or start + end_of_head.end() > following.content_end:
        return None
    head = head[: end_of_head.end()]
    disposition = _DISPOSITION.search(head)
    if disposition is None:
        return None
    parameters = _parameters(disposition[1])
    name = parameters.get(b"name")
    if not name or parameters.get(b"filename") or parameters.get(b"filename*"):
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


def _find(body: Source, wanted: bytes, start: int, end: int) -> int:
    """`bytes.find` for every kind of source.

    Mapped files are searched in copied steps: mmap.find compares byte by byte before Python 3.13.
    """
    if isinstance(body, bytes):
        return body.find(wanted, start, end)
    position = start
    while position < end:
        at = bytes(body[position : position + _SEARCH_STEP + len(wanted) - 1]).find(wanted)
        if at >= 0:
            return position + at
        position += _SEARCH_STEP
        if position % WINDOW_BYTES < _SEARCH_STEP:
            let_go(body)
    return -1
