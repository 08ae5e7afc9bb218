"""One row of the activity log: what is recorded of a request, whatever became of it."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import msgspec

from swapyard.observe.timestamps import rfc3339
from swapyard.observe.tokens import Tokens

CLIENT_LEFT = 499
"""Recorded for a caller that left before it was answered; nginx's number, never sent."""


def key_label(key: str) -> str:
    """A short name for an API key that tells keys apart and does not give the key away."""
    return hashlib.sha256(key.encode()).hexdigest()[:8]


class ActivityRow(msgspec.Struct):
    """Only the store changes one, to give it its id.

    Times in `_ms` are milliseconds as measured here, None for what did not happen.

    `measured_*` are speeds in tokens per second worked out from our own clock, only where
    the engine reported none.
    """

    id: int
    created_at: float
    model: str
    req_path: str
    resp_content_type: str
    resp_status_code: int
    tokens: Tokens
    duration_ms: int
    error_msg: str
    metadata: dict[str, str]
    # From here on: what the reference does not record.
    request_id: str = ""
    arrived_at: float = 0
    requested: str = ""
    key: str = ""
    wait_reason: str = ""
    queue_ms: float | None = None
    load_ms: float | None = None
    relay_ms: float | None = None
    first_byte_ms: float | None = None
    first_token_ms: float | None = None
    resp_bytes: int = 0
    measured_prompt_per_s: float | None = None
    measured_generated_per_s: float | None = None
    session: str = ""

    def json(self, *, has_capture: bool) -> dict[str, Any]:
        """The object that the API lists; members the reference does not know stand in `details`."""
        shown: dict[str, Any] = {
            "id": self.id,
            "timestamp": rfc3339(int(self.created_at)),
            "model": self.model,
            "req_path": self.req_path,
            "resp_content_type": self.resp_content_type,
            "resp_status_code": self.resp_status_code,
            "tokens": {
                "cache_tokens": self.tokens.cached,
                "draft_tokens": self.tokens.drafted,
                "draft_acc_tokens": self.tokens.accepted,
                "input_tokens": self.tokens.input,
                "output_tokens": self.tokens.output,
                "prompt_per_second": self.tokens.prompt_per_s,
                "tokens_per_second": self.tokens.generated_per_s,
            },
            "duration_ms": self.duration_ms,
            "has_capture": has_capture,
        }
        if self.error_msg:
            shown["error_msg"] = self.error_msg
        if self.metadata:
            shown["metadata"] = self.metadata
        if self.request_id:
            shown["details"] = self._details()
        return shown

    def _details(self) -> dict[str, Any]:
        return {
            "request_id": self.request_id,
            "arrived_at": rfc3339(self.arrived_at),
            "requested_model": self.requested,
            "key": self.key,
            "session": self.session,
            "wait_reason": self.wait_reason,
            "queue_ms": _shown(self.queue_ms),
            "load_ms": _shown(self.load_ms),
            "relay_ms": _shown(self.relay_ms),
            "first_byte_ms": _shown(self.first_byte_ms),
            "first_token_ms": _shown(self.first_token_ms),
            "resp_bytes": self.resp_bytes,
            "measured_prompt_per_second": self.measured_prompt_per_s,
            "measured_tokens_per_second": self.measured_generated_per_s,
        }


def metadata_json(metadata: dict[str, str]) -> str:
    """The database's spelling: "" for nothing."""
    return json.dumps(metadata, ensure_ascii=False, separators=(",", ":")) if metadata else ""


def _shown(milliseconds: float | None) -> float | None:
    """To a microsecond; more is noise."""
    return None if milliseconds is None else round(milliseconds, 3)
