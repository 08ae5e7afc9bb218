"""Model servers and peers that answer badly: one honest outcome for the client, nothing for anybody else."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.hostile.broken_answers import (
    BROKEN,
    HANGING,
    Broken,
    Cut,
    Outcome,
    Passed,
    Refused,
    StreamCut,
)
from tests.hostile.conftest import CONFIG, Target
from tests.hostile.wire import Answer, Wire, error_code, request

if TYPE_CHECKING:
    from tests.end_to_end.conftest import Yard

ROOT = Path(__file__).resolve().parents[2]

MORE = """
  impatient: {{cmd: "{model}", timeouts: {{responseHeader: 1}}}}
peers:
  far: {{proxy: "http://127.0.0.1:{port}", models: [far]}}
routing: {{router: {{settings: {{groups: {{all: {{swap: false, members: [echo, impatient]}}}}}}}}}}
"""


@pytest.fixture(scope="module")
def peer_port() -> Iterator[int]:
    """Of a server that is nobody's child but ours."""
    command = [sys.executable, "-S", "-m", "tests.hostile.obedient_model", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as peer:
        assert peer.stdout is not None
        yield int(peer.stdout.readline())
        peer.kill()


@pytest.fixture(scope="module")
def attacked(shared_yard: Callable[..., Yard], peer_port: int) -> Yard:
    model = f"{sys.executable} -S -m tests.hostile.obedient_model ${{PORT}}"
    return shared_yard(CONFIG + MORE.format(model=model, port=peer_port))


def line(broken: Broken, model: str) -> str:
    """Chat requests are POSTs; for everything else there is the transparent way."""
    if broken.method == "POST" and not broken.upload_bytes:
        return "POST /v1/chat/completions"
    return f"{broken.method} /upstream/{model}/x"


def asked(broken: Broken, model: str) -> bytes:
    headers = [("Host", "yard"), ("Content-Type", "application/json"), *broken.headers]
    steps = json.dumps(broken.steps)
    if len(steps) > 200_000:  # more than a header should carry
        raise ValueError(broken.name)
    headers.append(("x-steps", steps))
    body = json.dumps({"model": model, "stream": True, "x": "x" * broken.upload_bytes}).encode()
    return request(line(broken, model), body if broken.method == "POST" else None, headers)


def agrees(answer: Answer, outcome: Outcome) -> bool:
    match outcome:
        case Refused(status, code):
            return (answer.status, answer.is_whole, answer.error_code) == (status, True, code)
        case Passed(status, body):
            return (answer.status, answer.is_whole) == (status, True) and body in (None, answer.body)
        case Cut(status, beginning):
            return (answer.status, answer.is_whole) == (status, False) and beginning.startswith(answer.body)
        case StreamCut(said):
            return (answer.status, answer.is_whole) == (200, False) and tells_of_the_error(answer, said)


def tells_of_the_error(answer: Answer, said: bytes) -> bool:
    """Whether what was said is followed by one event with our error, which no half event spoils."""
    rest = answer.body.removeprefix(said).strip(b"\n").removeprefix(b"data:")
    is_one_event = answer.body.startswith(said) and answer.body.endswith(b"\n\n") and b"\n" not in rest
    if not is_one_event or (said and not said.endswith(b"\n\n") and said + b"\n" not in answer.body):
        return False
    return error_code(rest) == "bad_gateway"


def serves(wire: Wire, model: str, *, may_be_hit: bool = False) -> None:
    """The connection carries a request to the model and its answer back.

    `may_be_hit`: bytes that nobody asked for may still be on their way to a kept connection.  A request that
    they meet there is told so, and the next one is served.
    """
    token = uuid.uuid4().hex
    body = json.dumps({"model": model, "token": token}).encode()
    wire.send(
        request("POST /v1/chat/completions", body, [("Host", "yard"), ("Content-Type", "application/json")])
    )
    answer = wire.answer()
    assert answer is not None, "the connection was closed"
    if may_be_hit and answer.status == 502:
        assert answer.error_code == "bad_gateway"
        serves(wire, model)
        return
    assert answer.status == 200, answer
    assert json.loads(answer.json()["body"])["token"] == token


def check(broken: Broken, model: str, target: Target) -> None:
    with Wire(target.port) as wire:
        wire.send(asked(broken, model))
        answer = wire.answer(broken.method)
        assert answer is not None, "closed without an answer"
        assert any(agrees(answer, outcome) for outcome in broken.outcomes), answer
        assert answer.header("x-injected") is None
        if broken.informational:
            assert tuple(answer.informational) == broken.informational
        if not answer.is_whole or answer.header("connection") == "close":
            assert wire.rest() == b""
        else:
            serves(wire, model, may_be_hit=broken.name.endswith("-later"))
            serves(wire, model)
    with Wire(target.port) as wire:
        serves(wire, model)


@pytest.mark.parametrize("model", ["echo", "far"], ids=["process", "peer"])
@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.name)
def test_a_broken_answer_has_one_honest_outcome(broken: Broken, model: str, target: Target) -> None:
    if model == "far" and "/upstream/" in line(broken, model):
        pytest.skip("the transparent way to a peer is the same as to a process")
    check(broken, model, target)


@pytest.mark.parametrize("broken", HANGING, ids=lambda broken: broken.name)
def test_an_answer_that_does_not_begin_in_time_is_504(broken: Broken, target: Target) -> None:
    with Wire(target.port) as wire:
        serves(wire, "impatient")
    check(broken, "impatient", target)
