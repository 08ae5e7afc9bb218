"""Drains the output of one child so that the child never blocks, and remembers its last lines."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Callable

READ_BYTES = 64 * 1024
PIPE_BYTES = 1024 * 1024
"""Wanted size of the pipe: what a child may write while our loop is busy (Linux; elsewhere the default)."""
LAST_READ_BYTES = 4 * PIPE_BYTES
"""Bound on what is read after the end, in case that somebody outside of the group keeps on writing."""
TAIL_BYTES = 2048
TAIL_LINES = 10


class OutputPipe:
    """One pipe for stdout and stderr together, read on the event loop and handed on as it comes.

    `write_fd` is for the child; close our copy with `close_write` once the child has it.  Raises OSError.
    """

    def __init__(self, sink: Callable[[bytes], None]) -> None:
        self._sink = sink
        self._tail = b""
        self._loop = asyncio.get_running_loop()
        self._read_fd, self.write_fd = os.pipe()
        os.set_blocking(self._read_fd, False)
        self._enlarge()
        try:
            # Not connect_read_pipe: uvloop closes its descriptor twice (uvloop issue 763).
            self._loop.add_reader(self._read_fd, self._read)
        except OSError:
            os.close(self._read_fd)
            os.close(self.write_fd)
            raise

    def _enlarge(self) -> None:
        size = getattr(fcntl, "F_SETPIPE_SZ", None)
        if size is not None:
            try:
                fcntl.fcntl(self._read_fd, size, PIPE_BYTES)
            except OSError:  # over this user's limit of pipe pages: the default size has to do
                return

    def close_write(self) -> None:
        if self.write_fd >= 0:
            os.close(self.write_fd)
            self.write_fd = -1

    def tail(self) -> str:
        """The last lines of output as text, at most TAIL_LINES and about TAIL_BYTES of them."""
        text = self._tail.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n")
        return "\n".join([line for line in text.split("\n") if line.strip()][-TAIL_LINES:])

    def drain(self) -> None:
        """Hand on what is in the pipe now, without waiting for more."""
        rest = LAST_READ_BYTES
        while self._read_fd >= 0 and rest > 0:
            taken = self._read()
            if taken == 0:
                return
            rest -= taken

    def close(self) -> None:
        """Hand on what is left and let go of the pipe."""
        self.close_write()
        self.drain()
        self._close_read()

    def _read(self) -> int:
        """Read once; bytes read, 0 when there is nothing (any more)."""
        try:
            data = os.read(self._read_fd, READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return 0
        if not data:
            self._close_read()
            return 0
        self._tail = (self._tail + data)[-TAIL_BYTES:]
        self._sink(data)
        return len(data)

    def _close_read(self) -> None:
        if self._read_fd >= 0:
            self._loop.remove_reader(self._read_fd)
            os.close(self._read_fd)
            self._read_fd = -1
