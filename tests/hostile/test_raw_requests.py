"""Raw requests of every unhappy kind: the right answer, nothing refused is executed, nobody else is hurt."""

from __future__ import annotations

import uuid

import pytest
from tests.hostile.attacks import ATTACKS, Attack, Ends, Then
from tests.hostile.conftest import Target
from tests.hostile.wire import Answer, Wire, request

ONE_BY_ONE_BYTES = 1000
"""Attacks up to this size are also sent in single bytes."""

UNLOAD = request("GET /unload")


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
    "attack", [each for each in ATTACKS if len(each.sent) <= ONE_BY_ONE_BYTES], ids=named
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
