"""Models that misbehave: what the client is told, what the log says, and that nobody else notices.

While a model does its worst, a stream of another one runs, and has to arrive complete.
"""

from __future__ import annotations

import http.client
import os
import signal
import socket
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import psutil
import pytest

if TYPE_CHECKING:
    from tests.end_to_end.conftest import Yard

StartYard = Callable[..., "Yard"]
Undisturbed = Callable[["Yard", str], AbstractContextManager[None]]


def beside_a_good_one(command: str, more: str = "") -> str:
    """A configuration in which `bad` and `good` may run at the same time."""
    return f"""
models:
  good: {{cmd: "${{server}}.well_behaved ${{PORT}}"}}
  bad: {{cmd: "{command}", {more}}}
groups:
  together: {{swap: false, exclusive: false, members: [good, bad]}}
"""


def serving(name: str, more: str = "") -> str:
    return beside_a_good_one(f"${{server}}.{name} ${{PORT}}", more)


# Models that do not start


def test_a_command_that_does_not_exist(yard: StartYard, undisturbed: Undisturbed) -> None:
    swapyard = yard(beside_a_good_one("no-such-engine --port ${PORT}"))
    with undisturbed(swapyard, "good"):
        reply = swapyard.chat("bad")
        assert (reply.status, reply.code) == (502, "load_failed")
        assert "no-such-engine" in reply.message
        assert swapyard.states() == {"good": "ready"}
    swapyard.log_says("no-such-engine")


def test_a_port_that_is_already_taken(yard: StartYard, undisturbed: Undisturbed) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        swapyard = yard(
            beside_a_good_one(f"${{server}}.well_behaved {port}", f"proxy: 'http://127.0.0.1:{port}'")
        )
        with undisturbed(swapyard, "good"):
            reply = swapyard.chat("bad")
            assert (reply.status, reply.code) == (502, "load_failed")
            assert str(port) in reply.message
        swapyard.log_says(reply.message)


def test_a_server_that_never_becomes_healthy(yard: StartYard, undisturbed: Undisturbed) -> None:
    swapyard = yard(serving("never_ready", "healthCheckTimeout: 1"))
    with undisturbed(swapyard, "good"):
        reply = swapyard.chat("bad", timeout=40)
        assert (reply.status, reply.code) == (502, "load_failed")
        assert "health check" in reply.message
        assert swapyard.states() == {"good": "ready"}
    swapyard.log_says(reply.message.splitlines()[0])


def test_a_server_that_dies_while_loading(yard: StartYard, undisturbed: Undisturbed) -> None:
    swapyard = yard(serving("dies_while_loading"))
    with undisturbed(swapyard, "good"):
        reply = swapyard.chat("bad")
        assert (reply.status, reply.code) == (502, "load_failed")
        assert "exit status 3" in reply.message
        assert "cannot allocate 40 GiB" in reply.message
    swapyard.log_says("exit status 3")


def test_a_server_that_goes_on_dying_is_left_alone_for_a_while(
    yard: StartYard, undisturbed: Undisturbed
) -> None:
    swapyard = yard(serving("dies_while_loading"))
    with undisturbed(swapyard, "good"):
        replies = [swapyard.chat("bad") for _ in range(4)]
    assert [reply.code for reply in replies] == ["load_failed"] * 3 + ["backing_off"]
    assert (replies[-1].status, replies[-1].headers["retry-after"]) == (503, "1")
    assert "exit status 3" in replies[-1].message
    swapyard.log_says('"POST /v1/chat/completions HTTP/1.1" 503')
    assert swapyard.log().count("[ERROR] <bad> failed to load") == 3


def test_a_failed_load_ends_the_text_about_the_load(yard: StartYard, undisturbed: Undisturbed) -> None:
    """E-25: the stream has begun, so the error is an event, and the end is a proper one."""
    swapyard = yard(serving("never_ready", "sendLoadingState: true"))
    with undisturbed(swapyard, "good"):
        with swapyard.stream("bad") as stream:
            events = stream.events()
            assert "reasoning_content" in next(events)
            assert swapyard.request("POST", "/api/models/unload/bad").status == 200
            *_, error, end = events
        assert '"code":"model_unloaded"' in error
        assert end == "[DONE]"


def test_a_wrapper_that_leaves_its_server_behind(yard: StartYard, undisturbed: Undisturbed) -> None:
    """P-33: what leaves our hands cannot be stopped, so it is not kept."""
    swapyard = yard(serving("forks_and_leaves"))
    with undisturbed(swapyard, "good"):
        reply = swapyard.chat("bad")
        assert (reply.status, reply.code) == (502, "load_failed")
        assert "exit status 0" in reply.message
        assert not any("forks_and_leaves" in " ".join(p.cmdline()) for p in swapyard.processes())


# Models that start and then disappoint


def test_an_error_of_the_server_reaches_the_client_as_it_is(
    yard: StartYard, undisturbed: Undisturbed
) -> None:
    swapyard = yard(serving("answers_500"))
    with undisturbed(swapyard, "good"):
        reply = swapyard.chat("bad")
        assert reply.status == 500
        assert reply.json() == {"error": {"message": "CUDA error: device-side assert triggered", "code": 500}}
    swapyard.log_says('"POST /v1/chat/completions HTTP/1.1" 500')
    assert "CUDA error" in swapyard.row("bad")["error_msg"]


def test_an_answer_that_is_not_http(yard: StartYard, undisturbed: Undisturbed) -> None:
    swapyard = yard(serving("talks_nonsense"))
    with undisturbed(swapyard, "good"):
        reply = swapyard.chat("bad")
        assert (reply.status, reply.code) == (502, "bad_gateway")
    swapyard.log_says('"POST /v1/chat/completions HTTP/1.1" 502')


def test_no_answer_within_the_response_header_timeout(yard: StartYard, undisturbed: Undisturbed) -> None:
    swapyard = yard(serving("never_answers", "timeouts: {responseHeader: 1}"))
    with undisturbed(swapyard, "good"):
        reply = swapyard.chat("bad")
        assert (reply.status, reply.code) == (504, "gateway_timeout")
        swapyard.log_says("the client left")
    swapyard.log_says('"POST /v1/chat/completions HTTP/1.1" 504')


def test_a_server_that_dies_before_it_answers(yard: StartYard, undisturbed: Undisturbed) -> None:
    """P-20."""
    swapyard = yard(serving("dies_while_serving"))
    with undisturbed(swapyard, "good"):
        reply = swapyard.chat("bad", die="before")
        assert (reply.status, reply.code) == (502, "bad_gateway")
        assert reply.message.startswith("bad ended by itself: killed by SIGKILL; last output:\n")
        assert reply.message.endswith("error: out of memory")
        swapyard.log_says("killed by SIGKILL")
        assert swapyard.chat("bad").status == 200


def test_a_server_that_dies_in_mid_stream(yard: StartYard, undisturbed: Undisturbed) -> None:
    """P-21: the client can tell that this was not the end."""
    swapyard = yard(serving("dies_while_serving"))
    with undisturbed(swapyard, "good"):
        with swapyard.stream("bad", count=9, die="amid_stream") as stream:
            heard = stream.until_cut()
        assert len(heard) == 4 and '"code":"bad_gateway"' in heard[3]
        assert "bad ended by itself: killed by SIGKILL" in heard[3] and "error: out of memory" in heard[3]
        swapyard.log_says("killed by SIGKILL")
        assert swapyard.chat("bad").status == 200


def test_a_server_that_dies_in_the_middle_of_a_body(yard: StartYard, undisturbed: Undisturbed) -> None:
    """P-22."""
    swapyard = yard(serving("dies_while_serving"))
    with undisturbed(swapyard, "good"):
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            swapyard.chat("bad", die="amid_body")
        swapyard.log_says("killed by SIGKILL")
        assert swapyard.chat("bad").status == 200


def test_an_idle_server_that_is_killed_from_outside_is_started_again(
    yard: StartYard, undisturbed: Undisturbed
) -> None:
    """P-19."""
    swapyard = yard(serving("well_behaved"))
    with undisturbed(swapyard, "good"):
        first = swapyard.pid_of("bad")
        os.kill(first, signal.SIGKILL)
        swapyard.until(lambda: "bad" not in swapyard.states(), "the process is known to be gone")
        swapyard.log_says("killed by SIGKILL")
        assert swapyard.pid_of("bad") != first


# Models that do not want to end


def test_a_server_that_ignores_sigterm_is_killed_and_holds_nobody_up(
    yard: StartYard, undisturbed: Undisturbed
) -> None:
    """R-16."""
    swapyard = yard(serving("ignores_sigterm", "unloadTimeout: 3"))
    pid = swapyard.pid_of("bad")
    with undisturbed(swapyard, "good"):
        begun = time.monotonic()
        with swapyard.connect() as operator:
            operator.sendall(
                b"POST /api/models/unload/bad HTTP/1.1\r\nHost: yard\r\nContent-Length: 0\r\n\r\n"
            )
            swapyard.until(lambda: swapyard.states().get("bad") == "stopping", "bad is stopping")
            assert swapyard.chat("good").status == 200
            assert swapyard.states().get("bad") == "stopping"
            assert operator.recv(100).startswith(b"HTTP/1.1 200")
        assert time.monotonic() - begun >= 3
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_helpers_of_a_server_end_with_it(yard: StartYard, undisturbed: Undisturbed) -> None:
    """P-08, P-09: also those that ignore SIGTERM, hold its output open or have a group of their own."""
    swapyard = yard(serving("forks_helpers", "unloadTimeout: 1"))

    def of_bad() -> list[psutil.Process]:
        return [p for p in swapyard.processes() if "forks_helpers" in " ".join(p.cmdline())]

    with undisturbed(swapyard, "good"):
        assert swapyard.chat("bad").status == 200
        swapyard.until(lambda: len(of_bad()) == 3, "both helpers run")
        assert swapyard.request("POST", "/api/models/unload/bad").status == 200
        assert of_bad() == []
