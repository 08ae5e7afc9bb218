"""The group planner: E-01 to E-09 as far as they are pure, and the table of configuration.md §27.4."""

from __future__ import annotations

import pytest

from swapyard.scheduling.groups import Group, group_planner
from swapyard.types import ModelId

A, B, P, Q = map(ModelId, "abpq")


@pytest.mark.parametrize(
    ("groups", "stopped"),
    [
        ([Group("g", members=(A, B))], (A,)),
        ([Group("g", swap=False, exclusive=False, members=(A, B))], ()),
        ([Group("g", members=(A,)), Group("h", members=(B,))], (A,)),
        ([Group("g", exclusive=False, members=(A,)), Group("h", exclusive=False, members=(B,))], ()),
        ([Group("g", exclusive=False, persistent=True, members=(A,)), Group("h", members=(B,))], ()),
        ([Group("g", members=(A,)), Group("h", exclusive=False, members=(B,))], ()),
    ],
    ids=["swap", "no-swap", "two-exclusive", "two-open", "persistent", "one-way"],
)
def test_what_a_running_model_costs_another_one_follows_from_their_groups(
    groups: list[Group], stopped: tuple[ModelId, ...]
) -> None:
    assert group_planner(groups)(B, [A]).evict == stopped


def test_e06_the_exclusive_model_evicts_what_was_allowed_to_join_it() -> None:
    planner = group_planner([Group("g", members=(A,)), Group("h", exclusive=False, members=(B,))])
    assert planner(B, [A]).evict == ()
    assert planner(A, [A, B]).evict == (B,)


def test_e08_a_model_in_two_groups_is_refused() -> None:
    with pytest.raises(ValueError, match="a is a member of g and of h"):
        group_planner([Group("g", members=(A,)), Group("h", members=(A,))])


def test_e09_models_in_no_group_exclude_one_another_and_everybody_else() -> None:
    planner = group_planner([Group("g", exclusive=False, members=(A,))])
    assert planner(Q, [A, P]).evict == (A, P)
    assert planner(A, [Q]).evict == ()


def test_the_answer_keeps_the_order_of_the_running_models_and_leaves_out_the_target() -> None:
    assert group_planner([])(B, [A, B, P, Q]).evict == (A, P, Q)


def test_the_reason_names_the_group_and_its_rule() -> None:
    planner = group_planner([Group("g", members=(A, B)), Group("h", members=(P,))])
    assert planner(A, [B]).reason == 'group "g" runs one model at a time'
    assert planner(A, [P]).reason == 'group "g" is exclusive'
    assert planner(A, [B, P]).reason == 'group "g" runs one model at a time and group "g" is exclusive'
    assert planner(A, []).reason == ""
