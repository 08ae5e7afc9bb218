"""The activity log in SQLite: rows go in in batches, pages and statistics come out."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from swapyard.observe.activity import ActivityRow, metadata_json
from swapyard.observe.activity_query import SORT_COLUMNS, ActivityQuery
from swapyard.observe.schema import ACTIVITY_COLUMNS, DETAIL_COLUMNS, StoreError, prepare
from swapyard.observe.statistics import statistics
from swapyard.observe.usage import Tokens

DEFAULT_ROWS_IN_MEMORY = 1000

BUSY_TIMEOUT = 5.0
"""Seconds that another program may hold the file before a write of ours is given up."""


@dataclass(frozen=True, slots=True)
class Retention:
    """How much of the log stays: the newest `rows`, and none older than `age` seconds; None: no limit."""

    rows: int | None = None
    age: float | None = None


class ActivityStore:
    """Every method may block; call them from threads, in any number of them.

    Writes and reads of a file go over two connections, so that a long read never holds up
    the writer (WAL).  A database in memory lives in one connection, which they share.
    """

    def __init__(
        self, writer: sqlite3.Connection, reader: sqlite3.Connection, retention: Retention, path: Path | None
    ) -> None:
        self.path = path
        self._writer = writer
        self._reader = reader
        self._retention = retention
        self._write_lock = threading.Lock()
        self._read_lock = self._write_lock if reader is writer else threading.Lock()

    @classmethod
    def open(
        cls,
        path: Path | None,
        *,
        rows_in_memory: int = DEFAULT_ROWS_IN_MEMORY,
        retention: Retention | None = None,
    ) -> ActivityStore:
        """Open or create the log; None keeps it in memory, `rows_in_memory` rows of it (<= 0: the default).

        `retention` is for files; without it a file is never pruned.  Raises StoreError.
        """
        if path is None:
            rows = rows_in_memory if rows_in_memory > 0 else DEFAULT_ROWS_IN_MEMORY
            connection = _connect(":memory:")
            prepare(connection)
            return cls(connection, connection, Retention(rows=rows), None)
        writer: sqlite3.Connection | None = None
        try:
            writer = _connect(str(path))
            _use_wal(writer)
            prepare(writer)
            reader = _connect(str(path))
        except (sqlite3.Error, StoreError) as error:
            if writer is not None:
                writer.close()
            raise StoreError(f"{path}: {error}") from error
        return cls(writer, reader, retention or Retention(), path)

    def set_retention(self, *, rows_in_memory: int, retention: Retention | None) -> None:
        """Take over changed limits; they apply from the next `prune` on."""
        if self.path is None:
            rows = rows_in_memory if rows_in_memory > 0 else DEFAULT_ROWS_IN_MEMORY
            self._retention = Retention(rows=rows)
        else:
            self._retention = retention or Retention()

    def add(self, rows: Sequence[ActivityRow]) -> None:
        """Commit these rows in one transaction and give them their ids, in order.

        Ids follow the greatest one ever used in this database, by whomever.  Raises sqlite3.Error.
        """
        with self._write_lock, _transaction(self._writer, "BEGIN IMMEDIATE"):
            for activity_id, row in enumerate(rows, start=self._greatest_id() + 1):
                row.id = activity_id
            self._writer.executemany(_INSERT_ACTIVITY, [_activity_values(row) for row in rows])
            self._writer.executemany(_INSERT_DETAILS, [_detail_values(row) for row in rows])
            if self._retention.rows is not None:
                self._delete_up_to(rows[-1].id - self._retention.rows)

    def prune(self, now_at: float) -> None:
        """Delete what the retention no longer covers; `now_at` is the wall clock's seconds."""
        with self._write_lock, _transaction(self._writer, "BEGIN IMMEDIATE"):
            if self._retention.rows is not None:
                self._delete_up_to(self._greatest_id() - self._retention.rows)
            if self._retention.age is not None:
                oldest = int(now_at - self._retention.age)
                self._writer.execute(
                    "DELETE FROM activity_details WHERE activity_id IN"
                    " (SELECT id FROM activity WHERE ts_created < ?)",
                    (oldest,),
                )
                self._writer.execute("DELETE FROM activity WHERE ts_created < ?", (oldest,))

    def page(self, query: ActivityQuery, has_capture: Callable[[Iterable[int]], set[int]]) -> dict[str, Any]:
        """One page of rows with the totals of everything that the filters match, as the API shows it.

        `has_capture` says which of some ids have a capture right now.
        """
        where, values = query.where()
        direction = "DESC" if query.descending else "ASC"
        order = f"{SORT_COLUMNS[query.sort]} {direction}"
        if query.sort != "id":
            order += f", id {direction}"
        with self._read_lock, _transaction(self._reader, "BEGIN"):
            (total,) = self._reader.execute(f"SELECT count(*) {_FROM} WHERE {where}", values).fetchone()
            found = self._reader.execute(
                f"SELECT {_ALL_COLUMNS} {_FROM} WHERE {where} ORDER BY {order} LIMIT ? OFFSET ?",
                [*values, query.limit, (query.page - 1) * query.limit],
            ).fetchall()
        rows = [_row(values) for values in found]
        captured = has_capture([row.id for row in rows])
        return {
            "data": [row.json(has_capture=row.id in captured) for row in rows],
            "page": query.page,
            "limit": query.limit,
            "total": total,
            "total_pages": -(-total // query.limit),
        }

    def statistics(self, model: str = "") -> dict[str, Any]:
        """Totals and histograms of one model, of all models if `model` is ""."""
        with self._read_lock, _transaction(self._reader, "BEGIN"):
            return statistics(self._reader, model)

    def close(self) -> None:
        """Close the database; a file is then complete without its -wal."""
        with self._read_lock:
            if self._reader is not self._writer:
                self._reader.close()
        with self._write_lock:
            self._writer.close()

    def _greatest_id(self) -> int:
        row = self._writer.execute("SELECT seq FROM sqlite_sequence WHERE name = 'activity'").fetchone()
        return int(row[0]) if row else 0

    def _delete_up_to(self, last_id: int) -> None:
        self._writer.execute("DELETE FROM activity WHERE id <= ?", (last_id,))
        self._writer.execute("DELETE FROM activity_details WHERE activity_id <= ?", (last_id,))


def _connect(database: str) -> sqlite3.Connection:
    # Transactions are begun and ended here, by name; and connections serve several threads, one at a time.
    return sqlite3.connect(database, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False)


def _use_wal(connection: sqlite3.Connection) -> None:
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise StoreError(f"cannot switch to write-ahead logging, journal mode is {mode}")
    # Enough to survive the end of this process; only a power cut can cost the last commits.
    connection.execute("PRAGMA synchronous = NORMAL")


@contextmanager
def _transaction(connection: sqlite3.Connection, begin: str) -> Iterator[None]:
    connection.execute(begin)
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


_FROM = "FROM activity LEFT JOIN activity_details ON activity_id = id"
_ALL_COLUMNS = ", ".join((*ACTIVITY_COLUMNS, *DETAIL_COLUMNS[1:]))
_INSERT_ACTIVITY = (
    f"INSERT INTO activity ({', '.join(ACTIVITY_COLUMNS)}) VALUES ({', '.join('?' * len(ACTIVITY_COLUMNS))})"
)
_INSERT_DETAILS = (
    f"INSERT OR REPLACE INTO activity_details ({', '.join(DETAIL_COLUMNS)})"
    f" VALUES ({', '.join('?' * len(DETAIL_COLUMNS))})"
)


def _activity_values(row: ActivityRow) -> tuple[object, ...]:
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


def _detail_values(row: ActivityRow) -> tuple[object, ...]:
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
    )


def _row(values: Sequence[Any]) -> ActivityRow:
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
    (first_byte_ms, first_token_ms, resp_bytes, measured_prompt, measured_generated) = late
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
