"""Running the command line tools that know about cards: once with a time limit, or for as long as they print.

A tool never outlives the one who asked.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import shutil
import signal
import subprocess
import threading
import time

from swapyard.observe.gpu.readings import SourceFailedError, SourceMissingError

LINE_LIMIT_BYTES = 1 << 20


class Tool:
    """One command; at most one process of it runs at a time."""

    def __init__(self, *command: str) -> None:
        self._command = command
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._unread = b""

    @property
    def name(self) -> str:
        return self._command[0]

    def run(self, timeout: float) -> str:
        """What the command prints; SourceFailedError after `timeout` seconds or a non-zero exit."""
        child = self._start()
        try:
            output, _ = child.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            raise SourceFailedError(f"{self.name} took longer than {timeout:g} s") from None
        finally:
            self._end(child)
        if child.returncode != 0:
            raise SourceFailedError(f"{self.name} exited with status {child.returncode}")
        return output.decode("utf-8", "replace")

    def lines(self, timeout: float, silence: float) -> list[str]:
        """The next lines of a command that goes on printing, started if it is not running.

        Returns what came without a pause of `silence` seconds.  SourceFailedError when nothing came within
        `timeout` seconds or the command has ended.
        """
        child = self._child or self._start()
        lines: list[str] = []
        until = time.monotonic() + timeout
        while (data := self._read(child, until)) is not None:
            if not data:
                if lines:
                    # Deliver what it said last; the next call finds it gone.
                    return lines
                raise SourceFailedError(f"{self.name} ended with status {self._end(child)}")
            lines += self._split(data)
            until = min(until, time.monotonic() + silence) if lines else until
        if not lines:
            self._end(child)
            raise SourceFailedError(f"{self.name} printed nothing for {timeout:g} s")
        return lines

    def interrupt(self) -> None:
        """Kill the process, if one is running; a read in progress notices and fails.  For any thread."""
        with self._lock:
            if self._child is not None:
                _kill_group(self._child)

    def close(self) -> None:
        """Kill and reap the process, if one is running; for the thread that reads."""
        if self._child is not None:
            self._end(self._child)

    def _start(self) -> subprocess.Popen[bytes]:
        path = shutil.which(self.name)
        if path is None:
            raise SourceMissingError(f"{self.name} is not on PATH")
        with self._lock:
            self._unread = b""
            try:
                self._child = subprocess.Popen(
                    [path, *self._command[1:]],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    env={**os.environ, "LC_ALL": "C"},
                    # A group of its own: ended with all it may have started, and not by our terminal.
                    start_new_session=True,
                )
            except OSError as error:
                raise SourceFailedError(f"{self.name} cannot be started: {error.strerror}") from error
            return self._child

    def _end(self, child: subprocess.Popen[bytes]) -> int:
        """Make sure that the process is gone and reaped; its exit status."""
        with self._lock:
            self._child = None
            return _reap(child)

    @staticmethod
    def _read(child: subprocess.Popen[bytes], until: float) -> bytes | None:
        """Bytes as they come, empty at the end; None when the time is up."""
        assert child.stdout is not None
        # Not `select.select`, which refuses descriptors from 1024 on.
        with selectors.DefaultSelector() as selector:
            selector.register(child.stdout, selectors.EVENT_READ)
            ready = selector.select(max(0.0, until - time.monotonic()))
        return os.read(child.stdout.fileno(), 65536) if ready else None

    def _split(self, data: bytes) -> list[str]:
        *lines, self._unread = (self._unread + data).split(b"\n")
        if len(self._unread) > LINE_LIMIT_BYTES:
            self._unread = b""
        return [line.decode("utf-8", "replace") for line in lines]


def _reap(child: subprocess.Popen[bytes]) -> int:
    _kill_group(child)
    if child.stdout is not None:
        child.stdout.close()
    return child.wait()


def _kill_group(child: subprocess.Popen[bytes]) -> None:
    if child.returncode is None:
        # Not yet reaped, so that the number cannot belong to anybody else.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
