"""Unload, idle unload, back-off and shutdown in dialogue (routing.md §3.5, §6.7, §6.8, decisions.md)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from swapyard.scheduling.effects import Refuse
from swapyard.scheduling.groups import Group
from swapyard.scheduling.policy import ModelPolicy
from swapyard.types import Exit, ModelId

MakeTalk = Callable[..., Any]

TOGETHER = [Group("g", swap=False, exclusive=False, members=tuple(map(ModelId, "abcx")))]
ONE_WAY = [
    Group("g", members=(ModelId("a"),)),
    Group("h", exclusive=False, members=(ModelId("b"),)),
]


# -- unload ----------------------------------------------------------------------------------------


def test_unloading_what_is_stopped_is_answered_at_once(talk: MakeTalk) -> None:
    t = talk()
    assert t.unload("a", "b") == ["unloaded 1"]
    assert t.unload("ghost") == ["unloaded 2"]
    assert t.unload() == ["unloaded 3"]


def test_an_unload_is_answered_when_everything_it_named_is_gone(talk: MakeTalk) -> None:
    t = talk()
    t.start("a")
    t.ask("b")
    t.checked("b")
    assert t.unload("a", "b") == ["refuse 2 model_unloaded"]
    assert t.refusals()[0].retry_after == 1
    assert t.stopped("a") == ["unloaded 1"]


def test_p36_p37_stops_are_ordered_by_grace_and_run_at_the_same_time(talk: MakeTalk) -> None:
    t = talk(groups=TOGETHER, a=ModelPolicy(grace=45), b=ModelPolicy(grace=10), c=ModelPolicy(grace=25))
    for name in "abc":
        t.start(name)
    assert t.unload("a", "b", "c") == ["stop b 10", "stop c 25", "stop a 45"]
    assert t.stopped("a") == []
    assert t.stopped("b") == []
    assert t.stopped("c") == ["unloaded 1"]


def test_two_askers_of_one_unload_are_both_answered(talk: MakeTalk) -> None:
    t = talk()
    t.start("a")
    assert t.unload("a") == ["stop a 10"]
    assert t.unload("a") == []
    assert t.stopped("a") == ["unloaded 1", "unloaded 2"]


def test_a_later_unload_with_less_grace_shortens_the_stop(talk: MakeTalk) -> None:
    t = talk()
    t.start("a")
    assert t.unload("a", grace=60) == ["stop a 60"]
    t.now += 1
    assert t.unload("a", grace=2) == ["stop a 2"]
    assert t.unload("a", grace=5) == []
    assert t.stopped("a") == ["unloaded 1", "unloaded 2", "unloaded 3"]


def test_in_flight_requests_are_not_waited_for_and_their_leases_end_by_themselves(talk: MakeTalk) -> None:
    t = talk()
    t.start("a")
    t.ask("a")
    assert t.unload("a") == ["stop a 10"]
    assert t.stopped("a") == ["unloaded 1"]
    assert t.in_flight("a") == 1
    assert t.release(2) == []
    assert t.in_flight("a") == 0


def test_r13_a_request_after_an_unload_never_sees_the_aborted_load(talk: MakeTalk) -> None:
    t = talk()
    t.ask("a")
    t.checked("a")
    assert t.unload("a") == ["refuse 1 model_unloaded", "stop a 10"]
    assert t.ask("a") == ["check a"]
    assert t.loaded("a", "aborted") == []
    assert t.checked("a") == []
    assert t.reason(2) == "waiting for a to stop: unload asked"
    assert t.stopped("a") == ["unloaded 1", "load a"]
    assert t.loaded("a") == ["grant 2 a"]


def test_a_load_that_succeeds_in_the_moment_of_its_unload_serves_nobody(talk: MakeTalk) -> None:
    t = talk()
    t.ask("a")
    t.checked("a")
    t.unload("a")
    t.ask("a")
    assert t.loaded("a", None) == []
    t.checked("a")
    assert t.stopped("a") == ["unloaded 1", "load a"]


def test_r14_an_unloaded_target_is_not_started_when_its_evictee_is_gone(talk: MakeTalk) -> None:
    t = talk()
    t.start("a")
    t.ask("b")
    assert t.checked("b") == ["stop a 10"]
    assert t.unload("b") == ["refuse 2 model_unloaded", "unloaded 1"]
    assert t.stopped("a") == []


def test_r15_a_third_model_waits_for_what_the_cancelled_swap_still_stops(talk: MakeTalk) -> None:
    t = talk()
    t.start("a")
    t.ask("b")
    t.checked("b")
    t.unload("b")
    assert t.ask("c") == ["check c"]
    assert t.checked("c") == []
    assert t.stopped("a") == ["load c"]


def test_r24_unload_of_everything_under_leases_and_a_fresh_load_afterwards(talk: MakeTalk) -> None:
    t = talk()
    t.start("a")
    t.ask("a"), t.ask("a")
    assert t.unload(*"abcde") == ["stop a 10"]
    assert t.stopped("a") == ["unloaded 1"]
    t.release(2), t.release(3)
    assert t.in_flight("a") == 0
    assert t.ask("a") == ["check a"]


def test_r25_unloading_a_queued_model_leaves_the_load_before_it_alone(talk: MakeTalk) -> None:
    t = talk()
    t.ask("a"), t.ask("b")
    t.checked("a")
    assert t.unload("b") == ["refuse 2 model_unloaded", "unloaded 1"]
    assert t.loaded("a") == ["grant 1 a"]
    assert t.release(1) == []


def test_r16_an_unload_that_takes_its_whole_grace_holds_up_nobody_else(talk: MakeTalk) -> None:
    t = talk(groups=TOGETHER)
    t.start("a"), t.start("b")
    t.unload("a")
    assert t.ask("b") == ["grant 3 b"]


# -- idle unload -----------------------------------------------------------------------------------


def test_an_idle_model_is_unloaded_when_its_ttl_has_passed_since_the_last_lease(talk: MakeTalk) -> None:
    t = talk(a=ModelPolicy(ttl=30, grace=3))
    t.now = 100
    t.start("a")
    assert t.wakes[-1] == 130
    t.now = 110
    t.ask("a")
    t.now = 125
    t.release(2)
    t.now = 130
    assert t.wait(0) == []
    assert t.wakes[-1] == 155
    assert t.wait(25) == ["stop a 3"]
    assert t.last_stop().reason == "idle for 30 s"


def test_p25_a_request_longer_than_the_ttl_keeps_the_model_and_the_full_ttl_counts_afterwards(
    talk: MakeTalk,
) -> None:
    t = talk(a=ModelPolicy(ttl=3))
    t.start("a")
    t.ask("a")
    assert t.wait(4) == []
    t.release(2)
    assert t.wait(2.5) == []
    assert t.wait(0.5) == ["stop a 10"]


def test_p26_without_a_ttl_nothing_wakes_anybody(talk: MakeTalk) -> None:
    t = talk()
    t.start("a")
    assert t.wakes == []
    assert t.wait(10**6) == []


def test_p28_readiness_starts_the_idle_clock(talk: MakeTalk) -> None:
    t = talk(a=ModelPolicy(ttl=60))
    t.ask("a")
    t.checked("a")
    t.leave(1)
    t.now = 500
    assert t.loaded("a") == []
    assert t.wait(59) == []
    assert t.wait(1) == ["stop a 10"]


def test_r20_a_request_in_the_instant_of_the_expiry_is_served(talk: MakeTalk) -> None:
    t = talk(a=ModelPolicy(ttl=5))
    t.start("a")
    t.now = 5
    assert t.ask("a") == ["grant 2 a"]
    t.release(2)
    assert t.wait(5) == ["stop a 10"]


def test_r06_a_request_during_the_idle_unload_waits_for_the_stop_and_loads_afresh(talk: MakeTalk) -> None:
    t = talk(a=ModelPolicy(ttl=5))
    t.start("a")
    assert t.wait(5) == ["stop a 10"]
    assert t.ask("a") == ["check a"]
    assert t.checked("a") == []
    assert t.stopped("a") == ["load a"]
    assert t.loaded("a") == ["grant 2 a"]


def test_a_ready_model_whose_request_waits_for_an_eviction_is_not_idle(talk: MakeTalk) -> None:
    t = talk(groups=ONE_WAY, a=ModelPolicy(ttl=5), max_wait=0)
    t.start("a"), t.start("b")
    t.ask("b"), t.ask("a")
    assert t.wait(50) == []
    assert t.leave(4) == ["stop a 10"]


def test_a_ready_model_that_waits_for_its_evictees_is_not_idle(talk: MakeTalk) -> None:
    t = talk(groups=ONE_WAY, a=ModelPolicy(ttl=5))
    t.start("a"), t.start("b")
    assert t.ask("a") == ["stop b 10"]
    assert t.wait(50) == []
    assert t.stopped("b") == ["grant 3 a"]


def test_one_alarm_is_set_and_only_moved_forward(talk: MakeTalk) -> None:
    t = talk(a=ModelPolicy(ttl=30))
    t.start("a")
    for ticket in range(2, 20):
        t.now += 1
        t.ask("a")
        t.release(ticket)
    assert t.wakes == [30]


# -- back-off --------------------------------------------------------------------------------------


def fail(t: Any, times: int = 1) -> None:
    for _ in range(times):
        t.ask("a")
        t.checked("a")
        t.loaded("a", "exited prematurely")


def test_p44_from_the_third_failed_load_on_requests_are_refused_for_a_while(talk: MakeTalk) -> None:
    t = talk()
    fail(t, times=3)
    assert t.ask("a") == ["refuse 4 backing_off"]
    refusal: Refuse = t.refusals()[0]
    assert refusal.retry_after == 1
    assert refusal.reason == "a failed 3 times in a row: exited prematurely"
    assert t.ask("b") == ["check b"]
    t.now = 1
    t.leave(5)
    assert t.ask("a") == ["check a"]


@pytest.mark.parametrize(("failures", "delay"), [(2, 0), (3, 1), (4, 2), (5, 4), (7, 16), (8, 30), (40, 30)])
def test_the_back_off_doubles_up_to_half_a_minute(talk: MakeTalk, failures: int, delay: float) -> None:
    t = talk()
    for _ in range(failures):
        t.now += 100
        fail(t)
    answer = t.ask("a")
    if delay:
        assert t.refusals()[0].retry_after == delay
    else:
        assert answer == ["check a"]


def test_a_successful_load_that_is_stopped_in_order_ends_the_row(talk: MakeTalk) -> None:
    t = talk()
    fail(t, times=2)
    t.start("a")
    t.unload("a")
    t.stopped("a")
    fail(t)
    assert t.ask("a") == ["check a"]


def test_an_explicit_load_resets_the_back_off(talk: MakeTalk) -> None:
    t = talk()
    fail(t, times=3)
    assert t.ask("a", explicit=True) == ["check a"]


def test_a_changed_configuration_resets_the_back_off(talk: MakeTalk) -> None:
    t = talk()
    fail(t, times=3)
    t.change(t.policy, changed=["a"])
    assert t.ask("a") == ["check a"]


def test_p44_a_process_that_dies_soon_after_readiness_counts_as_a_failed_load(talk: MakeTalk) -> None:
    t = talk()
    for _ in range(3):
        t.start("a")
        t.now += 1
        t.gone("a", Exit(signal=11))
    assert t.ask("a") == ["refuse 4 backing_off"]
    assert "killed by SIGSEGV" in t.refusals()[0].reason


def test_a_process_that_lived_longer_ends_the_row(talk: MakeTalk) -> None:
    t = talk()
    fail(t, times=2)
    t.start("a")
    t.now += 10
    t.gone("a")
    fail(t)
    assert t.ask("a") == ["check a"]


def test_an_aborted_load_is_no_failure(talk: MakeTalk) -> None:
    t = talk()
    fail(t, times=2)
    t.ask("a")
    t.checked("a")
    t.unload("a")
    t.loaded("a", "aborted")
    t.stopped("a")
    assert t.ask("a") == ["check a"]


# -- shutdown --------------------------------------------------------------------------------------


def test_r23_everybody_who_waits_is_refused_and_loads_are_stopped(talk: MakeTalk) -> None:
    t = talk(groups=TOGETHER)
    t.ask("a"), t.ask("a"), t.ask("b"), t.ask("b"), t.ask("e")
    t.checked("a"), t.checked("b")
    answers = t.shut_down()
    assert answers[:3] == ["refuse 1 shutting_down", "refuse 2 shutting_down", "stop a 10"]
    assert answers[3:] == [
        "refuse 3 shutting_down",
        "refuse 4 shutting_down",
        "stop b 10",
        "refuse 5 shutting_down",
    ]
    assert all(refusal.retry_after for refusal in t.refusals())
    assert t.loaded("a", "aborted") == []
    assert t.stopped("a") == []


def test_after_shutdown_new_requests_are_refused_and_unload_still_works(talk: MakeTalk) -> None:
    t = talk(a=ModelPolicy(ttl=1))
    t.start("a")
    t.ask("a")
    assert t.shut_down() == []
    assert t.ask("a") == ["refuse 3 shutting_down"]
    assert t.release(2) == []
    assert t.wait(100) == []
    assert t.unload(*"abc") == ["stop a 10"]
    assert t.stopped("a") == ["unloaded 1"]


def test_after_shutdown_nothing_is_due_any_more(talk: MakeTalk) -> None:
    t = talk(groups=TOGETHER, a=ModelPolicy(ttl=30), b=ModelPolicy(ttl=40))
    t.start("a"), t.start("b")
    t.shut_down()
    assert t.wait(30) == []
    assert t.wakes == [30]


def test_shutdown_during_a_swap_starts_nothing(talk: MakeTalk) -> None:
    t = talk()
    t.start("a")
    t.ask("b")
    t.checked("b")
    assert t.shut_down() == ["refuse 2 shutting_down"]
    assert t.stopped("a") == []
