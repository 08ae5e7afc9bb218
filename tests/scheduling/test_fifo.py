"""Fifo in dialogue: who waits, who overtakes, who is evicted when (scenarios of routing.md §16)."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import pytest

from swapyard.config.sets import compile_sets
from swapyard.scheduling.groups import Group
from swapyard.scheduling.matrix import MatrixPlanner, matrix_planner
from swapyard.scheduling.policy import Eviction, ModelPolicy, Planner
from swapyard.types import ModelId

MakeTalk = Callable[..., Any]


def group(name: str, members: str, **rules: bool) -> Group:
    return Group(name, members=tuple(map(ModelId, members.split())), **rules)


def evictions(**rules: str) -> Planner:
    """Says for each target which of the running models it evicts."""

    def plan(target: ModelId, running: Collection[ModelId]) -> Eviction:
        return Eviction(
            tuple(model for model in running if model in rules.get(target, "").split()), "so said"
        )

    return plan


def matrix(**texts: str) -> MatrixPlanner:
    compiled, problems = compile_sets(texts, ModelId)
    assert not problems
    return matrix_planner(compiled)


TOGETHER = [group("g", "a b c d e x", swap=False, exclusive=False)]


# -- swaps -----------------------------------------------------------------------------------------


def test_s05_b_waits_until_a_is_ready_and_its_waiters_are_served(talk: MakeTalk) -> None:
    t = talk()
    t.ask("a")
    assert t.ask("b") == []
    assert t.checked("a") == ["load a"]
    assert t.loaded("a") == ["grant 1 a"]
    assert t.release(1) == ["check b"]
    assert t.checked("b") == ["stop a 10"]
    assert t.stopped("a") == ["load b"]
    assert t.loaded("b") == ["grant 2 b"]


def test_s07_the_swap_waits_for_the_last_lease(talk: MakeTalk) -> None:
    t = talk()
    t.start("a")
    t.ask("a"), t.ask("a")
    assert t.ask("b") == []
    assert t.release(2) == []
    assert t.release(3) == ["check b"]


def test_s08_a_serving_model_goes_on_serving_while_another_waits(talk: MakeTalk) -> None:
    t = talk()
    t.start("a")
    t.ask("a")
    t.ask("b")
    assert t.ask("a") == ["grant 4 a"]
    assert t.release(2) == []
    assert t.release(4) == ["check b"]


def test_s09_models_that_coexist_load_at_the_same_time(talk: MakeTalk) -> None:
    t = talk(groups=TOGETHER)
    assert t.ask("a") == ["check a"]
    assert t.ask("b") == ["check b"]
    assert t.checked("a") == ["load a"]
    assert t.checked("b") == ["load b"]
    assert t.loaded("b") == ["grant 2 b"]


def test_s10_two_swaps_never_share_an_evictee(talk: MakeTalk) -> None:
    t = talk(planner=evictions(a="x", b="x"))
    t.start("x")
    assert t.ask("a") == ["check a"]
    assert t.ask("b") == []
    assert t.checked("a") == ["stop x 10"]
    # x is gone: nothing that b would evict is left, so b need not wait for a's load.
    assert t.stopped("x") == ["load a", "check b"]
    assert t.checked("b") == ["load b"]


def test_s11_both_start_in_the_step_in_which_the_swap_ends(talk: MakeTalk) -> None:
    t = talk(planner=evictions(a="b c"))
    t.start("b"), t.start("c")
    t.ask("a")
    assert t.ask("b") == []
    assert t.ask("c") == []
    assert t.checked("a") == ["stop b 10", "stop c 10"]
    t.stopped("b")
    assert t.stopped("c") == ["load a"]
    assert t.loaded("a") == ["grant 3 a", "check b", "check c"]


def test_s12_the_line_is_by_priority_then_by_arrival(talk: MakeTalk) -> None:
    priorities = {"a": 10, "b": 5, "c": 5, "d": 1}
    t = talk(**{name: ModelPolicy(priority=value) for name, value in priorities.items()})
    t.start("x")
    t.ask("x")
    for model in "bdca":
        t.ask(model)
    assert {model: t.position(3 + index) for index, model in enumerate("bdca")} == {
        "a": 1, "b": 2, "c": 3, "d": 4,
    }  # fmt: skip


def test_s21_a_later_request_overtakes_one_that_is_blocked(talk: MakeTalk) -> None:
    t = talk(planner=evictions(b="x", d="b"))
    t.start("x")
    t.ask("x")
    assert t.ask("b") == []
    assert t.ask("d") == ["check d"]
    assert t.position(3) == 1


def test_s21_at_a_drain_the_compatible_one_starts_and_the_blocked_one_stays_first(talk: MakeTalk) -> None:
    t = talk(planner=evictions(b="x", d="a"))
    t.start("x"), t.start("a")
    t.ask("x"), t.ask("a")
    t.ask("b"), t.ask("d")
    assert t.release(4) == ["check d"]
    assert t.position(5) == 1


def test_s24_after_a_failed_swap_the_line_moves_on_and_the_evictee_loads_again(talk: MakeTalk) -> None:
    t = talk()
    t.start("a")
    t.ask("b")
    t.checked("b")
    t.ask("a")
    assert t.stopped("a") == ["load b"]
    assert t.loaded("b", "out of memory") == ["refuse 2 load_failed", "check a"]
    assert t.checked("a") == ["load a"]
    assert t.loaded("a") == ["grant 3 a"]


def test_e12_a_loading_model_is_waited_for_and_then_evicted(talk: MakeTalk) -> None:
    t = talk(planner=matrix(one="a", two="b"))
    t.ask("a")
    t.checked("a")
    assert t.ask("b") == []
    assert t.loaded("a") == ["grant 1 a"]
    assert t.release(1) == ["check b"]
    assert t.checked("b") == ["stop a 10"]


def test_r01_a_lease_counts_before_any_later_decision(talk: MakeTalk) -> None:
    t = talk()
    t.start("a")
    assert t.ask("a") == ["grant 2 a"]
    assert t.ask("b") == []
    assert t.release(2) == ["check b"]


def test_r04_a_starting_model_is_never_ignored(talk: MakeTalk) -> None:
    t = talk(planner=evictions(b="a"))
    t.ask("a")
    t.checked("a")
    assert t.ask("b") == []
    assert t.leave(1) == []
    assert t.loaded("a") == ["check b"]
    assert t.checked("b") == ["stop a 10"]


def test_r07_a_committed_swap_blocks_its_sibling_before_anything_starts(talk: MakeTalk) -> None:
    t = talk()
    t.start("x")
    assert t.ask("a") == ["check a"]
    assert t.ask("b") == []
    assert t.checked("a") == ["stop x 10"]
    assert t.ask("c") == []


def test_requests_for_an_evictee_queue_from_the_commitment_on(talk: MakeTalk) -> None:
    t = talk()
    t.start("a")
    assert t.ask("b") == ["check b"]
    assert t.ask("a") == []
    assert t.checked("b") == ["stop a 10"]


def test_s23_a_check_that_fails_evicts_nobody(talk: MakeTalk) -> None:
    t = talk()
    t.start("a")
    assert t.ask("b") == ["check b"]
    assert t.ask("a") == []
    assert t.checked("b", "no such file: /opt/b") == ["refuse 2 load_failed", "grant 3 a"]
    assert t.effects[0].reason == "b failed to load: no such file: /opt/b"


def test_evictees_get_their_own_grace_and_a_reason(talk: MakeTalk) -> None:
    t = talk(a=ModelPolicy(grace=2))
    t.start("a")
    t.ask("b")
    assert t.checked("b") == ["stop a 2"]
    assert t.last_stop().reason == 'evicted for b: group "(default)" runs one model at a time'


# -- groups and the one-way rule -------------------------------------------------------------------


def test_e01_e03_members_of_one_group_and_of_exclusive_groups_replace_each_other(talk: MakeTalk) -> None:
    t = talk(groups=[group("g", "a b"), group("h", "c")])
    t.start("a")
    t.ask("b")
    assert t.checked("b") == ["stop a 10"]
    t.stopped("a"), t.loaded("b"), t.release(2)
    t.ask("c")
    assert t.checked("c") == ["stop b 10"]


def test_e02_e07_groups_that_exclude_nobody_stop_nobody(talk: MakeTalk) -> None:
    t = talk(groups=[group("g", "a b", swap=False), group("h", "c", exclusive=False)])
    t.start("a")
    t.ask("b")
    assert t.checked("b") == ["load b"]
    t.ask("c")
    assert t.checked("c") == ["load c"]


def test_e04_a_persistent_model_stays(talk: MakeTalk) -> None:
    t = talk(groups=[group("g", "a", persistent=True), group("h", "b")])
    t.start("a")
    t.ask("b")
    assert t.checked("b") == ["load b"]


def test_e05_e06_the_one_way_rule(talk: MakeTalk) -> None:
    t = talk(groups=[group("g", "a"), group("h", "b", exclusive=False)])
    t.start("a")
    t.ask("b")
    assert t.checked("b") == ["load b"]
    assert t.loaded("b") == ["grant 2 b"]
    # a is ready, and still waits: b, which is busy, has to go first.
    assert t.ask("a") == []
    assert t.reason(3) == "waiting for b: 1 in flight"
    assert t.release(2) == ["stop b 10"]
    assert t.reason(3) == 'evicting b: group "g" is exclusive'
    assert t.stopped("b") == ["grant 3 a"]


def test_a_ready_target_that_dies_while_it_waits_for_its_evictees_is_loaded(talk: MakeTalk) -> None:
    t = talk(groups=[group("g", "a"), group("h", "b", exclusive=False)])
    t.start("a"), t.start("b")
    assert t.ask("a") == ["stop b 10"]
    assert t.gone("a") == []
    assert t.stopped("b") == ["load a"]
    assert t.loaded("a") == ["grant 3 a"]


# -- callers that leave ----------------------------------------------------------------------------


def test_s18_a_place_in_the_line_is_free_again_when_its_caller_leaves(talk: MakeTalk) -> None:
    t = talk(a=ModelPolicy(limit=1))
    t.start("b")
    t.ask("b")
    t.ask("a")
    assert t.ask("a") == ["refuse 4 concurrency_limit"]
    t.leave(3)
    assert t.ask("a") == []


def test_r08_a_grant_that_nobody_took_is_not_in_flight(talk: MakeTalk) -> None:
    t = talk()
    t.start("a")
    t.ask("a")
    assert t.leave(2) == []
    assert t.in_flight("a") == 0
    assert t.ask("b") == ["check b"]


def test_r09_nothing_is_loaded_for_a_caller_that_left_the_line(talk: MakeTalk) -> None:
    t = talk()
    t.start("a")
    t.ask("a"), t.ask("b")
    assert t.leave(3) == []
    assert t.release(2) == []


def test_r10_one_of_two_waiters_leaves_and_the_other_is_served(talk: MakeTalk) -> None:
    t = talk()
    t.ask("a"), t.ask("a")
    t.checked("a")
    assert t.leave(1) == []
    assert t.loaded("a") == ["grant 2 a"]
    assert t.in_flight("a") == 1


def test_r11_a_late_word_that_a_served_caller_left_changes_nothing(talk: MakeTalk) -> None:
    t = talk()
    t.start("a")
    assert t.leave(1) == []
    assert t.in_flight("a") == 0


def test_a_swap_whose_last_waiter_left_during_the_check_evicts_nobody(talk: MakeTalk) -> None:
    t = talk()
    t.start("a")
    t.ask("b")
    assert t.leave(2) == []
    assert t.ask("a") == ["grant 3 a"]
    assert t.checked("b") == []


def test_a_swap_whose_last_waiter_left_during_evictions_does_not_load(talk: MakeTalk) -> None:
    t = talk()
    t.start("a")
    t.ask("b")
    t.checked("b")
    assert t.leave(2) == []
    assert t.stopped("a") == []


def test_r30_a_load_that_nobody_waits_for_is_finished_and_may_be_evicted_at_once(talk: MakeTalk) -> None:
    t = talk()
    t.ask("a")
    t.checked("a")
    assert t.leave(1) == []
    assert t.ask("b") == []
    assert t.loaded("a") == ["check b"]
    assert t.checked("b") == ["stop a 10"]


def test_a_request_joins_a_load_that_was_begun_for_somebody_who_left(talk: MakeTalk) -> None:
    t = talk()
    t.ask("a")
    t.checked("a")
    t.leave(1)
    assert t.ask("a") == []
    assert t.loaded("a") == ["grant 2 a"]


def test_an_answer_to_a_check_that_nobody_waits_for_is_not_used_for_later_requests(talk: MakeTalk) -> None:
    t = talk()
    t.ask("a")
    t.leave(1)
    assert t.ask("a") == []
    assert t.checked("a", "no such file") == ["check a"]
    assert t.checked("a") == ["load a"]


# -- limits ----------------------------------------------------------------------------------------


def test_s14_the_second_request_over_a_limit_of_one_is_refused(talk: MakeTalk) -> None:
    t = talk(a=ModelPolicy(limit=1))
    t.start("a")
    t.ask("a")
    assert t.ask("a") == ["refuse 3 concurrency_limit"]
    assert t.refusals()[0].retry_after == 1
    assert t.refusals()[0].reason == "a takes 1 requests at a time, waiting ones included"
    t.release(2)
    assert t.ask("a") == ["grant 4 a"]


def test_s15_without_a_limit_nothing_in_flight_is_too_much(talk: MakeTalk) -> None:
    t = talk(waiting_limit=2)
    t.start("a")
    assert all(t.ask("a") == [f"grant {ticket} a"] for ticket in range(2, 40))


def test_without_a_limit_only_so_many_may_wait(talk: MakeTalk) -> None:
    t = talk(waiting_limit=2)
    t.ask("a"), t.ask("a")
    assert t.ask("a") == ["refuse 3 queue_full"]
    assert t.refusals()[0].retry_after
    assert t.ask("b") == []


def test_s16_waiters_of_a_load_count_against_the_limit(talk: MakeTalk) -> None:
    t = talk(a=ModelPolicy(limit=2))
    t.ask("a"), t.ask("a")
    assert t.ask("a") == ["refuse 3 concurrency_limit"]
    t.checked("a")
    assert t.loaded("a") == ["grant 1 a", "grant 2 a"]


def test_s17_requests_in_the_line_count_against_the_limit(talk: MakeTalk) -> None:
    t = talk(a=ModelPolicy(limit=2))
    t.start("b")
    t.ask("b")
    t.ask("a"), t.ask("a")
    assert t.ask("a") == ["refuse 5 concurrency_limit"]
    t.release(2)
    t.checked("a"), t.stopped("b")
    assert t.loaded("a") == ["grant 3 a", "grant 4 a"]


def test_s19_an_unknown_model_is_refused_at_once(talk: MakeTalk) -> None:
    t = talk()
    assert t.ask("ghost") == ["refuse 1 unknown_model"]


# -- processes that end by themselves --------------------------------------------------------------


def test_s22_a_crash_lets_the_line_go_on(talk: MakeTalk) -> None:
    t = talk()
    t.start("x")
    t.ask("x")
    assert t.ask("b") == []
    assert t.gone("x") == ["check b"]
    assert t.checked("b") == ["load b"]


def test_leases_on_a_dead_process_are_counted_until_released_and_block_nothing(talk: MakeTalk) -> None:
    t = talk()
    t.start("a")
    t.ask("a")
    t.gone("a")
    assert t.ask("a") == ["check a"]
    t.checked("a")
    assert t.loaded("a") == ["grant 3 a"]
    assert t.in_flight("a") == 2
    assert t.ask("b") == []
    assert t.release(3) == ["check b"]
    assert t.release(2) == []
    assert t.in_flight("a") == 0


def test_the_end_of_a_lease_on_a_dead_process_frees_nothing_of_the_new_one(talk: MakeTalk) -> None:
    t = talk()
    t.start("a")
    t.ask("a")
    t.gone("a")
    t.ask("a")
    t.checked("a"), t.loaded("a")
    t.ask("b")
    assert t.release(2) == []
    assert t.in_flight("a") == 1
    assert t.release(3) == ["check b"]


@pytest.mark.parametrize("event", ["gone", "stopped", "loaded", "checked"])
def test_results_that_nobody_ordered_are_ignored(talk: MakeTalk, event: str) -> None:
    t = talk()
    assert getattr(t, event)("a") == []
    assert getattr(t, event)("ghost") == []
    assert t.ask("a") == ["check a"]


# -- bounded waiting -------------------------------------------------------------------------------


def test_s20_after_the_bound_new_requests_queue_behind_the_oldest(talk: MakeTalk) -> None:
    t = talk(max_wait=10)
    t.start("a")
    t.ask("a")
    t.ask("b")
    assert t.wakes[-1] == 10
    t.wait(9)
    assert t.ask("a") == ["grant 4 a"]
    t.wait(1)
    assert t.ask("a") == []
    assert t.reason(5) == "behind b, which has waited longer"
    assert t.position(5) == 2
    assert t.release(2) == []
    assert t.release(4) == ["check b"]
    assert t.checked("b") == ["stop a 10"]
    t.stopped("a")
    assert t.loaded("b") == ["grant 3 b"]
    assert t.release(3) == ["check a"]


def test_s20_overtaking_never_stops_when_the_bound_is_switched_off(talk: MakeTalk) -> None:
    t = talk(max_wait=0)
    t.start("a")
    t.ask("a"), t.ask("b")
    t.wait(1000)
    assert t.ask("a") == ["grant 4 a"]


def test_the_bound_holds_back_only_what_the_oldest_request_would_evict(talk: MakeTalk) -> None:
    t = talk(max_wait=10, planner=evictions(b="a"))
    t.start("a"), t.start("c")
    t.ask("a"), t.ask("b")
    t.wait(10)
    assert t.ask("c") == ["grant 5 c"]
    assert t.ask("a") == []


def test_the_bound_also_holds_back_new_starts_that_would_be_in_the_way(talk: MakeTalk) -> None:
    t = talk(max_wait=10, planner=evictions(b="a c"))
    t.start("a")
    t.ask("a"), t.ask("b")
    t.wait(10)
    assert t.ask("c") == []
    # Once b is on its way nobody is held back any more: c, which evicts nobody, may join it.
    assert t.release(2) == ["check b", "check c"]


def test_when_the_oldest_request_leaves_nobody_is_held_back(talk: MakeTalk) -> None:
    t = talk(max_wait=10)
    t.start("a")
    t.ask("a"), t.ask("b")
    t.wait(10)
    assert t.ask("a") == []
    assert t.leave(3) == ["grant 4 a"]


def test_a_younger_request_does_not_inherit_the_patience_of_one_that_left(talk: MakeTalk) -> None:
    t = talk(max_wait=10)
    t.start("a")
    t.ask("a"), t.ask("b")
    t.wait(9)
    t.ask("b")
    t.wait(1)
    assert t.ask("a") == []
    assert t.leave(3) == ["grant 5 a"]
    assert t.ask("a") == ["grant 6 a"]
    t.wait(9)
    assert t.ask("a") == []


def test_a_request_is_refused_after_its_time_in_the_line(talk: MakeTalk) -> None:
    t = talk(queue_timeout=5)
    t.start("a")
    t.ask("a")
    t.ask("b")
    t.wait(2)
    t.ask("b")
    t.wait(2)
    assert t.wait(1) == ["refuse 3 queue_timeout"]
    assert t.refusals()[0].retry_after
    assert t.wakes[-1] == 7
    assert t.wait(2) == ["refuse 4 queue_timeout"]
    assert t.release(2) == []


def test_a_load_in_progress_is_no_time_in_the_line(talk: MakeTalk) -> None:
    t = talk(queue_timeout=5)
    t.ask("a")
    t.checked("a")
    assert t.wait(50) == []
    assert t.loaded("a") == ["grant 1 a"]
