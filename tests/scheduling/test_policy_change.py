"""A new configuration in force, in dialogue (routing.md §6.14, decisions.md)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from swapyard.config.sets import compile_sets
from swapyard.scheduling.groups import Group
from swapyard.scheduling.matrix import MatrixPlanner, matrix_planner
from swapyard.scheduling.policy import ModelPolicy
from swapyard.types import ModelId

MakeTalk = Callable[..., Any]


def singles(models: str) -> MatrixPlanner:
    """Sets that keep all these models apart."""
    compiled, problems = compile_sets({name: name for name in models.split()}, ModelId)
    assert not problems
    return matrix_planner(compiled)


TOGETHER = [Group("g", swap=False, exclusive=False, members=tuple(map(ModelId, "abcx")))]


def test_models_that_did_not_change_keep_process_leases_and_places(talk: MakeTalk, policy: Any) -> None:
    t = talk()
    t.start("a")
    t.ask("a"), t.ask("b"), t.ask("c")
    assert t.change(policy()) == []
    assert (t.position(3), t.position(4)) == (1, 2)
    assert t.in_flight("a") == 1
    assert t.ask("a") == ["grant 5 a"]


def test_a_changed_model_admits_nobody_drains_stops_and_its_requests_get_the_new_version(
    talk: MakeTalk, policy: Any
) -> None:
    t = talk()
    t.start("a")
    t.ask("a")
    assert t.change(policy(a=ModelPolicy(grace=7)), changed=["a"]) == []
    assert t.ask("a") == []
    assert t.reason(3) == "waiting for a: 1 in flight (configuration changed)"
    assert t.release(2) == ["stop a 7", "check a"]
    assert t.last_stop().reason == "configuration changed"
    assert t.checked("a") == []
    assert t.stopped("a") == ["load a"]
    assert t.loaded("a") == ["grant 3 a"]


def test_an_idle_changed_model_is_stopped_at_once_and_not_loaded_for_nobody(
    talk: MakeTalk, policy: Any
) -> None:
    t = talk()
    t.start("a")
    assert t.change(policy(), changed=["a"]) == ["stop a 10"]
    assert t.stopped("a") == []


def test_a_load_of_the_old_version_is_stopped_and_started_again(talk: MakeTalk, policy: Any) -> None:
    t = talk()
    t.ask("a")
    t.checked("a")
    assert t.change(policy(), changed=["a"]) == ["stop a 10", "check a"]
    assert t.loaded("a", "aborted") == []
    t.checked("a")
    assert t.stopped("a") == ["load a"]
    assert t.loaded("a") == ["grant 1 a"]


def test_a_check_of_the_old_version_says_nothing_about_the_new_one(talk: MakeTalk, policy: Any) -> None:
    t = talk()
    t.ask("a")
    assert t.change(policy(), changed=["a"]) == []
    assert t.checked("a", "no such file") == ["check a"]
    assert t.checked("a") == ["load a"]


def test_a_removed_model_refuses_its_waiters_at_once_and_ends_its_load(talk: MakeTalk, policy: Any) -> None:
    t = talk()
    t.ask("a")
    t.checked("a")
    assert t.change(policy("b c"), removed=["a"]) == ["refuse 1 unknown_model", "stop a 10"]
    assert t.ask("a") == ["refuse 2 unknown_model"]
    assert t.ask("b") == ["check b"]
    assert t.checked("b") == []
    t.loaded("a", "aborted")
    assert t.stopped("a") == ["load b"]


def test_a_removed_model_drains_before_it_stops(talk: MakeTalk, policy: Any) -> None:
    t = talk()
    t.start("a")
    t.ask("a")
    assert t.change(policy("b"), removed=["a"]) == []
    assert t.ask("b") == []
    assert t.release(2) == ["stop a 10", "check b"]
    t.checked("b")
    assert t.stopped("a") == ["load b"]


def test_a_removed_model_that_still_drains_can_be_unloaded(talk: MakeTalk, policy: Any) -> None:
    t = talk()
    t.start("a")
    t.ask("a")
    t.change(policy("b"), removed=["a"])
    assert t.unload("a") == ["stop a 10"]
    assert t.stopped("a") == ["unloaded 1"]
    assert t.release(2) == []


def test_a_model_that_comes_back_while_its_old_process_drains_gets_a_new_one(
    talk: MakeTalk, policy: Any
) -> None:
    t = talk()
    t.start("a")
    t.ask("a")
    t.change(policy("b"), removed=["a"])
    t.change(policy("a b"))
    assert t.ask("a") == []
    assert t.release(2) == ["stop a 10", "check a"]
    t.checked("a")
    assert t.stopped("a") == ["load a"]


def test_a_model_that_the_policy_no_longer_names_is_removed_also_without_being_listed(
    talk: MakeTalk, policy: Any
) -> None:
    t = talk()
    t.start("a")
    assert t.change(policy("b")) == ["stop a 10"]


def test_a_new_model_can_be_asked_for(talk: MakeTalk, policy: Any) -> None:
    t = talk()
    assert t.change(policy("a b n")) == []
    assert t.ask("n") == ["check n"]


def test_a_swap_that_has_not_begun_to_load_is_decided_anew_under_the_new_rules(
    talk: MakeTalk, policy: Any
) -> None:
    t = talk()
    t.start("a")
    assert t.ask("b") == ["check b"]
    # Under the new rules nobody has to go: a is spared.
    assert t.change(policy(groups=TOGETHER)) == []
    assert t.ask("a") == ["grant 3 a"]
    assert t.checked("b") == ["check b"]
    assert t.checked("b") == ["load b"]


def test_new_rules_stop_nothing_until_an_eviction_needs_it(talk: MakeTalk, policy: Any) -> None:
    t = talk(groups=TOGETHER)
    t.start("a"), t.start("b")
    assert t.change(policy()) == []
    assert t.ask("a") == ["stop b 10"]
    assert t.stopped("b") == ["grant 3 a"]


def test_a_request_whose_swap_was_undone_begins_its_time_in_the_line_anew(
    talk: MakeTalk, policy: Any
) -> None:
    t = talk(groups=TOGETHER, queue_timeout=5)
    t.start("a")
    t.ask("a")
    assert t.ask("b") == ["check b"]
    t.wait(50)
    assert t.change(policy(queue_timeout=5)) == []
    assert t.reason(3) == "waiting for a: 1 in flight"
    assert t.wait(5) == ["refuse 3 queue_timeout"]


def test_a_ready_model_is_served_beside_one_that_the_new_sets_keep_apart(talk: MakeTalk, policy: Any) -> None:
    t = talk(groups=TOGETHER)
    t.start("a"), t.start("b"), t.start("x")
    t.ask("b")
    t.change(policy(planner=singles("a b x c"), max_wait=5))
    t.ask("c")
    t.wait(5)
    # Held back for c, which has waited longer, and free again when c gives up.
    assert t.ask("a") == []
    assert t.leave(5) == ["grant 6 a"]


def test_a_model_that_must_start_afresh_is_planned_as_if_it_did_not_run(talk: MakeTalk, policy: Any) -> None:
    t = talk(groups=TOGETHER)
    t.start("a"), t.start("b")
    t.change(policy(planner=singles("a b")))
    assert t.unload("a") == ["stop a 10"]
    assert t.ask("a") == ["check a"]
    assert t.checked("a") == ["stop b 10"]


def test_new_priorities_apply_to_those_who_already_wait(talk: MakeTalk, policy: Any) -> None:
    t = talk()
    t.start("a")
    t.ask("a"), t.ask("b"), t.ask("c")
    t.change(policy(c=ModelPolicy(priority=1)))
    assert (t.position(3), t.position(4)) == (2, 1)
    assert t.release(2) == ["check c"]


def test_a_new_ttl_applies_to_a_model_that_is_already_idle(talk: MakeTalk, policy: Any) -> None:
    t = talk()
    t.start("a")
    t.now = 10
    t.change(policy(a=ModelPolicy(ttl=30)))
    assert t.wakes == [30]
    assert t.wait(20) == ["stop a 10"]


def test_the_time_in_the_line_goes_on_over_a_change(talk: MakeTalk, policy: Any) -> None:
    t = talk(queue_timeout=10)
    t.start("a")
    t.ask("a"), t.ask("b")
    t.wait(6)
    t.change(policy(queue_timeout=10))
    assert t.wait(4) == ["refuse 3 queue_timeout"]
