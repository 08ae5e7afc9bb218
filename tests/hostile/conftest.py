"""One swapyard for a module of attacks, a model that remembers what reached it, a bystander throughout."""

from __future__ import annotations

import http.client
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from tests.end_to_end.conftest import Yard, shared_yard
from tests.hostile.wire import Bystander, Wire, request

__all__ = ["shared_yard"]

MODEL = f"{sys.executable} -S -m tests.hostile.obedient_model ${{PORT}}"

CONFIG = f"""
models:
  echo: {{cmd: "{MODEL}"}}
"""

CHAT = "POST /v1/chat/completions"
LOOKED_AT_ONCE = 4000
"""Characters of a log that a failure shows."""


@dataclass(frozen=True)
class Target:
    """The program under attack, with its one model loaded."""

    yard: Yard
    model_port: int

    @property
    def port(self) -> int:
        return self.yard.port

    def received(self) -> list[dict[str, Any]]:
        """The requests that reached the model since the last call, asked behind the program's back."""
        connection = http.client.HTTPConnection("127.0.0.1", self.model_port, timeout=20)
        try:
            connection.request("GET", "/received")
            return list(json.loads(connection.getresponse().read()))
        finally:
            connection.close()

    def serves(self, wire: Wire, token: str) -> None:
        """Fails unless this connection carries a request to the model and its answer back."""
        body = json.dumps({"model": "echo", "token": token}).encode()
        wire.send(request(CHAT, body, [("Host", "yard"), ("Content-Type", "application/json")]))
        answer = wire.answer()
        assert answer is not None, "the connection was closed"
        assert (answer.status, answer.is_whole) == (200, True), answer
        assert json.loads(answer.json()["body"])["token"] == token


@pytest.fixture(scope="module")
def attacked(shared_yard: Callable[..., Yard]) -> Yard:
    return shared_yard(CONFIG)


@pytest.fixture
def target(attacked: Yard) -> Iterator[Target]:
    """The program, which must come out of the test as it went in, while a bystander is served throughout."""
    log_bytes = attacked.log_file.stat().st_size
    assert attacked.chat("echo").status == 200
    running = {entry["model"]: entry["proxy"] for entry in attacked.get("/running").json()["running"]}
    target = Target(attacked, int(running["echo"].rpartition(":")[2]))
    target.received()
    with Bystander(attacked.port) as bystander:
        yield target
        bystander.check()
    still_running = attacked.get("/running").json()["running"]
    assert {entry["model"]: entry["proxy"] for entry in still_running}.items() >= running.items()
    attacked.until(lambda: attacked.in_flight() == [], "no request is in flight any more")
    with attacked.log_file.open("rb") as log:
        log.seek(log_bytes)
        said = log.read().decode(errors="replace")
    assert "Traceback" not in said and "a bug in" not in said, said[-LOOKED_AT_ONCE:]
