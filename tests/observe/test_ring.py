from __future__ import annotations

from swapyard.observe.ring import ByteRing, Ring


def test_the_ring_keeps_the_newest_in_order() -> None:
    """Vector B1."""
    ring: Ring[int] = Ring(4)
    for item in range(1, 9):
        ring.push(item)
    assert ring.items() == [5, 6, 7, 8]
    assert ring.newest() == 8


def test_a_ring_of_no_capacity_keeps_one() -> None:
    """Vector B2."""
    ring: Ring[int] = Ring(0)
    assert ring.newest() is None
    ring.push(41)
    ring.push(42)
    assert ring.items() == [42]


def test_what_is_read_from_a_ring_is_a_copy() -> None:
    ring: Ring[int] = Ring(4)
    ring.push(1)
    ring.items().append(2)
    assert ring.items() == [1]


def test_the_byte_ring_is_exact_to_the_byte() -> None:
    """Vector B3."""
    ring = ByteRing(10)
    seen = []
    for data in (b"hello", b"world", b"12345", b"abcdefghijklmnop"):
        ring.push(data)
        seen.append(ring.content())
    assert seen == [b"hello", b"helloworld", b"world12345", b"ghijklmnop"]


def test_the_byte_ring_says_when_something_fell_out() -> None:
    """Vector B4."""
    ring = ByteRing(5)
    ring.push(b"abc")
    assert not ring.overflowed
    ring.push(b"def")
    assert ring.overflowed
    assert ring.content() == b"bcdef"
    ring.push(b"12345")
    assert ring.content() == b"12345"
    ring.push(b"xyzuvw")
    assert ring.content() == b"yzuvw"
