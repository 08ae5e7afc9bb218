"""Rings: the newest items, or the newest bytes, in the order they came."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Ring(Generic[T]):
    """The newest `capacity` items; a capacity below 1 counts as 1."""

    def __init__(self, capacity: int) -> None:
        self._items: deque[T] = deque(maxlen=max(1, capacity))

    def push(self, item: T) -> None:
        self._items.append(item)

    def items(self) -> list[T]:
        """A copy, oldest first."""
        return list(self._items)

    def newest(self) -> T | None:
        return self._items[-1] if self._items else None

    @property
    def capacity(self) -> int:
        return self._items.maxlen or 1


class ByteRing:
    """The newest `capacity` bytes, exact to the byte; takes memory only once something is written."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._bytes = bytearray()
        self._overflowed = False

    def push(self, data: bytes) -> None:
        self._bytes += data
        excess = len(self._bytes) - self._capacity
        if excess > 0:
            # Deleting at the front moves a pointer; CPython copies only once per eighth of the length.
            del self._bytes[:excess]
            self._overflowed = True

    def content(self) -> bytes:
        return bytes(self._bytes)

    @property
    def overflowed(self) -> bool:
        """True once something has fallen out, so that the content may begin in the middle of a character."""
        return self._overflowed
