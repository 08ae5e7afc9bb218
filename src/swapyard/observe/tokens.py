"""What one reply cost, and the members of a reply that say it."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET

UNKNOWN = -1
"""Stands for "not reported" in a row whose reply did carry usage."""


class Tokens(msgspec.Struct, frozen=True):
    """What one reply cost, as recorded: counts in tokens, speeds in tokens per second.

    All zeros means that the reply carried no usage at all; UNKNOWN marks single values
    that it left out.  `engine_ms` is the time the engine says it computed, 0 if it does not say.
    """

    input: int = 0
    output: int = 0
    cached: int = 0
    drafted: int = 0
    accepted: int = 0
    prompt_per_s: float = 0
    generated_per_s: float = 0
    engine_ms: int = 0


NOTHING = Tokens()


class Report(msgspec.Struct):
    """The members of a reply that are about its cost; everything else is skipped, not built."""

    usage: Any = UNSET
    timings: Any = UNSET
    metrics: Any = UNSET

    @property
    def empty(self) -> bool:
        return self.usage is UNSET and self.timings is UNSET and self.metrics is UNSET
