"""Captures of exchanges: held until there is time to pack them, then kept within a budget."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any, Protocol

from swapyard.observe.allowance import Allowance
from swapyard.observe.capture_codec import Capture, from_cbor, to_cbor
from swapyard.observe.shelf import Shelf, unlink
from swapyard.upkeep import Upkeep

log = logging.getLogger(__name__)

PART = "captures"

MEBIBYTE = 1024 * 1024
DEFAULT_BUDGET_BYTES = 5 * MEBIBYTE

WAITING_LIMIT_BYTES = 8 * MEBIBYTE
"""Plain captures that may wait for being packed, if the budget is not small; beyond that the oldest go."""

UNDER_WAY_LIMIT_BYTES = 24 * MEBIBYTE
"""Bodies that are held for captures before those can wait: of requests until they have ended, of replies
until they are complete."""

_PLAIN_LIMIT_BYTES = 16 * MEBIBYTE
"""The largest body worth holding for a small budget; to pack it takes about three times its size."""


class Draft(Protocol):
    """What a capture is drawn up from; `size_bytes` is about what this holds in memory until then."""

    @property
    def activity_id(self) -> int: ...

    @property
    def size_bytes(self) -> int: ...

    def draw_up(self) -> Capture: ...


class Captures:
    """Captures by activity id, in memory; all methods may be called from any thread.

    `offer` costs nothing: packing waits for `pack_one`, which the observing thread calls when
    it has time.  A capture can be read as soon as it is offered.
    """

    def __init__(self, budget_bytes: int = DEFAULT_BUDGET_BYTES, upkeep: Upkeep | None = None) -> None:
        self._upkeep = upkeep or Upkeep()
        self._lock = threading.Lock()
        self._shelf = Shelf(max(budget_bytes, 0))
        self._waiting: OrderedDict[int, Draft] = OrderedDict()
        self._waiting_bytes = 0
        # The largest body worth holding for a capture; 0 when captures are off.
        self.plain_limit_bytes = _plain_limit_bytes(budget_bytes)
        # Counts what is held for captures before it is offered here.
        self.under_way = Allowance(max(UNDER_WAY_LIMIT_BYTES, self.plain_limit_bytes))
        # Captures given up because they came faster than they could be packed.
        self.dropped = 0

    def set_budget(self, budget_bytes: int) -> None:
        """Take over a changed budget; what fits stays, 0 or less switches captures off."""
        with self._lock:
            self._shelf.resize(max(budget_bytes, 0))
            self.plain_limit_bytes = _plain_limit_bytes(budget_bytes)
            self.under_way.limit_bytes = max(UNDER_WAY_LIMIT_BYTES, self.plain_limit_bytes)
            if budget_bytes <= 0:
                self._waiting.clear()
                self._waiting_bytes = 0

    def offer(self, drafts: Iterable[Draft]) -> None:
        """Keep what they draw up, some time later."""
        with self._lock:
            if not self._shelf.budget_bytes:
                return
            limit_bytes = min(WAITING_LIMIT_BYTES, self.plain_limit_bytes)
            for draft in drafts:
                self._waiting[draft.activity_id] = draft
                self._waiting_bytes += draft.size_bytes
                while self._waiting_bytes > limit_bytes and len(self._waiting) > 1:
                    _, given_up = self._waiting.popitem(last=False)
                    self._waiting_bytes -= given_up.size_bytes
                    self.dropped += 1
                    if self.dropped == 1:
                        log.warning("captures come faster than they can be packed; the oldest are dropped")

    def pack_one(self) -> bool:
        """Pack the capture that has waited longest; False if none waits.  For one thread only."""
        with self._lock:
            if not self._waiting:
                return False
            activity_id, draft = next(iter(self._waiting.items()))
        try:
            self._pack(activity_id, draft)
        except MemoryError:
            self.dropped += 1
            self._upkeep.mark_down(PART, "out of memory", "captures are dropped until there is some")
        except Exception as error:
            self.dropped += 1
            self._upkeep.failed(PART, error)
        else:
            self._upkeep.mark_up(PART)
        finally:
            # Also one that cannot be stored: it must not come up again and again.
            with self._lock:
                if self._waiting.pop(activity_id, None) is not None:
                    self._waiting_bytes -= draft.size_bytes
        return True

    def _pack(self, activity_id: int, draft: Draft) -> None:
        capture = draft.draw_up()
        plain = to_cbor(capture)
        request = capture.req_path.encode() + b"\n" + (capture.req_body or b"")
        with self._lock:
            if activity_id in self._waiting and not self._shelf.put(activity_id, plain, request):
                log.warning("capture %d is larger than the capture buffer and is not kept", activity_id)

    def has(self, ids: Iterable[int]) -> set[int]:
        """Those of the ids that have a capture right now."""
        with self._lock:
            return {one for one in ids if one in self._waiting or one in self._shelf}

    def get(self, activity_id: int) -> dict[str, Any] | None:
        """The capture as the API shows it; None if there is none (any more)."""
        with self._lock:
            waiting = self._waiting.get(activity_id)
            links = self._shelf.links(activity_id)
        if waiting is not None:
            return waiting.draw_up().json()
        return from_cbor(unlink(links)).json() if links else None

    @property
    def size_bytes(self) -> int:
        """Packed bytes held, never more than the budget."""
        return self._shelf.size_bytes


def _plain_limit_bytes(budget_bytes: int) -> int:
    return max(min(4 * budget_bytes, _PLAIN_LIMIT_BYTES), budget_bytes // 4, 0)
