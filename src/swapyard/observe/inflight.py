"""The requests that are under way: listed, told about as they move, ended on an operator's word."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from swapyard.notices import InflightChanged
from swapyard.observe.exchange import Exchange, Phase
from swapyard.observe.header_map import header_map, session_of
from swapyard.observe.timestamps import rfc3339

UPDATE_PERIOD = 0.25
"""Seconds between two updates about the bytes of one request."""

NOTICE_LIMIT = 128
"""Notices within one period; beyond it one snapshot at its end replaces the rest."""

EXPLAINED_LIMIT = 128
"""Waiting requests that are asked in each period what they wait for; those behind say only that they wait."""

_HOST = frozenset({"host"})


class _Standing(NamedTuple):
    """What of a request may change while it is under way."""

    response_bytes: int
    phase: Phase
    reason: str


class InflightList:
    """Belongs to the event loop.  While nobody watches, a request costs two dictionary operations.

    `call_later(delay, function)` is the event loop's; `watched` says whether a notice would
    reach anybody.
    """

    def __init__(
        self,
        *,
        publish: Callable[[InflightChanged], None],
        watched: Callable[[], bool],
        clock: Callable[[], float],
        call_later: Callable[[float, Callable[[], None]], object],
        redacted: frozenset[str],
        session_names: tuple[bytes, ...] = (),
    ) -> None:
        self.redacted = redacted
        self.session_names = session_names
        self._publish = publish
        self._watched = watched
        self._clock = clock
        self._call_later = call_later
        self._exchanges: dict[int, Exchange] = {}
        # What watchers know of requests that they were told about: bytes, phase, reason.
        self._known: dict[int, _Standing] = {}
        self._ticking = False
        self._told = 0
        self._overflown = False

    def __len__(self) -> int:
        return len(self._exchanges)

    def begin(self, exchange: Exchange) -> None:
        """List it; watchers are told when it moves, which is at once for nearly every request."""
        self._exchanges[exchange.id] = exchange

    def moved(self, exchange: Exchange) -> None:
        """Its body is awaited, its model is known, it has to wait, or its answer begins."""
        if exchange.id in self._exchanges:
            self._upsert(exchange)

    def end(self, exchange: Exchange) -> None:
        if self._exchanges.pop(exchange.id, None) is not None:
            self._known.pop(exchange.id, None)
            if self._may_tell():
                self._publish(InflightChanged({"operation": "remove", "id": str(exchange.id)}))

    def cancel(self, inflight_id: str) -> bool:
        """End this request now; False if it is not under way or cannot be ended any more."""
        known = inflight_id.isascii() and inflight_id.isdigit() and len(inflight_id) < 19
        exchange = self._exchanges.get(int(inflight_id)) if known else None
        if exchange is None or exchange.cancel is None:
            return False
        exchange.cancel()
        return True

    def entries(self) -> list[dict[str, Any]]:
        """All of them by arrival, then id."""
        ordered = sorted(self._exchanges.values(), key=lambda exchange: (exchange.arrived_at, exchange.id))
        standings = self._standings()
        return [self._entry(exchange, standings[exchange.id]) for exchange in ordered]

    def snapshot(self) -> dict[str, Any]:
        """The payload that gives a new watcher the whole list; an empty list is left out."""
        entries = self.entries()
        if entries:
            self._tick_later()
        return {"operation": "snapshot", "requests": entries} if entries else {"operation": "snapshot"}

    def _upsert(self, exchange: Exchange) -> None:
        if self._may_tell():
            standing = self._known[exchange.id] = _Standing(exchange.response_bytes, *exchange.standing)
            payload = {"operation": "upsert", "request": self._entry(exchange, standing)}
            self._publish(InflightChanged(payload, exchange.head_bytes()))

    def _may_tell(self) -> bool:
        if not self._watched():
            return False
        self._tick_later()
        if self._told >= NOTICE_LIMIT:
            self._overflown = True
            return False
        self._told += 1
        return True

    def _tick_later(self) -> None:
        if not self._ticking:
            self._ticking = True
            self._call_later(UPDATE_PERIOD, self._tick)

    def _tick(self) -> None:
        """End a period: tell what moved in it, or everything if too much did."""
        self._ticking = False
        self._told = 0
        if not self._watched():
            self._overflown = False
            self._known.clear()
            return
        standings = self._standings()
        if self._overflown:
            self._overflown = False
            self._known = standings
            size_bytes = sum(exchange.head_bytes() for exchange in self._exchanges.values())
            self._publish(InflightChanged(self.snapshot(), size_bytes))
        else:
            for exchange in list(self._exchanges.values()):
                if standings[exchange.id] != self._known.get(exchange.id):
                    self._upsert(exchange)
        if self._exchanges:
            self._tick_later()

    def _standings(self) -> dict[int, _Standing]:
        standings: dict[int, _Standing] = {}
        asked = 0
        for exchange in self._exchanges.values():
            asked += exchange.is_waiting
            unasked = exchange.is_waiting and asked > EXPLAINED_LIMIT
            phase, reason = (Phase.QUEUED, "") if unasked else exchange.standing
            standings[exchange.id] = _Standing(exchange.response_bytes, phase, reason)
        return standings

    def _entry(self, exchange: Exchange, standing: _Standing) -> dict[str, Any]:
        entry: dict[str, Any] = {
            "id": str(exchange.id),
            "timestamp": rfc3339(exchange.arrived_at),
            "model": exchange.model,
            "req_path": exchange.path,
            "method": exchange.method,
            "req_headers": header_map(exchange.request_headers, self.redacted, without=_HOST),
            "remote_ip": exchange.remote_ip,
            "resp_headers": header_map(exchange.response_headers, self.redacted),
            "resp_bytes": exchange.response_bytes,
            "elapsed_ms": int((self._clock() - exchange.arrived) * 1000),
            "details": {
                "request_id": exchange.request_id,
                "session": session_of(exchange.request_headers, self.session_names),
                "phase": standing.phase.value,
                "wait_reason": standing.reason,
            },
        }
        if exchange.metadata:
            entry["metadata"] = dict(exchange.metadata)
        return entry
