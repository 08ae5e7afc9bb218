"""The event stream: its beginning, what follows, and its ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any

from swapyard import notices
from swapyard.api import events
from swapyard.app.program import Program
from swapyard.observe.logs import Source
from swapyard.types import ModelId

Run = Callable[[Coroutine[Any, Any, None]], None]
Yard = Callable[[str], AbstractAsyncContextManager[tuple[int, Program]]]
Ask = Callable[..., Coroutine[Any, Any, tuple[int, dict[str, str], bytes]]]

CONFIG = """
models:
  m: {cmd: '@MODEL@', name: M, aliases: [n], capabilities: {tools: true, context: 5}}
  hidden: {cmd: '@MODEL@', unlisted: true}
peers: {cloud: {proxy: 'http://127.0.0.1:1', models: [far]}}
profiles: {night: {pins: {x: m}}}
"""
INITIAL = ["logData", "logData", "modelStatus", "uiConfig", "profileChanged", "inflight"]


class Events:
    """A client of /api/events."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer
        self._text = b""

    @classmethod
    async def open(cls, port: int, query: str = "") -> tuple[bytes, Events]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET /api/events{query} HTTP/1.1\r\nhost: a\r\n\r\n".encode())
        return await reader.readuntil(b"\r\n\r\n"), cls(reader, writer)

    async def frame(self) -> bytes | None:
        """The next thing before an empty line; None at the proper end."""
        while b"\n\n" not in self._text:
            size = int(await self._reader.readline(), 16)
            self._text += (await self._reader.readexactly(size + 2))[:-2]
            if not size:
                return None
        frame, _, self._text = self._text.partition(b"\n\n")
        return frame

    async def next(self) -> tuple[str, Any] | None:
        frame = await self.frame()
        if frame is None:
            return None
        name, data = frame.split(b"\n")
        assert name == b"event:message" and data.startswith(b"data:{")
        envelope = json.loads(data[len(b"data:") :])
        assert set(envelope) == {"type", "data"}
        return envelope["type"], json.loads(envelope["data"])

    async def of(self, *kinds: str) -> Any:
        """The next message of one of these kinds."""
        while True:
            message = await self.next()
            assert message is not None
            if message[0] in kinds:
                return message[1]

    async def begin(self) -> dict[str, Any]:
        found = [await self.next() for _ in INITIAL]
        assert [one[0] for one in found if one] == INITIAL
        return {one[0]: one[1] for one in found if one}


def test_the_stream_begins_with_everything_a_page_needs(run: Run, yard: Yard) -> None:
    async def main() -> None:
        async with yard(CONFIG) as (port, _):
            head, stream = await Events.open(port)
            for line in (
                b"content-type: text/event-stream",
                b"cache-control: no-cache",
                b"x-accel-buffering: no",
                b"x-content-type-options: nosniff",
            ):
                assert line in head
            found = await stream.begin()
            assert found["logData"]["source"] == "upstream"
            assert found["uiConfig"] == {"activity": {"session_id": ["X-Session-ID", "X-Litellm-Session-Id"]}}
            assert found["profileChanged"] == {"active": None}
            assert found["inflight"] == {"operation": "snapshot"}
            assert found["modelStatus"] == [
                {
                    "id": "hidden",
                    "name": "",
                    "description": "",
                    "state": "stopped",
                    "unlisted": True,
                    "peerID": "",
                },
                {
                    "id": "m",
                    "name": "M",
                    "description": "",
                    "state": "stopped",
                    "unlisted": False,
                    "peerID": "",
                    "aliases": ["n"],
                    "capabilities": {"function_calling": True},
                    "context_length": 5,
                },
                {
                    "id": "cloud/far",
                    "name": "",
                    "description": "",
                    "state": "",
                    "unlisted": False,
                    "peerID": "cloud",
                },
            ]
            stream.writer.transport.abort()

    run(main())


def test_states_requests_rows_profiles_and_log_lines_are_told_as_they_happen(
    run: Run, yard: Yard, ask: Ask
) -> None:
    async def main() -> None:
        async with yard(CONFIG) as (port, program):
            _, stream = await Events.open(port)
            await stream.begin()
            body = b'{"model":"m"}'
            await ask(port, "POST /v1/chat/completions", {"Content-Type": "application/json"}, body)
            assert (await stream.of("inflight"))["operation"] == "upsert"
            states = [await stream.of("stateChanged") for _ in range(2)]
            assert [state["new"] for state in states] == ["starting", "ready"]
            while (await stream.of("inflight"))["operation"] != "remove":
                pass
            assert (await stream.of("activity"))["id"] == 1
            program.activate_profile("night")
            assert await stream.of("profileChanged", "modelStatus") == {"active": "night"}
            assert isinstance(await stream.of("modelStatus"), list)
            program.logs.output(ModelId("m"), "caf\u00e9\n".encode())
            line = await stream.of("logData")
            while line["source"] != "upstream" or "café" not in line["data"]:
                line = await stream.of("logData")
            stream.writer.transport.abort()

    run(main())


def test_everything_else_that_is_published_has_its_message(run: Run, yard: Yard) -> None:
    async def main() -> None:
        async with yard(CONFIG) as (port, program):
            _, stream = await Events.open(port)
            await stream.begin()
            program.bus.publish(notices.WaitingChanged(ModelId("m"), 2, "hidden is served"))
            program.bus.publish(notices.ModelPreloaded(ModelId("m"), success=False))
            program.bus.publish(notices.ConfigReloaded("no"))
            assert await stream.of("waiting") == {"model": "m", "count": 2, "reason": "hidden is served"}
            assert await stream.of("modelPreloaded") == {"model": "m", "success": False}
            assert await stream.of("configReloaded") == {"error": "no"}
            stream.writer.transport.abort()

    run(main())


def test_a_client_can_do_without_some_of_it(run: Run, yard: Yard) -> None:
    async def main() -> None:
        async with yard(CONFIG) as (port, program):
            _, stream = await Events.open(port, "?without=logData&without=activity&without=nonsense")
            assert [(await stream.next() or ("",))[0] for _ in INITIAL[2:]] == INITIAL[2:]
            program.logs.output(ModelId("m"), b"unheard\n")
            program.bus.publish(notices.ActivityRecorded(1))
            program.activate_profile("night")
            assert await stream.next() == ("profileChanged", {"active": "night"})
            stream.writer.transport.abort()

    run(main())


def test_a_client_that_fell_behind_is_told_so_and_where_things_stand(run: Run, yard: Yard) -> None:
    async def main() -> None:
        async with yard(CONFIG) as (port, program):
            _, stream = await Events.open(port)
            await stream.begin()
            for number in range(3000):
                program.bus.publish(notices.ActivityRecorded(number))
            program.activate_profile("night")
            told = [(await stream.of("activity"))["id"] for _ in range(1024)]
            assert told == list(range(1024))
            assert await stream.next() == ("gap", {"lost": 3001 - 1024})
            assert await stream.next() == ("profileChanged", {"active": "night"})
            assert [row["id"] for row in await stream.of("modelStatus")] == ["hidden", "m", "cloud/far"]
            assert await stream.of("inflight") == {"operation": "snapshot"}
            program.bus.publish(notices.ActivityRecorded(3000))
            assert (await stream.of("activity"))["id"] == 3000
            assert b"1976" not in program.logs.history(Source.PROXY)
            stream.writer.transport.abort()

    run(main())


def test_a_quiet_stream_is_kept_alive(run: Run, yard: Yard, monkeypatch: Any) -> None:
    # A constant of ours, shortened: fifteen seconds of test would show no more.
    monkeypatch.setattr(events, "HEARTBEAT_SECONDS", 0.05)

    async def main() -> None:
        async with yard("performance: {disabled: true}\n" + CONFIG) as (port, _):
            _, stream = await Events.open(port)
            await stream.begin()
            while await stream.frame() != b": heartbeat":
                pass
            stream.writer.transport.abort()

    run(main())


def test_a_client_that_leaves_is_not_written_to_any_more(run: Run, yard: Yard) -> None:
    async def main() -> None:
        async with yard(CONFIG) as (port, program):
            _, stream = await Events.open(port)
            await stream.begin()
            assert program.bus.is_watched()
            stream.writer.transport.abort()
            async with asyncio.timeout(15):
                while program.bus.is_watched():  # noqa: ASYNC110 - nobody is told that a watcher has left
                    await asyncio.sleep(0.01)

    run(main())


def test_a_shutdown_ends_the_stream_properly_and_is_not_held_up_by_it(run: Run, yard: Yard) -> None:
    async def main() -> None:
        async with yard(CONFIG) as (port, program):
            _, stream = await Events.open(port)
            await stream.begin()
            program.stop()
            async with asyncio.timeout(15):
                while await stream.frame() is not None:
                    pass
            stream.writer.transport.abort()

    run(main())
