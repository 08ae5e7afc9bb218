"""The machine in dialogue: what a single model goes through from the first request to its end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

MakeTalk = Callable[..., Any]


def test_s02_a_stopped_model_is_checked_then_loaded_and_only_then_leased(talk: MakeTalk) -> None:
    t = talk()
    assert t.ask("a") == ["check a"]
    assert t.checked("a") == ["load a"]
    assert t.loaded("a") == ["grant 1 a"]
    assert t.release(1) == []


def test_s01_a_ready_idle_model_is_leased_without_any_start(talk: MakeTalk) -> None:
    t = talk()
    t.start("a")
    assert t.ask("a") == ["grant 2 a"]


def test_s03_five_requests_at_once_make_one_start_and_five_leases(talk: MakeTalk) -> None:
    t = talk()
    assert t.ask("a") == ["check a"]
    assert [t.ask("a") for _ in range(4)] == [[], [], [], []]
    assert t.checked("a") == ["load a"]
    assert t.loaded("a") == [f"grant {ticket} a" for ticket in (1, 2, 3, 4, 5)]


def test_s04_a_failed_start_refuses_all_waiters_and_frees_their_slots(talk: MakeTalk) -> None:
    t = talk()
    for _ in range(3):
        t.ask("a")
    t.checked("a")
    assert t.loaded("a", "exited prematurely") == [f"refuse {ticket} load_failed" for ticket in (1, 2, 3)]
    assert "exited prematurely" in t.refusals()[0].reason
    assert (t.in_flight("a"), t.waiting("a")) == (0, 0)


def test_worked_trace_abcabc_needs_three_loads(talk: MakeTalk) -> None:
    t = talk()
    assert [t.ask(model) for model in "abcabc"] == [["check a"], [], [], [], [], []]
    assert t.checked("a") == ["load a"]
    assert t.loaded("a") == ["grant 1 a", "grant 4 a"]
    assert t.release(1) == []
    assert t.release(4) == ["check b"]
    assert t.checked("b") == ["stop a 10"]
    assert t.stopped("a") == ["load b"]
    assert t.loaded("b") == ["grant 2 b", "grant 5 b"]
    assert t.release(5) == []
    assert t.release(2) == ["check c"]
    assert t.checked("c") == ["stop b 10"]
    assert t.stopped("b") == ["load c"]
    assert t.loaded("c") == ["grant 3 c", "grant 6 c"]


def test_a_lease_released_twice_is_a_loud_error(talk: MakeTalk) -> None:
    t = talk()
    t.start("a")
    with pytest.raises(ValueError, match="released twice"):
        t.release(1)
