"""The activity log in real SQLite files: paging, ids, retention, other programs' files, a killed writer."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from swapyard.observe.activity import ActivityRow
from swapyard.observe.activity_query import ActivityQuery
from swapyard.observe.schema import StoreError
from swapyard.observe.store import ActivityStore, Retention
from swapyard.observe.timestamps import rfc3339
from swapyard.observe.tokens import Tokens


def row(model: str = "m", created_at: float = 1000, **facts: Any) -> ActivityRow:
    members: dict[str, Any] = {
        "id": 0,
        "created_at": created_at,
        "model": model,
        "req_path": "/v1/chat/completions",
        "resp_content_type": "application/json",
        "resp_status_code": 200,
        "tokens": Tokens(5, 6, -1, -1, -1, 100.5, 20.25),
        "duration_ms": 12,
        "error_msg": "",
        "metadata": {},
        "request_id": "r-1",
    }
    return ActivityRow(**{**members, **facts})


def ids(store: ActivityStore, **query: Any) -> list[int]:
    page = store.page(ActivityQuery(**query), lambda _: set())
    return [shown["id"] for shown in page["data"]]


@pytest.fixture
def store() -> Iterator[ActivityStore]:
    opened = ActivityStore.open(None)
    yield opened
    opened.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "activity.db"


def reference_database(path: Path, rows: int) -> None:
    """A file as the reference leaves it, made from its documented layout."""
    connection = sqlite3.connect(path)
    connection.executescript(
        """
        PRAGMA journal_mode = WAL;
        CREATE TABLE goose_db_version (id INTEGER PRIMARY KEY AUTOINCREMENT, version_id INTEGER NOT NULL,
            is_applied INTEGER NOT NULL, tstamp TIMESTAMP DEFAULT (datetime('now')));
        INSERT INTO goose_db_version (version_id, is_applied) VALUES (0, 1), (1, 1);
        CREATE TABLE activity (id INTEGER PRIMARY KEY AUTOINCREMENT, ts_created INTEGER NOT NULL,
            model_id TEXT NOT NULL, req_path TEXT NOT NULL DEFAULT '',
            resp_content_type TEXT NOT NULL DEFAULT '',
            resp_status_code INTEGER NOT NULL DEFAULT 0, cache_tokens INTEGER NOT NULL DEFAULT 0,
            draft_tokens INTEGER NOT NULL DEFAULT 0, draft_acc_tokens INTEGER NOT NULL DEFAULT 0,
            input_tokens INTEGER NOT NULL DEFAULT 0, output_tokens INTEGER NOT NULL DEFAULT 0,
            prompt_per_second REAL NOT NULL DEFAULT 0, tokens_per_second REAL NOT NULL DEFAULT 0,
            duration_ms INTEGER NOT NULL DEFAULT 0, error_msg TEXT NOT NULL DEFAULT '',
            metadata_json TEXT NOT NULL DEFAULT '');
        CREATE INDEX idx_activity_created_id ON activity (ts_created DESC, id DESC);
        CREATE INDEX idx_activity_model_created_id ON activity (model_id, ts_created DESC, id DESC);
        """
    )
    for number in range(rows):
        connection.execute(
            "INSERT INTO activity (ts_created, model_id, req_path, input_tokens, metadata_json)"
            " VALUES (?, 'old', '/v1/messages', ?, '{\"selector\":\"s\"}')",
            (1000 + number, number),
        )
    connection.commit()
    connection.close()


def test_a_row_comes_back_as_the_api_shows_it(store: ActivityStore) -> None:
    store.add(
        [
            row(
                error_msg="broke",
                metadata={"selector": "best"},
                queue_ms=1.5,
                key="abc",
                session="s-1",
                arrived_at=999.5,
            )
        ]
    )
    (shown,) = store.page(ActivityQuery(), lambda ids: set(ids))["data"]
    assert shown.pop("timestamp").startswith("1970-01-01T")
    assert shown.pop("details") == {
        "request_id": "r-1",
        "arrived_at": rfc3339(999.5),
        "requested_model": "",
        "key": "abc",
        "session": "s-1",
        "wait_reason": "",
        "queue_ms": 1.5,
        "load_ms": None,
        "relay_ms": None,
        "first_byte_ms": None,
        "first_token_ms": None,
        "resp_bytes": 0,
        "measured_prompt_per_second": None,
        "measured_tokens_per_second": None,
    }
    assert shown == {
        "id": 1,
        "model": "m",
        "req_path": "/v1/chat/completions",
        "resp_content_type": "application/json",
        "resp_status_code": 200,
        "tokens": {
            "cache_tokens": -1,
            "draft_tokens": -1,
            "draft_acc_tokens": -1,
            "input_tokens": 5,
            "output_tokens": 6,
            "prompt_per_second": 100.5,
            "tokens_per_second": 20.25,
        },
        "duration_ms": 12,
        "has_capture": True,
        "error_msg": "broke",
        "metadata": {"selector": "best"},
    }


def test_empty_members_are_left_out_of_a_row(store: ActivityStore) -> None:
    store.add([row(request_id="")])
    (shown,) = store.page(ActivityQuery(), lambda _: set())["data"]
    assert not {"error_msg", "metadata", "details"} & shown.keys()
    assert shown["has_capture"] is False


@pytest.mark.parametrize(("rows", "pages"), [(0, 0), (1, 1), (25, 1), (26, 2)])
def test_pages_are_counted_up(store: ActivityStore, rows: int, pages: int) -> None:
    """Vector A7."""
    if rows:
        store.add([row() for _ in range(rows)])
    page = store.page(ActivityQuery(), lambda _: set())
    assert (page["total"], page["total_pages"], page["page"], page["limit"]) == (rows, pages, 1, 25)
    assert store.page(ActivityQuery(page=pages + 1), lambda _: set())["data"] == []


def test_only_the_newest_rows_stay_in_memory() -> None:
    """Vector A8."""
    store = ActivityStore.open(None, rows_in_memory=2)
    for _ in range(5):
        store.add([row()])
    assert ids(store) == [5, 4]
    store.close()


def test_rows_in_memory_that_nobody_looked_at_and_those_that_were_are_one_log() -> None:
    store = ActivityStore.open(None, rows_in_memory=4)
    store.add([row("a") for _ in range(3)])
    assert ids(store) == [3, 2, 1]
    store.add([row("b"), row("b")])
    store.add([row("b")])
    assert ids(store) == [6, 5, 4, 3]
    assert store.statistics("a")["total_requests"] == 1
    assert store.statistics("b")["total_requests"] == 3
    store.add([row() for _ in range(9)])
    store.set_retention(rows_in_memory=2, retention=None)
    store.add([row()])
    assert ids(store) == [16, 15]
    store.close()


def test_a_lower_cap_takes_rows_away_that_were_looked_at() -> None:
    store = ActivityStore.open(None, rows_in_memory=5)
    store.add([row() for _ in range(5)])
    assert ids(store) == [5, 4, 3, 2, 1]
    store.set_retention(rows_in_memory=2, retention=None)
    store.prune(now_at=time.time())
    assert ids(store) == [5, 4]
    store.close()


@pytest.mark.parametrize("rows_in_memory", [0, -5])
def test_a_cap_that_is_none_means_a_thousand(rows_in_memory: int) -> None:
    store = ActivityStore.open(None, rows_in_memory=rows_in_memory)
    store.add([row() for _ in range(1200)])
    assert store.statistics()["total_requests"] == 1000
    store.close()


def test_filters_are_joined(store: ActivityStore) -> None:
    """Vector A9."""
    store.add([row(model, 1000 + place) for place, model in enumerate(["m1", "m2", "m1", "m2", "m1"])])
    query = ActivityQuery(models=("m1",), start=1001, min_id=2, max_id=5, limit=1)
    page = store.page(query, lambda _: set())
    assert (page["total"], page["total_pages"], page["data"][0]["id"]) == (2, 2, 5)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"statuses": ("5xx",)}, [2]),
        ({"statuses": ("200", "499")}, [3, 1]),
        ({"paths": ("/infill",)}, [3]),
        ({"keys": ("k1",)}, [1]),
        ({"request_id": "r-2"}, [2]),
        ({"text": "OUT OF MEMORY"}, [2]),
        ({"models": ("m", "other")}, [3, 2, 1]),
        ({"end": 999}, []),
    ],
)
def test_rows_are_found_by_what_is_known_of_them(
    store: ActivityStore, query: dict[str, Any], found: list[int]
) -> None:
    store.add(
        [
            row(key="k1"),
            row(resp_status_code=502, error_msg="out of memory", request_id="r-2"),
            row(resp_status_code=499, req_path="/infill"),
        ]
    )
    assert ids(store, **query) == found


def test_ties_are_broken_by_id_in_the_same_direction(store: ActivityStore) -> None:
    store.add([row(duration_ms=7), row(duration_ms=3), row(duration_ms=7)])
    assert ids(store, sort="duration") == [3, 1, 2]
    assert ids(store, sort="duration", descending=False) == [2, 1, 3]


def test_ids_are_never_used_twice(path: Path) -> None:
    store = ActivityStore.open(path, retention=Retention(age=10))
    store.add([row(created_at=1000) for _ in range(3)])
    store.prune(now_at=5000)
    store.close()
    store = ActivityStore.open(path)
    store.add([row()])
    assert ids(store) == [4]
    store.close()


def test_a_file_is_written_ahead_and_whole_after_closing(path: Path) -> None:
    store = ActivityStore.open(path)
    store.add([row()])
    look = sqlite3.connect(path)
    assert look.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    look.close()
    store.close()
    assert [file.name for file in path.parent.iterdir()] == ["activity.db"]


def test_a_file_is_not_pruned_unless_asked(path: Path) -> None:
    store = ActivityStore.open(path, rows_in_memory=2)
    store.add([row(created_at=1) for _ in range(30)])
    store.prune(now_at=time.time())
    assert store.statistics()["total_requests"] == 30
    store.close()


def test_retention_deletes_by_rows_and_by_age_with_their_details(path: Path) -> None:
    store = ActivityStore.open(path, retention=Retention(rows=4, age=100))
    store.add([row(created_at=at) for at in (1, 1, 500, 890, 950, 1000)])
    assert ids(store) == [6, 5, 4, 3]
    store.prune(now_at=1000)
    assert ids(store) == [6, 5]
    store.close()
    look = sqlite3.connect(path)
    assert look.execute("SELECT activity_id FROM activity_details").fetchall() == [(5,), (6,)]
    look.close()


def test_a_file_of_the_reference_is_read_and_continued(path: Path) -> None:
    reference_database(path, rows=3)
    store = ActivityStore.open(path)
    store.add([row("new", 2000)])
    page = store.page(ActivityQuery(), lambda _: set())
    assert [(shown["id"], shown["model"]) for shown in page["data"]] == [
        (4, "new"),
        (3, "old"),
        (2, "old"),
        (1, "old"),
    ]
    assert page["data"][1]["metadata"] == {"selector": "s"}
    assert "details" not in page["data"][1]
    store.close()


def test_the_reference_can_go_on_with_a_file_of_ours(path: Path) -> None:
    store = ActivityStore.open(path)
    store.add([row()])
    store.close()
    reference = sqlite3.connect(path)
    versions = reference.execute("SELECT version_id, is_applied FROM goose_db_version ORDER BY id").fetchall()
    assert versions == [(0, 1), (1, 1)]
    columns = [column[1] for column in reference.execute("PRAGMA table_info(activity)")]
    assert columns[0] == "id" and columns[-1] == "metadata_json" and len(columns) == 16
    reference.execute("INSERT INTO activity (ts_created, model_id) VALUES (3000, 'theirs')")
    reference.commit()
    reference.close()
    store = ActivityStore.open(path)
    assert ids(store) == [2, 1]
    store.add([row()])
    assert ids(store) == [3, 2, 1]
    store.close()


def test_a_missing_record_of_the_migrations_is_completed(path: Path) -> None:
    reference_database(path, rows=1)
    connection = sqlite3.connect(path)
    connection.execute("DROP TABLE goose_db_version")
    connection.commit()
    connection.close()
    ActivityStore.open(path).close()
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT version_id FROM goose_db_version").fetchall() == [(0,), (1,)]
    connection.close()


def test_a_file_of_a_version_without_sessions_gets_the_column_and_keeps_its_rows(path: Path) -> None:
    store = ActivityStore.open(path)
    store.add([row("old")])
    store.close()
    connection = sqlite3.connect(path)
    connection.execute("ALTER TABLE activity_details DROP COLUMN session")
    connection.commit()
    connection.close()
    store = ActivityStore.open(path)
    store.add([row("new", session="s-1")])
    page = store.page(ActivityQuery(), lambda _: set())
    assert [shown["details"]["session"] for shown in page["data"]] == ["s-1", ""]
    store.close()


def test_rows_are_found_by_session(store: ActivityStore) -> None:
    store.add([row(session="a"), row(session="b"), row()])
    assert ids(store, sessions=("a",)) == [1]
    assert ids(store, sessions=("a", "b")) == [2, 1]
    assert ids(store, text="B") == [2]


def test_a_table_of_another_shape_is_refused_by_name(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE activity (id INTEGER PRIMARY KEY, ts_created INTEGER, model_id TEXT)")
    connection.commit()
    connection.close()
    with pytest.raises(StoreError, match="no column req_path"):
        ActivityStore.open(path)


def test_a_file_that_is_no_database_is_refused(path: Path) -> None:
    path.write_bytes(b"this is a diary, not a database" * 100)
    with pytest.raises(StoreError, match=r"activity\.db: file is not a database"):
        ActivityStore.open(path)


def test_a_batch_is_committed_whole_or_not_at_all(path: Path) -> None:
    store = ActivityStore.open(path)
    with pytest.raises(sqlite3.Error):
        store.add([row(), row(error_msg=None)])
    assert ids(store) == []
    store.add([row()])
    assert ids(store) == [1]


def test_reading_a_file_does_not_wait_for_a_writer(path: Path) -> None:
    store = ActivityStore.open(path)
    store.add([row()])
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    assert ids(store) == [1]
    assert time.monotonic() - began < 2
    other.execute("ROLLBACK")
    other.close()
    store.close()


def test_many_threads_may_read_while_one_writes(path: Path) -> None:
    store = ActivityStore.open(path)
    store.add([row()])
    failures: list[Exception] = []

    def look() -> None:
        try:
            for _ in range(30):
                assert ids(store)
                assert store.statistics()["total_requests"] >= 1
        except Exception as failure:
            failures.append(failure)

    readers = [threading.Thread(target=look) for _ in range(4)]
    for reader in readers:
        reader.start()
    for _ in range(30):
        store.add([row() for _ in range(10)])
    for reader in readers:
        reader.join()
    assert failures == []
    store.close()


KILLED = """
import asyncio, sys, time
from pathlib import Path
from swapyard.observe.captures import Captures
from swapyard.observe.recorder import Recorder
from swapyard.observe.store import ActivityStore

async def main():
    recorder = Recorder(ActivityStore.open(Path(sys.argv[1])), Captures(), publish=lambda notice: None)
    recorder.start()
    number = 0
    while True:
        for _ in range(20):
            number += 1
            exchange = recorder.begin(method="POST", path="/v1/chat/completions", model=f"m{number}")
            exchange.answered(200, [(b"content-type", b"application/json")])
            exchange.body(b'{"usage":{"prompt_tokens":1}}')
            recorder.end(exchange)
            print(number, time.time(), flush=True)
        await asyncio.sleep(0.01)

asyncio.run(main())
"""


def test_a_killed_process_leaves_every_row_older_than_a_second(path: Path) -> None:
    writer = subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    ended: list[tuple[int, float]] = []
    for line in writer.stdout:
        number, at = line.split()
        ended.append((int(number), float(at)))
        if ended[-1][1] > ended[0][1] + 2 and len(ended) > 200:
            break
    killed_at = time.time()
    os.kill(writer.pid, signal.SIGKILL)
    writer.stdout.close()
    writer.wait(10)
    store = ActivityStore.open(path)
    total = store.statistics()["total_requests"]
    assert total >= sum(at < killed_at - 1 for _, at in ended) > 0
    look = sqlite3.connect(path)
    models = [model for (model,) in look.execute("SELECT model_id FROM activity ORDER BY id")]
    look.close()
    assert models == [f"m{number}" for number in range(1, total + 1)]
    store.close()


def test_statistics_that_took_long_are_given_again_for_a_while(path: Path) -> None:
    ticks = iter([0, 1, 5, 10.9, 11.1, 12.1])
    store = ActivityStore.open(path, clock=lambda: next(ticks))
    store.add([row()])
    assert store.statistics()["total_requests"] == 1
    store.add([row()])
    assert store.statistics()["total_requests"] == 1
    assert store.statistics()["total_requests"] == 1
    assert store.statistics()["total_requests"] == 2
    store.close()
