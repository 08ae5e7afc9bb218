"""Records what happens to requests: lists them while they are under way, keeps a row and a capture after."""

from __future__ import annotations

import asyncio
import itertools
import logging
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

from swapyard.notices import ActivityRecorded, InflightChanged
from swapyard.observe.activity import CLIENT_LEFT, ActivityRow
from swapyard.observe.captures import Captures
from swapyard.observe.cut import ADDRESS_CHARACTERS, PATH_CHARACTERS, REQUEST_ID_CHARACTERS, cut
from swapyard.observe.exchange import Exchange, Headers, Hooks
from swapyard.observe.header_map import redaction, session_names
from swapyard.observe.inflight import InflightList
from swapyard.observe.parts import Parts
from swapyard.observe.prometheus import Lost
from swapyard.observe.store import ActivityStore
from swapyard.observe.writer import Segment, Turn, Writer
from swapyard.upkeep import Upkeep

log = logging.getLogger(__name__)

_ANNOUNCED_AT_ONCE = 64


class Recorder:
    """Lives as long as the program, over all generations; belongs to the event loop.

    Between `start` and `close`: one `begin` and exactly one `end` per request.  Neither these nor
    anything an `Exchange` offers waits, and what cannot be observed in time is dropped and counted.
    """

    def __init__(
        self,
        store: ActivityStore,
        captures: Captures,
        *,
        publish: Callable[[ActivityRecorded | InflightChanged], None],
        watched: Callable[[], bool] = lambda: True,
        recorded: Callable[[Sequence[ActivityRow]], None] | None = None,
        redact: Iterable[str] = (),
        session_headers: Sequence[str] = (),
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        upkeep: Upkeep | None = None,
    ) -> None:
        """`watched` says whether anybody would get an InflightChanged notice; unwatched ones are not made.

        `recorded` gets committed rows on the event loop, batch by batch, for counters.  `redact` names
        headers that are blanked out besides those that always are; `session_headers` those that may say which
        session a request belongs to, the first that is not empty does.
        """
        self.store = store
        self.captures = captures
        self.inflight = InflightList(
            publish=publish,
            watched=watched,
            clock=clock,
            call_later=lambda delay, function: asyncio.get_running_loop().call_later(delay, function),
            redacted=redaction(redact),
        )
        self._publish = publish
        self._recorded = recorded
        self._clock = clock
        self._wall_clock = wall_clock
        self._upkeep = upkeep or Upkeep()
        self._writer = Writer(
            store, captures, committed=self._committed, wall_clock=wall_clock, upkeep=self._upkeep
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ids = itertools.count(1)
        # Tells requests of different runs apart; random, because two may run side by side.
        self._run_id = secrets.token_hex(4)
        # Captures that there will not be, because too many bodies are held for others.
        self._dropped = 0
        self._hooks = Hooks(
            clock=clock,
            moved=self.inflight.moved,
            hand_over=self._hand_over,
            keep_request_body=self._keep_request_body,
        )
        self.look_at(redact=redact, session_headers=session_headers)

    def start(self) -> None:
        """Begin to write; on the event loop that notices are published on."""
        self._loop = asyncio.get_running_loop()
        self._writer.start()

    def look_at(self, *, redact: Iterable[str], session_headers: Sequence[str]) -> None:
        """Take over changed lists of headers to blank out and of those that name a session."""
        redacted = redaction(redact)
        self.inflight.redacted = self._writer.redacted = redacted
        self.inflight.session_names = self._writer.session_names = session_names(session_headers, redacted)

    def begin(
        self,
        *,
        method: str,
        path: str,
        model: str = "",
        requested: str = "",
        recorded_path: str | None = None,
        headers: Headers = (),
        remote_ip: str = "",
        key: str = "",
        request_id: str = "",
        metered: bool | None = None,
        parts: Parts = Parts.ALL,
        cancel: Callable[[], None] | None = None,
    ) -> Exchange:
        """Note that a request has arrived; the exchange is told when its model is known.

        `path` is shown while it is under way, `recorded_path` (the same if None) is recorded, `parts` are
        captured.  `requested` is the name the client used, `key` a label (`key_label`), never a key.  Only
        POST is metered unless `metered` says otherwise.  `request_id` is the client's own, if it sent one
        that may be passed on.
        """
        exchange_id = next(self._ids)
        recorded_path = path if recorded_path is None else recorded_path
        exchange = Exchange(
            exchange_id=exchange_id,
            request_id=cut(request_id, REQUEST_ID_CHARACTERS) or f"{self._run_id}-{exchange_id}",
            method=method,
            path=cut(path, PATH_CHARACTERS),
            recorded_path=cut(recorded_path, PATH_CHARACTERS),
            model=model,
            requested=requested or model,
            headers=headers,
            remote_ip=cut(remote_ip, ADDRESS_CHARACTERS),
            key=key,
            metered=method == "POST" if metered is None else metered,
            parts=parts,
            arrived=self._clock(),
            arrived_at=self._wall_clock(),
            hooks=self._hooks,
        )
        exchange.cancel = cancel
        self.inflight.begin(exchange)
        return exchange

    def end(self, exchange: Exchange, *, status: int | None = None, error: str = "") -> None:
        """Note that the handling of a request has ended, however; a second call changes nothing.

        `status` is recorded instead of the one that went out; without either it is 499, for only
        a caller that left goes without an answer.  `error` says what went wrong; without it the reply
        itself is asked.
        """
        if exchange.ended is not None:
            return
        exchange.ended = self._clock()
        exchange.ended_at = self._wall_clock()
        exchange.final_status = status or exchange.status or CLIENT_LEFT
        exchange.error = error
        exchange.cancel = None
        self.inflight.end(exchange)
        if exchange.metered:
            self._hand_over_last(exchange)

    def forget(self, exchange: Exchange) -> None:
        """Leave no record of a request that is none of a model's."""
        exchange.metered = False
        self.end(exchange)

    def cancel(self, inflight_id: str) -> bool:
        """End a request that is under way on an operator's word; False if there is none of that id."""
        return self.inflight.cancel(inflight_id)

    async def flushed(self) -> None:
        """Wait until every request that has ended before is committed."""
        await self._turn(None)

    async def use_store(self, store: ActivityStore) -> ActivityStore:
        """Write to another store from now on; gives back the one used so far, for the caller to close."""
        before = await self._turn(store)
        self.store = store
        return before

    async def close(self, timeout: float = 5.0) -> None:
        """Commit what has ended, waiting `timeout` seconds at most; the store stays open."""
        if not await asyncio.to_thread(self._writer.close, timeout):
            log.error("the activity log could not be completed within %g s", timeout)

    def lost(self) -> Lost:
        """What observing had to give up so far."""
        return Lost(
            self._writer.lost_rows,
            self.captures.dropped + self._dropped + self._writer.dropped_captures,
            self._writer.lost_bytes,
        )

    def _hand_over(self, exchange: Exchange) -> None:
        chunks, size_bytes = exchange.chunks, exchange.chunks_bytes
        exchange.chunks, exchange.chunks_bytes = [], 0
        segment = Segment(exchange, chunks, size_bytes, exchange.has_gap, last=False)
        exchange.has_gap = not self._writer.submit(segment)

    def _hand_over_last(self, exchange: Exchange) -> None:
        chunks, exchange.chunks = exchange.chunks, []
        size_bytes = exchange.chunks_bytes + exchange.head_bytes()
        self._writer.submit(Segment(exchange, chunks, size_bytes, exchange.has_gap, last=True))

    def _keep_request_body(self, exchange: Exchange, body: bytes) -> None:
        limit = self.captures.plain_limit_bytes
        if not limit or exchange.request_body is not None:
            return
        if len(body) > limit:
            exchange.request_body_lost = True
        elif not self.captures.under_way.take(len(body)):
            exchange.request_body_lost = True
            self._dropped += 1
        else:
            exchange.request_body = body

    async def _turn(self, store: ActivityStore | None) -> ActivityStore:
        loop = asyncio.get_running_loop()
        passed: asyncio.Future[ActivityStore] = loop.create_future()

        def passed_on(before: ActivityStore) -> None:
            if not passed.done():
                passed.set_result(before)

        def done(before: ActivityStore) -> None:
            with suppress(RuntimeError):  # the loop has closed; nobody waits any more
                loop.call_soon_threadsafe(passed_on, before)

        self._writer.ask(Turn(store, done))
        return await passed

    def _committed(self, rows: list[ActivityRow]) -> None:
        """In the writer's thread: let the event loop tell."""
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop has closed; nobody is left to tell
                self._loop.call_soon_threadsafe(self._announce, rows)

    def _announce(self, rows: list[ActivityRow]) -> None:
        if self._recorded is not None:
            with self._upkeep.guard("counters"):
                self._recorded(rows)
        # Watchers read the log again on any of these; thousands at once would say no more.
        for row in rows[-_ANNOUNCED_AT_ONCE:]:
            self._publish(ActivityRecorded(row.id))
