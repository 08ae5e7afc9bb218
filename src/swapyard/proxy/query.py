"""Query strings and urlencoded forms: read as strictly as the reference reads them, and written back.

Names and values are bytes, so that text in any encoding survives being read and written again.
"""

from __future__ import annotations

from urllib.parse import quote_plus, unquote_to_bytes

Pair = tuple[bytes, bytes]


def parse_pairs(text: bytes) -> list[Pair]:
    """The pairs in order; one with a raw `;` or a broken percent escape is dropped (specification, §2.1)."""
    pairs: list[Pair] = []
    for part in text.split(b"&"):
        if not part or b";" in part:
            continue
        name, _, value = part.partition(b"=")
        if _well_escaped(name) and _well_escaped(value):
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


_HEX = frozenset(b"0123456789abcdefABCDEF")


def _well_escaped(text: bytes) -> bool:
    at = text.find(b"%")
    while at >= 0:
        digits = text[at + 1 : at + 3]
        if len(digits) < 2 or not _HEX.issuperset(digits):
            return False
        at = text.find(b"%", at + 3)
    return True
