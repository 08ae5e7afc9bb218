"""Packed captures within a budget of bytes: the oldest make room, the turns of a conversation share."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

from swapyard.observe.capture_codec import pack, pack_difference, unpack

_SHORTEST_PREFIX_BYTES = 64
_HEADS_PER_PREFIX = 8
_MOST_ENTRIES = 8192
"""Captures held at most: the turns of a conversation pack into some 30 bytes each, and an entry takes 500."""

_CHAIN_LIMIT_BYTES = 64 * 1024 * 1024
"""Plain bytes that reading the oldest capture of a chain may have to unpack."""


@dataclass(slots=True)
class _Entry:
    packed: bytes
    plain_bytes: int
    # The later capture that this one is stored as a difference from; None: stored whole.
    later: int | None
    # What its request's prefixes hash to, and how long the request is; empty once it is a difference.
    prefixes: list[bytes]
    request_bytes: int
    # Plain bytes of the captures before it that lean on it, its own included.
    chain_bytes: int


class Shelf:
    """Not thread-safe; `Captures` holds the lock.

    The newest turn of a conversation is stored whole and the one before becomes a difference
    from it.  Nothing that stays ever depends on something older, so making room is simple.
    """

    def __init__(self, budget_bytes: int) -> None:
        self.budget_bytes = budget_bytes
        self.size_bytes = 0
        self._entries: OrderedDict[int, _Entry] = OrderedDict()
        # Captures stored whole, by the hash of a prefix of their request, newest last.
        self._heads: dict[bytes, list[int]] = {}

    def __contains__(self, capture_id: object) -> bool:
        return capture_id in self._entries

    def __iter__(self) -> Iterator[int]:
        """Ids from the oldest to the newest."""
        return iter(self._entries)

    def put(self, capture_id: int, plain: bytes, request: bytes) -> bool:
        """Store a capture as the newest; `request` is what a next turn would begin with.

        False if it alone exceeds the budget; what was stored under this id then stays.
        """
        entry = self._add(capture_id, pack(plain), len(plain))
        if entry is None:
            return False
        entry.prefixes, entry.request_bytes = list(_prefixes(request)), len(request)
        self._chain(capture_id, entry, plain)
        for prefix in entry.prefixes:
            heads = self._heads.setdefault(prefix, [])
            heads.append(capture_id)
            del heads[:-_HEADS_PER_PREFIX]
        # Only now: the turn before may just have shrunk to next to nothing.
        self._make_room()
        return True

    def put_packed(self, capture_id: int, packed: bytes, plain_bytes: int) -> bool:
        """Store what is packed already, without sharing; False as for `put`."""
        if self._add(capture_id, packed, plain_bytes) is None:
            return False
        self._make_room()
        return True

    def links(self, capture_id: int) -> list[tuple[bytes, int]]:
        """What `unlink` needs to read a capture, without the shelf; empty if it is not here."""
        links: list[tuple[bytes, int]] = []
        entry = self._entries.get(capture_id)
        while entry is not None:
            links.append((entry.packed, entry.plain_bytes))
            entry = None if entry.later is None else self._entries[entry.later]
        return links

    def resize(self, budget_bytes: int) -> None:
        self.budget_bytes = budget_bytes
        self._make_room()

    def _add(self, capture_id: int, packed: bytes, plain_bytes: int) -> _Entry | None:
        if len(packed) > self.budget_bytes:
            return None
        if capture_id in self._entries:
            self._release(capture_id)
            self._drop(capture_id)
        entry = self._entries[capture_id] = _Entry(packed, plain_bytes, None, [], 0, plain_bytes)
        self.size_bytes += len(packed)
        return entry

    def _chain(self, capture_id: int, entry: _Entry, plain: bytes) -> None:
        """Store the turn before, if there is one, as a difference from this one."""
        before_id = self._turn_before(capture_id, entry)
        if before_id is None:
            return
        before = self._entries[before_id]
        difference = pack_difference(unlink(self.links(before_id)), plain)
        if len(difference) * 2 > len(before.packed):
            return
        self.size_bytes += len(difference) - len(before.packed)
        self._forget_head(before_id, before)
        before.packed, before.later = difference, capture_id
        entry.chain_bytes += before.chain_bytes

    def _turn_before(self, capture_id: int, entry: _Entry) -> int | None:
        """The capture whose request this one continues: the longest shared prefix, then the newest.

        Prefixes are hashed at doubling lengths, so a request that is continued shares more
        than about half of its length; less is only a system prompt in common.
        """
        for place in reversed(range(len(entry.prefixes))):
            shared_bytes = _SHORTEST_PREFIX_BYTES << place
            for head in reversed(self._heads.get(entry.prefixes[place], [])):
                before = self._entries[head]
                room = before.chain_bytes + entry.plain_bytes <= _CHAIN_LIMIT_BYTES
                if head != capture_id and room and shared_bytes * 2 + 128 >= before.request_bytes:
                    return head
        return None

    def _release(self, capture_id: int) -> None:
        """Make what leans on this capture stand alone, before it changes."""
        for other_id, other in self._entries.items():
            if other.later == capture_id:
                packed = pack(unlink(self.links(other_id)))
                self.size_bytes += len(packed) - len(other.packed)
                other.packed, other.later = packed, None

    def _make_room(self) -> None:
        """Drop the oldest; never the newest, which fits by itself."""
        while self.size_bytes > self.budget_bytes or len(self._entries) > _MOST_ENTRIES:
            self._drop(next(iter(self._entries)))

    def _drop(self, capture_id: int) -> None:
        entry = self._entries.pop(capture_id)
        self.size_bytes -= len(entry.packed)
        self._forget_head(capture_id, entry)
        if entry.later is not None and entry.later in self._entries:
            self._entries[entry.later].chain_bytes -= entry.plain_bytes

    def _forget_head(self, capture_id: int, entry: _Entry) -> None:
        for prefix in entry.prefixes:
            heads = self._heads.get(prefix, [])
            if capture_id in heads:
                heads.remove(capture_id)
            if not heads:
                self._heads.pop(prefix, None)
        entry.prefixes = []


def unlink(links: list[tuple[bytes, int]]) -> bytes:
    """Unpack the first of some links; each leans on the one behind it."""
    plain: bytes | None = None
    for packed, plain_bytes in reversed(links):
        plain = unpack(packed, plain_bytes, plain)
    assert plain is not None
    return plain


def _prefixes(request: bytes) -> Iterator[bytes]:
    """Hashes of the first 64, 128, 256, ... bytes."""
    hashing = hashlib.blake2b(digest_size=16)
    done, length = 0, _SHORTEST_PREFIX_BYTES
    while length <= len(request):
        hashing.update(request[done:length])
        yield hashing.copy().digest()
        done, length = length, length * 2
