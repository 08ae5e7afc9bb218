"""Captures of exchanges: held until there is time to pack them, then kept within a budget."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any, Protocol

from swapyard.observe.capture_codec import Capture, from_cbor, to_cbor
from swapyard.observe.shelf import Shelf, unlink

log = logging.getLogger(__name__)

MEBIBYTE = 1024 * 1024
DEFAULT_BUDGET_BYTES = 5 * MEBIBYTE

WAITING_LIMIT_BYTES = 8 * MEBIBYTE
"""Plain captures that may wait for being packed, if the budget is not small; beyond that the oldest go."""

_PLAIN_LIMIT_BYTES = 64 * MEBIBYTE


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

    def __init__(self, budget_bytes: int = DEFAULT_BUDGET_BYTES) -> None:
        self._lock = threading.Lock()
        self._shelf = Shelf(max(budget_bytes, 0))
        self._waiting: OrderedDict[int, Draft] = OrderedDict()
        self._waiting_bytes = 0
        # The largest body worth holding for a capture; 0 when captures are off.
        self.plain_limit_bytes = _plain_limit_bytes(budget_bytes)
        # Captures given up because they came faster than they could be packed.
        self.dropped = 0

    def set_budget(self, budget_bytes: int) -> None:
        """Take over a changed budget; what fits stays, 0 or less switches captures off."""
        with self._lock:
            self._shelf.resize(max(budget_bytes, 0))
            self.plain_limit_bytes = _plain_limit_bytes(budget_bytes)
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
        plain = request = b""
        try:
            capture = draft.draw_up()
            plain = to_cbor(capture)
            request = capture.req_path.encode() + b"\n" + (capture.req_body or b"")
        except Exception:
            # One that cannot be stored is our bug, and must not come up again and again.
            log.exception("capture %d cannot be stored", activity_id)
        with self._lock:
            if self._waiting.pop(activity_id, None) is None:
                return True
            self._waiting_bytes -= draft.size_bytes
            if plain and not self._shelf.put(activity_id, plain, request):
                log.warning("capture %d is larger than the capture buffer and is not kept", activity_id)
        return True

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
    return max(budget_bytes, min(4 * budget_bytes, _PLAIN_LIMIT_BYTES), 0)
