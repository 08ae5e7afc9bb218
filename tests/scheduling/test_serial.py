"""Serial in dialogue: order of arrival, one request at a time, one model in memory (routing.md §8.2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from swapyard.scheduling.groups import Group
from swapyard.scheduling.policy import ModelPolicy, OrderKind
from swapyard.types import ModelId

MakeTalk = Callable[..., Any]

TOGETHER = [Group("g", swap=False, exclusive=False, members=tuple(map(ModelId, "abc")))]


@pytest.fixture
def serial(talk: MakeTalk) -> MakeTalk:
    def begin(**arguments: Any) -> Any:
        return talk(order=OrderKind.SERIAL, **arguments)

    return begin


def test_s26_aba_runs_one_at_a_time_in_that_order_with_three_loads(serial: MakeTalk) -> None:
    t = serial()
    assert [t.ask(model) for model in "aba"] == [["check a"], [], []]
    t.checked("a")
    assert t.loaded("a") == ["grant 1 a"]
    assert t.release(1) == ["check b"]
    assert t.checked("b") == ["stop a 10"]
    assert t.stopped("a") == ["load b"]
    assert t.loaded("b") == ["grant 2 b"]
    assert t.release(2) == ["check a"]
    assert t.checked("a") == ["stop b 10"]
    assert t.stopped("b") == ["load a"]
    assert t.loaded("a") == ["grant 3 a"]


def test_aab_runs_two_requests_on_one_load_one_after_the_other(serial: MakeTalk) -> None:
    t = serial()
    for model in "aab":
        t.ask(model)
    t.checked("a")
    assert t.loaded("a") == ["grant 1 a"]
    assert t.release(1) == ["grant 2 a"]
    assert t.release(2) == ["check b"]


def test_s27_groups_that_allow_company_are_ignored(serial: MakeTalk) -> None:
    t = serial(groups=TOGETHER)
    t.start("a")
    assert t.ask("b") == ["check b"]
    assert t.checked("b") == ["stop a 10"]
    assert t.last_stop().reason == "evicted for b: one model at a time (serial)"
    assert t.stopped("a") == ["load b"]


def test_s28_the_next_in_line_goes_on_when_the_head_leaves_during_its_load(serial: MakeTalk) -> None:
    t = serial()
    t.ask("a"), t.ask("b")
    t.checked("a")
    assert t.leave(1) == []
    assert t.loaded("a") == ["check b"]
    assert t.checked("b") == ["stop a 10"]
    assert t.stopped("a") == ["load b"]
    assert t.loaded("b") == ["grant 2 b"]


def test_the_next_request_for_the_same_model_takes_over_a_load_whose_head_left(serial: MakeTalk) -> None:
    t = serial()
    t.ask("a"), t.ask("a")
    t.checked("a")
    t.leave(1)
    assert t.loaded("a") == ["grant 2 a"]


def test_a_head_that_leaves_during_evictions_starts_nothing(serial: MakeTalk) -> None:
    t = serial()
    t.start("a")
    t.ask("b")
    t.checked("b")
    assert t.leave(2) == []
    assert t.stopped("a") == []


def test_a_failed_load_refuses_only_the_request_whose_turn_it_was(serial: MakeTalk) -> None:
    t = serial()
    t.ask("a"), t.ask("b"), t.ask("a")
    t.checked("a")
    assert t.loaded("a", "out of memory") == ["refuse 1 load_failed", "check b"]
    assert t.waiting("a") == 1


def test_priorities_are_ignored(serial: MakeTalk) -> None:
    t = serial(c=ModelPolicy(priority=9))
    t.start("a")
    t.ask("a"), t.ask("b"), t.ask("c")
    assert t.release(2) == ["check b"]


def test_a_ready_model_serves_one_request_at_a_time(serial: MakeTalk) -> None:
    t = serial()
    t.start("a")
    assert t.ask("a") == ["grant 2 a"]
    assert t.ask("a") == []
    assert t.reason(3) == "waiting for a: 1 in flight"
    assert t.release(2) == ["grant 3 a"]


def test_the_current_request_has_no_place_and_the_others_count_from_one(serial: MakeTalk) -> None:
    t = serial()
    for model in "abca":
        t.ask(model)
    assert [t.position(ticket) for ticket in (1, 2, 3, 4)] == [None, 1, 2, 3]
    assert t.reason(1) == "checking whether it can be loaded"
    assert t.reason(2) == "waiting for a to load first"
    assert t.reason(4) == "place 3 in line behind a"


def test_unloading_refuses_those_who_wait_for_it_and_keeps_the_order_of_the_others(serial: MakeTalk) -> None:
    t = serial()
    t.start("a")
    for model in "abcb":
        t.ask(model)
    assert t.unload("b") == ["refuse 3 model_unloaded", "refuse 5 model_unloaded", "unloaded 1"]
    assert t.release(2) == ["check c"]


def test_unloading_the_model_in_use_lets_the_next_one_start_when_it_is_gone(serial: MakeTalk) -> None:
    t = serial()
    t.start("a")
    t.ask("a"), t.ask("b")
    assert t.unload("a") == ["stop a 10", "check b"]
    assert t.checked("b") == []
    assert t.stopped("a") == ["unloaded 1", "load b"]
    assert t.loaded("b") == ["grant 3 b"]
    assert t.release(2) == []


def test_a_failing_head_does_not_hold_up_the_line_during_its_back_off(serial: MakeTalk) -> None:
    t = serial()
    for _ in range(4):
        t.ask("a")
    t.ask("b")
    for ticket in (1, 2):
        t.checked("a")
        assert t.loaded("a", "boom") == [f"refuse {ticket} load_failed", "check a"]
    t.checked("a")
    assert t.loaded("a", "boom") == ["refuse 3 load_failed", "refuse 4 backing_off", "check b"]


def test_a_request_is_refused_after_its_time_in_the_line(serial: MakeTalk) -> None:
    t = serial(queue_timeout=5)
    t.start("a")
    t.ask("a"), t.ask("b")
    assert t.wait(5) == ["refuse 3 queue_timeout"]


def test_a_ready_model_is_served_only_when_the_others_are_gone(talk: MakeTalk, policy: Any) -> None:
    t = talk(groups=TOGETHER)
    t.start("a"), t.start("b")
    t.change(policy(groups=TOGETHER, order=OrderKind.SERIAL))
    assert t.ask("a") == ["stop b 10"]
    assert t.stopped("b") == ["grant 3 a"]


def test_models_left_running_from_fifo_go_at_the_first_switch(talk: MakeTalk, policy: Any) -> None:
    t = talk(groups=TOGETHER)
    t.start("a"), t.start("b")
    t.ask("a"), t.ask("b")
    assert t.change(policy(groups=TOGETHER, order=OrderKind.SERIAL)) == []
    assert t.ask("c") == []
    assert t.release(3) == []
    assert t.release(4) == ["check c"]
    assert t.checked("c") == ["stop a 10", "stop b 10"]


def test_a_load_in_progress_goes_on_over_a_change_to_serial_and_serves_one_at_a_time(
    talk: MakeTalk, policy: Any
) -> None:
    t = talk()
    t.ask("a"), t.ask("b"), t.ask("a")
    t.checked("a")
    assert t.change(policy(order=OrderKind.SERIAL)) == []
    assert [t.position(ticket) for ticket in (1, 2, 3)] == [1, 2, 3]
    assert t.loaded("a") == ["grant 1 a"]
    assert t.release(1) == ["check b"]


def test_a_load_in_progress_is_joined_by_the_others_over_a_change_to_fifo(
    serial: MakeTalk, policy: Any
) -> None:
    t = serial()
    t.ask("a"), t.ask("b"), t.ask("a")
    t.checked("a")
    assert t.change(policy()) == []
    assert t.loaded("a") == ["grant 1 a", "grant 3 a"]
