"""Standard output, written by a thread of its own: a stuck terminal or pipe stops nobody else."""

from __future__ import annotations

import contextlib
import errno
import selectors
import threading
from collections import deque
from io import RawIOBase
from typing import BinaryIO, cast

from swapyard.upkeep import Upkeep

PART = "standard output"

WAITING_LIMIT_BYTES = 1 << 20
"""What may wait for a slow reader before chunks are dropped."""

GATHER = 0.02
"""Seconds after a write in which chunks gather for the next: a thread woken for every line would cost the
event loop more than the line."""

GATHER_LIMIT_BYTES = 64 * 1024
"""What does not wait for the rest of that time."""

RETRY_PERIOD = 1.0
"""Seconds until a file on a full disk is tried again."""

PASSING = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ENOMEM, errno.EFBIG, errno.EROFS})
"""Errors after which writing may work again: somebody makes room."""


def dropped_mark(lost_bytes: int) -> bytes:
    """What stands in a stream where this many bytes were left out."""
    return f"\n— {lost_bytes} bytes dropped —\n".encode()


class StdoutWriter:
    """Takes bytes at once and writes them in order; drops whole chunks when the reader stays behind.

    The stream is written without its buffer: a thread that hangs inside a buffered `sys.stdout` would make
    the interpreter abort at exit, where that buffer is flushed.
    """

    def __init__(
        self, stdout: BinaryIO, limit_bytes: int = WAITING_LIMIT_BYTES, upkeep: Upkeep | None = None
    ) -> None:
        self._upkeep = upkeep or Upkeep()
        self._closed = threading.Event()
        with contextlib.suppress(OSError):
            stdout.flush()
        self._raw = cast(RawIOBase, getattr(stdout, "raw", stdout))
        self._limit_bytes = limit_bytes
        self._changed = threading.Condition()
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._lost_bytes = 0
        # Of what is being written: bytes that are lost if it fails, those that a mark stands for included.
        self._in_hand_bytes = 0
        # Nothing waits, and the thread sleeps until something does.
        self._idle = False
        self._closing = False
        self._broken = False
        self._thread: threading.Thread | None = None

    def write(self, data: bytes) -> None:
        """Hand over a chunk; never blocks, callable from any thread."""
        with self._changed:
            if self._closing or self._broken:
                return
            if self._lost_bytes or self._waiting_bytes + len(data) > self._limit_bytes:
                self._lost_bytes += len(data)
                return
            self._waiting.append(data)
            self._waiting_bytes += len(data)
            if self._thread is None:
                arguments = (PART, self._run, self._closed)
                keep = self._upkeep.keep_thread
                self._thread = threading.Thread(target=keep, args=arguments, name="stdout", daemon=True)
                self._thread.start()
            if self._idle or self._waiting_bytes >= GATHER_LIMIT_BYTES:
                self._changed.notify()

    def close(self, timeout: float) -> None:
        """Write what is left, for at most `timeout` seconds; later chunks are ignored."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._closed.set()
        if self._thread is not None:
            self._thread.join(timeout)

    def _run(self) -> None:
        while (data := self._take()) is not None:
            try:
                self._write_all(data)
            except (OSError, ValueError) as error:
                if isinstance(error, OSError) and error.errno in PASSING:
                    self._upkeep.mark_down(
                        PART, str(error.strerror), "lines are dropped, the histories have them"
                    )
                    with self._changed:
                        # What waits goes as well, so that the mark stands where the gap is.
                        self._lost_bytes += self._in_hand_bytes + self._waiting_bytes
                        self._waiting.clear()
                        self._waiting_bytes = 0
                    if self._closed.wait(RETRY_PERIOD):
                        return
                    continue
                # Nobody reads any more (closed pipe, closed file): the histories still have everything.
                with self._changed:
                    self._broken = True
                    self._waiting.clear()
                return
            self._upkeep.mark_up(PART)
            with self._changed:
                self._changed.wait_for(self._is_enough, GATHER)

    def _take(self) -> bytes | None:
        """Everything that waits, the mark where something was lost; None at the end."""
        with self._changed:
            while not (self._waiting or self._lost_bytes or self._closing):
                self._idle = True
                self._changed.wait()
            self._idle = False
            if self._lost_bytes and not self._waiting:
                self._lost_bytes, self._in_hand_bytes = 0, self._lost_bytes
                return dropped_mark(self._in_hand_bytes)
            if not self._waiting:
                return None
            data = b"".join(self._waiting)
            self._waiting.clear()
            self._waiting_bytes = 0
            self._in_hand_bytes = len(data)
            return data

    def _is_enough(self) -> bool:
        return self._closing or self._waiting_bytes >= GATHER_LIMIT_BYTES

    def _write_all(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            written = self._raw.write(rest)
            if written is None:
                # Somebody who shares this stream has made it non-blocking.
                with selectors.DefaultSelector() as selector:
                    selector.register(self._raw, selectors.EVENT_WRITE)
                    selector.select()
            else:
                rest = rest[written:]
