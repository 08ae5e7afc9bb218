"""Token streams: how late tokens come, how many go through, and what an open stream costs in memory."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Sequence
from statistics import quantiles
from typing import cast

import uvloop
from rig import Contestant, memory_mb
from table import Table

WRITTEN_AT = re.compile(rb'"t":(\d{20})')


class Reader(asyncio.Protocol):
    """One client of one stream; notes how old each token is when it comes, or only counts."""

    def __init__(self, asked: dict[str, object], lags: list[int] | None) -> None:
        body = json.dumps({"model": "tokens", "stream": True, **asked}).encode()
        self._request = (
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n"
            b"content-length: %d\r\n\r\n%b" % (len(body), body)
        )
        self._lags = lags
        self.tokens = 0
        self.begun = asyncio.get_running_loop().create_future()
        self.ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        if self._lags is not None:
            self._lags += [now - int(stamp) for stamp in WRITTEN_AT.findall(data)]
        self.tokens += data.count(b"data: ")
        if self.tokens and not self.begun.done():
            self.begun.set_result(None)
        if data.endswith(b"0\r\n\r\n"):
            self.connection_lost(None)
            self.transport.close()

    def connection_lost(self, _: Exception | None) -> None:
        for outcome in (self.begun, self.ended):
            if not outcome.done():
                outcome.set_result(None)


async def _open(port: int, streams: int, asked: dict[str, object], lags: list[int] | None) -> list[Reader]:
    loop = asyncio.get_running_loop()
    readers = []
    for _ in range(streams):
        _, reader = await loop.create_connection(lambda: Reader(asked, lags), "127.0.0.1", port)
        readers.append(reader)
    return readers


async def _lags(port: int, streams: int, rate: int, seconds: float) -> list[int]:
    lags: list[int] = []
    readers = await _open(port, streams, {"rate": rate, "count": int(rate * seconds)}, lags)
    await asyncio.gather(*(reader.ended for reader in readers))
    expected = streams * int(rate * seconds)
    if sum(reader.tokens for reader in readers) != expected:
        raise RuntimeError("tokens were lost")
    return lags


async def _full_speed(port: int, streams: int, tokens: int) -> float:
    begun = time.monotonic()
    readers = await _open(port, streams, {"count": tokens}, None)
    await asyncio.gather(*(reader.ended for reader in readers))
    if any(reader.tokens != tokens for reader in readers):
        raise RuntimeError("tokens were lost")
    return streams * tokens / (time.monotonic() - begun)


async def _open_memory(contestant: Contestant, streams: int) -> float:
    assert contestant.pid is not None
    for reader in await _open(contestant.tokens, 1, {"count": 10}, None):
        await reader.ended
    before = memory_mb(contestant.pid)
    readers = await _open(contestant.tokens, streams, {"rate": 1, "count": 1000}, None)
    await asyncio.gather(*(reader.begun for reader in readers))
    held = memory_mb(contestant.pid) - before
    for reader in readers:
        reader.transport.abort()
    await asyncio.gather(*(reader.ended for reader in readers))
    return held * 1e3 / streams


def measure(contestants: Sequence[Contestant], rounds: int, seconds: float) -> Table:
    table = Table("token streams", [contestant.name for contestant in contestants])
    for contestant in contestants:
        uvloop.run(_full_speed(contestant.tokens, 1, 10))
    for _ in range(rounds):
        for contestant in contestants:
            lags = uvloop.run(_lags(contestant.tokens, 200, 50, seconds))
            cuts = quantiles(lags, n=100)
            table.add("token lag p50, 200 streams of 50/s", "ms", contestant.name, cuts[49] / 1e6)
            table.add("token lag p99, 200 streams of 50/s", "ms", contestant.name, cuts[98] / 1e6)
        for contestant in contestants:
            rate = uvloop.run(_full_speed(contestant.tokens, 16, 5000))
            table.add("tokens, 16 streams at full speed", "1/s", contestant.name, rate)
    return table


def memory(contestant: Contestant, streams: int = 1000) -> float:
    """Resident kB for each of so many open streams."""
    return uvloop.run(_open_memory(contestant, streams))
