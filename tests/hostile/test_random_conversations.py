"""Any requests on one connection, valid or not, cut anywhere: what was meant happens, and nothing else."""

from __future__ import annotations

import json
from dataclasses import dataclass

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.hostile.attacks import ATTACKS, DOORS, UPGRADE_H2C, chunk
from tests.hostile.conftest import Target
from tests.hostile.wire import Wire

MOST_CUTS = 12


@dataclass(frozen=True)
class Said:
    """One request as it is sent: the body that has to arrive, or None for one that has to be refused."""

    data: bytes
    body: bytes | None
    # Whether the client says that it sends no more.
    closes: bool = False


def body(content: bytes) -> bytes:
    return json.dumps({"model": "echo", "content": content.decode("latin-1")}).encode()


LAST = body(b"last")


@st.composite
def valid(draw: st.DrawFn) -> Said:
    """A request for the model, with a length or in chunks, with or without what must not matter."""
    whole = body(draw(st.binary(max_size=300)))
    head = DOORS[draw(st.sampled_from(["chat", "upstream"]))]
    head += draw(st.sampled_from([b"", UPGRADE_H2C, b"Upgrade: TLS/1.3\r\nConnection: Upgrade\r\n"]))
    closes = draw(st.integers(0, 9)) == 0
    if closes:
        head += b"Connection: close\r\n"
    if draw(st.booleans()):
        return Said(head + b"Content-Length: %d\r\n\r\n%b" % (len(whole), whole), whole, closes)
    cuts = sorted(draw(st.sets(st.integers(1, len(whole) - 1), max_size=4)))
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    extension = draw(st.sampled_from([b"", b";a=b", b';a="b;c"']))
    trailers = draw(st.sampled_from([b"", b"X-Late: yes\r\n", b"Host: other\r\nConnection: close\r\n"]))
    chunks = b"".join(chunk(piece, extension) for piece in pieces)
    return Said(
        head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n" + trailers + b"\r\n", whole, closes
    )


REFUSED = [Said(attack.sent, None) for attack in ATTACKS if attack.is_refusal and attack.answers == ((400,),)]

conversations = st.lists(
    st.one_of(valid(), valid(), valid(), st.sampled_from(REFUSED)), min_size=1, max_size=6
)


def expected(conversation: list[Said]) -> tuple[list[bytes], bool]:
    """The bodies that have to come back, in order, and whether a refusal follows."""
    bodies: list[bytes] = []
    for said in conversation:
        if said.body is None:
            return bodies, True
        bodies.append(said.body)
        if said.closes:
            break
    return bodies, False


def converse(target: Target, *pieces: bytes) -> tuple[list[bytes], list[int]]:
    """(bodies that came back, other statuses) of a connection that ends with a client that sends no more."""
    echoed: list[bytes] = []
    refused: list[int] = []
    with Wire(target.port) as wire:
        wire.send(*pieces)
        while (answer := wire.answer()) is not None:
            assert answer.is_whole, answer
            assert not refused, "an answer behind a refusal"
            if answer.status == 200:
                echoed.append(answer.json()["body"].encode("latin-1"))
            else:
                refused.append(answer.status)
    return echoed, refused


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(conversation=conversations, data=st.data())
def test_a_conversation_means_the_same_however_its_bytes_are_cut(
    target: Target, conversation: list[Said], data: st.DataObject
) -> None:
    # The last one closes, so that the end of the answers is the end of the connection.
    last = DOORS["chat"] + b"Connection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(LAST), LAST)
    conversation = [*conversation, Said(last, LAST, closes=True)]
    sent = b"".join(said.data for said in conversation)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(sent) - 1), max_size=MOST_CUTS), label="cuts"))
    bodies, is_refused = expected(conversation)
    target.received()
    for pieces in ([sent], [sent[a:b] for a, b in zip([0, *cuts], [*cuts, len(sent)], strict=True)]):
        echoed, refused = converse(target, *pieces)
        assert echoed == bodies
        assert refused == ([400] if is_refused else [])
        assert [asked["body"].encode("latin-1") for asked in target.received()] == bodies
