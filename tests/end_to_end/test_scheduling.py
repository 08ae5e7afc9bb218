"""Who runs when, as clients and processes see it; the numbers are those of the specification's scenarios."""

from __future__ import annotations

import http.client
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.end_to_end.conftest import Yard

StartYard = Callable[..., "Yard"]


def three_models(more: str = "", each: str = "") -> str:
    command = '"${server}.well_behaved ${PORT}"'
    return more + "\nmodels:\n" + "".join(f"  {name}: {{cmd: {command}, {each}}}\n" for name in "abc")


FIFO = "routing: {scheduler: {use: fifo}}"


def ask_one_after_another(swapyard: Yard, models: str, gate: Path) -> list[str]:
    """Line the requests up behind one that holds `a`; the models in the order in which they were loaded."""
    with swapyard.leave_after_asking({"model": "a", "hold": str(gate)}) as first:
        swapyard.log_says("holding")
        with ThreadPoolExecutor(len(models)) as clients:
            asked = []
            for number, model in enumerate(models, 2):
                asked.append(clients.submit(swapyard.chat, model))
                stand_in_line(swapyard, number)
            gate.touch()
            assert [client.result().status for client in asked] == [200] * len(models)
        assert first.recv(100).startswith(b"HTTP/1.1 200 ")
    swapyard.until(lambda: swapyard.in_flight() == [], "nobody is in line")
    return loads(swapyard)


def stand_in_line(swapyard: Yard, requests: int) -> None:
    swapyard.until(lambda: len(swapyard.in_flight()) == requests, f"{requests} requests are here")


def loads(swapyard: Yard) -> list[str]:
    return re.findall(r"^\[INFO\] <(\w)> loading", swapyard.log(), re.MULTILINE)


def test_without_a_routing_section_requests_are_served_in_their_order(
    yard: StartYard, tmp_path: Path
) -> None:
    """S-26."""
    swapyard = yard(three_models())
    assert ask_one_after_another(swapyard, "baba", tmp_path / "gate") == list("ababa")


def test_fifo_serves_those_together_who_want_the_same_model(yard: StartYard, tmp_path: Path) -> None:
    """S-06."""
    swapyard = yard(three_models(FIFO))
    assert ask_one_after_another(swapyard, "bcbc", tmp_path / "gate") == list("abc")


def test_a_model_that_was_evicted_in_vain_comes_back(yard: StartYard) -> None:
    """S-24."""
    broken = '\n  broken: {cmd: "${server}.dies_while_loading ${PORT}"}\n'
    swapyard = yard(three_models(FIFO) + broken)
    assert swapyard.chat("a").status == 200
    assert swapyard.chat("broken").code == "load_failed"
    assert swapyard.chat("a").status == 200


def test_an_idle_model_is_unloaded_after_its_ttl_and_loaded_again(yard: StartYard) -> None:
    """P-23."""
    swapyard = yard(three_models(each="ttl: 1"))
    pid = swapyard.pid_of("a")
    swapyard.until(lambda: swapyard.states() == {}, "a is unloaded", 5)
    assert swapyard.pid_of("a") != pid


def test_a_model_in_use_outlives_its_ttl(yard: StartYard) -> None:
    """P-25."""
    swapyard = yard(three_models(each="ttl: 1"))
    with swapyard.stream("a", count=20, pause=0.1) as stream:
        assert stream.words() == [str(number) for number in range(20)]
    assert swapyard.states() == {"a": "ready"}


def test_unloading_while_clients_try_again_and_again_fails_nobody_for_another_reason(yard: StartYard) -> None:
    """R-13, R-24: what the first load says when it is ended is not taken for the news of the second."""
    swapyard = yard(three_models(FIFO))

    def chat() -> str:
        try:
            reply = swapyard.chat("a")
        except http.client.IncompleteRead:
            return "cut"
        return "fine" if reply.status == 200 else reply.code

    def try_and_unload(number: int) -> list[str]:
        outcomes = []
        for turn in range(6):
            if (number + turn) % 3 == 0:
                assert swapyard.request("POST", "/api/models/unload").status == 200
            outcomes.append(chat())
        return outcomes

    with ThreadPoolExecutor(6) as clients:
        outcomes = [outcome for found in clients.map(try_and_unload, range(6)) for outcome in found]
    # A request that was with the server when this was stopped has lost its answer, or the rest of it.
    assert set(outcomes) <= {"fine", "model_unloaded", "bad_gateway", "cut"}
    assert swapyard.chat("a").status == 200
    assert swapyard.in_flight() == []


def test_models_to_preload_are_ready_before_anybody_asks(yard: StartYard) -> None:
    swapyard = yard(three_models(f"hooks: {{on_startup: {{preload: [b]}}}}\n{FIFO}"))
    swapyard.until(lambda: swapyard.states() == {"b": "ready"}, "b is loaded")
    assert swapyard.activity() == []
