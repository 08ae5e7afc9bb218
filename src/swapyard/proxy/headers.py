"""Which headers of a request reach the upstream, and which of an answer reach the client.

Names are lower case on both sides, as ASGI and `proxy/connection.py` deliver them; order and repeats stay.
The upstream client writes a request's `Content-Length` or `Transfer-Encoding` itself, from the body it sends.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import lru_cache

import msgspec

from swapyard.web.fields import first, has_token, is_event_stream, is_websocket, tokens

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

FORWARDING = frozenset({b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto"})
"""Headers that tell a server about our client; none of a peer's business."""

_READABLE_ENCODING = re.compile(rb"(?:^|,)[ \t]*((?:gzip|deflate)[ \t]*(?:;[^,]*)?)(?=,|$)", re.IGNORECASE)
"""What a recorded answer may be compressed with, as a member of a comma list."""

_WORTH_KEEPING_BYTES = 256
"""Of Connection headers: nearly all connections say the same few words."""


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
    if b"te" in present and has_token(headers, b"te", b"trailers"):
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


def _and_listed(gone: frozenset[bytes], headers: Headers) -> frozenset[bytes]:
    """These, and the headers that Connection declares to be hop-by-hop as well."""
    listed = b",".join([value for name, value in headers if name == b"connection"])
    if len(listed) <= _WORTH_KEEPING_BYTES:
        return _joined_before(gone, listed)
    return _joined(gone, listed)


def _joined(names: frozenset[bytes], listed: bytes) -> frozenset[bytes]:
    """These names and the members of a comma list in lower case."""
    return names.union(map(bytes.strip, listed.lower().split(b",")))


_joined_before = lru_cache(maxsize=64)(_joined)


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
    listed = b",".join([value for name, value in headers if name == b"accept-encoding"])
    accepted = [member.rstrip() for member in _READABLE_ENCODING.findall(listed)]
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
