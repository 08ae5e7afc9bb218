"""The list of requests under way: what watchers are told, and when."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from swapyard.notices import InflightChanged
from swapyard.observe.exchange import Exchange, Hooks, Phase
from swapyard.observe.header_map import redaction, session_names
from swapyard.observe.inflight import EXPLAINED_LIMIT, NOTICE_LIMIT, UPDATE_PERIOD, InflightList
from swapyard.observe.parts import Parts
from swapyard.observe.timestamps import rfc3339


class Desk:
    """An in-flight list with a clock that is moved by hand, and all that it told."""

    def __init__(self) -> None:
        self.now = 100.0
        self.watched = True
        self.told: list[dict[str, Any]] = []
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.list = InflightList(
            publish=self._publish,
            watched=lambda: self.watched,
            clock=lambda: self.now,
            call_later=lambda delay, function: self.timers.append((self.now + delay, function)),
            redacted=redaction(["X-Secret"]),
            session_names=session_names(("X-Secret", "x-trace-id", "X-Session-ID"), redaction(["X-Secret"])),
        )
        self._ids = 0

    def _publish(self, notice: InflightChanged) -> None:
        self.told.append(notice.payload)

    def begin(self, *headers: tuple[bytes, bytes]) -> Exchange:
        self._ids += 1
        exchange = Exchange(
            exchange_id=self._ids,
            request_id="r",
            method="POST",
            path="/v1/chat/completions",
            recorded_path="/v1/chat/completions",
            model="m",
            requested="m",
            headers=[
                (b"host", b"here"),
                (b"user-agent", b"demo"),
                (b"authorization", b"Bearer s"),
                (b"x-secret", b"s"),
                *headers,
            ],
            remote_ip="10.0.0.7",
            key="",
            metered=False,
            parts=Parts.NONE,
            arrived=self.now,
            arrived_at=1000 + self.now,
            hooks=Hooks(
                clock=lambda: self.now,
                moved=self.list.moved,
                hand_over=lambda _: None,
                keep_request_body=lambda *_: None,
            ),
        )
        self.list.begin(exchange)
        exchange.identified("m", "m")
        return exchange

    def pass_time(self, seconds: float) -> None:
        until = self.now + seconds
        while self.timers and min(self.timers, key=lambda timer: timer[0])[0] <= until:
            timer = min(self.timers, key=lambda timer: timer[0])
            self.timers.remove(timer)
            self.now = timer[0]
            timer[1]()
        self.now = until

    def operations(self) -> list[str]:
        return [payload["operation"] for payload in self.told]


def test_an_entry_has_the_published_members() -> None:
    desk = Desk()
    exchange = desk.begin()
    desk.now += 0.1315
    exchange.answered(200, [(b"content-type", b"text/plain"), (b"set-cookie", b"a=b")])
    assert desk.told[-1] == {
        "operation": "upsert",
        "request": {
            "id": "1",
            "timestamp": rfc3339(1100),
            "model": "m",
            "req_path": "/v1/chat/completions",
            "method": "POST",
            "req_headers": {"User-Agent": "demo", "Authorization": "[REDACTED]", "X-Secret": "[REDACTED]"},
            "remote_ip": "10.0.0.7",
            "resp_headers": {"Content-Type": "text/plain", "Set-Cookie": "[REDACTED]"},
            "resp_bytes": 0,
            "elapsed_ms": 131,
            "details": {"request_id": "r", "session": "", "phase": "relaying", "wait_reason": ""},
        },
    }


def details(desk: Desk) -> list[dict[str, Any]]:
    return [entry["details"] for entry in desk.list.entries()]


def test_the_session_is_the_first_configured_header_that_is_not_empty_and_not_secret() -> None:
    desk = Desk()
    desk.begin((b"X-SESSION-ID", b"second"), (b"X-Trace-Id", b"first"))
    desk.begin((b"x-session-id", b"second"), (b"x-trace-id", b" "), (b"x-trace-id", b"late"))
    desk.begin((b"x-session-id", b"s" * 1000))
    assert [entry["session"] for entry in details(desk)] == ["first", "late", "s" * 255 + "…"]


def test_a_request_that_waits_says_what_for_until_it_is_granted() -> None:
    desk = Desk()
    exchange = desk.begin()
    standing = (Phase.QUEUED, "waiting for b: 1 in flight")
    exchange.waiting(lambda: standing)
    assert exchange.wait_reason == "waiting for b: 1 in flight"
    standing = (Phase.LOADING, "loading")
    desk.pass_time(UPDATE_PERIOD)
    exchange.granted = desk.now
    desk.pass_time(UPDATE_PERIOD)
    desk.pass_time(UPDATE_PERIOD)
    told = [payload["request"]["details"] for payload in desk.told]
    assert [(one["phase"], one["wait_reason"]) for one in told] == [
        ("relaying", ""),
        ("queued", "waiting for b: 1 in flight"),
        ("loading", "loading"),
        ("relaying", ""),
    ]


def test_of_very_many_that_wait_only_the_first_are_asked() -> None:
    desk = Desk()
    asked: list[str] = []

    def why() -> tuple[Phase, str]:
        asked.append("why")
        return Phase.QUEUED, "why"

    for _ in range(EXPLAINED_LIMIT + 5):
        desk.begin().waits = why
    served = desk.begin()
    entries = details(desk)
    assert len(asked) == EXPLAINED_LIMIT
    assert [entry["wait_reason"] for entry in entries] == ["why"] * EXPLAINED_LIMIT + [""] * 6
    assert [entry["phase"] for entry in entries[-2:]] == ["queued", "relaying"]
    assert served.standing == (Phase.RELAYING, "")


def test_whoever_begins_to_watch_is_told_how_requests_go_on() -> None:
    desk = Desk()
    desk.watched = False
    exchange = desk.begin()
    desk.watched = True
    desk.list.snapshot()
    exchange.body(b"x")
    desk.pass_time(UPDATE_PERIOD)
    assert [payload["request"]["resp_bytes"] for payload in desk.told] == [1]


def test_metadata_is_shown_when_there_is_some() -> None:
    desk = Desk()
    desk.begin().metadata["selector"] = "best"
    assert desk.list.entries()[0]["metadata"] == {"selector": "best"}


def test_arrival_headers_and_end_are_told_at_once() -> None:
    desk = Desk()
    exchange = desk.begin()
    exchange.answered(200, [])
    desk.list.end(exchange)
    assert desk.operations() == ["upsert", "upsert", "remove"]
    assert desk.told[-1] == {"operation": "remove", "id": "1"}


def test_bytes_are_told_once_a_period_and_the_last_ones_too() -> None:
    desk = Desk()
    exchange = desk.begin()
    for _ in range(8):
        exchange.body(b"x" * 10)
        desk.pass_time(UPDATE_PERIOD / 4)
    exchange.body(b"end")
    desk.pass_time(1)
    assert [payload["request"]["resp_bytes"] for payload in desk.told] == [0, 40, 80, 83]


def test_a_quiet_request_is_not_told_about() -> None:
    desk = Desk()
    desk.begin()
    desk.pass_time(10)
    assert desk.operations() == ["upsert"]


def test_nothing_is_told_and_no_timer_runs_while_nobody_watches() -> None:
    desk = Desk()
    desk.watched = False
    exchange = desk.begin()
    exchange.body(b"x")
    desk.list.end(exchange)
    assert desk.told == []
    assert desk.timers == []


def test_the_timer_stops_with_the_last_request() -> None:
    desk = Desk()
    desk.list.end(desk.begin())
    desk.pass_time(1)
    assert desk.timers == []


def test_too_many_changes_become_one_snapshot() -> None:
    desk = Desk()
    exchanges = [desk.begin() for _ in range(NOTICE_LIMIT + 50)]
    for exchange in exchanges[10:]:
        desk.list.end(exchange)
    assert len(desk.told) == NOTICE_LIMIT
    desk.pass_time(UPDATE_PERIOD)
    assert len(desk.told) == NOTICE_LIMIT + 1
    assert desk.told[-1]["operation"] == "snapshot"
    assert [request["id"] for request in desk.told[-1]["requests"]] == [
        str(number) for number in range(1, 11)
    ]
    desk.list.end(exchanges[0])
    assert desk.told[-1] == {"operation": "remove", "id": "1"}


def test_an_empty_snapshot_has_no_list() -> None:
    assert Desk().list.snapshot() == {"operation": "snapshot"}


def test_the_list_is_ordered_by_arrival_then_number() -> None:
    desk = Desk()
    exchanges = [desk.begin() for _ in range(11)]
    exchanges[0].arrived_at += 1
    assert [entry["id"] for entry in desk.list.entries()] == [*(str(number) for number in range(2, 12)), "1"]


def test_an_operator_ends_a_request_by_its_number() -> None:
    desk = Desk()
    ended: list[str] = []
    desk.begin().cancel = lambda: ended.append("1")
    assert desk.list.cancel("1")
    assert ended == ["1"]


@pytest.mark.parametrize("inflight_id", ["2", "", "x", "-1", "٣", "9" * 40])
def test_a_number_that_is_not_under_way_ends_nothing(inflight_id: str) -> None:
    desk = Desk()
    desk.begin()
    assert not desk.list.cancel(inflight_id)
