"""The last hour of the yard: spans of states, counters, and what is forgotten."""

from __future__ import annotations

from typing import Any

from swapyard.observe.timestamps import rfc3339
from swapyard.observe.yard import ENTRIES_PER_LANE, Yard
from swapyard.types import ModelId, State

A, B = ModelId("a"), ModelId("b")
NOW = 1_800_000_000.0
HOUR = 3600.0


def lane(yard: Yard, model: ModelId, now: float) -> dict[str, Any]:
    (found,) = yard.picture([model], now)["lanes"]
    return dict(found)


def counts(entries: list[dict[str, Any]]) -> list[tuple[str, int]]:
    return [(entry["at"], entry["count"]) for entry in entries]


def test_states_become_spans_that_end_where_the_next_begins() -> None:
    yard = Yard()
    yard.state(A, State.STARTING, "asked for", NOW)
    yard.state(A, State.READY, "", NOW + 2)
    assert lane(yard, A, NOW + 3)["spans"] == [
        {"state": "starting", "from": rfc3339(NOW), "to": rfc3339(NOW + 2), "reason": "asked for"},
        {"state": "ready", "from": rfc3339(NOW + 2), "to": None, "reason": ""},
    ]


def test_a_model_without_history_has_an_empty_lane() -> None:
    yard = Yard()
    assert yard.picture([A], NOW) == {
        "now": rfc3339(NOW),
        "since": rfc3339(NOW - HOUR),
        "lanes": [{"model": "a", "spans": [], "serving": [], "waiting": []}],
    }


def test_spans_that_ended_before_the_hour_are_left_out_and_the_current_one_never() -> None:
    yard = Yard()
    yard.state(A, State.READY, "old", NOW)
    yard.state(A, State.STOPPED, "", NOW + 10)
    assert [span["state"] for span in lane(yard, A, NOW + HOUR + 5)["spans"]] == ["ready", "stopped"]
    assert [span["state"] for span in lane(yard, A, NOW + HOUR + 11)["spans"]] == ["stopped"]
    assert [span["state"] for span in lane(yard, A, NOW + 9 * HOUR)["spans"]] == ["stopped"]


def test_counters_are_noted_when_they_change() -> None:
    yard = Yard()
    yard.load(A, 0, 0, "", NOW)
    yard.load(A, 1, 2, "b is served", NOW + 1)
    yard.load(A, 1, 2, "b is served", NOW + 2)
    yard.load(A, 2, 0, "ignored when nobody waits", NOW + 3)
    found = lane(yard, A, NOW + 4)
    assert counts(found["serving"]) == [(rfc3339(NOW + 1), 1), (rfc3339(NOW + 3), 2)]
    assert found["waiting"] == [
        {"at": rfc3339(NOW + 1), "count": 2, "reason": "b is served"},
        {"at": rfc3339(NOW + 3), "count": 0, "reason": ""},
    ]


def test_a_count_that_has_not_changed_for_an_hour_is_still_in_force() -> None:
    yard = Yard()
    yard.load(A, 3, 1, "for ages", NOW)
    later = NOW + 2 * HOUR
    found = lane(yard, A, later)
    assert counts(found["serving"]) == [(rfc3339(later - HOUR), 3)]
    assert counts(found["waiting"]) == [(rfc3339(later - HOUR), 1)]
    yard.load(A, 1, 0, "", later)
    assert counts(lane(yard, A, later + 1)["serving"]) == [
        (rfc3339(later + 1 - HOUR), 3),
        (rfc3339(later), 1),
    ]


def test_what_is_older_than_an_hour_is_forgotten() -> None:
    yard = Yard()
    for minute in range(600):
        yard.load(A, minute % 2 + 1, 0, "", NOW + 60 * minute)
    assert len(yard._lane(A).serving) <= 62
    assert len(lane(yard, A, NOW + 60 * 599)["serving"]) == 61


def test_a_lane_is_bounded_however_much_happens() -> None:
    yard = Yard()
    for number in range(3 * ENTRIES_PER_LANE):
        yard.load(A, number, 0, "", NOW + number / 1000)
        yard.state(A, State.READY, "", NOW + number / 1000)
    found = lane(yard, A, NOW + 60)
    assert len(found["serving"]) == len(found["spans"]) == ENTRIES_PER_LANE


def test_models_that_are_gone_lose_their_lane() -> None:
    yard = Yard()
    for model in (A, B):
        yard.state(model, State.READY, "", NOW)
    yard.keep_models([B])
    assert lane(yard, A, NOW)["spans"] == [] and lane(yard, B, NOW)["spans"] != []
