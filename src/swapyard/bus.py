"""One bus from those who publish notices to those who watch; watchers never slow publishers."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from swapyard.notices import InflightChanged, LogWritten, Notice
from swapyard.upkeep import Upkeep

PART = "events"

DEFAULT_CAPACITY = 1024
"""Notices that a watcher may fall behind before it loses any."""

TEXT_LIMIT_BYTES = 4 << 20
"""Text from outside among them: a model may print 64 KiB at a time, a client send headers of 1 MiB."""


class Gap:
    """Stands in a subscription where `lost` notices were dropped; resolve it with a snapshot."""

    __slots__ = ("lost",)

    def __init__(self, lost: int) -> None:
        self.lost = lost


class Subscription:
    """What one watcher has not read yet, in order of publication."""

    def __init__(self, kinds: tuple[type, ...], capacity: int) -> None:
        self._kinds = kinds
        self._capacity = capacity
        self._queue: deque[Notice] = deque()
        self._text_bytes = 0
        self._lost = 0
        self._closed = False
        self._wake = asyncio.Event()

    def offer(self, notice: Notice) -> None:
        if self._kinds and not isinstance(notice, self._kinds):
            return
        text_bytes = self._text_bytes + _text_bytes(notice)
        # Behind what was lost nothing gets in until the watcher has been told, and got its snapshot.
        if self._lost or len(self._queue) >= self._capacity or text_bytes > TEXT_LIMIT_BYTES:
            self._lost += 1
        else:
            self._queue.append(notice)
            self._text_bytes = text_bytes
        self._wake.set()

    def close(self) -> None:
        """End the watcher's `next` with None once it has read what is left."""
        self._closed = True
        self._wake.set()

    async def next(self) -> Notice | Gap | None:
        """The next notice, or a Gap where some were lost; None when the bus has closed."""
        while True:
            if self._queue:
                return self._take()
            if self._lost:
                gap, self._lost = Gap(self._lost), 0
                return gap
            if self._closed:
                return None
            self._wake.clear()
            await self._wake.wait()

    def _take(self) -> Notice:
        notice = self._queue.popleft()
        self._text_bytes -= _text_bytes(notice)
        return notice


def _text_bytes(notice: Notice) -> int:
    if isinstance(notice, LogWritten):
        return len(notice.data)
    return notice.size_bytes if isinstance(notice, InflightChanged) else 0


class Bus:
    """Publish from the event loop's thread only; from another thread go through the loop."""

    def __init__(self, upkeep: Upkeep | None = None) -> None:
        self._upkeep = upkeep or Upkeep()
        self._subscriptions: list[Subscription] = []
        self._closed = False

    def publish(self, notice: Notice) -> None:
        for subscription in self._subscriptions:
            try:
                subscription.offer(notice)
            except Exception as error:
                # Neither whoever publishes nor the other watchers notice.
                self._upkeep.failed(PART, error)

    def is_watched(self) -> bool:
        """Whether a notice would reach anybody; for publishers whose notices are costly to make."""
        return bool(self._subscriptions)

    @contextmanager
    def subscribe(self, *kinds: type, capacity: int = DEFAULT_CAPACITY) -> Iterator[Subscription]:
        """Watch notices of these kinds (all kinds if none is named) for the length of the block."""
        subscription = Subscription(kinds, capacity)
        if self._closed:
            subscription.close()
        self._subscriptions.append(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.remove(subscription)

    def close(self) -> None:
        """End every subscription; used at shutdown so that long-lived streams end."""
        self._closed = True
        for subscription in self._subscriptions:
            subscription.close()
