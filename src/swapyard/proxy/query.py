"""Query strings and urlencoded forms: read as strictly as the reference reads them, and written back.

Names and values are bytes, so that text in any encoding survives being read and written again.
"""

from __future__ import annotations

import re
from urllib.parse import quote_plus, unquote_to_bytes

from swapyard.errors import Fault, RequestError

Pair = tuple[bytes, bytes]

LONGEST_QUERY_BYTES = 64 * 1024
"""Longest query string that is read."""

MOST_PAIRS = 10_000
"""Most pairs that are read.  Source: the limit of Go's net/url, GODEBUG setting urlmaxqueryparams."""

_BROKEN_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")


def parse_query(text: bytes) -> list[Pair]:
    """The pairs of a request's query string.

    Raises RequestError (BAD_REQUEST) for more than LONGEST_QUERY_BYTES or MOST_PAIRS: reading them would hold
    up everybody else.
    """
    if len(text) > LONGEST_QUERY_BYTES:
        raise RequestError(Fault.BAD_REQUEST, f"the query is longer than {LONGEST_QUERY_BYTES} bytes")
    return parse_pairs(text)


def parse_pairs(text: bytes) -> list[Pair]:
    """The pairs in order; one with a raw `;` or a broken percent escape is dropped (specification, §2.1).

    Raises RequestError (BAD_REQUEST) when there are more than MOST_PAIRS.
    """
    if text.count(b"&") >= MOST_PAIRS:
        raise RequestError(Fault.BAD_REQUEST, f"more than {MOST_PAIRS} parameters")
    pairs: list[Pair] = []
    for part in text.split(b"&"):
        if not part or b";" in part:
            continue
        name, _, value = part.partition(b"=")
        if b"%" not in part or _BROKEN_ESCAPE.search(part) is None:
            pairs.append((_unescape(name), _unescape(value)))
    return pairs


def first_value(pairs: list[Pair], name: bytes) -> str | None:
    """The value of the first pair of that name, "" included; None when there is none."""
    for key, value in pairs:
        if key == name:
            return value.decode("utf-8", "replace")
    return None


def with_value(pairs: list[Pair], name: bytes, value: str) -> bytes:
    """The pairs encoded again, names in byte order, with exactly one pair of `name` (specification, §2.4)."""
    kept = [pair for pair in pairs if pair[0] != name]
    kept.append((name, value.encode()))
    return b"&".join(
        quote_plus(key, safe="~").encode() + b"=" + quote_plus(text, safe="~").encode()
        for key, text in sorted(kept, key=lambda pair: pair[0])
    )


def _unescape(text: bytes) -> bytes:
    return unquote_to_bytes(text.replace(b"+", b" "))
