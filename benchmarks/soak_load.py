"""The mixed load of the soak: chats, streams, clients that leave, long prompts, swaps, reloads and more."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

STREAMS = 8
EVENTS = 100
EVENT_PAUSE = 0.02
LONG_PROMPT_BYTES = 1_000_000
PART_BYTES = 20_000
AT_ONCE_BYTES = 65536
LONGEST = 30.0
"""Seconds within which everything that is asked has to be answered."""

POOL = ("one", "two", "three")
STEADY = "steady"


class FailedError(Exception):
    """Something was not answered as it should be."""


class Load:
    """Asks one server until it is cancelled; counts what was done and what failed."""

    def __init__(self, port: int, config: Path) -> None:
        self.done: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self._port = port
        self._config = config
        self._chance = random.Random(1)
        self._words = [self._chance.randbytes(self._chance.randrange(1, 5)).hex() for _ in range(5000)]

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(STREAMS):
                tasks.create_task(self._again("streams", self._stream, 0.1), name="streams")
            for name, action, pause in (
                ("chats", self._chat, 0.02),
                ("clients that leave", self._leave, 0.2),
                ("long prompts", self._long_prompt, 0.5),
                ("swaps", self._swap, 1.0),
                ("reloads", self._reload, 3.0),
                ("websockets", self._websocket, 0.3),
                ("readers", self._read, 0.5),
                ("event watchers", self._watch, 0.1),
            ):
                tasks.create_task(self._again(name, action, pause), name=name)

    async def _again(self, name: str, action: Callable[[], Awaitable[None]], pause: float) -> None:
        while True:
            try:
                async with asyncio.timeout(LONGEST):
                    await action()
            except (FailedError, OSError, TimeoutError, asyncio.IncompleteReadError) as error:
                self.failed[f"{name}: {error!r}"[:200]] += 1
            else:
                self.done[name] += 1
            await asyncio.sleep(pause)

    # What is done

    async def _chat(self) -> None:
        await self._ask(STEADY, messages="hello " * 20)

    async def _long_prompt(self) -> None:
        """As an agent's: much of it again and again, and never the same twice."""
        part = " ".join(self._chance.choices(self._words, k=PART_BYTES // 6))
        await self._ask(STEADY, messages=part * (LONG_PROMPT_BYTES // len(part)))

    async def _swap(self) -> None:
        for model in POOL:
            await self._ask(model, messages="next")

    async def _stream(self) -> None:
        body = await self._ask(STEADY, count=EVENTS, pause=EVENT_PAUSE, stream=True)
        if not body.endswith(b"data: [DONE]\n\n"):
            raise FailedError("a stream without an end")

    async def _leave(self) -> None:
        client = await self._connected()
        try:
            client.send(_request(STEADY, count=EVENTS, pause=EVENT_PAUSE, stream=True))
            await client.reader.readuntil(b"token 3 ")
        finally:
            client.leave()

    async def _reload(self) -> None:
        """Changes what no process is affected by."""
        text = self._config.read_text()
        seconds = 600 + self.done["reloads"] % 10
        lines = [
            f"globalTTL: {seconds}" if line.startswith("globalTTL") else line for line in text.splitlines()
        ]
        draft = self._config.with_suffix(".draft")
        draft.write_text("\n".join(lines) + "\n")
        draft.replace(self._config)
        await self._get("/api/config/reload", "POST")

    async def _websocket(self) -> None:
        client = await self._connected()
        try:
            key = base64.b64encode(os.urandom(16)).decode()
            head = f"GET /upstream/{STEADY}/socket HTTP/1.1\r\nHost: soak\r\nConnection: Upgrade\r\n"
            head += f"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
            client.send(head.encode())
            if not (await client.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 "):
                raise FailedError("no websocket")
            for _ in range(10):
                message = os.urandom(1000)
                client.send(message)
                if await client.reader.readexactly(len(message)) != message:
                    raise FailedError("another message came back")
        finally:
            client.leave()

    async def _read(self) -> None:
        rows = json.loads(await self._get("/api/metrics/activity?limit=20"))["data"]
        for row in rows:
            if row["has_capture"]:
                await self._get(f"/api/captures/{row['id']}")
                break
        for path in ("/api/models", "/api/yard", "/metrics", "/api/metrics/stats", "/v1/models", "/logs"):
            await self._get(path)

    async def _watch(self) -> None:
        """An open page: leaves after a while, and comes back."""
        client = await self._connected()
        try:
            client.send(b"GET /api/events HTTP/1.1\r\nHost: soak\r\n\r\n")
            for _ in range(200):
                if not await client.reader.read(AT_ONCE_BYTES):
                    raise FailedError("the events have ended")
        finally:
            client.leave()

    # How

    async def _ask(self, model: str, **fields: object) -> bytes:
        return await self._exchange(_request(model, **fields))

    async def _get(self, path: str, method: str = "GET") -> bytes:
        return await self._exchange(f"{method} {path} HTTP/1.1\r\nHost: soak\r\n\r\n".encode())

    async def _exchange(self, sent: bytes) -> bytes:
        client = await self._connected()
        try:
            client.send(sent)
            await client.writer.drain()
            return await client.answer()
        finally:
            client.leave()

    async def _connected(self) -> Client:
        return Client(*await asyncio.open_connection("127.0.0.1", self._port))


class Client:
    """One connection to the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    def leave(self) -> None:
        self.writer.transport.abort()

    async def answer(self) -> bytes:
        """The body of an answer that is 200; FailedError for any other."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).lower()
        fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
        if b"content-length" in fields:
            body = await self.reader.readexactly(int(fields[b"content-length"]))
        else:
            body = b""
            while size := int(await self.reader.readline(), 16):
                body += await self.reader.readexactly(size + 2)
                body = body[:-2]
        if not head.startswith(b"http/1.1 200 "):
            raise FailedError(f"{head[:13]!r} {body[:100]!r}")
        return body


def _request(model: str, **fields: object) -> bytes:
    body = json.dumps({"model": model, **fields}).encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: soak\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
