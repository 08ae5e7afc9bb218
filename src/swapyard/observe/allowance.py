"""Bytes that several holders may hold together."""

from __future__ import annotations

import threading


class Allowance:
    """`take` before holding, `give_back` after; from any thread, and without waiting."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.held_bytes = 0
        self._lock = threading.Lock()

    def take(self, size_bytes: int) -> bool:
        """Whether these bytes may be held besides all others; they are counted if so."""
        with self._lock:
            if self.held_bytes + size_bytes > self.limit_bytes:
                return False
            self.held_bytes += size_bytes
            return True

    def give_back(self, size_bytes: int) -> None:
        with self._lock:
            self.held_bytes -= size_bytes
