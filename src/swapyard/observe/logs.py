"""The logs: the program's own lines, what the models print, and the two combined on standard output.

Each log remembers its newest 100 KiB and feeds those who follow it.  Writing never waits for a reader.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager
from enum import Enum
from typing import BinaryIO

from swapyard.notices import LogWritten
from swapyard.observe import log_lines, log_times
from swapyard.observe.ring import ByteRing
from swapyard.observe.stdout import StdoutWriter, dropped_mark
from swapyard.types import ModelId
from swapyard.upkeep import Upkeep

HISTORY_BYTES = 100 * 1024

GATHER = 0.01
"""Seconds in which lines about requests gather: a line for each of them is cheap only among others."""

FOLLOWER_LIMIT_CHUNKS = 1024
FOLLOWER_LIMIT_BYTES = 1 << 20


class Source(Enum):
    """The three logs that are not of one model; not strings, so that a model may be named `proxy`."""

    COMBINED = "combined"
    PROXY = "proxy"
    UPSTREAM = "upstream"


class Follower:
    """The live end of one log, as one reader sees it."""

    def __init__(self, history: bytes) -> None:
        self._chunks: deque[bytes] = deque([history] if history else [])
        self._waiting_bytes = 0
        self._lost_bytes = 0
        self._closed = False
        self._wake = asyncio.Event()

    def offer(self, chunk: bytes) -> None:
        full = len(self._chunks) >= FOLLOWER_LIMIT_CHUNKS
        if self._lost_bytes or full or self._waiting_bytes + len(chunk) > FOLLOWER_LIMIT_BYTES:
            self._lost_bytes += len(chunk)
        else:
            self._chunks.append(chunk)
            self._waiting_bytes += len(chunk)
        self._wake.set()

    def close(self) -> None:
        self._closed = True
        self._wake.set()

    async def next(self) -> bytes | None:
        """Everything not read yet, or the mark of what had to be dropped; None once the log has closed."""
        while not (self._chunks or self._lost_bytes or self._closed):
            self._wake.clear()
            await self._wake.wait()
        if self._chunks:
            data = b"".join(self._chunks)
            self._chunks.clear()
            self._waiting_bytes = 0
            return data
        if self._lost_bytes:
            self._lost_bytes, lost = 0, self._lost_bytes
            return dropped_mark(lost)
        return None

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        data = await self.next()
        if data is None:
            raise StopAsyncIteration
        return data


class _Log:
    """One history with its followers."""

    def __init__(self) -> None:
        self._ring = ByteRing(HISTORY_BYTES)
        self.followers: list[Follower] = []
        # Bytes of a character of which the rest has not come yet.
        self.begun = b""

    def write(self, data: bytes) -> None:
        self._ring.push(data)
        for follower in self.followers:
            follower.offer(data)

    def history(self) -> bytes:
        content = self._ring.content()
        return _from_first_character(content) if self._ring.overflowed else content


class Logs:
    """All logs of the program; construct it and write to it in the event loop's thread.

    `level` and `time_format` are the configuration's words, unknown ones meaning info and no time stamp.
    `to_stdout` is `proxy`, `upstream`, `both` or `none`: what goes to the combined log and to `stdout`.
    `log` alone may be called from any thread, once `attach` has named the loop.
    """

    def __init__(
        self,
        level: str,
        time_format: str,
        to_stdout: str,
        stdout: BinaryIO,
        publish: Callable[[LogWritten], None],
        *,
        clock_ns: Callable[[], int] = time.time_ns,
        upkeep: Upkeep | None = None,
    ) -> None:
        self.configure(level, time_format)
        self._combines = {
            Source.PROXY: to_stdout in ("proxy", "both"),
            Source.UPSTREAM: to_stdout in ("upstream", "both"),
        }
        self._stdout = StdoutWriter(stdout, upkeep=upkeep)
        self._publish = publish
        self._clock_ns = clock_ns
        self._logs: dict[Source | ModelId, _Log] = {source: _Log() for source in Source}
        # Lines that nobody has seen yet, and what will show them.
        self._gathered: list[bytes] = []
        self._showing: asyncio.TimerHandle | None = None
        self._home = threading.get_ident()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    def configure(self, level: str, time_format: str) -> None:
        """Take the level and the time format of a new configuration, from the next line on."""
        self._level = log_lines.level_number(level)
        self._stamp = log_times.stamp(time_format)

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Bring lines that other threads log into this loop, which runs in the thread of construction."""
        self._loop = loop

    def log(self, level: int, message: str) -> None:
        """Write one line of the program's own; `level` is a number of the `logging` module.

        Text that came from a client must have gone through `log_lines.escaped`.
        """
        if level < self._level:
            return
        data = log_lines.line(level, message, time=self._time())
        if threading.get_ident() == self._home or self._loop is None or self._loop.is_closed():
            self._write_own(data)
        else:
            self._loop.call_soon_threadsafe(self._write_own, data)

    def log_soon(self, level: int, message: str) -> None:
        """The same for lines that come by the thousand, on the event loop only: they appear a moment later.

        No line overtakes another.
        """
        if level < self._level:
            return
        self._gathered.append(log_lines.line(level, message, time=self._time()))
        if self._loop is None:
            self._show()
        elif self._showing is None:
            self._showing = self._loop.call_later(GATHER, self._show)

    def output(self, model: ModelId, data: bytes) -> None:
        """Append what a model's process has printed, unchanged.

        The first bytes of a character whose rest has not been read yet wait for it, so that no reader sees
        half a character and the output of two models never meets inside one.
        """
        self._show()
        log = self._log(model)
        whole, log.begun = _split_unfinished(log.begun + data)
        if whole:
            log.write(whole)
            self._write(Source.UPSTREAM, whole)

    def history(self, source: Source | ModelId) -> bytes:
        """The newest 100 KiB of a log, beginning with a whole character; empty if nothing was written."""
        self._show()
        log = self._logs.get(source)
        return log.history() if log is not None else b""

    @contextmanager
    def follow(self, source: Source | ModelId, *, history: bool = True) -> Iterator[Follower]:
        """Read a log from here on for the length of the block, after its history if asked for.

        History and live bytes join without a gap or a repeat.  A reader that falls behind by 1024 chunks or
        1 MiB loses what does not fit and finds a mark with the number of bytes in its place.
        """
        self._show()
        log = self._log(source)
        follower = Follower(log.history() if history else b"")
        if self._closed:
            follower.close()
        log.followers.append(follower)
        try:
            yield follower
        finally:
            log.followers.remove(follower)

    def keep_models(self, models: Iterable[ModelId]) -> None:
        """Forget the logs of models that are not among these; those who follow one have reached its end."""
        kept: set[Source | ModelId] = {*Source, *models}
        for source in [source for source in self._logs if source not in kept]:
            for follower in self._logs.pop(source).followers:
                follower.close()

    def close_followers(self) -> None:
        """End every stream, at shutdown; the logs themselves go on."""
        self._show()
        self._closed = True
        for log in self._logs.values():
            for follower in log.followers:
                follower.close()

    def close(self, timeout: float = 1.0) -> None:
        """Bring what is left to standard output, waiting at most `timeout` seconds for its reader."""
        self._loop = None
        self.close_followers()
        self._stdout.close(timeout)

    def _time(self) -> str:
        return self._stamp(*log_times.local_time(self._clock_ns())) if self._stamp else ""

    def _write_own(self, line: bytes) -> None:
        self._show()
        self._write(Source.PROXY, line)

    def _show(self) -> None:
        """Write the lines that have gathered, before anything else is written or read."""
        if self._showing is not None:
            self._showing.cancel()
            self._showing = None
        if self._gathered:
            lines, self._gathered = self._gathered, []
            self._write(Source.PROXY, b"".join(lines))

    def _log(self, source: Source | ModelId) -> _Log:
        log = self._logs.get(source)
        if log is None:
            log = self._logs[source] = _Log()
        return log

    def _write(self, source: Source, data: bytes) -> None:
        self._logs[source].write(data)
        if self._combines[source]:
            self._logs[Source.COMBINED].write(data)
            self._stdout.write(data)
        self._publish(LogWritten(source.value, data))


def text(data: bytes) -> str:
    """Log bytes as text for a JSON stream.

    Chunks hold whole characters, so each can be turned on its own; what is not UTF-8 becomes U+FFFD.
    """
    return data.decode("utf-8", "replace")


def _split_unfinished(data: bytes) -> tuple[bytes, bytes]:
    """Whole characters, and the bytes (three at most) of one that has only begun."""
    for length in range(1, min(3, len(data)) + 1):
        byte = data[-length]
        if byte < 0x80:
            break
        if byte >= 0xC0:
            needed = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4 if byte < 0xF5 else 1
            return (data[:-length], data[-length:]) if length < needed else (data, b"")
    return data, b""


def _from_first_character(data: bytes) -> bytes:
    """Without the rest (three bytes at most) of a character whose beginning is gone."""
    for start, byte in enumerate(data[:4]):
        if byte & 0xC0 != 0x80:
            return data[start:]
    return data
