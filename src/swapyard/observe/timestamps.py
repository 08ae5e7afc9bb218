"""Instants as the API writes and reads them: RFC 3339 with the server's offset from UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime

_INSTANT = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:\d\d)")


def rfc3339(at: float) -> str:
    """Spell a wall-clock time in seconds (UTC); no more fractional digits than needed, at most three."""
    moment = datetime.fromtimestamp(round(at, 3), UTC).astimezone()
    text = moment.strftime("%Y-%m-%dT%H:%M:%S")
    if moment.microsecond:
        text += f".{moment.microsecond // 1000:03d}".rstrip("0")
    offset = moment.isoformat()[-6:]
    return text + ("Z" if offset == "+00:00" else offset)


def from_rfc3339(text: str) -> float:
    """Seconds since 1970 UTC; ValueError for anything but a full instant with its offset."""
    if not _INSTANT.fullmatch(text):
        raise ValueError(f"not an RFC 3339 instant: {text}")
    return datetime.fromisoformat(text.upper()).timestamp()
