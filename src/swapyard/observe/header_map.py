"""Headers as observers show them: one value a name, canonical spelling, secrets blanked out."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from swapyard.observe.cut import HEADER_NAME_BYTES, HEADER_VALUE_BYTES, HEADERS, MARK, SESSION_CHARACTERS, cut

RawHeaders = Iterable[tuple[bytes, bytes]]
"""Headers as ASGI hands them over."""

REDACTED = "[REDACTED]"

_LONGEST_SPELT_BYTES = 128

ALWAYS_REDACTED = frozenset({"authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key"})
"""Lower-case names whose values nobody gets to see; the configuration can only add to them."""


def redaction(names: Iterable[str] = ()) -> frozenset[str]:
    """The names to blank out when the configuration asks for these besides."""
    return ALWAYS_REDACTED | {name.strip().lower() for name in names if name.strip()}


def header_map(
    headers: RawHeaders, redacted: frozenset[str] = ALWAYS_REDACTED, *, without: frozenset[str] = frozenset()
) -> dict[str, str]:
    """The first value of every name, except names in `without` (lower case).

    Long names and values are cut, and of very many only the first are shown.
    """
    shown: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name, lower = _spell(raw_name[:HEADER_NAME_BYTES])
        if name not in shown and lower not in without:
            if len(shown) == HEADERS:
                shown[MARK] = MARK
                break
            shown[name] = REDACTED if lower in redacted else _text(raw_value)
    return shown


def _text(raw_value: bytes) -> str:
    text = raw_value[: HEADER_VALUE_BYTES + 1].decode("latin-1")
    return cut(text, HEADER_VALUE_BYTES)


def session_names(names: Iterable[str], redacted: frozenset[str] = ALWAYS_REDACTED) -> tuple[bytes, ...]:
    """Headers that may name a session, for `session_of`; what is blanked out elsewhere does not."""
    return tuple(lower.encode() for name in names if (lower := name.lower()) not in redacted)


def session_of(headers: RawHeaders, names: tuple[bytes, ...]) -> str:
    """The session that a request says it belongs to: the first of these headers that is not empty.

    Long values are cut.
    """
    found: dict[bytes, bytes] = {}
    for raw_name, raw_value in headers:
        name = raw_name.lower()
        if name in names and (value := raw_value.strip()):
            found.setdefault(name, value)
    return next(
        (cut(found[name].decode("latin-1"), SESSION_CHARACTERS) for name in names if name in found), ""
    )


def _spell(raw_name: bytes) -> tuple[str, str]:
    """A name as observers show it, and in lower case; one longer than any in use stays as it came."""
    if len(raw_name) <= _LONGEST_SPELT_BYTES:
        return _spelling(raw_name)
    name = raw_name.decode("latin-1")
    return name, name.lower()


@lru_cache(maxsize=1024)
def _spelling(raw_name: bytes) -> tuple[str, str]:
    lower = raw_name.decode("latin-1").lower()
    return "-".join(part[:1].upper() + part[1:] for part in lower.split("-")), lower
