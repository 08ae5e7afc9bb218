"""How much of what a client or an upstream wrote is kept of each thing, shown and told to watchers."""

from __future__ import annotations

MARK = "…"
"""Stands where the rest is missing."""

PATH_CHARACTERS = 1024
ADDRESS_CHARACTERS = 128
"""`X-Forwarded-For` may say anything; an IPv6 address with its zone has fewer than 64."""
AGENT_CHARACTERS = 512
REQUEST_ID_CHARACTERS = 256
SESSION_CHARACTERS = 256
CONTENT_TYPE_CHARACTERS = 256
HEADER_NAME_BYTES = 128
HEADER_VALUE_BYTES = 4096
HEADERS = 100
"""Names of headers that are shown of one request or answer."""


def cut(text: str, characters: int) -> str:
    """The text, or its beginning with a mark, in so many characters."""
    return text if len(text) <= characters else text[: characters - 1] + MARK
