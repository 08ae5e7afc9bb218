"""The query parameters of the activity page and their published refusals."""

from __future__ import annotations

import sqlite3

import pytest

from swapyard.errors import Fault, RequestError
from swapyard.observe.activity_query import MOST_VALUES, ActivityQuery, parse_query


@pytest.mark.parametrize(
    ("parameters", "refusal"),
    [
        ({"start": "yesterday"}, "invalid 'start' timestamp, use RFC3339 format"),
        ({"end": "2026-08-22"}, "invalid 'end' timestamp, use RFC3339 format"),
        ({"end": "2026-08-22T09:15:02"}, "invalid 'end' timestamp, use RFC3339 format"),
        ({"start": "2026-08-22T09:15:02Z", "end": "2026-08-22T09:15:01Z"}, "start must be before end"),
        ({"min_id": "0"}, "min_id must be >= 1"),
        ({"max_id": "x"}, "max_id must be >= 1"),
        ({"min_id": "3", "max_id": "2"}, "min_id must be <= max_id"),
        ({"limit": "many"}, "invalid limit"),
        ({"limit": "0"}, "limit must be between 1 and 999"),
        ({"limit": "1000"}, "limit must be between 1 and 999"),
        ({"page": "0"}, "page must be >= 1"),
        ({"page": "9" * 30}, "page must be >= 1"),
        ({"sort": "colour"}, "invalid sort column"),
        ({"order": "up"}, "order must be asc or desc"),
        ({"status": "bad"}, "status must be a code like 502 or a class like 5xx"),
    ],
)
def test_a_bad_parameter_is_refused_in_the_published_words(parameters: dict[str, str], refusal: str) -> None:
    with pytest.raises(RequestError) as refused:
        parse_query(list(parameters.items()))
    assert refused.value.message == refusal
    assert refused.value.fault is Fault.BAD_REQUEST


def test_nothing_asks_for_the_first_page_of_everything() -> None:
    assert parse_query([]) == ActivityQuery()


def test_blank_and_unknown_parameters_count_as_absent() -> None:
    assert parse_query([("page", " "), ("model", ""), ("colour", "red")]) == ActivityQuery()


def test_models_may_repeat_and_are_trimmed() -> None:
    assert parse_query([("model", " a "), ("model", "b")]).models == ("a", "b")


@pytest.mark.parametrize("name", ["model", "status", "path", "key", "session"])
def test_a_filter_has_no_more_values_than_the_database_takes(name: str) -> None:
    terms, values = parse_query([(name, "200")] * MOST_VALUES).where()
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE a (model_id, resp_status_code, req_path, api_key, session)")
    assert connection.execute(f"SELECT * FROM a WHERE {terms}", values).fetchall() == []
    connection.close()
    with pytest.raises(RequestError, match=f"at most {MOST_VALUES} values of {name}"):
        parse_query([(name, "200")] * (MOST_VALUES + 1))


def test_instants_are_compared_on_whole_seconds() -> None:
    query = parse_query([("start", "1970-01-01T00:00:10.9Z"), ("end", "1970-01-01T01:00:10.1+01:00")])
    assert (query.start, query.end) == (10, 10)


def test_order_is_read_in_any_case() -> None:
    assert parse_query([("order", "ASC"), ("sort", "time")]) == ActivityQuery(sort="time", descending=False)
