"""The observing thread: reads replies, commits rows in batches, packs captures; nobody waits for it."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable

import msgspec

from swapyard.observe.activity import ActivityRow
from swapyard.observe.capture_codec import Capture
from swapyard.observe.captures import Captures
from swapyard.observe.exchange import Exchange
from swapyard.observe.header_map import ALWAYS_REDACTED, header_map, session_of
from swapyard.observe.parts import Parts
from swapyard.observe.reply import Reading, ReplyReader
from swapyard.observe.rows import row_of
from swapyard.observe.store import ActivityStore

log = logging.getLogger(__name__)

BACKLOG_LIMIT_BYTES = 32 * 1024 * 1024
"""Body bytes that may wait here; beyond it the bodies of streams that go on are not observed."""

BACKLOG_LIMIT_ITEMS = 8192
"""Items that may wait here, about 4 kB each; beyond it rows are lost.  A busy loop leaves some hundreds here;
this many come together only when the disk stands still."""

KEPT_LIMIT_BYTES = 128 * 1024 * 1024
"""Decoded bodies of replies under way that are held for captures, all together."""

GATHER = 0.05
"""Seconds in which rows gather for one transaction; what a killed process can lose is this much."""

BATCH_ITEMS = 128
"""Items of one transaction; small, because the event loop waits while one is put together."""


DRAFT_BYTES = 4096
"""About what a capture that waits holds in memory besides its bodies."""

QUIET_ROWS = 20
"""Rows of one period above which captures have to wait: packing costs more than all the rest."""

PRUNE_PERIOD = 60.0

# The interpreter switches threads every 5 ms if nobody gives way, and the event loop must
# not wait that long: after so many seconds of work the thread sleeps for a moment.
_STRETCH = 0.001
_BREATH = 0.0005

_NOT_STORED = frozenset({"content-encoding"})
_HOST = frozenset({"host"})


class Segment(msgspec.Struct, frozen=True):
    """Some bytes of one reply, in order.  `gap`: bytes before them were dropped.  `last`: it has ended."""

    exchange: Exchange
    chunks: list[bytes]
    size_bytes: int
    gap: bool
    last: bool


class Turn(msgspec.Struct, frozen=True):
    """A point in the order of things: `done` is called once everything before it is committed.

    From here on rows go to `store` if it is not None; `done` gets the store used so far.
    """

    store: ActivityStore | None
    done: Callable[[ActivityStore], None]


class ExchangeDraft(msgspec.Struct, frozen=True):
    """What a capture is drawn up from when there is time for it, once its row has an id."""

    row: ActivityRow
    exchange: Exchange
    response_body: bytes | None
    redacted: frozenset[str]
    size_bytes: int

    @property
    def activity_id(self) -> int:
        return self.row.id

    def draw_up(self) -> Capture:
        exchange, parts = self.exchange, self.exchange.parts
        request_headers = response_headers = None
        if parts.has(Parts.REQUEST_HEADERS):
            request_headers = header_map(exchange.request_headers, self.redacted, without=_HOST)
        if parts.has(Parts.RESPONSE_HEADERS):
            response_headers = header_map(exchange.response_headers, self.redacted, without=_NOT_STORED)
        return Capture(
            id=self.row.id,
            req_path=self.row.req_path,
            req_headers=request_headers,
            req_body=exchange.request_body,
            resp_headers=response_headers,
            resp_body=self.response_body,
        )


Ended = tuple[ActivityRow, ExchangeDraft | None]
"""What a request leaves: its row, and a capture to be drawn up if there will be one."""


class Writer:
    """`submit`, `ask` and `close` are called on the event loop; everything else runs in the thread."""

    def __init__(
        self,
        store: ActivityStore,
        captures: Captures,
        *,
        committed: Callable[[list[ActivityRow]], None],
        wall_clock: Callable[[], float],
    ) -> None:
        self.redacted = ALWAYS_REDACTED
        self.session_names: tuple[bytes, ...] = ()
        self.lost_rows = 0
        self.lost_bytes = 0
        self._store = store
        self._captures = captures
        self._committed = committed
        self._wall_clock = wall_clock
        self._queue: deque[Segment | Turn] = deque()
        # Each is written by one thread only, so that their difference needs no lock.
        self._submitted_bytes = 0
        self._consumed_bytes = 0
        self._kept_bytes = 0
        self._wake = threading.Event()
        self._hurry = threading.Event()
        self._asleep = False
        self._closing = False
        self._recent_rows = 0
        self._prune_due = 0.0
        self._stretch_began = 0.0
        self._observer = threading.Thread(target=self._run, name="observer", daemon=True)

    def start(self) -> None:
        self._observer.start()

    def submit(self, segment: Segment) -> bool:
        """Take a segment for observation; False if there is no room, and the segment is forgotten.

        The end of a reply comes without its bytes rather than not at all: the row needs little room.
        """
        if len(self._queue) >= BACKLOG_LIMIT_ITEMS:
            self._count_lost(segment)
            return False
        # The end of a reply is where usage stands, and it is small: it gets twice the room.
        limit_bytes = BACKLOG_LIMIT_BYTES * (2 if segment.last else 1)
        if segment.size_bytes and self._backlog_bytes + segment.size_bytes > limit_bytes:
            self._count_lost_bytes(segment)
            if not segment.last:
                return False
            segment = _without_bodies(segment)
        self._submitted_bytes += segment.size_bytes
        self._queue.append(segment)
        if self._asleep:
            self._wake.set()
        return True

    def ask(self, turn: Turn) -> None:
        self._queue.append(turn)
        self._hurry.set()
        self._wake.set()

    def close(self, timeout: float) -> bool:
        """Commit what is there and end the thread; False if it takes longer than `timeout` seconds."""
        self._closing = True
        self._hurry.set()
        self._wake.set()
        if self._observer.is_alive():
            self._observer.join(timeout)
        return not self._observer.is_alive()

    @property
    def _backlog_bytes(self) -> int:
        return self._submitted_bytes - self._consumed_bytes

    def _count_lost(self, segment: Segment) -> None:
        self._count_lost_bytes(segment)
        if segment.last:
            self.lost_rows += 1
            if self.lost_rows == 1:
                log.error("the activity log cannot keep up; rows are lost")

    def _count_lost_bytes(self, segment: Segment) -> None:
        if segment.size_bytes and not self.lost_bytes:
            log.warning("replies pass faster than they can be observed; captures are dropped")
        self.lost_bytes += segment.size_bytes

    def _run(self) -> None:
        while not (self._closing and not self._queue):
            self._prune_if_due()
            if self._queue:
                self._gather()
                self._recent_rows = 0
                while self._queue:
                    self._recent_rows += self._work_off_batch()
            elif self._captures.pack_one():
                self._breathe()
            else:
                self._sleep_until_work()

    def _sleep_until_work(self) -> None:
        self._asleep = True
        # Looked at again, because a segment may have come before the flag was up.
        if not self._queue and not self._closing:
            self._wake.wait(PRUNE_PERIOD)
        self._asleep = False
        self._wake.clear()

    def _gather(self) -> None:
        """Let rows gather for one transaction; in quiet times, captures are packed meanwhile."""
        until = time.monotonic() + GATHER
        while not self._hurry.is_set() and (left := until - time.monotonic()) > 0:
            if self._recent_rows <= QUIET_ROWS and self._captures.pack_one():
                self._breathe()
            else:
                self._hurry.wait(left)
        if not self._closing:
            self._hurry.clear()

    def _work_off_batch(self) -> int:
        """Take what is there, some of it at least; the number of requests that had ended."""
        ended: list[Ended] = []
        turns: list[Turn] = []
        for _ in range(BATCH_ITEMS):
            if not self._queue or turns:
                break
            item = self._queue.popleft()
            if isinstance(item, Turn):
                turns.append(item)
                continue
            self._observe(item, ended)
            self._consumed_bytes += item.size_bytes
            self._breathe()
        self._breathe()
        self._commit(ended)
        for turn in turns:
            before, self._store = self._store, turn.store or self._store
            turn.done(before)
        return len(ended)

    def _observe(self, segment: Segment, ended: list[Ended]) -> None:
        exchange = segment.exchange
        try:
            reader = exchange.reader
            if reader is None:
                reader = exchange.reader = self._reader(exchange)
            self._kept_bytes -= reader.kept_bytes
            if segment.gap:
                reader.gap()
            reader.feed(segment.chunks)
            if self._kept_bytes + reader.kept_bytes > KEPT_LIMIT_BYTES:
                reader.forget_body()
            if not segment.last:
                self._kept_bytes += reader.kept_bytes
                return
            exchange.reader = None
            reading = reader.finish(complete=not exchange.error and exchange.final_status == exchange.status)
            session = session_of(exchange.request_headers, self.session_names)
            row = row_of(exchange, reading.tokens, reading.error, session)
            ended.append((row, self._draft(row, exchange, reading)))
        except Exception:
            # A reply that breaks its reader is our bug; it must not cost the other rows.
            log.exception("request %s could not be observed", exchange.request_id)

    def _reader(self, exchange: Exchange) -> ReplyReader:
        keep = exchange.parts.has(Parts.RESPONSE_BODY)
        return ReplyReader(
            status=exchange.status,
            content_type=exchange.content_type,
            content_encoding=exchange.content_encoding,
            path=exchange.recorded_path,
            keep_limit_bytes=self._captures.plain_limit_bytes if keep else 0,
        )

    def _draft(self, row: ActivityRow, exchange: Exchange, reading: Reading) -> ExchangeDraft | None:
        """What a capture will be drawn up from; None if there will be none.

        An answer that is empty or could not be decoded is not kept, nor one of which a
        wanted part was too large; of a refusal everything but its body.
        """
        parts = exchange.parts
        if parts is Parts.NONE or not self._captures.plain_limit_bytes:
            return None
        if exchange.status == 200:
            lost = reading.body is None and parts.has(Parts.RESPONSE_BODY)
            if lost or exchange.response_bytes == 0 or reading.undecoded:
                return None
        if exchange.request_body_lost:
            return None
        size_bytes = DRAFT_BYTES + len(exchange.request_body or b"") + len(reading.body or b"")
        size_bytes += sum(len(name) + len(value) for name, value in exchange.request_headers)
        return ExchangeDraft(row, exchange, reading.body, self.redacted, size_bytes)

    def _commit(self, ended: list[Ended]) -> None:
        if not ended:
            return
        rows = [row for row, _ in ended]
        try:
            self._store.add(rows)
        except Exception as error:
            self.lost_rows += len(ended)
            log.warning("%d rows of the activity log are lost: %s", len(ended), error)
            return
        self._captures.offer([draft for _, draft in ended if draft is not None])
        self._committed(rows)

    def _prune_if_due(self) -> None:
        if time.monotonic() < self._prune_due:
            return
        self._prune_due = time.monotonic() + PRUNE_PERIOD
        try:
            self._store.prune(self._wall_clock())
        except Exception as error:
            log.warning("old rows of the activity log could not be deleted: %s", error)

    def _breathe(self) -> None:
        if time.monotonic() - self._stretch_began > _STRETCH:
            time.sleep(_BREATH)
            self._stretch_began = time.monotonic()


def _without_bodies(segment: Segment) -> Segment:
    exchange = segment.exchange
    exchange.parts, exchange.request_body = Parts.NONE, None
    return Segment(exchange, [], 0, gap=True, last=True)
