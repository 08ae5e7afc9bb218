"""Scenarios of the specification that are told best by themselves, under their numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from swapyard.scheduling.policy import ModelPolicy

MakeTalk = Callable[..., Any]


def test_r03_a_swap_waits_for_every_waiter_of_the_load_before_it_not_only_for_the_first(
    talk: MakeTalk,
) -> None:
    t = talk()
    assert t.ask("a") == ["check a"]
    assert t.ask("b") == []
    assert t.ask("a") == []
    assert t.checked("a") == ["load a"]
    assert t.loaded("a") == ["grant 1 a", "grant 3 a"]
    # One request of the new model is through; the other one is still on it.
    assert t.release(1) == []
    assert t.release(3) == ["check b"]
    assert t.checked("b") == ["stop a 10"]
    # From here on nobody is sent to the model that stops, and b does not start beside it.
    assert t.ask("a") == []
    assert t.stopped("a") == ["load b"]
    assert t.loaded("b") == ["grant 2 b"]


def test_p24_requests_every_ten_milliseconds_keep_a_model_with_a_ttl_of_one_second(talk: MakeTalk) -> None:
    t = talk(a=ModelPolicy(ttl=1))
    t.start("a")
    for ticket in range(2, 152):
        assert t.wait(0.01) == []
        assert t.ask("a") == [f"grant {ticket} a"]
        assert t.release(ticket) == []
    assert t.wait(0.99) == []
    assert t.wait(0.02) == ["stop a 10"]
