"""Clients that leave, at each moment of a request: the slot is free again and nobody else notices."""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.end_to_end.conftest import Yard

StartYard = Callable[..., "Yard"]
Undisturbed = Callable[["Yard", str], AbstractContextManager[None]]

CHAT = "/v1/chat/completions"

CONFIG = """
models:
  good: {cmd: "${server}.well_behaved ${PORT}"}
  one: {cmd: "${server}.well_behaved ${PORT}"}
  other: {cmd: "${server}.well_behaved ${PORT}"}
  slow: {cmd: "${server}.well_behaved ${PORT} 2", sendLoadingState: true}
groups:
  beside: {swap: false, exclusive: false, persistent: true, members: [good, slow]}
  turns: {swap: true, exclusive: false, members: [one, other]}
"""


@pytest.fixture
def swapyard(yard: StartYard) -> Yard:
    return yard(CONFIG)


@pytest.fixture(autouse=True)
def good_goes_on(swapyard: Yard, undisturbed: Undisturbed) -> Iterator[None]:
    with undisturbed(swapyard, "good"):
        yield


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """A file that some requests wait for."""
    return tmp_path / "gate"


def waiting_only_for_good(swapyard: Yard) -> bool:
    return [entry["model"] for entry in swapyard.in_flight()] == ["good"]


def nothing_remains(swapyard: Yard, model: str) -> None:
    """The request has ended, and is recorded and logged as that of a client that left."""
    swapyard.until(lambda: waiting_only_for_good(swapyard), "the request has ended")
    swapyard.until(lambda: 499 in swapyard.statuses(model), "it is recorded as left")
    row = next(row for row in swapyard.activity() if row["resp_status_code"] == 499)
    assert row["error_msg"] == "client disconnected"
    logged_as_left(swapyard, CHAT)


def logged_as_left(swapyard: Yard, path: str) -> None:
    line = re.compile(rf'Request 127.0.0.1 "POST {path} HTTP/1.1" .* client disconnected$', re.MULTILINE)
    swapyard.until(lambda: line.search(swapyard.log()) is not None, "the log line")


def reset(client: socket.socket) -> None:
    """Leave with a RST instead of a proper goodbye, as a machine does that loses its power."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def test_r12_before_the_request_is_complete(swapyard: Yard) -> None:
    with swapyard.connect() as client:
        client.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: yard\r\nContent-Le")
    with swapyard.connect() as client:
        client.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: yard\r\n"
            b'Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"model": "one", '
        )
    logged_as_left(swapyard, CHAT)
    assert waiting_only_for_good(swapyard)
    assert "one" not in swapyard.states()


def test_while_its_model_loads(swapyard: Yard) -> None:
    """The load is finished, because it is paid for."""
    with swapyard.leave_after_asking({"model": "slow"}):
        swapyard.until(lambda: swapyard.states().get("slow") == "starting", "slow is loading")
    nothing_remains(swapyard, "slow")
    assert swapyard.states()["slow"] == "starting"
    swapyard.until(lambda: swapyard.states()["slow"] == "ready", "the load is finished")


def test_while_it_is_told_about_the_load(swapyard: Yard) -> None:
    with swapyard.stream("slow") as stream:
        assert "reasoning_content" in next(stream.events())
        stream.hang_up()
    nothing_remains(swapyard, "slow")


def test_while_it_stands_in_line(swapyard: Yard, gate: Path) -> None:
    """R-09: what nobody wants any more is not loaded."""
    with swapyard.leave_after_asking({"model": "one", "hold": str(gate)}) as first:
        swapyard.log_says("holding")
        with swapyard.leave_after_asking({"model": "other"}):
            swapyard.until(lambda: len(swapyard.in_flight()) == 3, "the second stands in line")
        swapyard.until(lambda: len(swapyard.in_flight()) == 2, "the second has left")
        gate.touch()
        assert first.recv(100).startswith(b"HTTP/1.1 200")
    assert swapyard.chat("one").status == 200
    nothing_remains(swapyard, "other")
    assert "<other>" not in [line.split()[1] for line in swapyard.log().splitlines() if "loading" in line]


def test_before_the_answer_begins(swapyard: Yard, gate: Path) -> None:
    with swapyard.leave_after_asking({"model": "one", "hold": str(gate)}):
        swapyard.log_says("holding")
    nothing_remains(swapyard, "one")
    assert swapyard.chat("other").status == 200


def test_in_mid_stream(swapyard: Yard, gate: Path) -> None:
    with swapyard.stream("one", until=str(gate)) as stream:
        next(stream.events())
        stream.hang_up()
    nothing_remains(swapyard, "one")
    assert swapyard.chat("other").status == 200


def test_in_mid_stream_without_a_goodbye(swapyard: Yard, gate: Path) -> None:
    client = swapyard.leave_after_asking({"model": "one", "stream": True, "until": str(gate)})
    client.recv(1000)
    reset(client)
    nothing_remains(swapyard, "one")


def test_in_the_middle_of_a_long_body(swapyard: Yard) -> None:
    with swapyard.leave_after_asking({"model": "one", "answer_bytes": 50_000_000}) as client:
        client.recv(1000)
    nothing_remains(swapyard, "one")


def test_while_it_uploads_to_the_server_itself(swapyard: Yard) -> None:
    """Such a body goes through while it comes, so the server is told at once that there is no more of it."""
    with swapyard.connect() as client:
        client.sendall(b"POST /upstream/one/upload HTTP/1.1\r\nHost: yard\r\nContent-Length: 1000\r\n\r\nabc")
        swapyard.log_says("begins to read")
    swapyard.log_says("\nthe client left\n")
    logged_as_left(swapyard, "/upstream/one/upload")


def test_after_its_answer_on_a_kept_connection(swapyard: Yard) -> None:
    with swapyard.leave_after_asking({"model": "one"}) as client:
        answer = client.recv(1000)
        while not answer.endswith(b"}"):
            answer += client.recv(1000)
    swapyard.until(lambda: swapyard.statuses("one") == [200], "it is recorded as answered")
    assert waiting_only_for_good(swapyard)
