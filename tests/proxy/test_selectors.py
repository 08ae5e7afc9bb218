"""Which target a selector picks, as routing.md §10 and the vectors of configuration.md §27.5 tell."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from swapyard.errors import Fault, RequestError
from swapyard.proxy.selectors import Selector
from swapyard.types import State


def states(**of: State | None) -> Callable[[str], State | None]:
    return lambda target: of.get(target, State.STOPPED)


def test_pin_takes_the_first_target_whatever_runs() -> None:
    assert Selector("s", "pin", ["a", "b"]).choose(states(b=State.READY)).target == "a"


@pytest.mark.parametrize(
    ("of", "chosen"),
    [
        ({"a": State.STARTING, "c": State.READY}, "c"),
        ({"a": State.STARTING, "b": State.READY, "c": State.READY}, "b"),
        ({"a": State.STARTING, "b": State.STARTING}, "a"),
        ({}, "a"),
    ],
)
def test_e17_warm_prefers_ready_then_starting_then_the_first(of: dict[str, State], chosen: str) -> None:
    assert Selector("s", "warm", ["a", "b", "c"]).choose(states(**of)).target == chosen


def test_e13_spillover_fills_a_target_before_it_loads_the_next() -> None:
    selector = Selector("s", "spillover", ["a", "b", "c"], spillover=2)
    first, second, third = (selector.choose(states()) for _ in range(3))
    assert [first.target, second.target, third.target] == ["a", "a", "b"]
    first.release()
    everything_ready = states(a=State.READY, b=State.READY, c=State.READY)
    assert selector.choose(everything_ready).target == "c"


def test_e14_spillover_refuses_when_every_target_is_stopping() -> None:
    selector = Selector("s", "spillover", ["a", "b"])
    with pytest.raises(RequestError, match="no available spillover targets") as refusal:
        selector.choose(states(a=State.STOPPING, b=State.STOPPING))
    assert refusal.value.fault is Fault.NO_TARGET


def test_e15_spillover_over_peers_alternates_and_comes_back() -> None:
    selector = Selector("s", "spillover", ["p/a", "p/b"])
    peers = states(**{"p/a": None, "p/b": None})
    first, second = selector.choose(peers), selector.choose(peers)
    assert [first.target, second.target] == ["p/a", "p/b"]
    first.release()
    second.release()
    assert selector.choose(peers).target == "p/a"


def test_e16_an_ignored_websocket_holds_nothing() -> None:
    selector = Selector("s", "spillover", ["a", "b", "c"])
    ready = states(a=State.READY, b=State.READY, c=State.READY)
    assert selector.choose(ready, holds=lambda target: target != "a").target == "a"
    assert selector.choose(ready).target == "b"
    assert selector.choose(ready).target in {"a", "c"}


def test_releasing_twice_counts_once() -> None:
    selector = Selector("s", "spillover", ["a", "b"])
    choice = selector.choose(states())
    choice.release()
    choice.release()
    again = selector.choose(states())
    assert again.target == "a"
    assert selector.choose(states()).target == "b"
