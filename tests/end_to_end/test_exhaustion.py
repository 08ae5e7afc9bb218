"""No descriptor left: what the client is told, one line of the log for it, and all goes on afterwards."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

import psutil
import pytest

if TYPE_CHECKING:
    from tests.end_to_end.conftest import Yard

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs prlimit(2)")

StartYard = Callable[..., "Yard"]

CONFIG = """
performance: {disabled: true}
models:
  good: {cmd: "${server}.well_behaved ${PORT}"}
  other: {cmd: "${server}.well_behaved ${PORT}"}
  stops: {cmd: "${server}.well_behaved ${PORT}", cmdStop: "kill ${PID}", unloadTimeout: 2}
groups:
  together: {swap: false, exclusive: false, members: [good, other, stops]}
"""


@contextmanager
def only(swapyard: Yard, more: int) -> Iterator[None]:
    """Let swapyard open so many more descriptors and no others, for the length of the block."""
    process = psutil.Process(swapyard.pid)
    swapyard.until(lambda: not clients_of(process, swapyard.port), "nobody is connected any more")
    before = process.rlimit(psutil.RLIMIT_NOFILE)
    used = {int(name) for name in os.listdir(f"/proc/{swapyard.pid}/fd")}
    limit = 0
    while more or limit in used:
        more -= limit not in used
        limit += 1
    process.rlimit(psutil.RLIMIT_NOFILE, (limit, before[1]))
    try:
        yield
    finally:
        process.rlimit(psutil.RLIMIT_NOFILE, before)


def clients_of(process: psutil.Process, port: int) -> list[object]:
    return [one for one in process.net_connections("tcp") if one.laddr.port == port and one.raddr]


@pytest.fixture
def swapyard(yard: StartYard) -> Yard:
    """One that opens nothing by itself any more."""
    started = yard(CONFIG)
    started.until(lambda: started.get("/api/hardware").status == 200, "the hardware has been looked at")
    return started


def load(swapyard: Yard, model: str) -> None:
    assert swapyard.request("POST", f"/api/models/load/{model}").status == 200


def test_a_model_that_cannot_be_started_says_that_too_many_files_are_open(swapyard: Yard) -> None:
    for more in (1, 2, 3, 4):  # the client's connection, and what a child needs one after the other
        with only(swapyard, more):
            reply = swapyard.chat("good")
        assert (reply.status, reply.code) == (502, "load_failed"), more
        assert "too many open files" in reply.message.lower()
        assert swapyard.request("POST", "/api/config/reload").status == 200  # the failures do not add up
    swapyard.log_says("<good> failed to load", times=4)
    assert swapyard.chat("good").status == 200


def test_a_model_that_cannot_be_reached_is_not_blamed(swapyard: Yard) -> None:
    load(swapyard, "good")
    with only(swapyard, 1):
        reply = swapyard.chat("good")
    assert (reply.status, reply.code) == (503, "resources_exhausted")
    assert reply.message.endswith("too many open files") and reply.headers["retry-after"] == "1"
    assert swapyard.chat("good").status == 200
    swapyard.log_says("too many open files")
    assert swapyard.log().count("too many open files") == 1


@pytest.mark.parametrize("model", ["good", "stops"])
def test_processes_are_stopped_without_a_descriptor(swapyard: Yard, model: str) -> None:
    load(swapyard, model)
    load(swapyard, "other")
    with only(swapyard, 1):
        assert swapyard.request("POST", f"/api/models/unload/{model}").status == 200
    assert swapyard.states() == {"other": "ready"}
    assert swapyard.chat(model).status == 200


def test_a_crash_is_noticed_without_a_descriptor(swapyard: Yard) -> None:
    pid = swapyard.pid_of("good")
    with only(swapyard, 0):
        os.kill(pid, signal.SIGKILL)
        swapyard.log_says("<good> ended by itself: killed by SIGKILL")
    swapyard.until(lambda: swapyard.states() == {}, "it is gone")
    assert swapyard.chat("good").status == 200


def test_clients_that_cannot_be_accepted_are_turned_away_and_the_others_are_served(swapyard: Yard) -> None:
    ask = b"GET /health HTTP/1.1\r\nHost: yard\r\n\r\n"
    with ExitStack() as clients:
        with only(swapyard, 2):
            connected = [clients.enter_context(swapyard.connect()) for _ in range(20)]
            for client in connected:
                client.sendall(ask)
            served = [client for client in connected if is_served(client)]
            assert len(served) == 2
            for client in served:
                client.sendall(ask)
                assert is_served(client)
        # Those who come in the same moment are turned away with the others.
        swapyard.until(lambda: is_healthy(swapyard), "it accepts again")


def is_served(client: socket.socket) -> bool:
    answer = b""
    with suppress(ConnectionError):
        while not answer.endswith(b"\r\n\r\nOK") and (data := client.recv(1000)):
            answer += data
    return answer.startswith(b"HTTP/1.1 200 ")


def is_healthy(swapyard: Yard) -> bool:
    with suppress(OSError):
        return swapyard.get("/health").status == 200
    return False
