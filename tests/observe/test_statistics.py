"""Sums and histograms, by the published vectors."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest

from swapyard.observe.schema import prepare
from swapyard.observe.statistics import statistics


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    opened = sqlite3.connect(":memory:", isolation_level=None)
    prepare(opened)
    yield opened
    opened.close()


def fill(connection: sqlite3.Connection, speeds: list[float], model: str = "m") -> None:
    connection.executemany(
        "INSERT INTO activity (ts_created, model_id, tokens_per_second) VALUES (1, ?, ?)",
        [(model, speed) for speed in speeds],
    )


def generated(connection: sqlite3.Connection, model: str = "") -> Any:
    return statistics(connection, model)["gen_histogram"]


def test_without_values_there_is_no_histogram(connection: sqlite3.Connection) -> None:
    """Vector A1."""
    fill(connection, [0, -1])
    assert generated(connection) is None


def test_one_value_is_one_bin(connection: sqlite3.Connection) -> None:
    """Vector A2."""
    fill(connection, [5])
    assert generated(connection) == {
        "bins": [1],
        "min": 5,
        "max": 5,
        "binSize": 0,
        "p50": 5,
        "p95": 5,
        "p99": 5,
    }


def test_equal_values_are_one_bin(connection: sqlite3.Connection) -> None:
    """Vector A3."""
    fill(connection, [5, 5, 5])
    assert (generated(connection)["bins"], generated(connection)["binSize"]) == ([3], 0)


def test_ten_values_fill_five_bins(connection: sqlite3.Connection) -> None:
    """Vector A4."""
    fill(connection, [float(value) for value in range(1, 11)])
    assert generated(connection) == {
        "bins": [2, 2, 2, 2, 2],
        "min": 1,
        "max": 10,
        "binSize": 1.8,
        "p50": 5.5,
        "p95": 9.549999999999999,
        "p99": 9.91,
    }


def test_two_values_lie_in_the_outer_bins(connection: sqlite3.Connection) -> None:
    """Vector A5."""
    fill(connection, [30, 10])
    assert generated(connection) == {
        "bins": [1, 0, 0, 0, 1],
        "min": 10,
        "max": 30,
        "binSize": 4,
        "p50": 20,
        "p95": 29,
        "p99": pytest.approx(29.8),
    }


def test_a_hundred_thousand_values_fill_eighteen_bins(connection: sqlite3.Connection) -> None:
    """Vector A6, one higher: a query leaves out the 0 that is among its values."""
    fill(connection, [float(value) for value in range(1, 100_001)])
    shown = generated(connection)
    assert (len(shown["bins"]), sum(shown["bins"]), shown["binSize"], shown["p50"]) == (
        18,
        100_000,
        5555.5,
        50_000.5,
    )


def test_two_values_next_to_each_other_do_not_break_a_histogram(connection: sqlite3.Connection) -> None:
    fill(connection, [5e-324, 1e-323])
    assert sum(generated(connection)["bins"]) == 2


def test_sums_leave_out_what_was_not_reported(connection: sqlite3.Connection) -> None:
    connection.executemany(
        "INSERT INTO activity (ts_created, model_id, input_tokens, output_tokens, cache_tokens)"
        " VALUES (1, ?, ?, ?, ?)",
        [("a", 1, 10, -1), ("a", 2, 20, 7), ("b", 4, 40, 100)],
    )
    shown = statistics(connection, "a")
    assert {name: shown[name] for name in shown if name.startswith("total")} == {
        "total_requests": 2,
        "total_input_tokens": 3,
        "total_output_tokens": 30,
        "total_cache_tokens": 7,
    }
    assert statistics(connection, "")["total_requests"] == 3
    assert statistics(connection, "nobody")["total_input_tokens"] == 0


def test_a_histogram_is_of_one_model_if_asked(connection: sqlite3.Connection) -> None:
    fill(connection, [10, 20], "a")
    fill(connection, [1000], "b")
    assert generated(connection, "a")["max"] == 20
