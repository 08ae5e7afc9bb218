"""Reading request bodies in bounded memory."""

from __future__ import annotations

import asyncio
import mmap
import os
from collections.abc import Callable

import pytest

from swapyard.errors import ClientDisconnected, Fault, RequestError
from swapyard.proxy.body import IN_MEMORY_BYTES, Body, BodyReader
from swapyard.proxy.splice import Edit, splice
from swapyard.web.messages import Request

Incoming = Callable[..., Request]
Read = Callable[..., Body]


@pytest.fixture
def read(incoming: Incoming) -> Read:
    """The body of a request that comes in these pieces; None stands for the client's leaving."""

    def body(*parts: bytes | None, limit_bytes: int = 0) -> Body:
        async def main() -> Body:
            return await BodyReader(limit_bytes).read(incoming(*parts))

        return asyncio.run(main())

    return body


def test_a_body_in_one_piece_is_kept_as_it_came(read: Read) -> None:
    sent = b'{"model":"m"}'
    with read(sent) as body:
        assert body.view() is sent
        assert list(body.chunks()) == [sent]
        assert body.length == len(sent)


def test_an_empty_body_has_no_chunks(read: Read) -> None:
    with read(b"") as body:
        assert (body.length, list(body.chunks()), body.view()) == (0, [], b"")


def test_a_body_in_pieces_is_put_together(read: Read) -> None:
    with read(b"ab", b"cd") as body:
        assert body.view() == b"abcd"


def test_a_long_body_lies_in_a_mapped_file_and_comes_back_in_chunks(read: Read) -> None:
    parts = [bytes([number]) * 65_536 for number in range(40)]
    with read(*parts) as body:
        assert body.length == 40 * 65_536 > IN_MEMORY_BYTES
        assert isinstance(body.view(), mmap.mmap)
        assert max(map(len, body.chunks(10_000))) == 10_000
        assert b"".join(body.chunks()) == b"".join(parts)


def test_a_client_that_leaves_early_is_told_from_one_that_finished(read: Read) -> None:
    with pytest.raises(ClientDisconnected):
        read(b"ab", None)
    with pytest.raises(ClientDisconnected):
        read(b"x" * (IN_MEMORY_BYTES + 1), None)


@pytest.mark.parametrize("parts", [(b"x" * 11,), (b"x" * 6, b"x" * 5), (b"x", b"x" * 20, None)])
def test_a_body_beyond_the_limit_is_refused(read: Read, parts: tuple[bytes | None, ...]) -> None:
    with pytest.raises(RequestError, match="10 bytes") as caught:
        read(*parts, limit_bytes=10)
    assert caught.value.fault is Fault.TOO_LARGE


def test_a_body_of_exactly_the_limit_passes(read: Read) -> None:
    with read(b"x" * 10, limit_bytes=10) as body:
        assert body.length == 10


@pytest.mark.parametrize("size", [100, IN_MEMORY_BYTES * 2])
def test_a_spliced_body_sends_its_segments_and_can_be_scanned_again(size: int) -> None:
    original = Body(b"ab" * (size // 2))
    spliced = splice(original.view(), [Edit(1, 2, b"-----")])
    with Body.of(spliced, over=original) as body:
        expected = b"a-----" + b"ab" * (size // 2 - 1)
        assert body.length == len(expected)
        assert b"".join(body.chunks()) == expected
        assert bytes(body.view()) == expected


def open_files() -> int:
    return len(os.listdir("/dev/fd"))


def test_no_file_stays_open_however_the_reading_ends(read: Read) -> None:
    part = b"x" * IN_MEMORY_BYTES
    before = open_files()
    with pytest.raises(ClientDisconnected):
        read(part, part, None)
    with pytest.raises(RequestError):
        read(part, part, part, limit_bytes=len(part) * 2)
    body = read(part, part)
    assert open_files() == before + 1
    body.close()
    assert open_files() == before


def test_closing_a_spliced_body_closes_the_one_it_refers_to(read: Read) -> None:
    before = open_files()
    original = read(b"x" * IN_MEMORY_BYTES, b"y")
    body = Body.of(splice(original.view(), [Edit(0, 1, b"z")]), over=original)
    assert bytes(body.view()[:2]) == b"zx"
    assert open_files() == before + 2
    body.close()
    assert open_files() == before


def test_closing_twice_and_while_a_view_is_in_use_is_harmless(read: Read) -> None:
    body = read(b"x" * (IN_MEMORY_BYTES + 1), b"y")
    held = memoryview(body.view())
    body.close()
    body.close()
    assert held[-1] == ord("y")
