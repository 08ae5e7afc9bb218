"""Reading header fields; names are in lower case."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

Fields = Sequence[tuple[bytes, bytes]]


def first(headers: Fields, name: bytes) -> bytes | None:
    """The first value under this name, None when there is none."""
    for key, value in headers:
        if key == name:
            return value
    return None


def tokens(headers: Fields, name: bytes) -> Iterator[bytes]:
    """The members of a comma list, trimmed, over all headers of this name."""
    for key, value in headers:
        if key == name:
            # Clients may send half a million of them: not one step of ours for each.
            yield from filter(None, map(bytes.strip, value.split(b",")))


def has_token(headers: Fields, name: bytes, wanted: bytes) -> bool:
    """Whether a comma list has this lower-case member, in any case and whatever its parameters."""
    return any(key == name and _is_member(value, wanted) for key, value in headers)


def _is_member(value: bytes, wanted: bytes) -> bool:
    # Words hold no blanks, so those can go, and one step compares however many members there are.
    words = value.lower().translate(None, b" \t").replace(b";", b",;")
    return b"," + wanted + b"," in b"," + words + b","


def is_websocket(headers: Fields) -> bool:
    """Whether a request asks for a websocket, or a 101 agrees: tokens, any case, comma lists and repeats."""
    if first(headers, b"upgrade") is None:
        return False
    return has_token(headers, b"upgrade", b"websocket") and has_token(headers, b"connection", b"upgrade")


def is_event_stream(headers: Fields) -> bool:
    """Whether the Content-Type of an answer says that it is a stream of server-sent events."""
    return b"text/event-stream" in (first(headers, b"content-type") or b"").lower()
