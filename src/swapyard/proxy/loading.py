"""What a client is told while its model loads: text in a reasoning delta, or silent heartbeats.

The load is never delayed by this.  Text that is due but not written when the model is ready stays unwritten,
and a client that does not read is not written to.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from swapyard.dispatcher import Lease
from swapyard.proxy.reply import ModelReply
from swapyard.web import sse

TYPED_CHARACTERS = 5
TYPING_SECONDS = TYPED_CHARACTERS / 75
TICK_SECONDS = 0.75
HEARTBEAT_SECONDS = 5.0
RULE = "━" * 5

REMARKS = (
    "coupling the wagons",
    "waiting for the signal",
    "warming the boiler",
    "sweeping the platform",
    "reading the timetable backwards",
    "oiling the points",
    "counting the sleepers",
    "asking the stationmaster",
    "finding the right track",
    "tightening the last bolt",
    "stacking weights, gently",
    "looking for the conductor",
    "letting the previous train out",
    "polishing the tensors",
    "checking that all doors are closed",
    "pouring coal into the graphics card",
)


@dataclass(frozen=True, slots=True)
class Expectation:
    """When a load began, and how many seconds the one before it took; monotonic seconds, None if unknown."""

    begun: float | None
    took: float | None


class LoadingText:
    """Says that a model loads, where in line the request is, and how long it may take."""

    def __init__(
        self, model: str, lease: Lease, reply: ModelReply, expected: Callable[[], Expectation]
    ) -> None:
        self._model = model
        self._lease = lease
        self._reply = reply
        self._expected = expected
        self._id = f"chatcmpl-loading-{lease.ticket}"
        self._created = int(time.time())
        self._unsaid: deque[str] = deque()
        self._said_position: int | None = None
        self._remark_due = 0.0
        self._remarks = 0

    async def until_granted(self) -> None:
        """Keep talking while the lease waits; returns when its outcome is known, whatever it is."""
        assert self._lease.waiting is not None
        begun = time.monotonic()
        await self._reply.begin_stream()
        self._type(f"{RULE}\nllama-swap loading model: {self._model}\n")
        tick = begun + TICK_SECONDS
        while not self._lease.waiting.done():
            if self._unsaid:
                await self._say(self._unsaid.popleft())
                due = time.monotonic() + TYPING_SECONDS
            else:
                due = tick
            await asyncio.wait({self._lease.waiting}, timeout=max(0.0, due - time.monotonic()))
            if time.monotonic() >= tick:
                tick += TICK_SECONDS
                self._tick(time.monotonic())
        self._unsaid.clear()
        if self._lease.granted:
            await self._say(f"\nDone! ({time.monotonic() - begun:.2f}s)\n{RULE}\n \n")
        else:
            await self._say(f"\nFailed after {time.monotonic() - begun:.2f}s\n{RULE}\n \n")

    def _type(self, text: str) -> None:
        self._unsaid += (text[at : at + TYPED_CHARACTERS] for at in range(0, len(text), TYPED_CHARACTERS))

    def _tick(self, now: float) -> None:
        position = self._lease.position
        if position is not None and position != self._said_position:
            self._said_position = position
            self._type(f"\nQueue position: #{position} ")
        elif now >= self._remark_due:
            self._type(f"\n{self._remark(now)} ")
        else:
            self._unsaid.append(".")
            return
        # Five to nine seconds between two sentences, never twice the same gap in a row.
        self._remark_due = now + 5.0 + (self._remarks * 3) % 5

    def _remark(self, now: float) -> str:
        """How much longer it takes where that is known, else something to smile at."""
        self._remarks += 1
        expected = self._expected()
        if expected.begun is not None and expected.took is not None:
            left = expected.took - (now - expected.begun)
            if left >= 1:
                return f"about {left:.0f} s to go"
        return REMARKS[(self._lease.ticket + self._remarks) % len(REMARKS)]

    async def _say(self, text: str) -> None:
        if self._reply.congested:
            return
        choice = {"index": 0, "delta": {"reasoning_content": text}, "finish_reason": None}
        chunk = {
            "id": self._id,
            "object": "chat.completion.chunk",
            "created": self._created,
            "model": self._model,
            "choices": [choice],
        }
        await self._reply.insert(sse.data(chunk))


async def heartbeats_until_granted(lease: Lease, reply: ModelReply, every: float = HEARTBEAT_SECONDS) -> None:
    """Comments that no client sees, so that nothing between it and us gives up on a silent connection.

    The first one goes out at once: whoever has to wait at all gets an event stream with status 200.
    """
    assert lease.waiting is not None
    await reply.begin_stream()
    while not lease.waiting.done():
        if not reply.congested:
            await reply.insert(sse.HEARTBEAT)
        await asyncio.wait({lease.waiting}, timeout=every)
