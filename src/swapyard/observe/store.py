"""The activity log in SQLite: rows go in in batches, pages and statistics come out."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swapyard.observe.activity import ActivityRow
from swapyard.observe.activity_query import SORT_COLUMNS, ActivityQuery
from swapyard.observe.activity_table import (
    COLUMNS,
    FROM,
    INSERT_AT_ONCE,
    activity_values,
    detail_values,
    insert_activity,
    insert_details,
    row_from,
)
from swapyard.observe.schema import StoreError, prepare
from swapyard.observe.statistics import statistics

DEFAULT_ROWS_IN_MEMORY = 1000

BUSY_TIMEOUT = 5.0
"""Seconds that another program may hold the file before a write of ours is given up."""


_LONG = 0.25
"""Seconds from which on working out statistics is too much for every second."""


@dataclass(frozen=True, slots=True)
class Retention:
    """How much of the log stays: the newest `rows`, and none older than `age` seconds; None: no limit."""

    rows: int | None = None
    age: float | None = None


class ActivityStore:
    """Every method may block; call them from threads, in any number of them.

    A file has three connections: rows go in, pages come out and statistics are worked out
    beside each other, none waiting for another (WAL).  A database in memory lives in one
    connection, is small, and takes the rows in when somebody looks.
    """

    def __init__(
        self,
        writer: _Connection,
        pages: _Connection,
        figures: _Connection,
        retention: Retention,
        path: Path | None,
        clock: Callable[[], float],
    ) -> None:
        self.path = path
        self._writer = writer
        self._pages = pages
        self._figures = figures
        self._retention = retention
        self._clock = clock
        # Statistics that took long, by model: when they stop being good enough, and what they were.
        self._known: dict[str, tuple[float, dict[str, Any]]] = {}
        # Of a file: which one is open, and whether it has to be opened again.
        self._file = _file_at(path)
        self._is_lost = False

    @classmethod
    def open(
        cls,
        path: Path | None,
        *,
        rows_in_memory: int = DEFAULT_ROWS_IN_MEMORY,
        retention: Retention | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> ActivityStore:
        """Open or create the log; None keeps it in memory, `rows_in_memory` rows of it (<= 0: the default).

        `retention` is for files; without it a file is never pruned.  Raises StoreError.
        """
        if path is None:
            rows = rows_in_memory if rows_in_memory > 0 else DEFAULT_ROWS_IN_MEMORY
            only = _MemoryConnection()
            prepare(only.sqlite)
            return cls(only, only, only, Retention(rows=rows), None, clock)
        writer, pages, figures = _connections(path)
        return cls(writer, pages, figures, retention or Retention(), path, clock)

    def set_retention(self, *, rows_in_memory: int, retention: Retention | None) -> None:
        """Take over changed limits; they apply from the next `prune` on."""
        if self.path is None:
            rows = rows_in_memory if rows_in_memory > 0 else DEFAULT_ROWS_IN_MEMORY
            self._retention = Retention(rows=rows)
        else:
            self._retention = retention or Retention()

    def add(self, rows: Sequence[ActivityRow]) -> None:
        """Give these rows their ids, in order, and commit them: in a file at once, in one transaction.

        Ids follow the greatest one ever used in this database, by whomever.  Raises StoreError when the log
        cannot be written now; a file that has gone or is broken is then opened again with the next attempt.
        """
        with self._translated(mends=True):
            if self._is_lost or self._has_moved():
                self._reopen()
            self._writer.add(rows, self._retention.rows)

    def prune(self, now_at: float) -> None:
        """Delete what the retention no longer covers; `now_at` is the wall clock's seconds."""
        with self._translated(), self._writer.transaction("BEGIN IMMEDIATE") as database:
            if self._retention.rows is not None:
                _delete_up_to(database, _greatest_id(database) - self._retention.rows)
            if self._retention.age is not None:
                _delete_before(database, int(now_at - self._retention.age))

    def page(self, query: ActivityQuery, has_capture: Callable[[Iterable[int]], set[int]]) -> dict[str, Any]:
        """One page of rows with the totals of everything that the filters match, as the API shows it.

        `has_capture` says which of some ids have a capture right now.
        """
        where, values = query.where()
        direction = "DESC" if query.descending else "ASC"
        order = f"{SORT_COLUMNS[query.sort]} {direction}"
        if query.sort != "id":
            order += f", id {direction}"
        with self._translated(), self._pages.transaction("BEGIN") as database:
            (total,) = database.execute(f"SELECT count(*) {FROM} WHERE {where}", values).fetchone()
            found = database.execute(
                f"SELECT {COLUMNS} {FROM} WHERE {where} ORDER BY {order} LIMIT ? OFFSET ?",
                [*values, query.limit, (query.page - 1) * query.limit],
            ).fetchall()
        rows = [row_from(values) for values in found]
        captured = has_capture([row.id for row in rows])
        return {
            "data": [row.json(has_capture=row.id in captured) for row in rows],
            "page": query.page,
            "limit": query.limit,
            "total": total,
            "total_pages": -(-total // query.limit),
        }

    def statistics(self, model: str = "") -> dict[str, Any]:
        """Totals and histograms of one model, of all models if `model` is "".

        Of millions of rows they take seconds, and watchers ask every second: what took long is
        given again for ten times as long as it took.
        """
        with self._translated(), self._figures.transaction("BEGIN") as database:
            began = self._clock()
            good_until, known = self._known.get(model, (0.0, {}))
            if began < good_until:
                return known
            figures = statistics(database, model)
            took = self._clock() - began
            self._known.pop(model, None)
            if took > _LONG:
                self._known[model] = (began + 11 * took, figures)
        return figures

    def close(self) -> None:
        """Close the database; a file is then complete without its -wal."""
        for connection in (self._figures, self._pages, self._writer):
            connection.close()

    def _has_moved(self) -> bool:
        """Whether the file that is open is not the one of that name any more: SQLite would not notice."""
        return self.path is not None and _file_at(self.path) != self._file

    def _reopen(self) -> None:
        """Open the file again, or make it anew; what was open is closed before, for it would take its
        successor's -wal along.  Raises StoreError."""
        assert self.path is not None
        self._is_lost = True
        self.close()
        self._writer, self._pages, self._figures = _connections(self.path)
        self._file = _file_at(self.path)
        self._known.clear()
        self._is_lost = False

    @contextmanager
    def _translated(self, *, mends: bool = False) -> Iterator[None]:
        """What is wrong with the file or its disk becomes StoreError; a wrong statement or value is a bug."""
        try:
            yield
        except sqlite3.Error as error:
            if not _is_about_the_file(error):
                raise
            if mends and self.path is not None and not _passes_by_itself(error):
                self._is_lost = True
            raise StoreError(f"{self.path or 'in memory'}: {error}") from error


class _Connection:
    """A connection that serves several threads, one at a time."""

    def __init__(self, database: str) -> None:
        # Transactions are begun and ended below, by name.
        self.sqlite = sqlite3.connect(
            database, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False
        )
        self._lock = threading.Lock()

    @contextmanager
    def transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self.sqlite.execute(begin)
            try:
                yield self.sqlite
                self.sqlite.execute("COMMIT")
            except BaseException:
                if self.sqlite.in_transaction:
                    self.sqlite.execute("ROLLBACK")
                raise

    def add(self, rows: Sequence[ActivityRow], limit: int | None) -> None:
        """Commit these rows with their new ids; no more than the newest `limit` rows stay."""
        with self.transaction("BEGIN IMMEDIATE") as database:
            for activity_id, row in enumerate(rows, start=_greatest_id(database) + 1):
                row.id = activity_id
            _insert(database, rows)
            if limit is not None:
                _delete_up_to(database, rows[-1].id - limit)

    def close(self) -> None:
        with self._lock:
            self.sqlite.close()


class _MemoryConnection(_Connection):
    """A database in memory; nobody but this connection writes into it.

    Most rows come and go without being looked at.  They wait outside until a transaction begins.
    """

    def __init__(self) -> None:
        super().__init__(":memory:")
        self._waiting: deque[ActivityRow] = deque()
        self._limit: int | None = None
        self._last_id = 0

    @contextmanager
    def transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        self._take_in()
        with super().transaction(begin) as database:
            yield database

    def add(self, rows: Sequence[ActivityRow], limit: int | None) -> None:
        with self._lock:
            for row in rows:
                self._last_id += 1
                row.id = self._last_id
            self._limit = limit
            self._waiting.extend(rows)
            while limit is not None and len(self._waiting) > limit:
                self._waiting.popleft()

    def _take_in(self) -> None:
        with self._lock:
            rows = list(self._waiting)
            self._waiting.clear()
            _insert(self.sqlite, rows)
            if rows and self._limit is not None:
                _delete_up_to(self.sqlite, self._last_id - self._limit)


def _connections(path: Path) -> tuple[_Connection, _Connection, _Connection]:
    """A writer, and two readers beside it.  Raises StoreError, with nothing left open."""
    opened: list[_Connection] = []
    try:
        opened.append(_Connection(str(path)))
        _use_wal(opened[0].sqlite)
        prepare(opened[0].sqlite)
        opened += [_Connection(str(path)), _Connection(str(path))]
    except (sqlite3.Error, StoreError) as error:
        for connection in opened:
            connection.close()
        raise StoreError(f"{path}: {error}") from error
    return opened[0], opened[1], opened[2]


def _file_at(path: Path | None) -> tuple[int, int] | None:
    """What tells the file of this name from every other; None when there is none."""
    if path is None:
        return None
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _is_about_the_file(error: sqlite3.Error) -> bool:
    if isinstance(error, sqlite3.OperationalError) or type(error) is sqlite3.DatabaseError:
        return True
    return isinstance(error, sqlite3.ProgrammingError) and "closed database" in str(error)


def _passes_by_itself(error: sqlite3.Error) -> bool:
    """Whether the same connections may work later: a lock, a full disk, a lack of memory."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    return code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_NOMEM)


def _use_wal(connection: sqlite3.Connection) -> None:
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise StoreError(f"cannot switch to write-ahead logging, journal mode is {mode}")
    # Enough to survive the end of this process; only a power cut can cost the last commits.
    connection.execute("PRAGMA synchronous = NORMAL")


def _insert(database: sqlite3.Connection, rows: Sequence[ActivityRow]) -> None:
    for start in range(0, len(rows), INSERT_AT_ONCE):
        some = rows[start : start + INSERT_AT_ONCE]
        values = [value for row in some for value in activity_values(row)]
        database.execute(insert_activity(len(some)), values)
        values = [value for row in some for value in detail_values(row)]
        database.execute(insert_details(len(some)), values)


def _greatest_id(database: sqlite3.Connection) -> int:
    row = database.execute("SELECT seq FROM sqlite_sequence WHERE name = 'activity'").fetchone()
    return int(row[0]) if row else 0


def _delete_up_to(database: sqlite3.Connection, last_id: int) -> None:
    database.execute("DELETE FROM activity WHERE id <= ?", (last_id,))
    database.execute("DELETE FROM activity_details WHERE activity_id <= ?", (last_id,))


def _delete_before(database: sqlite3.Connection, created_at: int) -> None:
    database.execute(
        "DELETE FROM activity_details WHERE activity_id IN (SELECT id FROM activity WHERE ts_created < ?)",
        (created_at,),
    )
    database.execute("DELETE FROM activity WHERE ts_created < ?", (created_at,))
