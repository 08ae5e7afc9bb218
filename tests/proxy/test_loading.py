"""What a client is told while its model loads, and that it costs nobody anything."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from swapyard.app.program import Program
from swapyard.notices import StateChanged, WaitingChanged
from swapyard.proxy.loading import Expectation, LoadingText, heartbeats_until_granted
from swapyard.proxy.reply import ModelReply
from swapyard.types import ModelId, State
from swapyard.web.server import Handler, Reply, Request

Run = Callable[[Coroutine[Any, Any, None]], None]
Serving = Callable[[Handler], AbstractAsyncContextManager[int]]
Yard = Callable[[str], AbstractAsyncContextManager[tuple[int, Program]]]
Ask = Callable[..., Coroutine[Any, Any, tuple[int, dict[str, str], bytes]]]

JSON = {"Content-Type": "application/json"}
CHAT = "POST /v1/chat/completions"


def gated(tmp_path: Path, more: str = "", *, top: str = "sendLoadingState: true") -> str:
    return f"{top}\nmodels: {{m: {{cmd: '@MODEL@ --gate {tmp_path}/gate'{more}}}, b: {{cmd: '@MODEL@'}}}}"


def body(model: str = "m", stream: bool = True) -> bytes:
    return json.dumps({"model": model, "stream": stream}).encode()


def request(
    port: int, what: str = "stream", *, path: str = "/v1/chat/completions", model: str = "m"
) -> bytes:
    data = body(model)
    head = f"POST {path} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\nx-do: {what}\r\n"
    return f"{head}accept-encoding: gzip\r\ncontent-length: {len(data)}\r\n\r\n".encode() + data


class Stream:
    """The events of a chunked answer, as they come."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer
        self.events: list[str] = []

    async def next(self) -> str | None:
        """The next event; None at the proper end."""
        text = b""
        while not text.endswith(b"\n\n"):
            size = int(await self._reader.readline(), 16)
            text += (await self._reader.readexactly(size + 2))[:-2]
            if size == 0:
                assert text == b""
                return None
        # Events that left in one write are told apart again.
        self.events += [event for event in text.decode().split("\n\n") if event]
        return self.events[-1]

    async def rest(self) -> list[str]:
        while await self.next() is not None:
            pass
        self.writer.transport.abort()
        return self.events


async def open_stream(port: int, data: bytes) -> tuple[bytes, Stream]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    return await reader.readuntil(b"\r\n\r\n"), Stream(reader, writer)


def text_of(events: list[str]) -> str:
    """The reasoning text in the chunks that are ours."""
    chunks = [json.loads(event.removeprefix("data: ")) for event in events if "chatcmpl-loading" in event]
    for chunk in chunks:
        assert set(chunk) == {"id", "object", "created", "model", "choices"}
        assert chunk["object"] == "chat.completion.chunk" and chunk["choices"][0]["index"] == 0
    return "".join(chunk["choices"][0]["delta"]["reasoning_content"] for chunk in chunks)


def test_a_streaming_client_reads_what_is_loaded_and_then_the_answer(
    run: Run, yard: Yard, tmp_path: Path
) -> None:
    async def main() -> None:
        async with yard(gated(tmp_path)) as (port, _):
            head, stream = await open_stream(port, request(port))
            assert head.startswith(b"HTTP/1.1 200 ") and b"text/event-stream" in head
            assert b"cache-control: no-cache" in head and b"content-encoding" not in head
            await stream.next()
            (tmp_path / "gate").touch()
            events = await stream.rest()
        text = text_of(events)
        assert text.startswith("━━━━━\n")
        assert re.search(r"\nDone! \(\d+\.\d\ds\)\n━━━━━\n \n$", text)
        assert events[-4:] == ['data: {"n":0}', 'data: {"n":1}', 'data: {"n":2}', "data: [DONE]"]

    run(main())


def test_the_whole_text_is_typed_when_there_is_time(run: Run, yard: Yard, tmp_path: Path) -> None:
    async def main() -> None:
        async with yard(gated(tmp_path)) as (port, _):
            _, stream = await open_stream(port, request(port))
            while "loading model: m\n" not in text_of(stream.events):
                await stream.next()
            # Then a remark on the first tick.
            while len(text_of(stream.events).split("loading model: m\n")[1].strip()) < 5:
                await stream.next()
            (tmp_path / "gate").touch()
            await stream.rest()
        assert text_of(stream.events).startswith("━━━━━\nllama-swap loading model: m\n\n")

    run(main())


def test_the_answer_is_not_held_up_by_text_that_is_still_to_be_typed(
    run: Run, yard: Yard, tmp_path: Path
) -> None:
    """E-27."""

    async def main() -> None:
        async with yard(gated(tmp_path)) as (port, program):
            _, stream = await open_stream(port, request(port))
            await stream.next()
            (tmp_path / "gate").touch()
            while program.fleet.status(ModelId("m")).load_seconds is None:
                await stream.next()
            typed = text_of(stream.events)
            await stream.rest()
        # A piece or two may have been under way; what was not typed when the model was ready never is.
        assert text_of(stream.events).index("Done!") <= len(typed) + 25

    run(main())


def test_a_request_in_line_is_told_its_place(run: Run, yard: Yard, tmp_path: Path, ask: Ask) -> None:
    async def main() -> None:
        async with yard(gated(tmp_path)) as (port, program):
            hanging = ask(port, CHAT, {**JSON, "x-do": "hang"}, body("b", stream=False))
            with program.bus.subscribe(StateChanged) as changes:
                blocker = asyncio.create_task(hanging)
                while (await changes.next()).new is not State.READY:  # type: ignore[union-attr]
                    pass
            _, stream = await open_stream(port, request(port))
            while "Queue position: #1 " not in text_of(stream.events):
                await stream.next()
            stream.writer.transport.abort()
            blocker.cancel()
            await asyncio.gather(blocker, return_exceptions=True)

    run(main())


def test_how_much_longer_it_takes_is_told_when_an_earlier_load_has_shown_it(
    run: Run, yard: Yard, tmp_path: Path, ask: Ask
) -> None:
    async def main() -> None:
        async with yard(gated(tmp_path)) as (port, program):
            first = asyncio.create_task(ask(port, CHAT, JSON, body(stream=False)))
            await asyncio.sleep(3)
            (tmp_path / "gate").touch()
            await first
            await program.dispatcher.unload([ModelId("m")])
            (tmp_path / "gate").unlink()
            _, stream = await open_stream(port, request(port))
            while not re.search(r"about \d s to go", text_of(stream.events)):
                await stream.next()
            stream.writer.transport.abort()

    run(main())


@pytest.mark.parametrize(
    ("path", "stream"),
    [("/v1/chat/completions", False), ("/v/chat/completions", True), ("/v1/completions", True)],
)
def test_nobody_else_is_shown_any_text(
    run: Run, yard: Yard, tmp_path: Path, ask: Ask, path: str, stream: bool
) -> None:
    async def main() -> None:
        (tmp_path / "gate").touch()
        async with yard(gated(tmp_path)) as (port, _):
            _, headers, got = await ask(port, f"POST {path}", JSON, body(stream=stream))
            assert headers["content-type"] == "application/json" and json.loads(got)["model"] == "m"

    run(main())


def test_a_ready_model_answers_without_a_word_of_ours(run: Run, yard: Yard, tmp_path: Path, ask: Ask) -> None:
    async def main() -> None:
        (tmp_path / "gate").touch()
        async with yard(gated(tmp_path)) as (port, _):
            await ask(port, CHAT, JSON, body(stream=False))
            _, _, got = await ask(port, CHAT, {**JSON, "x-do": "stream"}, body())
            assert got.startswith(b'data: {"n":0}')

    run(main())


def test_a_load_that_fails_is_told_as_an_error_event_and_the_stream_ends(run: Run, yard: Yard) -> None:
    """E-25."""

    async def main() -> None:
        async with yard("sendLoadingState: true\nmodels: {m: {cmd: 'sh -c \"exit 3\" ${PORT}'}}") as (
            port,
            _,
        ):
            _, stream = await open_stream(port, request(port))
            events = await stream.rest()
        assert "Done!" not in text_of(events) and "Failed after" in text_of(events)
        error = json.loads(events[-2].removeprefix("data: "))
        assert error["error"]["code"] == "load_failed" and events[-1] == "data: [DONE]"

    run(main())


def test_a_refusal_at_the_door_is_plain_429_and_no_stream(
    run: Run, yard: Yard, tmp_path: Path, ask: Ask
) -> None:
    """E-26."""

    async def main() -> None:
        async with yard(gated(tmp_path, ", concurrencyLimit: 1")) as (port, _):
            _, stream = await open_stream(port, request(port))
            status, headers, got = await ask(port, CHAT, JSON, body())
            assert (status, headers["retry-after"]) == (429, "1")
            assert json.loads(got)["error"]["code"] == "concurrency_limit"
            stream.writer.transport.abort()

    run(main())


@pytest.mark.parametrize(
    ("what", "text", "expected"),
    [
        (
            "status=400",
            '{"error":\n{"message":"too long","code":"context"}}',
            {"message": "too long", "code": "context"},
        ),
        ("status=500", "<html>no</html>", {"code": "bad_gateway"}),
    ],
)
def test_an_error_of_the_upstream_becomes_an_event_of_the_stream_that_has_begun(
    run: Run, yard: Yard, tmp_path: Path, what: str, text: str, expected: dict[str, str]
) -> None:
    async def main() -> None:
        async with yard(gated(tmp_path)) as (port, _):
            one_line = text.replace("\n", " ")
            data = request(port, what).replace(
                b"\r\ncontent-length", f"\r\nx-text: {one_line}\r\ncontent-length".encode()
            )
            _, stream = await open_stream(port, data)
            (tmp_path / "gate").touch()
            events = await stream.rest()
        error = json.loads(events[-2].removeprefix("data: "))["error"]
        assert expected.items() <= error.items() and events[-1] == "data: [DONE]"
        if "html" in text:
            assert "status 500" in error["message"] and "<html>no</html>" in error["message"]

    run(main())


def test_an_answer_that_is_no_stream_becomes_one_event(run: Run, yard: Yard, tmp_path: Path) -> None:
    async def main() -> None:
        async with yard(gated(tmp_path)) as (port, _):
            _, stream = await open_stream(port, request(port, "echo"))
            (tmp_path / "gate").touch()
            events = await stream.rest()
        echoed = json.loads(events[-2].removeprefix("data: "))
        assert echoed["model"] == "m" and events[-1] == "data: [DONE]"
        # The head is out and speaks of no encoding, so none may be used.
        assert echoed["headers"]["accept-encoding"] == "identity"

    run(main())


def test_a_client_that_stops_reading_does_not_hold_up_the_end_of_its_wait(run: Run, serving: Serving) -> None:
    """R-18."""

    async def main() -> None:
        ended = asyncio.Event()

        async def app(request: Request, wire: Reply) -> None:
            reply, lease = ModelReply(request, wire), Waiting()
            text = LoadingText("m", lease, reply, lambda: Expectation(None, None))  # type: ignore[arg-type]
            telling = asyncio.create_task(text.until_granted())
            await asyncio.sleep(0.1)
            while not reply.congested:
                wire.write(bytes(100_000))
            lease.waiting.set_result(None)
            await telling
            ended.set()
            wire.cut()

        async with serving(app) as port:
            _, writer = await asyncio.open_connection("127.0.0.1", port, limit=100)
            writer.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            async with asyncio.timeout(15):
                await ended.wait()
            writer.transport.abort()

    run(main())


def test_a_client_that_leaves_while_its_model_loads_leaves_the_line(
    run: Run, yard: Yard, tmp_path: Path
) -> None:
    async def main() -> None:
        async with yard(gated(tmp_path)) as (port, program):
            with program.bus.subscribe(WaitingChanged) as changes:
                _, stream = await open_stream(port, request(port))
                told = await changes.next()
                assert isinstance(told, WaitingChanged) and told.count == 1 and "loading" in told.reason
                stream.writer.transport.abort()
                assert await changes.next() == WaitingChanged(ModelId("m"), 0, "")

    run(main())


# Heartbeats


class Waiting:
    """A lease whose outcome the test decides."""

    ticket = 1
    granted = True
    position = None

    def __init__(self) -> None:
        self.waiting = asyncio.get_running_loop().create_future()


def test_heartbeats_begin_with_the_wait_and_go_on_until_it_ends(run: Run, serving: Serving, raw: Any) -> None:
    async def main() -> None:
        async def app(request: Request, wire: Reply) -> None:
            reply, lease = ModelReply(request, wire), Waiting()
            asyncio.get_running_loop().call_later(0.2, lease.waiting.set_result, None)
            await heartbeats_until_granted(lease, reply, 0.05)  # type: ignore[arg-type]
            await reply.write(b"data: last\n\n", last=True)

        async with serving(app) as port:
            got = await raw(port, b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        assert got.startswith(b"HTTP/1.1 200 ")
        assert got.count(b": heartbeat\n\n") >= 2
        assert got.index(b": heartbeat") < got.index(b"data: last")

    run(main())
