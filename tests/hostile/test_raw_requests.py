"""Raw requests of every unhappy kind: the right answer, nothing refused is executed, nobody else is hurt."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from tests.hostile.attacks import ATTACKS, BODY, DOORS, Attack, Ends, Then, chunk
from tests.hostile.conftest import CONFIG, Target
from tests.hostile.wire import Answer, Wire, request

if TYPE_CHECKING:
    from tests.end_to_end.conftest import Yard

ONE_BY_ONE_BYTES = 1000
"""Attacks up to this size are also sent in single bytes."""

UNLOAD = request("GET /unload")
KEY = "sesame"


def played(attack: Attack, wire: Wire, *pieces: bytes) -> list[int]:
    """The statuses of the answers to an attack that is sent in these pieces; 0 for none where one was due."""
    wire.send(*pieces)
    if attack.ends is Ends.LEAVES:
        wire.close()
        return []
    if attack.ends is Ends.HALF_CLOSES:
        wire.half_close()
    statuses = []
    for _ in attack.answers:
        answer = wire.answer(attack.method)
        statuses.append(status_of(answer))
        if answer is None:
            break
    return statuses


def status_of(answer: Answer | None) -> int:
    if answer is None:
        return 0
    assert answer.is_whole, f"an incomplete answer: {answer}"
    assert answer.header("x-injected") is None
    if answer.status in (400, 431):
        assert answer.header("connection") == "close"
    return answer.status


def check(attack: Attack, statuses: list[int]) -> None:
    assert len(statuses) == len(attack.answers), statuses
    for status, allowed in zip(statuses, attack.answers, strict=True):
        assert status in allowed, f"{statuses}, expected {attack.answers}"


def check_rest(attack: Attack, statuses: list[int], wire: Wire, target: Target) -> None:
    """Go on with the connection as `then` says, and see that nothing was left in it."""
    if attack.ends is Ends.LEAVES:
        return
    if attack.then is Then.USABLE:
        target.serves(wire, uuid.uuid4().hex)
        return
    wire.send(UNLOAD if attack.then is Then.CLOSED else request("GET /health"))
    wire.half_close()
    answer = wire.answer()
    if answer is None:
        assert wire.rest() == b""
        return
    assert attack.then is Then.EITHER, f"answered once more: {answer}"
    assert (answer.status, answer.body) == (200, b"OK")
    assert wire.rest() == b""


def check_received(attack: Attack, statuses: list[int], target: Target) -> None:
    """What reached the model is what was sent, in order; a request that was refused did not."""
    bodies = [asked["body"].encode("latin-1") for asked in target.received()]
    own = [body for body in bodies if b'"token"' not in body]
    was_served = any(status == 200 for status in statuses)
    assert own == list(attack.reached if was_served else ())


def named(attack: Attack) -> str:
    return attack.name


@pytest.mark.parametrize("attack", ATTACKS, ids=named)
def test_an_attack_gets_its_answer_and_hurts_nobody(attack: Attack, target: Target) -> None:
    with Wire(target.port) as wire:
        statuses = played(attack, wire, attack.sent)
        check(attack, statuses)
        check_rest(attack, statuses, wire, target)
    check_received(attack, statuses, target)
    with Wire(target.port) as wire:
        target.serves(wire, uuid.uuid4().hex)


@pytest.mark.parametrize(
    "attack",
    [each for each in ATTACKS if len(each.sent) <= ONE_BY_ONE_BYTES and not each.name.endswith("-control")],
    ids=named,
)
def test_an_attack_in_single_bytes_gets_the_same_answer(attack: Attack, target: Target) -> None:
    with Wire(target.port) as wire:
        statuses = played(attack, wire, *(bytes([byte]) for byte in attack.sent))
        check(attack, statuses)
        check_rest(attack, statuses, wire, target)
    check_received(attack, statuses, target)


@pytest.mark.parametrize("attack", [each for each in ATTACKS if each.is_refusal], ids=named)
def test_nothing_behind_a_refused_request_is_executed(attack: Attack, target: Target) -> None:
    with Wire(target.port) as wire:
        statuses = played(attack, wire, attack.sent + UNLOAD)
        assert wire.rest() == b""
    check(attack, statuses)
    assert target.received() == []
    assert target.yard.states() == {"echo": "ready"}


TRAILERS = (
    b"X-Late: yes\r\nHost: other\r\nX-Forwarded-For: 6.6.6.6\r\nAuthorization: Bearer secret\r\n"
    b"Connection: close, x-kept\r\nContent-Type: text/plain\r\n"
)


@pytest.mark.parametrize("door", ["chat", "upstream"])
def test_no_trailer_reaches_the_model(door: str, target: Target) -> None:
    head = DOORS[door] + b"X-Kept: yes\r\nTransfer-Encoding: chunked\r\n\r\n"
    with Wire(target.port) as wire:
        wire.send(head + chunk(BODY) + b"0\r\n" + TRAILERS + b"\r\n")
        answer = wire.answer()
        assert answer is not None
        assert answer.status == 200
        target.serves(wire, uuid.uuid4().hex)
    asked, _ = target.received()
    headers = dict(asked["headers"])
    assert headers["host"] == "yard"
    assert headers["x-kept"] == "yes"
    assert headers["x-forwarded-for"] == "127.0.0.1"
    assert headers["content-type"] == "application/json"
    assert headers.keys().isdisjoint({"x-late", "authorization", "trailer"})


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", ["Authorization: Bearer", "X-Api-Key:"])
def test_a_key_in_a_trailer_opens_nothing(name: str, door: str, locked: Yard) -> None:
    head = DOORS[door] + b"Transfer-Encoding: chunked\r\n\r\n"
    with Wire(locked.port) as wire:
        wire.send(head + chunk(BODY) + f"0\r\n{name} {KEY}\r\n\r\n".encode())
        answer = wire.answer()
    assert answer is not None
    assert answer.status == 401


@pytest.fixture(scope="module")
def locked(shared_yard: Callable[..., Yard]) -> Yard:
    """A program that wants a key."""
    return shared_yard(f"apiKeys: [{KEY}]\n{CONFIG}")
