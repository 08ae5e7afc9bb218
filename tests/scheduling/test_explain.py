"""What the scheduler says about itself: reasons for those who wait, a view of every model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from swapyard.config.sets import compile_sets
from swapyard.scheduling.effects import Load
from swapyard.scheduling.matrix import matrix_planner
from swapyard.types import ModelId

MakeTalk = Callable[..., Any]


def views(t: Any) -> dict[str, tuple[str, int, int, str]]:
    return {
        view.model: (view.phase.value, view.in_flight, view.waiting, view.reason)
        for view in t.scheduler.snapshot(t.now).models
    }


def test_every_stage_of_a_swap_has_its_reason(talk: MakeTalk) -> None:
    compiled, _ = compile_sets({"coding": "gemma", "chat": "qwen"}, ModelId)
    t = talk("gemma qwen", planner=matrix_planner(compiled))
    t.start("qwen")
    t.ask("qwen"), t.ask("gemma")
    assert t.reason(3) == "waiting for qwen: 1 in flight"
    t.release(2)
    assert t.reason(3) == "checking whether it can be loaded"
    t.checked("gemma")
    assert t.reason(3) == 'evicting qwen: not in set "coding" (gemma), cost 1'
    t.stopped("qwen")
    assert t.effects[0] == Load(ModelId("gemma"), "1 request waiting")
    assert t.reason(3) == "loading"
    t.loaded("gemma")
    assert t.reason(3) == ""


def test_who_waits_for_another_load_is_told_which(talk: MakeTalk) -> None:
    t = talk()
    t.start("x")
    t.ask("a"), t.ask("b"), t.ask("x")
    assert t.reason(3) == "waiting for a to load first"
    assert t.reason(4) == "waiting for a: x is evicted for it"


def test_a_claim_that_is_over_is_no_reason_any_more(talk: MakeTalk) -> None:
    t = talk()
    t.start("a")
    t.ask("b")
    t.checked("b"), t.stopped("a"), t.loaded("b")
    t.ask("a")
    assert t.reason(3) == "waiting for b: 1 in flight"


def test_the_view_shows_phase_counters_and_reason_of_every_model(talk: MakeTalk) -> None:
    t = talk("a b c")
    t.start("a")
    t.ask("a"), t.ask("b"), t.ask("c")
    assert views(t) == {
        "a": ("ready", 1, 0, ""),
        "b": ("stopped", 0, 1, ""),
        "c": ("stopped", 0, 1, ""),
    }
    t.release(2)
    assert views(t)["b"] == ("checking", 0, 1, "checking whether it can be loaded")
    t.checked("b")
    reason = 'group "(default)" runs one model at a time'
    assert views(t)["a"] == ("stopping", 0, 0, f"evicted for b: {reason}")
    assert views(t)["b"] == ("evicting", 0, 1, f"evicting a: {reason}")
    t.stopped("a")
    assert views(t)["b"] == ("loading", 0, 1, "loading")


def test_the_view_counts_failures_and_the_rest_of_the_back_off(talk: MakeTalk) -> None:
    t = talk("a")
    for _ in range(4):
        t.now += 50
        t.ask("a")
        t.checked("a")
        t.loaded("a", "boom")
    (view,) = t.scheduler.snapshot(t.now).models
    assert (view.failures, view.last_error, view.back_off) == (4, "boom", 2)


def test_a_model_whose_configuration_changed_is_draining(talk: MakeTalk) -> None:
    t = talk("a")
    t.start("a")
    t.ask("a")
    t.change(t.policy, changed=["a"])
    assert views(t)["a"] == ("draining", 1, 0, "configuration changed")


def test_unknown_tickets_and_models_are_nothing_special(talk: MakeTalk) -> None:
    t = talk()
    assert (t.position(9), t.reason(9), t.in_flight("ghost"), t.waiting("ghost")) == (None, "", 0, 0)
