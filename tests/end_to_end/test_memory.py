"""What is large or slow passes in bounded memory, pages of mapped files included."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

import psutil
import pytest

if TYPE_CHECKING:
    from tests.end_to_end.conftest import Yard

StartYard = Callable[..., "Yard"]

MB = 1_000_000
LOOK_AGAIN = 0.002

CONFIG = """
models:
  good: {cmd: "${server}.well_behaved ${PORT}"}
  quick: {cmd: "${server}.quick ${PORT}"}
groups:
  together: {swap: false, exclusive: false, members: [good, quick]}
"""

CONNECTIONS = 4
AT_ONCE = 1000

CHAT = "/v1/chat/completions"
JSON = {"Content-Type": "application/json"}


def memory_bytes(pid: int) -> int:
    return int(psutil.Process(pid).memory_info().rss)


class Growth:
    """How much more memory a process had at its peak than when this began; `limit` in MB."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._before = memory_bytes(pid)
        self.most = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Growth:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._measure()

    def _look(self) -> None:
        while not self._over.wait(LOOK_AGAIN):
            self._measure()

    def _measure(self) -> None:
        self.most = max(self.most, memory_bytes(self._pid) - self._before)


@pytest.fixture
def swapyard(yard: StartYard) -> Yard:
    started = yard("logLevel: warn\ncaptureBuffer: 5\n" + CONFIG)
    for model in ("good", "quick") * 3:
        assert started.chat(model).status == 200
    return started


@pytest.mark.parametrize("model_comes", ["first", "last"])
def test_a_request_of_100_mb_passes(swapyard: Yard, model_comes: str) -> None:
    message = {"messages": [{"role": "user", "content": "x" * 100 * MB}]}
    wish = {"model": "good", **message} if model_comes == "first" else {**message, "model": "good"}
    body = json.dumps(wish).encode()
    with Growth(swapyard.pid) as growth:
        for _ in range(2):
            assert swapyard.request("POST", CHAT, body, JSON).status == 200
    assert growth.most < 32 * MB


def test_an_upload_of_100_mb_to_the_server_itself_passes(swapyard: Yard) -> None:
    with Growth(swapyard.pid) as growth:
        reply = swapyard.request("POST", "/upstream/good/upload", bytes(100 * MB))
    assert reply.json()["bytes"] == 100 * MB
    assert growth.most < 32 * MB


def test_an_answer_of_200_mb_passes_while_captures_are_kept(swapyard: Yard) -> None:
    with Growth(swapyard.pid) as growth:
        reply = swapyard.chat("good", answer_bytes=200 * MB)
        assert (reply.status, len(reply.body)) == (200, 200 * MB)
        assert swapyard.chat("good").status == 200
    assert growth.most < 100 * MB


def test_clients_that_never_read_cost_a_bounded_amount_while_10_000_requests_pass(swapyard: Yard) -> None:
    with ExitStack() as clients:
        for path in ("/api/events", "/logs/stream", "/logs/stream/quick"):
            clients.enter_context(swapyard.watch(path))
        clients.enter_context(swapyard.leave_after_asking({"model": "good", "answer_bytes": 500 * MB}))
        pass_through(swapyard, 3_000)
        log = len(swapyard.log())
        with Growth(swapyard.pid) as growth:
            pass_through(swapyard, 10_000)
        assert growth.most < 16 * MB
        assert len(swapyard.log()[log:].splitlines()) < 5  # what is dropped for want of time is said once


def pass_through(swapyard: Yard, requests: int) -> None:
    """Have this many requests answered by `quick`, and no more in a row than the recorder can note down."""
    for _ in range(requests // AT_ONCE):
        before = newest_row(swapyard)
        with ThreadPoolExecutor(CONNECTIONS) as clients:
            for client in [clients.submit(ask, swapyard, AT_ONCE // CONNECTIONS) for _ in range(CONNECTIONS)]:
                client.result()
        swapyard.until(partial(is_recorded, swapyard, before + AT_ONCE), "all are recorded")


def is_recorded(swapyard: Yard, row: int) -> bool:
    return newest_row(swapyard) >= row


def newest_row(swapyard: Yard) -> int:
    return int(swapyard.get("/api/metrics/activity?limit=1").json()["data"][0]["id"])


def ask(swapyard: Yard, requests: int) -> None:
    """One client with one connection."""
    body = json.dumps({"model": "quick", "messages": [{"role": "user", "content": "hello " * 20}]}).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nHost: yard\r\nContent-Type: application/json\r\n"
    request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    with swapyard.connect() as client:
        for _ in range(requests):
            client.sendall(request)
            answer = client.recv(65536)
            while not answer.endswith(b"}}"):
                answer += client.recv(65536)
            assert answer.startswith(b"HTTP/1.1 200 ")
