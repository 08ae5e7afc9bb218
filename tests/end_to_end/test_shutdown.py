"""The end of the program: in good order, at once when asked twice, and never with a process left behind."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.end_to_end.conftest import Yard

StartYard = Callable[..., "Yard"]

CONFIG = """
models:
  good: {cmd: "${server}.well_behaved ${PORT}"}
  other: {cmd: "${server}.well_behaved ${PORT}"}
  slow: {cmd: "${server}.well_behaved ${PORT} 60"}
  stubborn: {cmd: "${server}.ignores_sigterm ${PORT}"}
  family: {cmd: "${server}.forks_helpers ${PORT}", unloadTimeout: 1}
groups:
  together: {swap: false, exclusive: false, members: [good, slow, stubborn, family]}
  turns: {swap: true, exclusive: true, members: [other]}
"""


def test_what_is_being_said_is_said_to_the_end(yard: StartYard, tmp_path: Path) -> None:
    """R-02: an orderly end waits for the request that holds its lease; an operator's unload does not."""
    swapyard = yard(CONFIG)
    end = tmp_path / "end"
    with swapyard.stream("good", until=str(end)) as stream:
        events = stream.events()
        next(events)
        swapyard.signal(signal.SIGTERM)
        swapyard.log_says("shutting down")
        end.touch()
        assert list(events)[-1] == "[DONE]"
    assert swapyard.exit_status() == 0
    assert swapyard.processes() == []


def test_who_waits_is_refused_with_the_advice_to_come_again(yard: StartYard, tmp_path: Path) -> None:
    swapyard = yard(CONFIG)
    end = tmp_path / "end"
    with swapyard.stream("good", until=str(end)) as stream:
        events = stream.events()
        next(events)
        with swapyard.leave_after_asking({"model": "other"}) as client:
            swapyard.until(lambda: len(swapyard.in_flight()) == 2, "the second stands in line")
            swapyard.signal(signal.SIGTERM)
            answer = b"".join(iter(lambda: client.recv(65536), b""))
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert b'"code":"shutting_down"' in answer and b"retry-after: " in answer.lower()
        end.touch()
        assert list(events)[-1] == "[DONE]"
    assert swapyard.exit_status() == 0


def test_streams_that_never_end_by_themselves_are_ended(yard: StartYard) -> None:
    swapyard = yard(CONFIG)
    with swapyard.watch("/api/events") as events, swapyard.watch("/logs/stream") as log:
        swapyard.signal(signal.SIGTERM)
        events.read()
        log.read()
    assert swapyard.exit_status() == 0


def test_a_model_that_is_loading_does_not_hold_it_up(yard: StartYard) -> None:
    swapyard = yard(CONFIG)
    with swapyard.leave_after_asking({"model": "slow"}) as client:
        swapyard.until(lambda: swapyard.states().get("slow") == "starting", "slow is loading")
        swapyard.signal(signal.SIGTERM)
        assert client.recv(65536).startswith(b"HTTP/1.1 503 ")
    assert swapyard.exit_status() == 0
    assert swapyard.processes() == []


def test_helpers_of_models_end_as_well(yard: StartYard) -> None:
    swapyard = yard(CONFIG)
    assert swapyard.chat("family").status == 200
    # swapyard, its guard, the server and two helpers that ignore SIGTERM
    swapyard.until(lambda: len(swapyard.processes()) >= 5, "all of them run")
    swapyard.signal(signal.SIGTERM)
    swapyard.log_says("shutting down")
    swapyard.signal(signal.SIGTERM)
    assert swapyard.exit_status() == 0
    assert swapyard.processes() == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_everything_at_once(yard: StartYard, number: signal.Signals) -> None:
    """A stream that would go on for ever and a server that ignores SIGTERM could take 30 seconds."""
    swapyard = yard(CONFIG)
    with swapyard.stream("stubborn", until="/never") as stream:
        events = stream.events()
        next(events)
        swapyard.signal(number)
        swapyard.log_says("shutting down")
        swapyard.signal(number)
        assert swapyard.exit_status() == 0
        stream.until_cut()
    assert "second signal: ending everything at once" in swapyard.log()
    assert swapyard.processes() == []


def test_the_port_is_free_again_at_once(yard: StartYard) -> None:
    swapyard = yard(CONFIG)
    assert swapyard.chat("good").status == 200
    swapyard.stop()
    swapyard.start()
    assert swapyard.chat("good").status == 200
