"""How long a model that keeps failing is left alone: 1 s from the third failure on, doubling to 30 s."""

from __future__ import annotations

FREE_FAILURES = 2
"""Failures in a row that cost nothing but themselves."""

FIRST_DELAY = 1.0
LONGEST_DELAY = 30.0

EARLY = 10.0
"""A process that ends by itself within this many seconds of readiness counts as a failed load."""


class Backoff:
    """The row of failures of one model.  Times are on the monotonic clock, in seconds."""

    __slots__ = ("failures", "reason", "until")

    def __init__(self) -> None:
        self.failures = 0
        self.until = 0.0
        self.reason = ""

    def failed(self, now: float, reason: str) -> None:
        self.failures += 1
        self.reason = reason
        if self.failures > FREE_FAILURES:
            # The exponent is bounded so that a row of thousands stays a small number.
            doublings = min(self.failures - FREE_FAILURES - 1, 10)
            self.until = now + min(FIRST_DELAY * 2**doublings, LONGEST_DELAY)

    def reset(self) -> None:
        self.failures = 0
        self.until = 0.0
        self.reason = ""

    def left(self, now: float) -> float:
        """Seconds until the next load may be tried; 0 when it may be tried now."""
        return max(0.0, self.until - now)
