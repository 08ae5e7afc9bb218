"""The activity database's tables: what the reference left there, and what is added beside it."""

from __future__ import annotations

import sqlite3

from swapyard.errors import SwapyardError

# Column order is the order of the reference's own table (file format, llama-swap v250).
ACTIVITY_COLUMNS = (
    "id",
    "ts_created",
    "model_id",
    "req_path",
    "resp_content_type",
    "resp_status_code",
    "cache_tokens",
    "draft_tokens",
    "draft_acc_tokens",
    "input_tokens",
    "output_tokens",
    "prompt_per_second",
    "tokens_per_second",
    "duration_ms",
    "error_msg",
    "metadata_json",
)

DETAIL_COLUMNS = (
    "activity_id",
    "request_id",
    "arrived_at",
    "requested_model",
    "api_key",
    "wait_reason",
    "queue_ms",
    "load_ms",
    "relay_ms",
    "first_byte_ms",
    "first_token_ms",
    "resp_bytes",
    "measured_prompt_per_second",
    "measured_tokens_per_second",
    "session",
)

_ACTIVITY = """
CREATE TABLE IF NOT EXISTS activity (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    ts_created INTEGER NOT NULL,
    model_id TEXT NOT NULL,
    req_path TEXT NOT NULL DEFAULT '',
    resp_content_type TEXT NOT NULL DEFAULT '',
    resp_status_code INTEGER NOT NULL DEFAULT 0,
    cache_tokens INTEGER NOT NULL DEFAULT 0,
    draft_tokens INTEGER NOT NULL DEFAULT 0,
    draft_acc_tokens INTEGER NOT NULL DEFAULT 0,
    input_tokens INTEGER NOT NULL DEFAULT 0,
    output_tokens INTEGER NOT NULL DEFAULT 0,
    prompt_per_second REAL NOT NULL DEFAULT 0,
    tokens_per_second REAL NOT NULL DEFAULT 0,
    duration_ms INTEGER NOT NULL DEFAULT 0,
    error_msg TEXT NOT NULL DEFAULT '',
    metadata_json TEXT NOT NULL DEFAULT ''
)
"""

_INDEXES = (
    "CREATE INDEX IF NOT EXISTS idx_activity_created_id ON activity (ts_created DESC, id DESC)",
    "CREATE INDEX IF NOT EXISTS idx_activity_model_created_id"
    " ON activity (model_id, ts_created DESC, id DESC)",
)

# The reference's migration tool keeps its record here and refuses a file whose record is missing.
_GOOSE = """
CREATE TABLE IF NOT EXISTS goose_db_version (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    version_id INTEGER NOT NULL,
    is_applied INTEGER NOT NULL,
    tstamp TIMESTAMP DEFAULT (datetime('now'))
)
"""

# A table of its own, so that no future migration of the reference can meet a column of ours,
# and a row that the reference wrote in between simply has no details.
_DETAILS = """
CREATE TABLE IF NOT EXISTS activity_details (
    activity_id INTEGER PRIMARY KEY,
    request_id TEXT NOT NULL,
    arrived_at REAL NOT NULL,
    requested_model TEXT NOT NULL,
    api_key TEXT NOT NULL,
    wait_reason TEXT NOT NULL,
    queue_ms REAL,
    load_ms REAL,
    relay_ms REAL,
    first_byte_ms REAL,
    first_token_ms REAL,
    resp_bytes INTEGER NOT NULL,
    measured_prompt_per_second REAL,
    measured_tokens_per_second REAL,
    session TEXT NOT NULL DEFAULT ''
)
"""


class StoreError(SwapyardError):
    """The activity database cannot be opened or is not one."""


def prepare(connection: sqlite3.Connection) -> None:
    """Bring a database, new or written by the reference, to the shape above; in one transaction.

    Raises StoreError for a table `activity` that lacks columns we read.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute(_ACTIVITY)
        _require_columns(connection)
        for index in _INDEXES:
            connection.execute(index)
        connection.execute(_GOOSE)
        for version in (0, 1):
            connection.execute(
                "INSERT INTO goose_db_version (version_id, is_applied) SELECT ?, 1 WHERE NOT EXISTS"
                " (SELECT 1 FROM goose_db_version WHERE version_id = ? AND is_applied = 1)",
                (version, version),
            )
        connection.execute(_DETAILS)
        _add_session(connection)
        connection.execute("COMMIT")
    except BaseException:
        connection.rollback()
        raise


def _add_session(connection: sqlite3.Connection) -> None:
    """Files of earlier versions lack this column."""
    present = {row[1] for row in connection.execute("PRAGMA table_info(activity_details)")}
    if "session" not in present:
        connection.execute("ALTER TABLE activity_details ADD COLUMN session TEXT NOT NULL DEFAULT ''")


def _require_columns(connection: sqlite3.Connection) -> None:
    present = {row[1] for row in connection.execute("PRAGMA table_info(activity)")}
    missing = [column for column in ACTIVITY_COLUMNS if column not in present]
    if missing:
        raise StoreError(f"table activity has no column {', '.join(missing)}")
