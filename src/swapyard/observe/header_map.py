"""Headers as observers show them: one value a name, canonical spelling, secrets blanked out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

RawHeaders = Iterable[tuple[bytes, bytes]]
"""Headers as ASGI hands them over."""

REDACTED = "[REDACTED]"

SESSION_LIMIT = 256
"""Characters of a session that are kept."""

ALWAYS_REDACTED = frozenset({"authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key"})
"""Lower-case names whose values nobody gets to see; the configuration can only add to them."""


def redaction(names: Iterable[str] = ()) -> frozenset[str]:
    """The names to blank out when the configuration asks for these besides."""
    return ALWAYS_REDACTED | {name.strip().lower() for name in names if name.strip()}


def header_map(
    headers: RawHeaders, redacted: frozenset[str] = ALWAYS_REDACTED, *, without: frozenset[str] = frozenset()
) -> dict[str, str]:
    """The first value of every name, except names in `without` (lower case)."""
    shown: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name, lower = _spell(raw_name)
        if name not in shown and lower not in without:
            shown[name] = REDACTED if lower in redacted else raw_value.decode("latin-1")
    return shown


def session_of(headers: RawHeaders, names: Sequence[str], redacted: frozenset[str] = ALWAYS_REDACTED) -> str:
    """The session that a request says it belongs to: the first of these headers that is not empty.

    Whatever is blanked out elsewhere is no session either; long values are cut.
    """
    lower_names = [lower for name in names if (lower := name.lower()) not in redacted]
    if not lower_names:
        return ""
    found: dict[str, str] = {}
    for raw_name, raw_value in headers:
        _, lower = _spell(raw_name)
        if lower in lower_names and (value := raw_value.decode("latin-1").strip()):
            found.setdefault(lower, value)
    return next((found[lower][:SESSION_LIMIT] for lower in lower_names if lower in found), "")


@lru_cache(maxsize=1024)
def _spell(raw_name: bytes) -> tuple[str, str]:
    lower = raw_name.decode("latin-1").lower()
    return "-".join(part[:1].upper() + part[1:] for part in lower.split("-")), lower
