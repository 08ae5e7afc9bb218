"""Processes that are stopped while they answer: every client learns why, at once, without SIGKILL."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

if TYPE_CHECKING:
    from tests.end_to_end.conftest import Yard

StartYard = Callable[..., "Yard"]

CONFIG = """
models:
  engine: {cmd: "${server}.ends_with_its_connections ${PORT}"}
  talker: {cmd: "${packaged_server}.websocket_echo ${PORT}"}
  ignored: {cmd: "${packaged_server}.websocket_echo ${PORT}", compat: {ignoreWebsockets: true}}
  slow: {cmd: "${server}.well_behaved ${PORT} 60"}
  alone: {cmd: "${server}.well_behaved ${PORT}"}
groups:
  together: {swap: false, exclusive: false, members: [engine, talker, ignored, slow]}
  turns: {swap: true, exclusive: true, members: [alone]}
"""

NEVER = "/never"
HOLD = {"hold": NEVER}


@pytest.fixture(scope="module")
def swapyard(shared_yard: StartYard) -> Yard:
    return shared_yard(CONFIG)


@contextmanager
def stopping(swapyard: Yard, model: str) -> Iterator[None]:
    """Unload within the block; behind it the process is gone, without force."""
    pid = next(m["pid"] for m in swapyard.get("/api/models").json() if m["id"] == model)
    killed = swapyard.log().count("sending SIGKILL")
    yield
    swapyard.until(lambda: not alive(pid), "the process is gone", patience=5.0)
    assert swapyard.log().count("sending SIGKILL") == killed


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def unload(swapyard: Yard, model: str) -> None:
    assert swapyard.request("POST", f"/api/models/unload/{model}").status == 200


def answer_of(client: Any) -> tuple[int, dict[str, str], dict[str, Any]]:
    head, _, body = b"".join(iter(lambda: client.recv(65536), b"")).partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return int(status.split(" ")[1]), headers, json.loads(body)


def is_relaying(swapyard: Yard, model: str, count: int = 1) -> bool:
    phases = [one["details"]["phase"] for one in swapyard.in_flight() if one["model"] == model]
    return phases.count("relaying") == count


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/upstream/engine/v1/completions"])
def test_a_stream_of_an_unloaded_model_ends_with_the_reason(swapyard: Yard, path: str) -> None:
    stream = swapyard.open("POST", path, {"model": "engine", "stream": True, "until": NEVER})
    try:
        assert next(stream.events())
        with stopping(swapyard, "engine"):
            unload(swapyard, "engine")
        *_, last = stream.until_cut()
    finally:
        stream.hang_up()
    error = json.loads(last)["error"]
    assert (error["code"], error["message"]) == ("model_unloaded", "engine was unloaded")
    swapyard.until(lambda: swapyard.row("engine")["error_msg"] == "engine was unloaded", "it is recorded")


@pytest.mark.parametrize("path", ["/v1/completions", "/upstream/engine/v1/completions", "/upstream/engine/x"])
def test_a_request_without_an_answer_yet_gets_503(swapyard: Yard, path: str) -> None:
    begun = swapyard.log().count("holding")
    with swapyard.leave_after_asking({"model": "engine", **HOLD}, f"{path}?x=1") as client:
        client.settimeout(20)
        swapyard.log_says("holding", begun + 1)
        with stopping(swapyard, "engine"):
            unload(swapyard, "engine")
        head, _, body = client.recv(65536).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ") and b"retry-after: 1" in head.lower()
    assert json.loads(body)["error"]["code"] == "model_unloaded"


def test_everybody_gets_the_reason_and_the_next_request_a_new_process(swapyard: Yard) -> None:
    """Streams, held requests, and those of another model that wait for all of these to end."""
    begun = swapyard.log().count("holding")
    with ExitStack() as open_requests:
        ask = {"model": "engine", **HOLD}
        held = [open_requests.enter_context(swapyard.leave_after_asking(ask)) for _ in range(5)]
        swapyard.log_says("holding", begun + 5)
        waiting = open_requests.enter_context(swapyard.leave_after_asking({"model": "alone"}))
        swapyard.until(lambda: len(swapyard.in_flight()) == 6, "the sixth waits")
        with stopping(swapyard, "engine"):
            unload(swapyard, "engine")
        assert all(client.recv(65536).startswith(b"HTTP/1.1 503 ") for client in held)
        assert waiting.recv(65536).startswith(b"HTTP/1.1 200 ")
    assert swapyard.chat("engine").status == 200


def test_who_waits_for_a_load_gets_503(swapyard: Yard) -> None:
    with ExitStack() as open_requests:
        waiting = [
            open_requests.enter_context(swapyard.leave_after_asking({"model": "slow"})) for _ in range(3)
        ]
        swapyard.until(lambda: swapyard.states().get("slow") == "starting", "slow is loading")
        swapyard.until(lambda: len(swapyard.in_flight()) == 3, "all wait")
        with stopping(swapyard, "slow"):
            unload(swapyard, "slow")
        for client in waiting:
            answer = client.recv(65536)
            assert answer.startswith(b"HTTP/1.1 503 ") and b'"code":"model_unloaded"' in answer


@pytest.mark.parametrize("model", ["talker", "ignored"])
def test_a_websocket_of_an_unloaded_model_is_closed(swapyard: Yard, model: str) -> None:
    if model == "ignored":
        assert swapyard.request("POST", f"/api/models/load/{model}").status == 200

    async def conversation() -> None:
        url = f"ws://127.0.0.1:{swapyard.port}/upstream/{model}/v1/realtime"
        async with asyncio.timeout(20), connect(url, proxy=None) as client:
            await client.send("hello")
            assert await client.recv() == "hello"
            with stopping(swapyard, model):
                await asyncio.to_thread(unload, swapyard, model)
            with pytest.raises(ConnectionClosed):
                await client.recv()

    asyncio.run(conversation())


def test_a_second_signal_tells_everybody_and_needs_no_force_that_is_not_asked_for(yard: StartYard) -> None:
    swapyard = yard(CONFIG)
    with (
        swapyard.stream("engine", until=NEVER) as stream,
        swapyard.leave_after_asking({"model": "engine", **HOLD}) as held,
    ):
        next(stream.events())
        swapyard.log_says("holding")
        swapyard.signal(signal.SIGTERM)
        swapyard.log_says("shutting down")
        swapyard.signal(signal.SIGTERM)
        *_, last = stream.until_cut()
        status, headers, error = answer_of(held)
    assert json.loads(last)["error"]["code"] == "shutting_down"
    assert (status, error["error"]["code"]) == (503, "shutting_down")
    assert "retry-after" in headers
    assert swapyard.exit_status() == 0


def test_an_operators_cancel_and_an_unload_each_say_what_they_are(swapyard: Yard) -> None:
    with swapyard.stream("engine", until=NEVER) as stream:
        next(stream.events())
        swapyard.until(lambda: is_relaying(swapyard, "engine"), "it is under way")
        (one,) = swapyard.in_flight()
        assert swapyard.request("POST", f"/api/inflight/{one['id']}/cancel").status == 200
        *_, last = stream.until_cut()
    assert json.loads(last)["error"]["code"] == "cancelled"
