"""Rows of the activity log as the database holds them: statements, and both ways of translation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from typing import Any

from msgspec.structs import replace

from swapyard.observe.activity import ActivityRow, metadata_json
from swapyard.observe.schema import ACTIVITY_COLUMNS, DETAIL_COLUMNS
from swapyard.observe.tokens import Tokens

FROM = "FROM activity LEFT JOIN activity_details ON activity_id = id"
COLUMNS = ", ".join((*ACTIVITY_COLUMNS, *DETAIL_COLUMNS[1:]))
INSERT_AT_ONCE = 32
"""Rows of one INSERT statement: the interpreter lets go of its lock once for each statement, and while a busy
event loop has it, getting it back takes longer than the statement."""


@cache
def insert_activity(rows: int) -> str:
    """The statement that inserts so many rows; its values are those of the rows, one after the other."""
    return _insert("INSERT INTO activity", ACTIVITY_COLUMNS, rows)


@cache
def insert_details(rows: int) -> str:
    return _insert("INSERT OR REPLACE INTO activity_details", DETAIL_COLUMNS, rows)


def _insert(verb: str, columns: Sequence[str], rows: int) -> str:
    places = f"({', '.join('?' * len(columns))})"
    return f"{verb} ({', '.join(columns)}) VALUES {', '.join([places] * rows)}"


def activity_values(row: ActivityRow) -> tuple[object, ...]:
    return (
        row.id,
        int(row.created_at),
        row.model,
        row.req_path,
        row.resp_content_type,
        row.resp_status_code,
        row.tokens.cached,
        row.tokens.drafted,
        row.tokens.accepted,
        row.tokens.input,
        row.tokens.output,
        row.tokens.prompt_per_s,
        row.tokens.generated_per_s,
        row.duration_ms,
        row.error_msg,
        metadata_json(row.metadata),
    )


def detail_values(row: ActivityRow) -> tuple[object, ...]:
    return (
        row.id,
        row.request_id,
        row.arrived_at,
        row.requested,
        row.key,
        row.wait_reason,
        row.queue_ms,
        row.load_ms,
        row.relay_ms,
        row.first_byte_ms,
        row.first_token_ms,
        row.resp_bytes,
        row.measured_prompt_per_s,
        row.measured_generated_per_s,
        row.session,
    )


def row_from(values: Sequence[Any]) -> ActivityRow:
    (row_id, created, model, path, content_type, status, cached, drafted, accepted, *rest) = values
    (read, written, prompt_per_s, generated_per_s, duration_ms, error, metadata, *details) = rest
    row = ActivityRow(
        id=row_id,
        created_at=created,
        model=model,
        req_path=path,
        resp_content_type=content_type,
        resp_status_code=status,
        tokens=Tokens(read, written, cached, drafted, accepted, prompt_per_s, generated_per_s),
        duration_ms=duration_ms,
        error_msg=error,
        metadata=_metadata(metadata),
    )
    if details[0] is None:
        return row
    (request_id, arrived_at, requested, key, reason, queue_ms, load_ms, relay_ms, *late) = details
    (first_byte_ms, first_token_ms, resp_bytes, measured_prompt, measured_generated, session) = late
    return replace(
        row,
        request_id=request_id,
        arrived_at=arrived_at,
        requested=requested,
        key=key,
        wait_reason=reason,
        queue_ms=queue_ms,
        load_ms=load_ms,
        relay_ms=relay_ms,
        first_byte_ms=first_byte_ms,
        first_token_ms=first_token_ms,
        resp_bytes=resp_bytes,
        measured_prompt_per_s=measured_prompt,
        measured_generated_per_s=measured_generated,
        session=session,
    )


def _metadata(text: str) -> dict[str, str]:
    """What another program wrote here may be anything; then there is no metadata."""
    try:
        members = json.loads(text) if text else {}
    except ValueError:
        return {}
    if not isinstance(members, dict):
        return {}
    return {str(name): str(value) for name, value in members.items()}
