"""Captures: stored form, budget, what is kept of which route, conversations that share."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from swapyard.observe.capture_codec import Capture, from_cbor, pack, pack_difference, to_cbor, unpack
from swapyard.observe.captures import MEBIBYTE, WAITING_LIMIT_BYTES, Captures
from swapyard.observe.shelf import Shelf, unlink
from swapyard.upkeep import Upkeep

EXAMPLE = Capture(
    id=7,
    req_path="/v1/chat/completions",
    req_headers={"Content-Type": "application/json"},
    req_body=b'{"a":1}',
    resp_headers={},
    resp_body=None,
)


def capture(number: int, request: bytes = b"", reply: bytes | None = None) -> Capture:
    return Capture(number, "/v1/chat/completions", {}, request, {}, reply)


def random_bytes(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def conversation(turns: int, opening_words: int = 2000, seed: int = 1) -> list[tuple[bytes, bytes]]:
    """Requests and streamed replies in which every turn sends all that was said before."""
    dice = random.Random(seed)
    words = ["".join(dice.choices("abcdefghijklmnop", k=dice.randint(2, 9))) for _ in range(4000)]

    def text(count: int) -> str:
        return " ".join(dice.choices(words, k=count))

    messages = [{"role": "system", "content": text(opening_words)}]
    said = []
    for _ in range(turns):
        messages.append({"role": "user", "content": text(60)})
        request = json.dumps({"model": "m", "messages": messages, "stream": True}).encode()
        answer = text(80)
        reply = "".join(
            f'data: {{"choices":[{{"delta":{{"content":"{word} "}}}}]}}\n\n' for word in answer.split()
        )
        messages.append({"role": "assistant", "content": answer})
        said.append((request, reply.encode()))
    return said


@dataclass
class ReadyDraft:
    kept: Capture

    @property
    def activity_id(self) -> int:
        return self.kept.id

    @property
    def size_bytes(self) -> int:
        return 1000 + len(self.kept.req_body or b"")

    def draw_up(self) -> Capture:
        return self.kept


def offer(captures: Captures, kept: Capture) -> None:
    captures.offer([ReadyDraft(kept)])


def pack_all(captures: Captures) -> None:
    while captures.pack_one():
        pass


def test_the_stored_form_is_the_published_cbor() -> None:
    assert to_cbor(EXAMPLE).hex() == (
        "a662696407687265715f70617468742f76312f636861742f636f6d706c6574696f6e736b7265715f68656164657273a1"
        "6c436f6e74656e742d54797065706170706c69636174696f6e2f6a736f6e687265715f626f6479477b2261223a317d6c"
        "726573705f68656164657273a069726573705f626f6479f6"
    )


def test_the_api_shows_bodies_in_base64() -> None:
    assert EXAMPLE.json() == {
        "id": 7,
        "req_path": "/v1/chat/completions",
        "req_headers": {"Content-Type": "application/json"},
        "req_body": "eyJhIjoxfQ==",
        "resp_headers": {},
        "resp_body": None,
    }


@pytest.mark.parametrize("size", [0, 1, 1000, 3_000_000])
def test_binary_bodies_come_back_exactly(size: int) -> None:
    plain = to_cbor(capture(1, random_bytes(size), b"\0\xff" * 10))
    assert from_cbor(unpack(pack(plain), len(plain), None)) == capture(1, random_bytes(size), b"\0\xff" * 10)


@pytest.mark.parametrize("size", [0, 1000, 3_000_000])
def test_a_difference_comes_back_exactly(size: int) -> None:
    plain, later = random_bytes(size) + b"end", b"start" + random_bytes(size) + random_bytes(500, seed=2)
    packed = pack_difference(plain, later)
    assert unpack(packed, len(plain), later) == plain
    assert len(packed) < 1000


def test_storing_again_replaces_and_makes_newest() -> None:
    """Vector B5."""
    shelf = Shelf(10)
    for capture_id, size in ((1, 4), (2, 4), (1, 2)):
        assert shelf.put_packed(capture_id, bytes(size), 0)
    assert (shelf.size_bytes, list(shelf)) == (6, [2, 1])


def test_what_exceeds_the_budget_is_refused_and_the_old_one_stays() -> None:
    """Vector B6."""
    shelf = Shelf(10)
    shelf.put_packed(2, bytes(4), 0)
    shelf.put_packed(1, bytes(2), 0)
    assert not shelf.put_packed(1, bytes(11), 0)
    assert (shelf.size_bytes, list(shelf)) == (6, [2, 1])


def test_the_oldest_make_room() -> None:
    """Vector B7."""
    shelf = Shelf(10)
    shelf.put_packed(2, bytes(4), 0)
    shelf.put_packed(1, bytes(2), 0)
    assert shelf.put_packed(3, bytes(8), 0)
    assert (shelf.size_bytes, list(shelf)) == (10, [1, 3])


def test_the_turns_of_a_conversation_cost_little() -> None:
    turns = conversation(20)
    plain = [to_cbor(capture(number, *turn)) for number, turn in enumerate(turns)]
    alone = sum(len(pack(body)) for body in plain)
    shelf = Shelf(100_000_000)
    for number, (request, _) in enumerate(turns):
        shelf.put(number, plain[number], request)
    assert shelf.size_bytes < alone / 5
    assert [unlink(shelf.links(number)) for number in range(20)] == plain


def test_two_conversations_at_once_share_each_their_own() -> None:
    one, other = conversation(15, 300, seed=1), conversation(15, 300, seed=2)
    shelf = Shelf(100_000_000)
    alone = 0
    for number, turn in enumerate(turn for pair in zip(one, other, strict=True) for turn in pair):
        plain = to_cbor(capture(number, *turn))
        alone += len(pack(plain))
        shelf.put(number, plain, turn[0])
    assert shelf.size_bytes < alone / 3


def test_a_picture_that_is_sent_with_every_turn_is_stored_once() -> None:
    picture = random_bytes(3_000_000).hex().encode()
    shelf = Shelf(100_000_000)
    for number in range(4):
        request = b'{"messages":["' + picture + b"turn" * number * 100 + b'"]}'
        shelf.put(number, to_cbor(capture(number, request, b"ok")), request)
    assert shelf.size_bytes < 1.2 * len(pack(picture))


def test_making_room_takes_the_oldest_turn_and_leaves_the_rest_readable() -> None:
    turns = conversation(12)
    plain = [to_cbor(capture(number, *turn)) for number, turn in enumerate(turns)]
    budget_bytes = len(pack(plain[-1])) + 2000
    shelf = Shelf(budget_bytes)
    for number, (request, _) in enumerate(turns):
        assert shelf.put(number, plain[number], request)
        assert shelf.size_bytes <= budget_bytes
    kept = list(shelf)
    assert 1 < len(kept) < 12
    assert kept == list(range(12 - len(kept), 12))
    assert [unlink(shelf.links(number)) for number in kept] == [plain[number] for number in kept]


def test_replacing_a_turn_leaves_the_one_before_readable() -> None:
    (first, _), (second, _) = conversation(2)
    shelf = Shelf(1_000_000)
    shelf.put(1, b"one" + first, first)
    shelf.put(2, b"two" + second, second)
    shelf.put(2, b"something else", b"something else")
    assert unlink(shelf.links(1)) == b"one" + first
    assert unlink(shelf.links(2)) == b"something else"
    assert shelf.size_bytes == sum(len(shelf.links(number)[0][0]) for number in (1, 2))


def test_a_capture_can_be_read_before_it_is_packed() -> None:
    captures = Captures()
    offer(captures, EXAMPLE)
    assert captures.get(7) == EXAMPLE.json()
    assert captures.has([6, 7]) == {7}


def test_a_packed_capture_is_the_same() -> None:
    captures = Captures()
    offer(captures, EXAMPLE)
    pack_all(captures)
    assert captures.get(7) == EXAMPLE.json()
    assert captures.has([6, 7]) == {7}
    assert 0 < captures.size_bytes < 1000


def test_an_unknown_capture_is_none() -> None:
    assert Captures().get(1) is None


@pytest.mark.parametrize("budget_bytes", [0, -1])
def test_without_a_budget_nothing_is_kept(budget_bytes: int) -> None:
    captures = Captures(budget_bytes)
    offer(captures, EXAMPLE)
    assert captures.has([7]) == set()
    assert captures.plain_limit_bytes == 0


def test_a_capture_larger_than_the_budget_goes_when_it_is_packed() -> None:
    captures = Captures(10_000)
    offer(captures, capture(1, random_bytes(20_000)))
    pack_all(captures)
    assert captures.has([1]) == set()


def test_a_smaller_budget_keeps_the_newest() -> None:
    captures = Captures(100_000)
    for number in range(1, 6):
        offer(captures, capture(number, random_bytes(10_000, seed=number)))
    pack_all(captures)
    captures.set_budget(25_000)
    assert captures.has(range(10)) == {4, 5}


def test_captures_that_come_too_fast_push_out_the_oldest_that_wait() -> None:
    captures = Captures()
    size = WAITING_LIMIT_BYTES // 4
    for number in range(6):
        offer(captures, capture(number, bytes(size)))
    assert captures.has(range(6)) == {3, 4, 5}
    assert captures.dropped == 3


def test_captures_can_be_read_while_others_are_packed() -> None:
    captures = Captures(200_000)
    turns = conversation(40, 300)
    done = threading.Event()

    def pack_until_done() -> None:
        while not done.is_set():
            pack_all(captures)

    packing = threading.Thread(target=pack_until_done)
    packing.start()
    for number, turn in enumerate(turns):
        offer(captures, capture(number, *turn))
        for earlier in range(number + 1):
            shown = captures.get(earlier)
            assert shown is None or shown == capture(earlier, *turns[earlier]).json()
    done.set()
    packing.join()


class DraftWithoutMemory(ReadyDraft):
    def draw_up(self) -> Capture:
        raise MemoryError


def test_without_memory_a_capture_is_dropped_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    upkeep = Upkeep()
    captures = Captures(upkeep=upkeep)
    captures.offer([DraftWithoutMemory(capture(number)) for number in range(3)])
    pack_all(captures)
    assert (captures.dropped, upkeep.down()) == (3, {"captures": "out of memory"})
    offer(captures, capture(7, b"x"))
    pack_all(captures)
    assert captures.has(range(10)) == {7}
    assert upkeep.down() == {} == upkeep.errors()
    assert len(caplog.records) == 2


CHILD = """
import sys
import psutil
from swapyard.observe.capture_codec import Capture
from swapyard.observe.captures import MEBIBYTE, Captures
from tests.observe.test_captures import ReadyDraft, bodies

captures = Captures(5 * MEBIBYTE)
before = 0
for number, body in enumerate(bodies(sys.argv[1]), 1):
    captures.offer([ReadyDraft(Capture(number, "/v1/chat/completions", {}, body, {}, b"ok"))])
    while captures.pack_one():
        pass
    if number == 40:  # what the first ones need for a moment stays with the process
        before = psutil.Process().memory_info().rss
print(psutil.Process().memory_info().rss - before, captures.size_bytes, len(captures.has(range(9999))))
"""


def bodies(kind: str) -> Iterator[bytes]:
    """Requests of 1 MB that shrink to a hundredth: one grows from turn to turn, or all differ."""
    dice = random.Random(3)
    words = ["".join(dice.choices("abcdefghijklmnop", k=dice.randint(2, 9))) for _ in range(400)]
    said = " ".join(dice.choices(words, k=150_000))
    for number in range(240):
        if kind == "conversation":
            said += " ".join(dice.choices(words, k=50))
            yield said.encode()
        else:
            yield f"{number} {' '.join(dice.choices(words, k=2000))} ".encode() * 70


@pytest.mark.parametrize("kind", ["conversation", "different"])
def test_captures_hold_what_they_say_and_not_what_they_were_packed_from(kind: str) -> None:
    root = Path(__file__).parent.parent.parent
    told = subprocess.run(
        [sys.executable, "-c", CHILD, kind], cwd=root, check=True, capture_output=True, text=True
    ).stdout
    growth_bytes, size_bytes, kept = map(int, told.split())
    assert kept == 240
    assert 0 < size_bytes <= 5 * MEBIBYTE
    # Packed in place, they held 1 MB each: 200 MB and more.
    assert growth_bytes < size_bytes + 40 * MEBIBYTE


def test_many_small_captures_of_large_requests_cost_little_besides_their_bytes() -> None:
    shelf = Shelf(100 * MEBIBYTE)
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    request = bytearray(70_000)
    for number in range(9000):
        request[:8] = number.to_bytes(8)
        shelf.put(number, bytes(request), bytes(request))
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before - shelf.size_bytes < 30 * MEBIBYTE
