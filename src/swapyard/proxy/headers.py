"""Which headers of a request reach the upstream, and which of an answer reach the client.

Names are lower case on both sides, as ASGI and `proxy/connection.py` deliver them; order and repeats stay.
The upstream client writes a request's `Content-Length` or `Transfer-Encoding` itself, from the body it sends.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import lru_cache

import msgspec

Headers = list[tuple[bytes, bytes]]

HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""Headers that speak about one connection only.  Source: RFC 9110 7.6.1, plus the old proxy-connection."""

_NOT_TO_UPSTREAM = HOP_BY_HOP | {b"content-length"}

REMEMBERED_BYTES = 256
"""Longest Connection header of which it is remembered what it means."""

FORWARDING = frozenset({b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto"})
"""Headers that tell a server about our client; none of a peer's business."""

READABLE_ENCODINGS = frozenset({b"gzip", b"deflate"})
"""What a recorded answer may be compressed with."""


class Local(msgspec.Struct, frozen=True):
    """Towards a process of our own; `client_address` joins X-Forwarded-For, "" is left out."""

    client_address: str = ""


@dataclass(frozen=True, slots=True)
class Peer:
    """Towards another server: `host` is its Host header, `api_key` replaces the client's credentials."""

    host: bytes
    api_key: str = field(default="", repr=False)


def request_headers(
    headers: Headers,
    towards: Local | Peer,
    *,
    own_keys: Collection[str] = (),
    narrow_encoding: bool = False,
) -> Headers:
    """The headers of a client's request as the upstream gets them.

    Hop-by-hop headers go, those named by Connection too.  Of `TE` only `trailers` stays; a websocket's
    upgrade is put back.  A credential found in `own_keys` opened our own door and goes no further; others
    belong to the upstream.  `narrow_encoding` leaves in Accept-Encoding only what a recorder can read;
    without one in the request none is invented.
    """
    # Most requests have none of the headers that need care.
    present = dict(headers)
    gone = _and_listed(_NOT_TO_UPSTREAM, headers) if b"connection" in present else _NOT_TO_UPSTREAM
    if isinstance(towards, Peer):
        gone |= FORWARDING
        if towards.api_key:
            gone |= {b"authorization", b"x-api-key"}
    kept = [header for header in headers if header[0] not in gone]
    if own_keys:
        kept = [header for header in kept if not _carries(header, own_keys)]
    if narrow_encoding and b"accept-encoding" in present:
        kept = _narrowed(kept)
    if isinstance(towards, Peer):
        kept = _with_credentials(_replaced(kept, b"host", towards.host), towards.api_key)
    elif towards.client_address:
        client = towards.client_address.encode("ascii", "replace")
        if b"x-forwarded-for" in present:
            addresses = [*tokens(kept, b"x-forwarded-for"), client]
            kept = _replaced(kept, b"x-forwarded-for", b", ".join(addresses))
        else:
            kept.append((b"x-forwarded-for", client))
    if b"te" in present and _has_token(headers, b"te", b"trailers"):
        kept.append((b"te", b"trailers"))
    if b"upgrade" in present and is_websocket(headers):
        kept += ((b"connection", b"Upgrade"), (b"upgrade", b"websocket"))
    return kept


def response_headers(headers: Headers) -> Headers:
    """The headers of an upstream's answer as the client gets them; `Date` and `Server` stay the upstream's.

    Event streams get `X-Accel-Buffering: no`, so that an nginx in front of us passes them on as they come.
    """
    gone = _and_listed(HOP_BY_HOP, headers) if b"connection" in dict(headers) else HOP_BY_HOP
    kept = [header for header in headers if header[0] not in gone]
    if is_event_stream(headers):
        kept = [header for header in kept if header[0] != b"x-accel-buffering"]
        kept.append((b"x-accel-buffering", b"no"))
    return kept


def switching_headers(headers: Headers) -> Headers:
    """The headers of a 101 answer as the client gets them: the upgrade is put back."""
    protocol = first(headers, b"upgrade") or b"websocket"
    return [*response_headers(headers), (b"connection", b"Upgrade"), (b"upgrade", protocol)]


def is_websocket(headers: Headers) -> bool:
    """Whether a request asks for a websocket, or a 101 agrees: tokens, any case, comma lists and repeats."""
    if first(headers, b"upgrade") is None:
        return False
    return _has_token(headers, b"upgrade", b"websocket") and _has_token(headers, b"connection", b"upgrade")


def is_event_stream(headers: Headers) -> bool:
    """Whether the Content-Type of an answer says that it is a stream of server-sent events."""
    return b"text/event-stream" in (first(headers, b"content-type") or b"").lower()


def first(headers: Headers, name: bytes) -> bytes | None:
    """The first value under this lower-case name, None when there is none."""
    for key, value in headers:
        if key == name:
            return value
    return None


def tokens(headers: Headers, name: bytes) -> Iterator[bytes]:
    """The members of a comma list, trimmed, over all headers of this name."""
    for key, value in headers:
        if key == name:
            yield from (token for part in value.split(b",") if (token := part.strip()))


def _has_token(headers: Headers, name: bytes, wanted: bytes) -> bool:
    return any(token.partition(b";")[0].rstrip().lower() == wanted for token in tokens(headers, name))


def _and_listed(gone: frozenset[bytes], headers: Headers) -> frozenset[bytes]:
    """These, and the headers that Connection declares to be hop-by-hop as well."""
    lists = tuple(value for name, value in headers if name == b"connection")
    return _join(gone, lists) if sum(map(len, lists)) > REMEMBERED_BYTES else _joined(gone, lists)


@lru_cache(maxsize=64)
def _joined(names: frozenset[bytes], lists: tuple[bytes, ...]) -> frozenset[bytes]:
    """The same, remembered: nearly all connections say the same."""
    return _join(names, lists)


def _join(names: frozenset[bytes], lists: tuple[bytes, ...]) -> frozenset[bytes]:
    """These names and the members of comma lists in lower case."""
    return names | {token.strip().lower() for value in lists for token in value.split(b",")}


def _carries(header: tuple[bytes, bytes], keys: Collection[str]) -> bool:
    """Whether this header presents one of our keys, in any of the forms `web/auth.py` accepts."""
    name, value = header
    if name == b"x-api-key":
        return value.decode("utf-8", "replace") in keys
    if name != b"authorization":
        return False
    scheme, _, credential = value.partition(b" ")
    if scheme.lower() == b"basic":
        try:
            credential = base64.b64decode(credential, validate=True).partition(b":")[2]
        except binascii.Error:
            return False
    elif scheme.lower() != b"bearer":
        return False
    return credential.decode("utf-8", "replace") in keys


def _narrowed(headers: Headers) -> Headers:
    """With one Accept-Encoding that names gzip and deflate at most, quality values and order kept.

    `identity` when none of them is left: an absent header would mean that anything is welcome, and an
    empty one, though it means the same as identity, is refused by some servers.
    """
    if first(headers, b"accept-encoding") is None:
        return headers
    accepted = [
        token
        for token in tokens(headers, b"accept-encoding")
        if token.partition(b";")[0].strip().lower() in READABLE_ENCODINGS
    ]
    return _replaced(headers, b"accept-encoding", b", ".join(accepted) or b"identity")


def _with_credentials(headers: Headers, api_key: str) -> Headers:
    if not api_key:
        return headers
    key = api_key.encode()
    return [*headers, (b"authorization", b"Bearer " + key), (b"x-api-key", key)]


def _replaced(headers: Headers, name: bytes, value: bytes) -> Headers:
    """One header of this name with this value, where the first of them stood, else at the end."""
    replaced: Headers = []
    pending = True
    for header in headers:
        if header[0] != name:
            replaced.append(header)
        elif pending:
            replaced.append((name, value))
            pending = False
    if pending:
        replaced.append((name, value))
    return replaced
