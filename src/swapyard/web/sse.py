"""Server-sent events as bytes."""

from __future__ import annotations

import json
from typing import Any

HEADERS: list[tuple[bytes, bytes]] = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-accel-buffering", b"no"),
]

HEARTBEAT = b": heartbeat\n\n"
"""A comment: keeps proxies and clients from giving up on a quiet stream; no client takes it for an event."""

DONE = b"data: [DONE]\n\n"


def data(value: Any) -> bytes:
    """One event with a JSON value, as the OpenAI API sends them."""
    return b"data: " + _json(value) + b"\n\n"


def message(kind: str, value: Any) -> bytes:
    """One message of /api/events: an envelope whose `data` is a string that holds JSON, as the original's."""
    return b"event:message\ndata:" + _json({"type": kind, "data": _json(value).decode()}) + b"\n\n"


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
